"""What an operation is: kinds and steps as rooms declare them, records as people see them. Pure; no I/O.

A room declares an `OperationKind` with its `Step`s in `work.py`. The engine behind `Operations` makes it durable:
steps that are done are never run again, a step that was interrupted (also by SIGKILL) is run again from its
beginning. Hence the one rule for a step: **running it twice does no harm**. A step that waits does not sleep; it
looks, says `Retry(after, waiting_for)`, and is called again until it says `Done` or `Failed` or its deadline passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from steelyard.nouns import Actor


class Phase(StrEnum):
    """How far an operation, or one of its steps, is."""

    PENDING = "pending"
    """Recorded, not started."""
    RUNNING = "running"
    """Started; also while it waits."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Ended by a step that could not be done; `error` says why and what to do next."""
    CANCELLED = "cancelled"
    """Ended because somebody asked for it; a step is never interrupted in its middle for that."""

    @property
    def ended(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


@dataclass(frozen=True, slots=True)
class Done:
    """The step is done. `result` (JSON, no secrets) is kept: later steps see it, and the operation shows it."""

    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """Not yet. Call me again after so many seconds; meanwhile the operation shows what it waits for."""

    after: float
    waiting_for: str
    result: Mapping[str, Any] = field(default_factory=dict)
    """What is known so far: merged into the operation's result at once, so that it shows (counts of a bulk)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be done. The operation ends here; no secret in any of the fields."""

    reason: str
    next: str | None = None
    """The next safe command."""
    code: str = "failed"


@dataclass(frozen=True, slots=True)
class Pause:
    """It cannot go on without a person. The operation is paused; after a resume the step is called again."""

    reason: str
    """For people: why, and what a resume needs."""


Outcome = Done | Retry | Failed | Pause


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may know."""

    operation_id: str
    kind: str
    step: str
    params: Mapping[str, Any]
    """As given to `Operations.start`."""
    results: Mapping[str, Any]
    """The merged results of all steps done so far (later ones win)."""
    actor: Actor
    reason: str | None
    attempt: int
    """1 for the first call of this step since the server started, counted up by each Retry."""
    request_id: str | None = None
    error: OperationError | None = None
    """In `on_failure`: why the operation failed. None elsewhere."""


StepFunction = Callable[[StepContext], Outcome]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a kind.

    `do` raises nothing but `steelyard.errors`: `Unavailable` (but not `DeadlineExceeded`) is taken for a passing
    trouble and retried with growing pauses (1 s to 15 s) until the deadline; every other error ends the operation
    with the error's detail, code and next. An exception of another type ends it too, as an internal error.
    """

    name: str
    """Short words for people, unique in the kind: `wait until clean`."""
    do: StepFunction
    deadline: float = 60.0
    """Seconds that the step may take, all its attempts together. Starts again when the server was restarted."""
    next: str | None = None
    """The next safe command when the deadline passes. May use `{operation_id}` and `{<param>}`."""
    aside: bool = False
    """It only waits for what others do in their own time. From here on the operation does not count in its kind's
    `concurrency`: another one takes its place. For the last steps of a kind."""


@dataclass(frozen=True, slots=True)
class OperationKind:
    """A kind of operation.

    The names of the kind and of its steps are part of what is stored: an operation that was started by an older
    release is resumed by name at the first step that is not done.
    """

    name: str
    """`room.verb`: `nodes.onboard`."""
    steps: Sequence[Step]
    on_failure: StepFunction | None = None
    """Compensation: called after a failed or cancelled operation, with `ctx.error`; idempotent like a step. What it
    raises or returns as `Failed` is recorded beside the first error and does not hide it."""
    failure_deadline: float = 60.0
    next: str | None = None
    """The next safe command after a failure that names none, or a cancellation. Filled in like a step's."""
    exclusive: bool = True
    """At most one unfinished operation of any exclusive kind per subject: the second is `Refused`."""
    administrators: bool = False
    """Only administrators see it, and may cancel it: it tells of nodes and BMCs. Other kinds are seen by the members of
    the project that the one who started them was working in."""
    concurrency: int | None = None
    """How many of this kind run at a time in one server; the others wait as pending. None: the server's own limit."""


@dataclass(frozen=True, slots=True)
class OperationError:
    """Why it failed, and what to do."""

    detail: str
    code: str
    next: str | None
    step: str | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What is known of one step of one operation."""

    name: str
    phase: Phase
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    waiting_for: str | None
    """What it waited for, last. Kept after the end, so that a step which timed out shows on what."""
    deadline_at: datetime | None
    error: OperationError | None = None
    waiting_since: datetime | None = None
    """Since when it waits for `waiting_for`, in the same words."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as people see it. Times are UTC."""

    id: str
    kind: str
    phase: Phase
    subject: str | None
    """What it is about, e.g. `node:<uuid>`; None when it is about many things."""
    actor: Actor
    reason: str | None
    key: str | None
    """Idempotency key given by the caller."""
    request_id: str | None
    params: Mapping[str, Any]
    result: Mapping[str, Any]
    error: OperationError | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    steps: tuple[StepRecord, ...]
    project_id: str | None = None
    """Whose members may see it; None: administrators only, also where the actor worked in a project."""
    parent_id: str | None = None
    """The bulk operation that started it."""
    pause_requested: bool = False
    """It is to stop between two attempts, and stay so until somebody resumes it."""
    pause_reason: str | None = None
    paused_at: datetime | None = None
    """When it stopped for that. None while it runs, also where a pause was asked for a moment ago."""
    owner: str | None = None
    """The boot id of the server that works on it; writes of any other are refused."""
    replica: str | None = None
    """The name of the server that works on it, or did last."""

    @property
    def waiting_for(self) -> str | None:
        """What the running step waits for, or why it is paused; None when it waits for nothing."""
        if self.paused_at is not None:
            return f"paused: {self.pause_reason or 'no reason given'}; steelyard operation resume {self.id}"
        return next((s.waiting_for for s in self.steps if s.phase is Phase.RUNNING), None)


class Operations(Protocol):
    """The engine as rooms see it. Implementations: `operations.engine` (durable) and `operations.fake` (in memory)."""

    def register(self, *kinds: OperationKind) -> None:
        """Make kinds known; wiring calls it before anything is started. Raises `ValueError` for a name given twice."""

    def start(
        self,
        kind: str,
        params: Mapping[str, Any],
        actor: Actor,
        *,
        reason: str | None = None,
        key: str | None = None,
        subject: str | None = None,
        request_id: str | None = None,
    ) -> Operation:
        """Record the intent and begin. Returns at once.

        `params` is JSON without secrets (put them in `store.secrets`, pass the id). With a `key`, a second call of
        the same user, kind and params returns the first operation; with other params it raises `Conflict`
        (`key_reused`). Raises `Refused` (`operation_running`) when the kind is exclusive and the subject is taken.
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
    ) -> list[Operation]:
        """The newest first; `marker` is the id of the last one seen; `parent_id`: the children of a bulk operation.

        Raises `Invalid` for an unknown marker.
        """

    def by_key(self, actor: Actor, kind: str, key: str) -> list[Operation]:
        """What this user started before with this idempotency key, or with `<key>:<anything>`; the oldest first."""

    def found(self, ids: Sequence[str]) -> list[Operation]:
        """Those of these ids that there are, in one question."""

    def cancel(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        """Ask a running operation to end; it does between two attempts of a step. Raises `Conflict` after its end.

        `by`: the name of who asks, where that is not the one who started it; the same below.
        """

    def pause(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        """Have it stop between two attempts and stay so. Pausing twice is once. Raises `Conflict` after its end."""

    def resume(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        """Have a paused one go on; its step's deadline begins anew. Raises `Conflict` for one that is not paused."""
