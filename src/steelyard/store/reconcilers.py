"""Runs of reconcilers (see `operations.reconcilers.ReconcilerRecords`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from steelyard.operations.reconcilers import Run
from steelyard.store.database import Database
from steelyard.store.engine_tables import reconcilers as table
from steelyard.store.servers import ServerRecords


class RunRecords:
    """The repository of reconcilers."""

    def __init__(self, database: Database, servers: ServerRecords) -> None:
        self._database = database
        self._servers = servers

    def begin(self, name: str, boot: str, replica: str, at: datetime, *, not_after: datetime | None) -> bool:
        try:
            with self._database.write() as connection:
                row = connection.execute(sa.select(table).where(table.c.name == name).with_for_update()).one_or_none()
                if row is None:
                    connection.execute(
                        table.insert().values(
                            name=name, holder=boot, running_since=at, last_started_at=at, runs=0, failures=0,
                            replica=replica,
                        )
                    )  # fmt: skip
                    return True
                if row.holder not in (None, boot) and row.holder in self._servers.live():
                    return False
                if not_after is not None and row.last_started_at and not_after < row.last_started_at <= at:
                    return False
                connection.execute(
                    table.update()
                    .where(table.c.name == name)
                    .values(holder=boot, running_since=at, last_started_at=at, replica=replica)
                )
                return True
        except sa.exc.IntegrityError:  # another server was faster with the first run of all
            return False

    def end(self, name: str, boot: str, at: datetime, *, report: Mapping[str, Any] | None, error: str | None) -> bool:
        values: dict[str, Any] = {
            "holder": None,
            "running_since": None,
            "last_ended_at": at,
            "last_error": error,
            "runs": table.c.runs + 1,
        }
        if error is None:
            values |= {"last_succeeded_at": at, "last_report": dict(report or {})}
        else:
            values["failures"] = table.c.failures + 1
        with self._database.write() as connection:
            ended = connection.execute(
                table.update().where(table.c.name == name, table.c.holder == boot).values(**values)
            )
            return bool(ended.rowcount)

    def all(self) -> dict[str, Run]:
        """By name. `running_since` only where a living server runs it."""
        with self._database.read() as connection:
            live = self._servers.live()
            return {
                row.name: Run(
                    running_since=row.running_since if row.holder in live else None,
                    last_started_at=row.last_started_at,
                    last_ended_at=row.last_ended_at,
                    last_succeeded_at=row.last_succeeded_at,
                    last_report=row.last_report,
                    last_error=row.last_error,
                    runs=row.runs,
                    failures=row.failures,
                    replica=row.replica,
                )
                for row in connection.execute(sa.select(table))
            }
