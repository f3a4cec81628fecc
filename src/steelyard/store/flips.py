"""Flips of nodes: who moves the NICs of which node at this moment, among all servers, and what the last one failed at.

One row per node that was ever moved. A node's lease is held for the seconds of one flip; a holder that died with its
server loses it when its time is over. The generation counts those who took the node's NICs in hand: who prepared a flip
under an older one gives it up, but for those who have right of way (a power-on, the conductor).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from steelyard.store.database import Database
from steelyard.store.tables import flips as table


@dataclass(frozen=True, slots=True)
class FlipFailure:
    """What the last flip to a role failed at. The time is UTC."""

    node_id: str
    to: str
    """The role: tenant or quarantine."""
    reason: str
    at: datetime


class FlipRecords:
    """The repository of leases and failures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def generation(self, node_id: str) -> int:
        """Of the node; 0 for one that was never moved."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(table.c.generation).where(table.c.node_id == node_id)).scalar()
        return int(found or 0)

    def take(self, node_id: str, holder: str, *, seconds: float, generation: int | None = None) -> bool:
        """Take the node's lease. False while another one has it.

        With a `generation`: also False when the node's has moved on since, or while it is held open. Without: this
        holder has right of way.
        """
        now = datetime.now(UTC)
        free = sa.or_(table.c.holder.is_(None), table.c.holder == holder, table.c.held_until < now)
        values: dict[str, Any] = {
            "holder": holder, "held_until": now + timedelta(seconds=seconds), "generation": table.c.generation + 1,
        }  # fmt: skip
        allowed = free
        if generation is not None:
            closed = sa.or_(table.c.open_until.is_(None), table.c.open_until < now)
            allowed = sa.and_(free, closed, table.c.generation == generation)
        with self._database.write() as connection:
            self._know(connection, node_id)
            taken = connection.execute(table.update().where(table.c.node_id == node_id, allowed).values(**values))
        return bool(taken.rowcount)

    def holds(self, node_id: str, holder: str) -> bool:
        """Whether the lease is still this holder's: nobody took it when its time was over, nor was it revoked."""
        mine = sa.and_(table.c.node_id == node_id, table.c.holder == holder)
        with self._database.read() as connection:
            return connection.execute(sa.select(table.c.node_id).where(mine)).first() is not None

    def revoke(self, node_id: str) -> None:
        """Whoever holds the lease has it no longer, and whoever prepared a flip gives it up."""
        values = {"holder": None, "held_until": None, "generation": table.c.generation + 1}
        with self._database.write() as connection:
            connection.execute(table.update().where(table.c.node_id == node_id).values(**values))

    def give_back(self, node_id: str, holder: str) -> None:
        """End a lease; nothing happens if it is no longer the holder's."""
        with self._database.write() as connection:
            mine = sa.and_(table.c.node_id == node_id, table.c.holder == holder)
            connection.execute(table.update().where(mine).values(holder=None, held_until=None))

    def hold_open(self, node_id: str, seconds: float) -> None:
        """For so long nobody without right of way moves the node's NICs: it is about to get power. 0: no longer."""
        until = datetime.now(UTC) + timedelta(seconds=seconds) if seconds > 0 else None
        with self._database.write() as connection:
            self._know(connection, node_id)
            connection.execute(table.update().where(table.c.node_id == node_id).values(open_until=until))

    def open_nodes(self) -> set[str]:
        """Nodes that are held open now."""
        with self._database.read() as connection:
            query = sa.select(table.c.node_id).where(table.c.open_until > datetime.now(UTC))
            return set(connection.execute(query).scalars())

    def failed(self, node_id: str, to: str, reason: str) -> bool:
        """Keep what a flip failed at; returns whether that is news."""
        values = {"failed_to": to, "failure": reason, "failed_at": datetime.now(UTC)}
        with self._database.write() as connection:
            self._know(connection, node_id)
            known = sa.and_(table.c.node_id == node_id, table.c.failed_to == to, table.c.failure == reason)
            if connection.execute(sa.select(table.c.node_id).where(known)).first() is not None:
                return False
            connection.execute(table.update().where(table.c.node_id == node_id).values(**values))
        return True

    def succeeded(self, node_id: str, to: str | None = None) -> None:
        """A flip to this role, or (None) to any, has not failed any more. The usual case takes no write lock."""
        mine = sa.and_(table.c.node_id == node_id, table.c.failure.is_not(None))
        if to is not None:
            mine = sa.and_(mine, table.c.failed_to == to)
        with self._database.read() as connection:
            if connection.execute(sa.select(table.c.node_id).where(mine)).first() is None:
                return
        with self._database.write() as connection:
            connection.execute(table.update().where(mine).values(failed_to=None, failure=None, failed_at=None))

    def failures(self) -> list[FlipFailure]:
        """Those that have not succeeded since, by node."""
        query = sa.select(table).where(table.c.failure.is_not(None)).order_by(table.c.node_id)
        with self._database.read() as connection:
            return [
                FlipFailure(row.node_id, row.failed_to, row.failure, row.failed_at) for row in connection.execute(query)
            ]

    def forget(self, node_ids: Iterable[str]) -> None:
        """The nodes are gone."""
        with self._database.write() as connection:
            for node_id in node_ids:
                connection.execute(table.delete().where(table.c.node_id == node_id))

    def _know(self, connection: sa.Connection, node_id: str) -> None:
        """There is a row for the node, also when two make it at the same time."""
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        connection.execute(
            insert(table).values(node_id=node_id, generation=0).on_conflict_do_nothing(index_elements=["node_id"])
        )
