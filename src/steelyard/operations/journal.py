"""Where operations are written down. Implementations: `store.operations` (database), `operations.fake` (memory)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from steelyard.errors import Conflict, Invalid, Refused
from steelyard.nouns import Actor
from steelyard.operations.model import Operation, OperationError, OperationKind, Phase

MAX_PARAMS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class NewOperation:
    """What is recorded when an operation is asked for."""

    id: str
    kind: str
    params: Mapping[str, Any]
    actor: Actor
    reason: str | None
    key: str | None
    subject: str | None
    exclusive: bool
    request_id: str | None
    step_names: Sequence[str]
    created_at: datetime
    project_id: str | None
    """Whose members may see it; None: administrators only."""
    parent_id: str | None = None


parent: ContextVar[str | None] = ContextVar("parent", default=None)
"""The bulk operation for which whatever is started in this context is started."""


class Journal(Protocol):
    """The record of operations; every method is one unit of work.

    A server owns what it runs: it claims an operation, and what it writes about one that another server has claimed
    meanwhile is refused. Those methods take the `owner` (its boot id) and say whether they were obeyed; a server that
    was taken for dead learns by a False that the work is not its own any more.
    """

    def create(self, new: NewOperation) -> tuple[Operation, bool]:
        """Record it, and say whether it is new: False for the earlier one that had the same idempotency key.

        Raises `Conflict` (`key_reused`) and `Refused` (`operation_running`) as `Operations.start` says.
        """

    def get(self, operation_id: str) -> Operation:
        """Raises `NotFound`."""

    def all(
        self,
        *,
        project_id: str | None = None,
        subject: str | None = None,
        phase: Phase | None = None,
        kind: str | None = None,
        parent_id: str | None = None,
        paused: bool | None = None,
        limit: int = 100,
        marker: str | None = None,
    ) -> list[Operation]: ...

    def by_key(self, user_id: str, kind: str, key: str) -> list[Operation]:
        """Of this user and kind with this key or one that begins with it and a colon, the oldest first."""

    def found(self, ids: Sequence[str]) -> list[Operation]:
        """Those of these ids that there are."""

    def claimable(self, owner: str, live: Collection[str]) -> list[str]:
        """Ids of what this server should see to, the oldest first: what has not ended, is not paused, and is its own or
        that of none of the `live` servers."""

    def claim(self, operation_id: str, owner: str, replica: str, live: Collection[str]) -> bool:
        """Become its owner, unless it is another live server's, paused, or has ended."""

    def step_begins(
        self, operation_id: str, owner: str, position: int, name: str, at: datetime, deadline_at: datetime
    ) -> bool:
        """The step, and with it the operation, is running. A position that is not known yet is added."""

    def step_waits(
        self,
        operation_id: str,
        owner: str,
        position: int,
        attempts: int,
        waiting_for: str,
        since: datetime,
        result: Mapping[str, Any],
    ) -> bool:
        """`result` is merged into the operation's."""

    def step_ends(
        self,
        operation_id: str,
        owner: str,
        position: int,
        phase: Phase,
        at: datetime,
        *,
        attempts: int,
        result: Mapping[str, Any] | None = None,
        error: OperationError | None = None,
        waiting_for: str | None = None,
    ) -> bool:
        """The step has ended; `result` is merged into the operation's."""

    def finish(self, operation_id: str, owner: str, phase: Phase, at: datetime, error: OperationError | None) -> bool:
        """The operation has ended. Nothing happens if it had ended before."""

    def pauses(self, operation_id: str, owner: str, at: datetime, reason: str | None) -> bool:
        """It has stopped to wait for a resume; nobody owns it. `reason`: it paused by itself, for this.

        Nothing happens when its cancellation was asked for meanwhile, or a pause is not wanted any more.
        """

    def request_cancel(self, operation_id: str, reason: str | None, by: str | None) -> Operation:
        """A paused one is to go on, to its end. Raises `NotFound`, or `Conflict` (`operation_ended`)."""

    def request_pause(self, operation_id: str, reason: str | None, by: str | None) -> Operation:
        """Raises `NotFound`, or `Conflict` (`operation_ended`)."""

    def request_resume(self, operation_id: str, reason: str | None, by: str | None) -> Operation:
        """Raises `NotFound`, or `Conflict` (`operation_ended`, `operation_not_paused`)."""


def plain_json(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A copy that is JSON and nothing else, so that what a step sees after a restart is what it saw before.

    Raises `Invalid` for what JSON cannot hold, or more than 1 MiB of it.
    """
    try:
        text = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid(f"The {what} of an operation must be JSON: {error}.") from error
    if len(text) > MAX_PARAMS_BYTES:
        raise Invalid(f"The {what} of an operation may have {MAX_PARAMS_BYTES} bytes; these have {len(text)}.")
    copy: dict[str, Any] = json.loads(text)
    return copy


def new_operation(
    kind: OperationKind,
    params: Mapping[str, Any],
    actor: Actor,
    reason: str | None,
    key: str | None,
    subject: str | None,
    request_id: str | None,
    now: datetime,
) -> NewOperation:
    """What `Operations.start` records. Raises `Invalid` for params that are not JSON."""
    return NewOperation(
        id=str(uuid.uuid4()),
        kind=kind.name,
        params=plain_json(params, "params"),
        actor=actor,
        reason=reason,
        key=key,
        subject=subject,
        exclusive=kind.exclusive,
        request_id=request_id,
        step_names=[step.name for step in kind.steps],
        created_at=now,
        project_id=None if kind.administrators else actor.project_id,
        parent_id=parent.get(),
    )


def reused(known: Operation, new: NewOperation) -> Operation:
    """The operation that a repeated request gets. Raises `Conflict` when it is not the same request."""
    if dict(known.params) != dict(new.params) or known.subject != new.subject:
        raise key_reused(known)
    return known


def key_reused(known: Operation) -> Conflict:
    return Conflict(
        f"The idempotency key was used before, for another request (operation {known.id}).",
        code="key_reused",
        next="send another Idempotency-Key",
    )


def running(subject: str, holder: str) -> Refused:
    return Refused(
        f"Operation {holder} on {subject} has not ended.",
        code="operation_running",
        next=f"steelyard operation wait {holder}",
    )


def ended(operation: Operation) -> Conflict:
    return Conflict(
        f"Operation {operation.id} has {operation.phase} already.",
        code="operation_ended",
        next=f"steelyard operation show {operation.id}",
    )


def not_paused(operation: Operation) -> Conflict:
    return Conflict(
        f"Operation {operation.id} is not paused.",
        code="operation_not_paused",
        next=f"steelyard operation show {operation.id}",
    )


def unknown_marker() -> Invalid:
    return Invalid("The marker names no operation.", code="unknown_marker", next="ask again without marker")
