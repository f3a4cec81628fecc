"""Make every SQLite engine of this process tolerate concurrent writers: WAL, long busy timeout, BEGIN IMMEDIATE.

oslo.db emits a plain (deferred) BEGIN. A transaction that reads and then writes then has to upgrade its lock while
another thread writes, which SQLite refuses at once ("database is locked"), whatever the busy timeout. Nova's instance
updates do just that. Taking the write lock at BEGIN makes the timeout count.

A transaction inside of another one of the same thread begins deferred: Neutron's trunk plugin reads ports with a
session of its own while the core plugin's transaction is open, and would wait for a lock that only itself can give up.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

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


_open = threading.local()
"""`outermost`: the thread's outermost transaction, as the info of its connection."""


@event.listens_for(Engine, "begin")
def _on_begin(connection: Any) -> None:
    if connection.dialect.name == "sqlite" and "in_transaction" not in connection.info:
        if getattr(_open, "outermost", None) is None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _open.outermost = connection.info
        else:
            connection.exec_driver_sql("BEGIN")
        connection.info["in_transaction"] = True


@event.listens_for(Engine, "rollback")
@event.listens_for(Engine, "commit")
def _on_end(connection: Any) -> None:
    if getattr(_open, "outermost", None) is connection.info:
        _open.outermost = None
