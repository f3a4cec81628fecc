"""Turns that servers on one database take (see `operations.keys.Turns`)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import sqlalchemy as sa

from steelyard.errors import Unavailable
from steelyard.store.database import Database

PATIENCE: Final = 60.0
"""Seconds that a caller waits for a lock."""
LOOKS: Final = (0.01, 0.25)
"""Seconds between two looks whether another server has given a lock up: at first, and after a while."""


class Locks:
    """Named locks across servers.

    PostgreSQL: advisory locks of one session, all on one connection, so that however many are held or waited for, the
    database is not filled with connections, and who holds one and works with the database cannot run out of them. For
    that nobody may wait inside of PostgreSQL: a lock is tried, again and again. They end with the connection, so also
    with the server. Like every session lock they need a connection that stays the same: no pooler that changes it
    between transactions. SQLite: one server only, which needs no lock but its own.
    """

    def __init__(self, database: Database) -> None:
        self._engine = (
            None
            if database.is_sqlite
            else sa.create_engine(database.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        )
        self._connection: sa.Connection | None = None
        self._talking = threading.Lock()  # one statement at a time on the connection
        self._here = threading.Condition()
        self._held: set[int] = set()  # by this server: to PostgreSQL all its threads are one session

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Hold the lock; others wait, here and at other servers. Raises `Unavailable`."""
        if self._engine is None:
            yield
            return
        key, end = _key(name), time.monotonic() + PATIENCE
        with self._here:
            if not self._here.wait_for(lambda: key not in self._held, PATIENCE):
                raise _unavailable("a lock of this server was not given up in time")
            self._held.add(key)
        try:
            connection = self._lock(self._engine, key, end)
            try:
                yield
            finally:
                self._unlock(connection, key)
        finally:
            with self._here:
                self._held.discard(key)
                self._here.notify_all()

    def _lock(self, engine: sa.Engine, key: int, end: float) -> sa.Connection:
        """The connection that has the lock now."""
        pause, longest = LOOKS
        while True:
            with self._talking:
                kept = self._connection is not None
                try:
                    if self._connection is None:
                        self._connection = engine.connect()
                    connection = self._connection
                    if connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))):
                        return connection
                except sa.exc.DBAPIError as error:
                    self._lost()
                    if kept:  # it may have broken long ago, when nobody looked
                        continue
                    raise _unavailable(str(error.orig)) from None
            if time.monotonic() >= end:
                raise _unavailable("another server did not give a lock up in time")
            time.sleep(pause)
            pause = min(pause * 2, longest)

    def _unlock(self, connection: sa.Connection, key: int) -> None:
        with self._talking:
            if connection is not self._connection:
                return  # it is gone, and the lock with it
            try:
                connection.scalar(sa.select(sa.func.pg_advisory_unlock(key)))
            except sa.exc.DBAPIError:
                self._lost()

    def _lost(self) -> None:
        """Forget the connection, with all locks that were on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sa.exc.DBAPIError):
                connection.invalidate()
                connection.close()

    def close(self) -> None:
        """Gives all locks up."""
        with self._talking:
            self._lost()
        if self._engine is not None:
            self._engine.dispose()


def _unavailable(why: str) -> Unavailable:
    return Unavailable(
        "Steelyard's database cannot be used at the moment.",
        code="database_unavailable",
        next="steelyard status",
        internal=why,
    )


def _key(name: str) -> int:
    """The lock's number: two names that share one only wait for each other."""
    return int.from_bytes(hashlib.sha256(f"turn {name}".encode()).digest()[:8], "big", signed=True)
