"""Leases of the servers that share this database (see `operations.leases.Servers`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from steelyard.operations.leases import Beat
from steelyard.store.database import Database
from steelyard.store.engine_tables import servers as table


class ServerRecords:
    """The repository of servers. All times are the database's, so that no server's clock decides about another."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, replica: str, boot: str, seconds: float, *, alone: bool) -> Beat | None:
        with self._database.write() as connection:
            if not self._database.is_sqlite:  # two that start at once: an absent row cannot be locked
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LEASES_LOCK)))
            now = self._now(connection)
            row = connection.execute(sa.select(table).where(table.c.replica == replica)).one_or_none()
            if row is not None and row.boot != boot and row.expires_at > now and not alone:
                return Beat(row.boot, row.beat_at)
            connection.execute(table.delete().where(table.c.replica == replica))
            connection.execute(
                table.insert().values(
                    replica=replica,
                    boot=boot,
                    started_at=now,
                    beat_at=now,
                    expires_at=now + timedelta(seconds=seconds),
                )
            )
            return None

    def renew(self, boot: str, seconds: float) -> bool:
        with self._database.write() as connection:
            now = self._now(connection)
            renewed = connection.execute(
                table.update()
                .where(table.c.boot == boot)
                .values(beat_at=now, expires_at=now + timedelta(seconds=seconds))
            )
            return bool(renewed.rowcount)

    def release(self, boot: str) -> None:
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.boot == boot))

    def live(self) -> set[str]:
        with self._database.read() as connection:
            now = self._now(connection)
            return set(connection.execute(sa.select(table.c.boot).where(table.c.expires_at > now)).scalars())

    def _now(self, connection: sa.Connection) -> datetime:
        if self._database.is_sqlite:
            return datetime.now(UTC)
        now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now


LEASES_LOCK = 0x5EE1_0002
"""Key of PostgreSQL's advisory lock by which servers register one after the other."""
