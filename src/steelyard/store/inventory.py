"""The inventory's rows: written when something about a server changed, with what it was before. SQL lives here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from steelyard.inventory.entries import Change, Entry, changes
from steelyard.inventory.query import columns_of, haystack, joined_tags, tags_of
from steelyard.store.database import Database
from steelyard.store.inventory_parts import InventoryParts, Told
from steelyard.store.inventory_search import InventorySearch
from steelyard.store.inventory_tables import inventory_changes as history
from steelyard.store.inventory_tables import inventory_documents as documents
from steelyard.store.inventory_tables import inventory_records as records
from steelyard.store.inventory_tables import inventory_state as states
from steelyard.store.inventory_tables import inventory_tags as tags
from steelyard.store.inventory_tables import inventory_texts as texts
from steelyard.store.inventory_views import InventoryViews
from steelyard.store.tables import events, operations

BATCH: Final = 250
"""Rows written in one transaction: other writers have their turn in between."""
MANY: Final = 1000
"""Rows after whose writing the database is told to look at what it has now: its plans are for empty tables else."""
SLACK: Final = timedelta(seconds=5)
"""An operation that ended so long before the last look may still be what changed something: services take time."""
LOOK_BACK: Final = 1000
"""Events among which the newest is sought that is old enough."""

_KNOWN: Final = sa.select(
    records.c.key, records.c.node_id, records.c.candidate_id, records.c.digest, records.c.gone_at.is_not(None)
).order_by(records.c.first_seen_at, records.c.key)


@dataclass(frozen=True, slots=True)
class IndexState:
    """How old the whole is."""

    observed_at: datetime
    """When the cloud was last asked for everything."""
    event_id: int
    """The newest event before that."""
    seconds: float
    """How long it took."""
    records: int


@dataclass(frozen=True, slots=True)
class Known:
    """A row as far as it takes to recognise its server."""

    key: str
    node_id: str | None
    candidate_id: str | None
    digest: str
    gone: bool


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One field that got another value."""

    id: int
    at: datetime
    field: str
    before: str | None
    after: str | None
    operation_id: str | None
    actor: str | None


class Inventory:
    """The repository of the index."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.search = InventorySearch(database)
        self.parts = InventoryParts(database)
        self.views = InventoryViews(database)

    # How old

    def state(self) -> IndexState | None:
        """None before the first look at the cloud."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(states)).one_or_none()
        return IndexState(row.observed_at, row.event_id, row.seconds, row.records) if row else None

    def observed(self, state: IndexState) -> None:
        """Note that everything was looked at. A look that was overtaken by a newer one changes nothing."""
        values = {
            "observed_at": state.observed_at, "event_id": state.event_id, "seconds": state.seconds,
            "records": state.records,
        }  # fmt: skip
        with self._database.write() as connection:
            known = connection.execute(sa.select(states.c.observed_at).with_for_update()).scalar()
            if known is None:
                connection.execute(states.insert().values(id=1, **values))
            elif known <= state.observed_at:
                connection.execute(states.update().values(**values))

    def seen_up_to(self, event_id: int) -> None:
        """Note that what events up to this one spoke of has been looked at."""
        with self._database.write() as connection:
            connection.execute(states.update().where(states.c.event_id < event_id).values(event_id=event_id))

    def event_before(self, moment: datetime) -> int:
        """Id of the newest event that was appended before, as far back as it matters; 0 for none."""
        query = sa.select(events.c.id, events.c.at).order_by(events.c.id.desc()).limit(LOOK_BACK)
        with self._database.read() as connection:
            oldest = 0
            for id, at in connection.execute(query):
                if at < moment:
                    return int(id)
                oldest = int(id) - 1
        return oldest

    def subjects_since(self, event_id: int, *, limit: int) -> list[str] | None:
        """What the events after this one are about, each once; None when it is more than `limit`."""
        query = sa.select(events.c.subject).where(events.c.id > event_id).distinct().limit(limit + 1)
        with self._database.read() as connection:
            found = list(connection.execute(query).scalars())
        return found if len(found) <= limit else None

    # Rows

    def known(self) -> list[Known]:
        """Every row, also those that are gone; the oldest first."""
        with self._database.read() as connection:
            return [Known(*row) for row in connection.execute(_KNOWN).all()]

    def rows_of(
        self, *, nodes: Collection[str] = (), candidates: Collection[str] = (), instances: Collection[str] = ()
    ) -> list[Known]:
        """The rows of these nodes, candidates and instances."""
        named = sa.or_(
            records.c.node_id.in_(list(nodes)),
            records.c.candidate_id.in_(list(candidates)),
            records.c.instance_id.in_(list(instances)),
        )
        with self._database.read() as connection:
            return [Known(*row) for row in connection.execute(_KNOWN.where(named)).all()]

    def write(self, entries: Iterable[Entry], *, at: datetime, since: datetime | None) -> int:
        """Write those that differ from what is kept, with what changed; returns how many.

        `at`: when they were observed; a row that was written after that is left alone. `since`: when the cloud was
        looked at before; the operations of the time between are named as what changed something.
        """
        written = 0
        waiting = iter(entries)
        while batch := list(islice(waiting, BATCH)):
            written += self._write(batch, at, since)
        if written >= MANY:
            with self._database.write() as connection:
                for table in (records, texts, documents, tags):
                    connection.execute(sa.text(f"ANALYZE {table.name}"))
        return written

    def _write(self, batch: Sequence[Entry], at: datetime, since: datetime | None) -> int:
        keys = [entry.key for entry in batch]
        with self._database.write() as connection:
            query = sa.select(
                records.c.key, records.c.digest, records.c.first_seen_at, records.c.written_at, records.c.gone_at
            ).where(records.c.key.in_(keys))
            rows = {row.key: row for row in connection.execute(query.with_for_update())}
            fresh = [
                entry
                for entry in batch
                if (row := rows.get(entry.key)) is None
                or (row.written_at <= at and (row.digest != entry.digest or row.gone_at is not None))
            ]
            if not fresh:
                return 0
            keys = [entry.key for entry in fresh]
            kept = sa.select(documents.c.key, documents.c.document).where(documents.c.key.in_(keys))
            before = {key: json.loads(text) for key, text in connection.execute(kept).all()}
            for table in (records, documents, texts, tags):
                connection.execute(table.delete().where(table.c.key.in_(keys)))
            connection.execute(
                records.insert(),
                [_row(entry, at, rows[entry.key].first_seen_at if entry.key in rows else at) for entry in fresh],
            )
            connection.execute(documents.insert(), [{"key": e.key, "document": e.document} for e in fresh])
            connection.execute(texts.insert(), [{"key": e.key, "haystack": haystack(e.record)} for e in fresh])
            tagged = [{"key": e.key, "tag": tag} for e in fresh for tag in sorted(tags_of(e.record))]
            if tagged:
                connection.execute(tags.insert(), tagged)
            causes = _causes(connection, fresh, since)
            lines, told = [], []
            for entry in fresh:
                now = json.loads(entry.document)
                found = changes(before.get(entry.key), now)
                returns = entry.key in rows and rows[entry.key].gone_at is not None
                if returns:
                    found.insert(0, Change("gone", "true", None))
                told.append(Told(entry.key, now, None if returns else before.get(entry.key)))
                lines += [_line(entry.key, at, change, causes.get(entry.key)) for change in found]
            if lines:
                connection.execute(history.insert(), lines)
            self.parts.follow(told, at=at)
        return len(fresh)

    def gone(self, keys: Sequence[str], *, at: datetime) -> int:
        """Mark rows as gone that were not written since; returns how many."""
        count = 0
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            here = sa.and_(records.c.key.in_(part), records.c.gone_at.is_(None), records.c.written_at <= at)
            with self._database.write() as connection:
                leaving = list(connection.execute(sa.select(records.c.key).where(here).with_for_update()).scalars())
                if not leaving:
                    continue
                connection.execute(records.update().where(records.c.key.in_(leaving)).values(gone_at=at, written_at=at))
                connection.execute(
                    history.insert(), [_line(key, at, Change("gone", None, "true"), None) for key in leaving]
                )
                self.parts.leave(leaving, at=at)
            count += len(leaving)
        return count

    # History

    def history(self, key: str, *, limit: int, before: int | None = None) -> list[HistoryLine]:
        """What changed about one server, the newest first; `before` is the id of the last line seen."""
        query = sa.select(history).where(history.c.key == key).order_by(history.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(history.c.id < before)
        with self._database.read() as connection:
            return [
                HistoryLine(row.id, row.at, row.field, row.before, row.after, row.operation_id, row.actor)
                for row in connection.execute(query)
            ]

    def forget_history(self, before: datetime) -> int:
        """Drop lines that are older; returns how many."""
        with self._database.read() as connection:
            if connection.execute(sa.select(history.c.id).where(history.c.at < before).limit(1)).scalar() is None:
                return 0
        with self._database.write() as connection:
            return int(connection.execute(history.delete().where(history.c.at < before)).rowcount)


def _row(entry: Entry, at: datetime, first_seen_at: datetime) -> dict[str, Any]:
    record = entry.record
    return {
        **columns_of(record),
        "key": entry.key,
        "id": record.id,
        "node_id": entry.node_id,
        "candidate_id": record.candidate_id[:255] if record.candidate_id else None,
        "instance_id": record.instance_id[:36] if record.instance_id else None,
        "digest": entry.digest,
        "first_seen_at": first_seen_at,
        "written_at": at,
        "gone_at": None,
        "tags": joined_tags(tags_of(record)),
    }


@dataclass(frozen=True, slots=True)
class _Cause:
    """The operation that worked on a server between two looks at it."""

    operation_id: str
    actor: str | None


def _line(key: str, at: datetime, change: Change, cause: _Cause | None) -> dict[str, Any]:
    return {
        "key": key, "at": at, "field": change.field, "before": change.before, "after": change.after,
        "operation_id": cause.operation_id if cause else None, "actor": cause.actor if cause else None,
    }  # fmt: skip


def _causes(connection: sa.Connection, entries: Sequence[Entry], since: datetime | None) -> Mapping[str, _Cause]:
    """By key, the newest operation on each server that was not over before the last look."""
    if since is None:
        return {}
    owner = {subject: entry.key for entry in entries for subject in entry.subjects}
    query = (
        sa.select(operations.c.id, operations.c.subject, operations.c.actor)
        .where(
            operations.c.subject.in_(list(owner)),
            sa.or_(operations.c.ended_at.is_(None), operations.c.ended_at >= since - SLACK),
        )
        .order_by(operations.c.created_at, operations.c.id)
    )
    found = {}
    for id, subject, actor in connection.execute(query):
        name = actor.get("user_name") if isinstance(actor, Mapping) else None
        found[owner[subject]] = _Cause(id, name if isinstance(name, str) else None)
    return found
