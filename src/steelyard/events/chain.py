"""The chain of events: how an event is sealed, what the head is, and what a broken chain looks like. Pure.

Every event carries a seal: HMAC-SHA256, with a key that is not in the database, over the event and the seal of the
event before it. Whoever can write to the database and has not the key cannot change, add, remove or swap a line
without breaking a seal. The head (the newest seal, sealed once more) tells when lines at the end are gone. What no
chain can tell by itself is that the whole database was put back to an older state; an older head that was noted
elsewhere tells it.

Canonical form of an event: a JSON array (ASCII, no spaces, keys of objects sorted) of `FORM`, the previous seal, and
the fields of `FIELDS` in that order; the time as ISO 8601 in UTC with six digits of a second.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from steelyard.errors import Invalid
from steelyard.events.model import Event

FORM = "steelyard-event-1"
HEAD_FORM = "steelyard-head-1"
NOTE_FORM = "steelyard-noted-head-1"
GENESIS = "0" * 64
"""What stands for the seal before the first event."""
FIELDS = (
    "id", "at", "subject", "kind", "actor", "reason", "operation_id", "request_id", "project_id", "detail", "data",
)  # fmt: skip


class Key:
    """The chain's key. It seals, and is never shown."""

    __slots__ = ("_key", "id")

    def __init__(self, id: str, key: bytes) -> None:
        self.id = id
        """Name of the key (its id in `store.secrets`)."""
        self._key = key

    def seal(self, event: Event, prev: str) -> str:
        """The seal of an event that follows the one with the seal `prev`: 64 hex digits."""
        values = [getattr(event, name) for name in FIELDS]
        values[1] = event.at.astimezone(UTC).isoformat(timespec="microseconds")
        values[-1] = dict(event.data)
        return self._mac([FORM, prev, *values])

    def seal_head(self, first_id: int, last_id: int, last_hash: str) -> str:
        """The seal of the chain's head, as it is kept in the database."""
        return self._mac([HEAD_FORM, self.id, first_id, last_id, last_hash])

    def note(self, last_id: int, last_hash: str, at: datetime) -> Head:
        """The head as it is handed out, to be kept elsewhere."""
        text = at.astimezone(UTC).isoformat(timespec="microseconds")
        return Head(last_id, last_hash, text, self.id, self._mac([NOTE_FORM, self.id, last_id, last_hash, text]))

    def signed(self, head: Head) -> bool:
        """Whether the head was handed out by the holder of this key."""
        wanted = self._mac([NOTE_FORM, head.chain, head.id, head.hash, head.at])
        return head.chain == self.id and same(wanted, head.signature)

    def _mac(self, values: Sequence[Any]) -> str:
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def same(one: str | None, other: str | None) -> bool:
    """Whether two seals are equal, without telling by the time it takes where they differ."""
    return one is not None and other is not None and hmac.compare_digest(one.encode(), other.encode())


@dataclass(frozen=True, slots=True)
class Head:
    """The newest event at some moment, signed: kept elsewhere, it proves later that nothing before it is gone."""

    id: int
    hash: str
    at: str
    """ISO 8601."""
    chain: str
    """Name of the key that signed it; another one after the chain was begun anew."""
    signature: str

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def parse_head(value: object) -> Head:
    """A head from JSON. Raises `Invalid` (`not_a_head`)."""
    types = {"id": int, "hash": str, "at": str, "chain": str, "signature": str}
    if isinstance(value, Mapping) and all(type(value.get(name)) is kind for name, kind in types.items()):
        return Head(**{name: value[name] for name in types})
    raise Invalid("That is no head of the chain of events.", code="not_a_head", next="steelyard audit head")


class Trouble(StrEnum):
    """What is wrong with a line of the chain."""

    CHANGED = "changed"
    """Its seal does not fit what it says: it, or its seal, was changed; or it was put there by somebody else."""
    REMOVED = "removed"
    """Lines that were before it are gone."""
    INSERTED = "inserted"
    """It carries no seal, or lies beyond the newest line that was sealed."""
    MOVED = "moved"
    """Its seal fits, but it does not follow the line before it."""
    TRUNCATED = "truncated"
    """The newest lines are gone."""
    HEAD = "head"
    """The head is missing or was changed."""
    FORMER = "former"
    """Sealed with the key of a former chain, which is not there any more; nothing can be said of it."""
    NOTED = "noted"
    """A head that was noted earlier does not fit: the lines up to it are not those of then."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing that is wrong, at which line."""

    line: int
    """Id of the event (of the first one, where it is about several)."""
    what: Trouble
    detail: str
    """One sentence."""


def check_line(key: Key, event: Event, before: Event | None, *, first_id: int) -> Breach | None:
    """What is wrong with one event, given the stored one before it. Lines before `first_id` cannot be checked."""
    if event.hash is None or event.prev is None:
        return Breach(event.id, Trouble.INSERTED, f"Line {event.id} carries no seal: it was not written by Steelyard.")
    if event.id < first_id:
        return None
    if not same(key.seal(event, event.prev), event.hash):
        return Breach(event.id, Trouble.CHANGED, f"Line {event.id} was changed: its seal does not fit what it says.")
    last = before.id if before is not None else 0
    if same(event.prev, (before.hash if before is not None else None) or GENESIS):
        return None
    if event.id > last + 1:
        lines = f"Line {last + 1} is" if event.id == last + 2 else f"Lines {last + 1} to {event.id - 1} are"
        return Breach(last + 1, Trouble.REMOVED, f"{lines} gone.")
    return Breach(event.id, Trouble.MOVED, f"Line {event.id} does not follow the line before it.")
