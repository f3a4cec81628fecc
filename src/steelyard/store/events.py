"""Events: one line each of what happened to something, by whom and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import structlog

from steelyard.errors import Invalid
from steelyard.events.model import Event, EventFilter
from steelyard.store.chain import ChainRecords
from steelyard.store.database import Database
from steelyard.store.secrets import Secrets
from steelyard.store.tables import events as table

__all__ = ["Event", "Events"]

log = structlog.get_logger("steelyard.events")


class Events:
    """The repository of events; they are only ever added. No secret may go into one.

    What a unit of work appends is written at its very end, sealed into the chain (`store.chain`); the units of all
    servers take turns there, for as long as one insert and the commit last. So the ids of events go up by one in the
    order of the commits, and whoever has seen an id has seen all before it.
    """

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self.chain = ChainRecords(database, secrets)
        self._listeners: list[Callable[[int], None]] = []

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
        project_id: str | None = None,
    ) -> None:
        """Add one. `project_id`: whose members may see it, without `data`; then no word of it may name a node. `data`
        is JSON. Raises `Invalid` for data that is not."""
        event = Event(
            id=0, at=datetime.now(UTC), subject=subject, kind=kind, actor=actor, reason=reason,
            operation_id=operation_id, request_id=request_id, detail=detail, data=_plain(data or {}),
            project_id=project_id,
        )  # fmt: skip
        with self._database.write():
            self._database.late(self).append(event)

    def listen(self, listener: Callable[[int], None]) -> None:
        """Have this called after every commit of this process that brought events, with the newest one's id.

        In the thread of whoever committed: it must be quick. Other servers' events are not told of.
        """
        self._listeners.append(listener)

    def newest(self) -> int:
        """Id of the newest event of all, 0 when there is none: whoever kept something can tell whether it is old."""
        with self._database.read() as connection:
            return int(connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0)

    def of(self, subject: str, *, limit: int = 100, before: int | None = None) -> list[Event]:
        """The newest first; `before` is the id of the last one seen."""
        return self.about((subject,), limit=limit, before=before)

    def about(self, subjects: Collection[str], *, limit: int = 100, before: int | None = None) -> list[Event]:
        """Of all these subjects, the newest first. Inside of a unit of work also what it has appended itself."""
        query = sa.select(table).where(table.c.subject.in_(subjects)).order_by(table.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.id < before)
        with self._database.read() as connection:
            found = [Event(**row._mapping) for row in connection.execute(query)]
        if before is None and (own := [e for e in self._database.late(self) if e.subject in subjects]):
            found = [*reversed(own), *found][:limit]
        return found

    def page(self, wanted: EventFilter, *, limit: int = 100, before: int | None = None) -> list[Event]:
        """Those that the filter wants, the newest first."""
        query = _chosen(wanted).order_by(table.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.id < before)
        with self._database.read() as connection:
            return [Event(**row._mapping) for row in connection.execute(query)]

    def after(self, event_id: int, *, wanted: EventFilter | None = None, limit: int = 500) -> list[Event]:
        """Those that the filter wants that came after an event, the oldest first."""
        query = _chosen(wanted or EventFilter()).where(table.c.id > event_id).order_by(table.c.id).limit(limit)
        with self._database.read() as connection:
            return [Event(**row._mapping) for row in connection.execute(query)]

    # The late writer (`store.database.LateWriter`)

    def finish(self, connection: sa.Connection, entries: list[Any]) -> None:
        entries[:] = self.chain.extend(connection, entries)

    def committed(self, entries: list[Any]) -> None:
        for listener in self._listeners:
            try:
                listener(entries[-1].id)
            except Exception:
                log.exception("a listener to events broke")


def _chosen(wanted: EventFilter) -> sa.Select[Any]:
    query = sa.select(table)
    for column, pattern in (
        (table.c.subject, wanted.subject),
        (table.c.kind, wanted.kind),
        (table.c.actor, wanted.actor),
    ):
        if pattern is None:
            continue
        if pattern.endswith("*"):
            query = query.where(column.startswith(pattern[:-1], autoescape=True))
        else:
            query = query.where(column == pattern)
    if wanted.since is not None:
        query = query.where(table.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(table.c.at < wanted.until)
    if wanted.project_id is not None:
        query = query.where(table.c.project_id == wanted.project_id)
    return query


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that is JSON and nothing else: what is sealed is what will be read again."""
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(data), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Invalid(f"The data of an event must be JSON: {error}.") from error
    return copy
