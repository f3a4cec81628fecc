"""Bulk operations: one parent with a child per item; limits, waves, pause, and a stop after too many failures.

Runbook (what a person with a list would do): take the next items of the list, as many as may be at work at a time.
Start each. When one ends, write down how, and start the next. With waves: let the whole wave end, wait, begin the next
one. When more have failed than is bearable, begin no more. When somebody says pause, begin no more until they say go
on. When somebody says stop, begin no more and let those at work end (or, if they asked for it, stop them too). At the
end say how many of how many were done, and for each that was not, why and what to do.

A room makes an action known once, in its `work.py` or by wiring:

    bulk.register(BulkAction("nodes.onboard", "Onboard candidates.", start_onboarding, administrators=True))

    def start_onboarding(item: Mapping[str, Any], ctx: BulkContext) -> Operation:
        return service.onboard(ctx.actor, [item["candidate"]], reason=ctx.reason, key=ctx.key, ...)[0]

`start` begins one child and returns it. It may be called again for the same item after a crash, with the same
`ctx.key`: it passes that as the idempotency key, so that it gets the child of the first time. What it raises is the
item's failure, with its words and its next, except `Unavailable`, which is tried again, and `Unauthenticated`: the
tenant's token has run out, the bulk operation pauses, and whoever resumes it brings a fresh one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from steelyard.nouns import Actor
from steelyard.operations.model import Operation, OperationError

BULK = "bulk"
"""The kind of bulk operations that a project's members see."""
BULK_ADMIN = "bulk.admin"
"""The kind of those that tell of nodes and BMCs: for administrators."""
MAX_ITEMS = 10_000
MAX_CONCURRENCY = 1000
DEFAULT_CONCURRENCY = 20


@dataclass(frozen=True, slots=True)
class BulkContext:
    """What a starter may know about the item it starts."""

    actor: Actor
    """Who asked for the bulk operation."""
    reason: str | None
    request_id: str | None
    parent_id: str
    """The bulk operation."""
    number: int
    """Which item, from 0."""
    token: Callable[[], str] = field(repr=False)
    """Gives the token of the one who asked, to act on their behalf; kept encrypted while the bulk operation lasts.
    Raises `Unauthenticated` when there is none, or it has run out."""

    @property
    def key(self) -> str:
        """The child's idempotency key."""
        return child_key(self.parent_id, self.number)


def child_key(parent_id: str, number: int) -> str:
    """The idempotency key of an item's child."""
    return f"{parent_id}:{number}"


class Starter(Protocol):
    """Starts one item's operation, idempotently by `ctx.key`. Raises nothing but `steelyard.errors`."""

    def __call__(self, item: Mapping[str, Any], ctx: BulkContext) -> Operation: ...


@dataclass(frozen=True, slots=True)
class BulkAction:
    """What can be done to many things at a time."""

    name: str
    """As in a request, and like the kind of its children: `nodes.onboard`, `servers.power`."""
    about: str
    """One sentence for people."""
    start: Starter
    administrators: bool = False
    """Only administrators may ask for it and see it."""
    needs_token: bool = False
    """Its starter calls `ctx.token()`; otherwise the token is not kept."""
    label: Callable[[Mapping[str, Any]], str] | None = None
    """What people call an item; by default its `name`, `server`, `node`, `candidate` or `id`."""
    check: Callable[[Mapping[str, Any]], None] | None = None
    """Looks at an item before anything is started. Raises `Invalid` for one that makes no sense."""
    concurrency: int = DEFAULT_CONCURRENCY
    """Most children at work at a time, unless asked otherwise."""


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """How a bulk operation goes about it. Raises `Invalid` (in `check()`) for limits that cannot be."""

    concurrency: int | None = None
    """Most children at work at a time. None: as many as the action says."""
    wave: int | None = None
    """Items a wave; the next begins when all of it have ended. None: no waves."""
    wave_pause: float = 0.0
    """Seconds between the end of a wave and the beginning of the next."""
    max_failures: int | None = None
    """When more have failed, no more are started. None: go on whatever happens."""


class ItemPhase(StrEnum):
    PENDING = "pending"
    """Not started."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (ItemPhase.SUCCEEDED, ItemPhase.FAILED, ItemPhase.CANCELLED)


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One item of a bulk operation and how far it is."""

    number: int
    name: str
    item: Mapping[str, Any]
    """Empty after the end of the bulk operation."""
    phase: ItemPhase = ItemPhase.PENDING
    operation_id: str | None = None
    """Its child; None when it was not started, or could not be."""
    error: OperationError | None = None
    """Why it failed, and what to do."""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a bulk operation has beside its items. Its id is in the operation's params."""

    id: str
    action: str
    secret_id: str | None
    """Where the token is."""
    cancel_children: bool
    created_at: datetime


class Batches(Protocol):
    """Where items are written down. Implementation: `store.bulk`. Every method is one unit of work."""

    def put(self, action: str, items: Sequence[tuple[str, Mapping[str, Any]]], secret_id: str | None) -> str:
        """Write new items down, as (name, item); the items are encrypted. Returns the batch's id."""

    def get(self, batch_id: str) -> Batch:
        """Raises `NotFound`."""

    def items(
        self,
        batch_id: str,
        *,
        phases: Sequence[ItemPhase] | None = None,
        limit: int | None = None,
        after: int | None = None,
        before: int | None = None,
    ) -> list[BulkItem]:
        """In order; `after` and `before` are numbers, neither included."""

    def counts(self, batch_id: str) -> dict[ItemPhase, int]:
        """How many items are in which phase; every phase is in it."""

    def note(
        self,
        batch_id: str,
        number: int,
        phase: ItemPhase,
        *,
        operation_id: str | None = None,
        error: OperationError | None = None,
        ended_at: datetime | None = None,
    ) -> None:
        """How far an item is. An operation id that is known stays."""

    def change(self, batch_id: str, *, secret_id: str | None = None, cancel_children: bool | None = None) -> None:
        """Set what is given; an empty secret id for none."""

    def forget_items(self, batch_id: str) -> None:
        """What each item was, but for its name, is gone: it may have held what should not be kept (user data)."""

    def leftovers(self, before: datetime) -> list[Batch]:
        """Those that keep a token or items, made before this moment, whose bulk operation has ended or never began: a
        crash came."""

    def delete(self, batch_id: str) -> None:
        """Deleting what is gone succeeds."""
