"""Events: one line each of what happened to something, by whom and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from steelyard.store.database import Database
from steelyard.store.tables import events as table


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    at: datetime
    subject: str
    """`node:<uuid>`, `candidate:<uuid>`, `server:<uuid>`, `operation:<uuid>`, ..."""
    kind: str
    """`operation.started`, `node.onboarded`, ..."""
    actor: str
    reason: str | None
    operation_id: str | None
    request_id: str | None
    detail: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Events:
    """The repository of events; they are only ever added. No secret may go into one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        subject: str,
        kind: str,
        *,
        actor: str,
        detail: str,
        reason: str | None = None,
        operation_id: str | None = None,
        request_id: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        with self._database.write() as connection:
            connection.execute(
                table.insert().values(
                    at=datetime.now(UTC),
                    subject=subject,
                    kind=kind,
                    actor=actor,
                    detail=detail,
                    reason=reason,
                    operation_id=operation_id,
                    request_id=request_id,
                    data=dict(data or {}),
                )
            )

    def newest(self) -> int:
        """Id of the newest event of all, 0 when there is none: whoever kept something can tell whether it is old."""
        with self._database.read() as connection:
            return int(connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0)

    def of(self, subject: str, *, limit: int = 100, before: int | None = None) -> list[Event]:
        """The newest first; `before` is the id of the last one seen."""
        query = sa.select(table).where(table.c.subject == subject).order_by(table.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.id < before)
        with self._database.read() as connection:
            return [Event(**row._mapping) for row in connection.execute(query)]
