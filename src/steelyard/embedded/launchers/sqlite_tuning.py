"""Make every SQLite engine of this process tolerate concurrent writers: WAL, long busy timeout, BEGIN IMMEDIATE.

oslo.db emits a plain (deferred) BEGIN. A transaction that reads and then writes then has to upgrade its lock while
another thread writes, which SQLite refuses at once ("database is locked"), whatever the busy timeout. Nova's instance
updates do just that. Taking the write lock at BEGIN makes the timeout count.

A thread that opens a second connection inside of a transaction would wait for itself until the timeout: Neutron does
so where it shows a port with sub-interfaces. Such an inner transaction takes no lock; in WAL it reads all the same.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

# Set by the supervisor while the databases are made from nothing: they are made again after a crash, so no fsync.
_SYNCHRONOUS = "OFF" if os.environ.get("STEELYARD_DATABASE_SCRATCH") == "1" else "NORMAL"


@event.listens_for(Engine, "connect")
def _on_connect(connection: Any, _record: object) -> None:
    if type(connection).__module__.startswith("sqlite3"):
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.execute(f"PRAGMA synchronous={_SYNCHRONOUS}")
        cursor.close()


class _Thread(threading.local):
    """The write locks that this thread holds: the connection of each, by its database."""

    def __init__(self) -> None:
        self.locks: dict[str | None, int] = {}


_thread = _Thread()


@event.listens_for(Engine, "begin")
def _on_begin(connection: Any) -> None:
    if connection.dialect.name == "sqlite" and "in_transaction" not in connection.info:
        database = connection.engine.url.database
        inner = database in _thread.locks
        connection.exec_driver_sql("BEGIN" if inner else "BEGIN IMMEDIATE")
        connection.info["in_transaction"] = True
        if not inner:
            _thread.locks[database] = id(connection.connection.dbapi_connection)


@event.listens_for(Engine, "commit")
@event.listens_for(Engine, "rollback")
def _on_end(connection: Any) -> None:
    if connection.dialect.name == "sqlite":
        _forget(connection.connection.dbapi_connection)


@event.listens_for(Pool, "checkin")
def _on_checkin(connection: Any, _record: object) -> None:
    _forget(connection)


def _forget(connection: Any) -> None:
    for database in [database for database, holder in _thread.locks.items() if holder == id(connection)]:
        del _thread.locks[database]
