"""Idempotency keys: the same request again is answered with what the first one started, and does nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from steelyard.nouns import Actor
from steelyard.operations.journal import key_reused
from steelyard.operations.model import Operation, Operations

REQUEST = "request"
"""The parameter of an operation that holds the digest of what was asked for."""


def digest(actor: Actor, request: Mapping[str, Any]) -> str:
    """A short name of a request in a project: equal for equal ones, and telling nothing of what is in it."""
    asked = {"project": actor.project_id, "request": dict(request)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:32]


def repeated(operations: Operations, actor: Actor, kind: str, key: str | None, request: str) -> list[Operation]:
    """What the same request started before; nothing when it is new, or has no key.

    Raises `Conflict` (`key_reused`) when the key came with another request.
    """
    if key is None:
        return []
    known = operations.by_key(actor, kind, key)
    for operation in known:
        if operation.params.get(REQUEST) != request:
            raise key_reused(operation)
    return known


def turn(actor: Actor, key: str | None) -> Hashable | None:
    """What two requests with the same key take turns at; None without a key: such requests have nothing in common."""
    return None if key is None else (actor.user_id, key)


class Locks(Protocol):
    """Locks across the servers on one database. Implementation: `store.locks`."""

    def at(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of this name; other servers wait. It ends with the server, too."""


class Turns:
    """Lets one caller at a time work on a thing, so that the second of two equal requests sees what the first did.

    Within one server, and with `locks` across all that share the database. `scope` keeps the things of one service
    apart from those of another.
    """

    def __init__(self, locks: Locks | None = None, *, scope: str = "") -> None:
        self._locks = locks
        self._scope = scope
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def at(self, thing: Hashable | None) -> Iterator[None]:
        """Hold the thing's turn; others wait. With None nobody does."""
        if thing is None:
            yield
            return
        with self._lock:
            turn, callers = self._waiting.get(thing, (threading.Lock(), 0))
            self._waiting[thing] = (turn, callers + 1)
        try:
            with turn, self._locks.at(f"{self._scope} {thing!r}") if self._locks is not None else nullcontext():
                yield
        finally:
            with self._lock:
                callers = self._waiting[thing][1] - 1
                if callers:
                    self._waiting[thing] = (turn, callers)
                else:
                    del self._waiting[thing]
