"""Which node has which segment to itself, and who waits for one (`isolation.segments` says why)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steelyard.store.database import Database
from steelyard.store.tables import segment_waits as waits
from steelyard.store.tables import segments as table

WAITS_FOR: Final = timedelta(seconds=15)
"""Who waits asks every few seconds; who has not asked for so long has given up."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SegmentLease:
    """A segment that a node has to itself."""

    network_id: str
    node_id: str
    role: str
    """What the node was last on it for."""
    actor: str
    since: datetime
    asked_at: datetime
    """When the node was last given it."""


@dataclass(frozen=True, slots=True)
class SegmentWait:
    """A node that waits for a segment."""

    node_id: str
    role: str
    since: datetime


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """How many segments there are of each kind, and how many nodes wait."""

    free: int
    leased: int
    waiting: int


class Segments:
    """The repository of segments; every method is one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def know(self, pool: Collection[str]) -> None:
        """These networks are the pool. What is leased stays known until it is given back."""
        with self._database.read() as connection:
            known = {row.network_id: row.node_id for row in connection.execute(sa.select(table))}
        gone = [id for id, node_id in known.items() if node_id is None and id not in pool]
        new = [id for id in pool if id not in known]
        if not gone and not new:
            return
        with self._database.write() as connection:
            insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
            for id in sorted(new):
                connection.execute(
                    insert(table).values(network_id=id).on_conflict_do_nothing(index_elements=["network_id"])
                )
            if gone:
                connection.execute(table.delete().where(table.c.network_id.in_(gone), table.c.node_id.is_(None)))

    def take(
        self, node_id: str, role: str, *, pool: Sequence[str], actor: str, kept: int = 0, wait: bool = True
    ) -> SegmentLease | None:
        """The segment of the pool that the node has now: the one that it had, else the one that is free the longest,
        and of those that never were leased the first.

        None when there is none for it: none is free, or `kept` and those who have waited longer need the rest. With
        `wait` it is written down that the node waits.
        """
        for _ in range(3):
            try:
                return self._take(node_id, role, pool, actor, kept, wait)
            except sa.exc.IntegrityError:  # the same node asked twice at once
                continue
        return self.of(node_id)

    def _take(
        self, node_id: str, role: str, pool: Sequence[str], actor: str, kept: int, wait: bool
    ) -> SegmentLease | None:
        now = datetime.now(UTC)
        with self._database.write() as connection:
            mine = connection.execute(sa.select(table).where(table.c.node_id == node_id)).first()
            if mine is not None:
                connection.execute(
                    table.update().where(table.c.network_id == mine.network_id).values(role=role, asked_at=now)
                )
                connection.execute(waits.delete().where(waits.c.node_id == node_id))
                return SegmentLease(mine.network_id, node_id, role, mine.actor, mine.since, now)
            rows = connection.execute(sa.select(table).where(table.c.node_id.is_(None))).all()
            order = {id: number for number, id in enumerate(pool)}
            free = sorted(
                (row for row in rows if row.network_id in order),
                key=lambda row: (row.freed_at or _NEVER, order[row.network_id]),
            )
            free = free[: max(0, len(free) - kept - self._ahead(connection, node_id, now))]
            for row in free:
                # On PostgreSQL another server may take it at the same moment.
                chosen = sa.and_(table.c.network_id == row.network_id, table.c.node_id.is_(None))
                values = {"node_id": node_id, "role": role, "actor": actor, "since": now, "asked_at": now}
                if connection.execute(table.update().where(chosen).values(**values)).rowcount:
                    connection.execute(waits.delete().where(waits.c.node_id == node_id))
                    return SegmentLease(row.network_id, node_id, role, actor, now, now)
            if wait:
                self._wait(connection, node_id, role, now)
        return None

    def _ahead(self, connection: sa.Connection, node_id: str, now: datetime) -> int:
        """How many others have waited longer than this node."""
        since = connection.execute(sa.select(waits.c.since).where(waits.c.node_id == node_id)).scalar() or now
        others = sa.and_(waits.c.node_id != node_id, waits.c.asked_at > now - WAITS_FOR, waits.c.since < since)
        return int(connection.execute(sa.select(sa.func.count()).select_from(waits).where(others)).scalar_one())

    def _wait(self, connection: sa.Connection, node_id: str, role: str, now: datetime) -> None:
        connection.execute(waits.delete().where(waits.c.asked_at <= now - WAITS_FOR))
        known = connection.execute(
            waits.update().where(waits.c.node_id == node_id).values(role=role, asked_at=now)
        ).rowcount
        if not known:
            connection.execute(waits.insert().values(node_id=node_id, role=role, since=now, asked_at=now))

    def give_back(self, network_id: str, node_id: str, *, asked_at: datetime | None = None) -> bool:
        """The node needs it no more. False when it is no longer the node's, or (`asked_at`) was given to it anew."""
        mine = sa.and_(table.c.network_id == network_id, table.c.node_id == node_id)
        if asked_at is not None:
            mine = sa.and_(mine, table.c.asked_at == asked_at)
        values = {
            "node_id": None, "role": None, "actor": None, "since": None, "asked_at": None,
            "freed_at": datetime.now(UTC),
        }  # fmt: skip
        with self._database.write() as connection:
            return bool(connection.execute(table.update().where(mine).values(**values)).rowcount)

    def of(self, node_id: str) -> SegmentLease | None:
        """The node's."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.node_id == node_id)).first()
        return None if row is None else _lease(row)

    def leased(self) -> list[SegmentLease]:
        """All that are, the oldest first."""
        query = sa.select(table).where(table.c.node_id.is_not(None)).order_by(table.c.since, table.c.network_id)
        with self._database.read() as connection:
            return [_lease(row) for row in connection.execute(query)]

    def waiting(self) -> list[SegmentWait]:
        """Nodes that wait now, the one that has waited longest first."""
        query = (
            sa.select(waits)
            .where(waits.c.asked_at > datetime.now(UTC) - WAITS_FOR)
            .order_by(waits.c.since, waits.c.node_id)
        )
        with self._database.read() as connection:
            return [SegmentWait(row.node_id, row.role, row.since) for row in connection.execute(query)]

    def counts(self) -> SegmentCounts:
        """Of the pool as it was last known."""
        with self._database.read() as connection:
            every = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            leased = connection.execute(sa.select(sa.func.count(table.c.node_id))).scalar_one()
            fresh = waits.c.asked_at > datetime.now(UTC) - WAITS_FOR
            waiting = connection.execute(sa.select(sa.func.count()).select_from(waits).where(fresh)).scalar_one()
        return SegmentCounts(free=every - leased, leased=leased, waiting=waiting)


def _lease(row: sa.Row[tuple[object, ...]]) -> SegmentLease:
    return SegmentLease(row.network_id, row.node_id, row.role, row.actor, row.since, row.asked_at)
