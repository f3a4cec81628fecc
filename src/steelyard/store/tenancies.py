"""Who had which node, and when each was cleaned: what was observed, kept for good."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steelyard.lifecycle.records import CleanRecord, How, Tenancy, stay_of
from steelyard.nouns import Node
from steelyard.store.database import Database
from steelyard.store.tables import UtcDateTime
from steelyard.store.tables import clean_records as cleans
from steelyard.store.tables import tenancies as table


class Tenancies:
    """The repository of tenancies and of clean records. Rows are added; an open tenancy is ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Tenancies

    def begin(self, tenancy: Tenancy, *, before: datetime | None = None) -> None:
        """A tenant has the node now; what was open on it is over, and was last seen `before`."""
        with self._database.write() as connection:
            self.end(tenancy.node_id, at=tenancy.since, seen_at=before or tenancy.since)
            connection.execute(table.insert().values(**_row(tenancy)))

    def end(self, node_id: str, *, at: datetime, seen_at: datetime) -> None:
        """The node's open tenancy is over, and was last seen at `seen_at`. Nothing happens when there is none."""
        with self._database.write() as connection:
            is_open = sa.and_(table.c.node_id == node_id, table.c.until.is_(None))
            last = sa.case(
                (table.c.seen_at > seen_at, table.c.seen_at), else_=sa.bindparam("last", seen_at, UtcDateTime)
            )
            connection.execute(table.update().where(is_open).values(until=at, seen_at=last))

    def last(self) -> dict[str, Tenancy]:
        """The newest tenancy of every node that ever had one, by node."""
        newest = sa.select(sa.func.max(table.c.id)).group_by(table.c.node_id)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).where(table.c.id.in_(newest)))
            return {row.node_id: _tenancy(row) for row in rows}

    def of(self, node_id: str, *, limit: int = 100) -> list[Tenancy]:
        """The node's tenancies, the newest first."""
        query = sa.select(table).where(table.c.node_id == node_id).order_by(table.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_tenancy(row) for row in connection.execute(query)]

    def last_tenancy(self, node_id: str) -> Tenancy | None:
        return next(iter(self.of(node_id, limit=1)), None)

    # Cleans

    def record(self, record: CleanRecord) -> bool:
        """Keep a clean; False when one that led to the same stay is known already."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        values = {name: getattr(record, name) for name in _CLEAN} | {"how": record.how.value, "steps": [*record.steps]}
        with self._database.write() as connection:
            added = insert(cleans).values(**values).on_conflict_do_nothing().returning(cleans.c.id)
            return connection.execute(added).scalar() is not None

    def watched(self, node: Node, *, operation_id: str, since: datetime | None, steps: tuple[str, ...] = ()) -> bool:
        """An operation saw the agent clean the node (`clean wait`), and now it is available by that; see `record`.

        For who has seen no more than `cleaning`, this is not the place: Ironic passes that state without a clean too.
        """
        now = datetime.now(UTC)
        made = CleanRecord(node.id, How.OPERATION, stay_of(node), now, since, steps, operation_id)
        return self.record(made)

    def newest_cleans(self) -> dict[str, CleanRecord]:
        """The newest record of every node that has one, by node."""
        newest = sa.select(sa.func.max(cleans.c.id)).group_by(cleans.c.node_id)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(cleans).where(cleans.c.id.in_(newest)))
            return {row.node_id: _clean(row) for row in rows}

    def cleans_of(self, node_id: str, *, limit: int = 100) -> list[CleanRecord]:
        """The node's clean records, the newest first."""
        query = sa.select(cleans).where(cleans.c.node_id == node_id).order_by(cleans.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_clean(row) for row in connection.execute(query)]

    def newest_clean(self, node_id: str) -> CleanRecord | None:
        return next(iter(self.cleans_of(node_id, limit=1)), None)


_TENANCY = ("node_id", "instance_id", "name", "project_id", "user_id", "since", "seen_at", "until", "unproven")
_CLEAN = ("node_id", "how", "stay", "started_at", "ended_at", "steps", "operation_id")


def _row(tenancy: Tenancy) -> dict[str, Any]:
    return {name: getattr(tenancy, name) for name in _TENANCY}


def _tenancy(row: Any) -> Tenancy:
    return Tenancy(**{name: getattr(row, name) for name in _TENANCY})


def _clean(row: Any) -> CleanRecord:
    values = {name: getattr(row, name) for name in _CLEAN}
    return CleanRecord(**{**values, "how": How(row.how), "steps": tuple(row.steps)})
