"""What there is, counted, for metrics. Reads only; each answer is one query."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from steelyard.operations.model import Phase
from steelyard.store.database import Database
from steelyard.store.engine_tables import servers
from steelyard.store.inventory_tables import inventory_records
from steelyard.store.tables import events, operations

MOURNED = timedelta(days=1)
_ENDS = tuple(f"operation.{phase.value}" for phase in Phase if phase.ended)


@dataclass(frozen=True, slots=True)
class Ended:
    """An operation that has ended."""

    kind: str
    outcome: Phase
    seconds: float | None
    """From its begin to its end; None for one that never began."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The pool of connections to the database."""

    in_use: int
    idle: int
    limit: int


class Numbers:
    """Questions of metrics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def servers(self) -> dict[tuple[str, str], int]:
        """How many servers the inventory's index knows, by phase and pool; without a pool the latter is empty."""
        r = inventory_records.c
        query = sa.select(r.phase, r.pool, sa.func.count()).where(r.gone_at.is_(None)).group_by(r.phase, r.pool)
        with self._database.read() as connection:
            return {(phase, pool): int(number) for phase, pool, number in connection.execute(query)}

    def ended(self, replica: str, after: int) -> tuple[list[Ended], int]:
        """The operations that this server has brought to their end after an event, and the newest event's id now.

        Events have no gaps and are numbered as they are committed, so that nothing is counted twice or left out.
        """
        o = operations.c
        query = (
            sa.select(o.kind, o.phase, o.started_at, o.ended_at)
            .select_from(events.join(operations, events.c.operation_id == o.id))
            .where(events.c.id > after, events.c.kind.in_(_ENDS), o.replica == replica)
        )
        with self._database.read() as connection:
            newest = int(connection.execute(sa.select(sa.func.max(events.c.id))).scalar() or 0)
            rows = connection.execute(query.where(events.c.id <= newest)).all() if newest > after else []
        found = [
            Ended(
                row.kind,
                Phase(row.phase),
                (row.ended_at - row.started_at).total_seconds() if row.started_at and row.ended_at else None,
            )
            for row in rows
        ]
        return found, newest

    def replicas(self) -> dict[str, int]:
        """How many servers share this database: `live`, and `dead`, which have not said for too long that they live.

        One that has been dead for longer than a day will not come back, and is told no more.
        """
        now = datetime.now(UTC)
        query = sa.select(servers.c.expires_at).where(servers.c.expires_at > now - MOURNED)
        with self._database.read() as connection:
            ends = list(connection.execute(query).scalars())
        live = sum(end > now for end in ends)
        return {"live": live, "dead": len(ends) - live}

    def connections(self) -> Connections:
        """Of this server, at this moment."""
        pool = self._database.engine.pool
        if not isinstance(pool, sa.QueuePool):
            return Connections(0, 0, 0)
        return Connections(pool.checkedout(), pool.checkedin(), pool.size() + pool._max_overflow)
