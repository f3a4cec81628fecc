"""The connection: SQLite or PostgreSQL, one transaction per unit of work, migrations at start-up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from steelyard.errors import Invalid, Unavailable
from steelyard.store.connections import DEFAULT, shares_of

BUSY_TIMEOUT_MS = 30_000
MIGRATION_LOCK = 0x5EE1_0001
"""Key of PostgreSQL's advisory lock by which one of several starting servers migrates."""


class LateWriter(Protocol):
    """Somebody who writes at the end of a unit of work, after everybody else: it holds a lock that all units want, and
    who takes that lock last never waits for another one while holding it."""

    def finish(self, connection: sa.Connection, entries: list[Any]) -> None:
        """Write what was gathered; the last thing before the commit."""

    def committed(self, entries: list[Any]) -> None:
        """It is committed. Never raises."""


class Database:
    """One database and the way transactions are made in it.

    `write()` and `read()` join the transaction that is open in this thread, or open one and end it. The outermost
    `write()` is the unit of work: it alone commits. On SQLite a writer takes the write lock at its beginning
    (`BEGIN IMMEDIATE`), so it waits for its turn there and cannot fail on it half-way through.

    Raises `Unavailable` when the database cannot be reached, is locked for longer than 30 s, or its disk is full.
    """

    def __init__(self, url: str | URL, *, connections: int = shares_of(DEFAULT).store) -> None:
        """`connections`: how many may be open at a time to PostgreSQL; half of them stay open. Who finds none free
        waits for up to 30 s."""
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if not self.is_sqlite and self.url.get_backend_name() != "postgresql":
            raise Invalid(
                f"A {self.url.get_backend_name()} database is not supported; it takes sqlite or postgresql.",
                next="set STEELYARD_DATABASE to sqlite:///… or postgresql+psycopg://…",
            )
        if self.url.drivername == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg")
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept, more = (10, 30) if self.is_sqlite else (connections - connections // 2, connections // 2)
        self.engine = sa.create_engine(self.url, pool_size=kept, max_overflow=more, pool_pre_ping=not self.is_sqlite)
        self._current: ContextVar[sa.Connection | None] = ContextVar("connection", default=None)
        self._late: ContextVar[dict[LateWriter, list[Any]] | None] = ContextVar("late", default=None)
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", _sqlite_begin)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection whose changes are committed when the outermost `write()` ends, all or none."""
        with self._transaction(writing=True) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state."""
        with self._transaction(writing=False) as connection:
            yield connection

    def late(self, writer: LateWriter) -> list[Any]:
        """What this unit of work gathers for a late writer, to be added to. Empty outside of one."""
        gathered = self._late.get()
        return [] if gathered is None else gathered.setdefault(writer, [])

    @contextmanager
    def _transaction(self, *, writing: bool) -> Iterator[sa.Connection]:
        if (joined := self._current.get()) is not None:
            if writing and not joined.get_execution_options().get("steelyard_writing"):
                raise RuntimeError("a write inside of a read: the unit of work must begin with write()")
            yield joined
            return
        late: dict[LateWriter, list[Any]] = {}
        try:
            with self.engine.connect() as raw:
                connection = raw.execution_options(steelyard_writing=writing)
                with connection.begin():
                    token, late_token = self._current.set(connection), self._late.set(late)
                    try:
                        yield connection
                        for writer, entries in late.items():
                            writer.finish(connection, entries)
                    finally:
                        self._current.reset(token)
                        self._late.reset(late_token)
        except sa.exc.IntegrityError:
            raise
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            raise Unavailable(
                "Steelyard's database cannot be used at the moment.",
                code="database_unavailable",
                next="steelyard status",
                internal=_without_values(error),
            ) from None
        for writer, entries in late.items():  # with the connection given back: they may want one
            writer.committed(entries)

    def migrate(self) -> None:
        """Bring the schema to this release's. Several servers may start at once; one migrates, the others wait.

        Raises `Unavailable` (`database_newer`) when a newer release has been here.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
            if sa.inspect(connection).has_table("alembic_version"):
                present = set(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars())
                if unknown := present - known:
                    raise Unavailable(
                        f"Steelyard's database was made by a newer release (schema {', '.join(sorted(unknown))}).",
                        code="database_newer",
                        next="install the newer release again, or restore the backup made before it",
                    )
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise Unavailable("Steelyard's database cannot be migrated.", internal=str(error)) from error
        if self.is_sqlite and self.url.database:
            Path(self.url.database).chmod(0o600)

    def ping(self) -> None:
        """Raises `Unavailable` when the database does not answer."""
        with self.read() as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        self.engine.dispose()


def _without_values(error: Exception) -> str:
    """SQLAlchemy prints statements with their parameters, and a parameter may be anything; the driver's words do."""
    return str(getattr(error, "orig", None) or error)


def _sqlite_connect(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:  # noqa: ARG001
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _keep_wal(cursor)
    for pragma in (
        "synchronous = NORMAL",  # safe against crashes of the process; WAL loses only the last commits on power loss
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _keep_wal(cursor: sqlite3.Cursor) -> None:
    """Write-ahead logging. Where two switch a new file to it at once, SQLite refuses one of them without waiting."""
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(0.02)
        else:
            return


def _sqlite_begin(connection: sa.Connection) -> None:
    writing: Any = connection.get_execution_options().get("steelyard_writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
