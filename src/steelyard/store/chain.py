"""The chain of events in the database: its key, its head, and extending it (see `events.chain` for what a seal is).

The key is a secret like others (`store.secrets`): sealed with the key file's keys, and the same for all servers that
share the database. The one row of `event_chain` is the head. Whoever extends the chain holds that row until the commit,
so events have one order, in which they also become visible, on PostgreSQL too.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import structlog

from steelyard.errors import NotFound
from steelyard.events.chain import GENESIS, Head, Key, same
from steelyard.events.model import Event
from steelyard.store.database import Database
from steelyard.store.secrets import Secrets
from steelyard.store.tables import event_chain, events

log = structlog.get_logger("steelyard.audit")

CHAIN_LOCK = 0x5EE1_0002
"""Key of PostgreSQL's advisory lock by which one of several starting servers begins the chain."""
SUBJECT = "audit:chain"
AT_ONCE = 1000
"""Rows that are sealed in one go when a chain is begun over events that are there."""


@dataclass(frozen=True, slots=True)
class HeadRow:
    """The head as the database has it. `sound`: its own seal fits."""

    key_id: str
    first_id: int
    """The first event of this chain; those before it are of a former one, whose key is not known any more."""
    last_id: int
    last_hash: str
    seal: str
    sound: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the chain, as it was read."""

    before: Event | None
    """The last event before it."""
    events: Sequence[Event]
    head_before: HeadRow | None
    """The head as it was before the events were read: what it says is there must be there."""
    head_after: HeadRow | None
    """And afterwards: nothing lies beyond it."""


class ChainRecords:
    """The repository of the chain."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets
        self._keys: dict[str, Key] = {}

    def begin(self) -> None:
        """Make sure that there is a chain: a key, a head, and every event sealed. Raises `Unavailable`
        (`secret_unreadable`) when the key file is not the one that the chain's key was stored with."""
        with self._database.write() as connection:
            if not self._database.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": CHAIN_LOCK})
            row = self._row(connection)
            if row is None:
                self._begin(connection, "the chain has no head")
            elif not self._is_ours(row.key_id):
                self._begin(connection, "the key of the chain is gone")

    def key(self, key_id: str) -> Key:
        """Raises `NotFound`, or `Unavailable` (`secret_unreadable`)."""
        if key_id not in self._keys:
            self._keys[key_id] = Key(key_id, bytes.fromhex(self._secrets.get(key_id)["key"]))
        return self._keys[key_id]

    def extend(self, connection: sa.Connection, entries: Sequence[Event]) -> list[Event]:
        """Insert events at the end of the chain, in this order. Returns them as they are stored.

        A head that was tampered with is not sealed anew, which would cover it up: another chain begins, and says so.
        """
        row = self._row(connection, hold=True)
        newest = connection.execute(sa.select(sa.func.max(events.c.id))).scalar() or 0
        if row is None:
            row = self._begin(connection, "the chain has no head")
        elif not row.sound:
            row = self._begin(connection, "the head's seal does not fit")
        elif newest > row.last_id:  # the place of the next line is taken
            row = self._begin(connection, "there are lines beyond the head")
        key, last_id, last_hash = self.key(row.key_id), row.last_id, row.last_hash
        sealed: list[Event] = []
        for entry in entries:
            last_id += 1
            event = replace(entry, id=last_id, prev=last_hash)
            last_hash = key.seal(event, last_hash)
            sealed.append(replace(event, hash=last_hash))
        connection.execute(events.insert(), [_values(event) for event in sealed])
        connection.execute(
            event_chain.update()
            .where(event_chain.c.id == 1)
            .values(last_id=last_id, last_hash=last_hash, seal=key.seal_head(row.first_id, last_id, last_hash))
        )
        return sealed

    def head(self) -> Head:
        """The newest line, signed, to be noted elsewhere."""
        with self._database.read() as connection:
            row = self._row(connection)
        if row is None:
            self.begin()
            return self.head()
        return self.key(row.key_id).note(row.last_id, row.last_hash, datetime.now(UTC))

    def stretch(self, after: int, limit: int) -> Stretch:
        """The events that follow the one with this id, with what is needed to judge them."""
        before = sa.select(events).where(events.c.id <= after).order_by(events.c.id.desc()).limit(1)
        query = sa.select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        with self._database.read() as connection:
            head_before = self._row(connection)
            first = connection.execute(before).one_or_none()
            found = [Event(**row._mapping) for row in connection.execute(query)]
        with self._database.read() as connection:
            head_after = self._row(connection)
        return Stretch(Event(**first._mapping) if first else None, found, head_before, head_after)

    def hash_of(self, event_id: int) -> str | None:
        """The stored seal of one event, None where there is none."""
        with self._database.read() as connection:
            return connection.execute(sa.select(events.c.hash).where(events.c.id == event_id)).scalar()

    def _row(self, connection: sa.Connection, *, hold: bool = False) -> HeadRow | None:
        query = sa.select(event_chain).where(event_chain.c.id == 1)
        found = connection.execute(query.with_for_update() if hold else query).one_or_none()
        if found is None:
            return None
        row = HeadRow(found.key_id, found.first_id, found.last_id, found.last_hash, found.seal)
        if not self._is_ours(row.key_id):
            return row
        wanted = self.key(row.key_id).seal_head(row.first_id, row.last_id, row.last_hash)
        return replace(row, sound=same(wanted, row.seal))

    def _is_ours(self, key_id: str) -> bool:
        """Whether there is such a key. One that is there and cannot be opened is another matter (`Unavailable`)."""
        try:
            self.key(key_id)
        except NotFound:
            return False
        return True

    def _begin(self, connection: sa.Connection, why: str) -> HeadRow:
        """A new chain with a new key: over all events if none was ever sealed, else from the next one on."""
        former = connection.execute(sa.select(sa.func.max(events.c.id)).where(events.c.hash.is_not(None))).scalar()
        newest = connection.execute(sa.select(events).order_by(events.c.id.desc()).limit(1)).one_or_none()
        key = self.key(self._secrets.put({"key": random.token_hex(32)}))
        first_id, last_id, last_hash = 1, newest.id if newest else 0, GENESIS
        told: list[Event] = []
        if former is not None:
            first_id, last_hash = last_id + 1, (newest.hash if newest else None) or GENESIS
            log.critical("a new chain of events begins; the lines before it cannot be verified", why=why, line=last_id)
            told = [_line("audit.chain_restarted", f"A new chain begins after line {last_id}: {why}.", last_id)]
        elif newest is not None:
            for chunk in _chunks(connection):
                rows = []
                for event in chunk:
                    seal = key.seal(event, last_hash)
                    rows.append({"of": event.id, "prev": last_hash, "hash": seal})
                    last_hash = seal
                connection.execute(events.update().where(events.c.id == sa.bindparam("of")), rows)
            told = [_line("audit.chain_started", f"The lines up to {last_id} were there and are sealed now.", last_id)]
        connection.execute(event_chain.delete())
        seal = key.seal_head(first_id, last_id, last_hash)
        row = HeadRow(key.id, first_id, last_id, last_hash, seal, sound=True)
        connection.execute(
            event_chain.insert().values(
                id=1, key_id=key.id, first_id=first_id, last_id=last_id, last_hash=last_hash, seal=seal
            )
        )
        if not told:
            return row
        (line,) = self.extend(connection, told)
        assert line.hash is not None
        return replace(row, last_id=line.id, last_hash=line.hash)


def _chunks(connection: sa.Connection) -> Iterator[list[Event]]:
    last = 0
    while True:
        query = sa.select(events).where(events.c.id > last).order_by(events.c.id).limit(AT_ONCE)
        chunk = [Event(**row._mapping) for row in connection.execute(query)]
        if not chunk:
            return
        yield chunk
        last = chunk[-1].id


def _line(kind: str, detail: str, last_id: int) -> Event:
    return Event(
        id=0, at=datetime.now(UTC), subject=SUBJECT, kind=kind, actor="steelyard", reason=None, operation_id=None,
        request_id=None, detail=detail, data={"lines": last_id},
    )  # fmt: skip


def _values(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__dataclass_fields__} | {"data": dict(event.data)}
