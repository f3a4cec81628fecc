"""Turns that servers on one database take (see `operations.keys.Turns`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from steelyard.errors import Unavailable
from steelyard.store.database import Database

MOST = 20
"""Locks that one server holds at a time; further callers wait for up to `PATIENCE`."""
PATIENCE = 60.0


class Locks:
    """Named locks across servers.

    PostgreSQL: advisory locks of a transaction, on connections of their own, so that who holds one and works with the
    database cannot run out of connections by it. They end with the connection, so also with the server. SQLite: one
    server only, which needs no lock but its own.
    """

    def __init__(self, database: Database) -> None:
        self._engine = (
            None
            if database.is_sqlite
            else sa.create_engine(
                database.url, pool_size=2, max_overflow=MOST - 2, pool_timeout=PATIENCE, pool_pre_ping=True
            )
        )

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Hold the lock; other servers wait. Raises `Unavailable`."""
        if self._engine is None:
            yield
            return
        connection = _locked(self._engine, _key(name))
        try:
            yield
        finally:
            try:
                connection.close()  # ends the transaction, and with it the lock
            except sa.exc.DBAPIError:  # the connection is gone, and the lock with it
                connection.invalidate()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()


def _locked(engine: sa.Engine, key: int) -> sa.Connection:
    """A connection whose open transaction holds the lock."""
    connection: sa.Connection | None = None
    try:
        connection = engine.connect()
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        if connection is not None:
            connection.invalidate()
            connection.close()
        raise Unavailable(
            "Steelyard's database cannot be used at the moment.",
            code="database_unavailable",
            next="steelyard status",
            internal=str(getattr(error, "orig", None) or error),
        ) from None
    return connection


def _key(name: str) -> int:
    """The lock's number: two names that share one only wait for each other."""
    return int.from_bytes(hashlib.sha256(f"turn {name}".encode()).digest()[:8], "big", signed=True)
