"""How many connections to PostgreSQL one server opens at most, and who gets how many of them. Pure.

PostgreSQL admits 100 in all unless it is told otherwise, and each is a process there. Nobody here keeps one for long: a
transaction is milliseconds, and who finds none free waits for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEAST: Final = 8
DEFAULT: Final = 20
LOCKS: Final = 1
"""All locks between servers are on one connection (`store.locks`)."""
LISTENER: Final = 1
"""The engine keeps one beside its pool, on which it is told what is new."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Connections by who opens them; they add up to what one server may have."""

    store: int
    """The repositories: requests, operations and reconcilers."""
    engine: int
    """The pool of the engine of operations (DBOS), its listener not counted."""
    locks: int = LOCKS
    listener: int = LISTENER


def shares_of(total: int) -> Shares:
    """Shares out at most so many. Raises `ValueError` for fewer than `LEAST`."""
    if total < LEAST:
        raise ValueError(f"a server needs at least {LEAST} connections to its database")
    engine = max(3, total * 2 // 5)
    return Shares(store=total - engine - LOCKS - LISTENER, engine=engine)
