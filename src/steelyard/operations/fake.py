"""Operations in memory, without threads and without waiting: for the unit tests of rooms.

`start()` runs the whole operation before it returns. A waiting step costs no time: the fake's clock jumps, and
`on_wait(seconds)` is called so that a fake cloud can go on by as much. Two harnesses that every kind should pass:

* `FakeOperations(repeat_steps=True)` runs each attempt that is done a second time (idempotent?);
* `FakeOperations(fail_step="name")` fails that step after it was done, as a refusal would (clean-up complete?).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from steelyard.errors import NotFound
from steelyard.nouns import Actor
from steelyard.operations.journal import NewOperation, ended, new_operation, reused, running, unknown_marker
from steelyard.operations.model import (
    Done,
    Failed,
    Operation,
    OperationError,
    OperationKind,
    Outcome,
    Phase,
    Step,
    StepContext,
    StepRecord,
)
from steelyard.operations.runner import Runner


class FakeClock:
    """Time that passes only when somebody waits."""

    def __init__(self, on_wait: Callable[[float], None] | None = None) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._on_wait = on_wait

    def now(self) -> datetime:
        return self._now

    def wait(self, operation_id: str, seconds: float) -> None:  # noqa: ARG002 - Clock's
        self._now += timedelta(seconds=seconds)
        if self._on_wait is not None:
            self._on_wait(seconds)


class MemoryJournal:
    """The journal in a dictionary."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}
        self._exclusive: dict[str, str] = {}

    def create(self, new: NewOperation) -> tuple[Operation, bool]:
        for known in self._operations.values():
            same_key = (known.actor.user_id, known.kind, known.key) == (new.actor.user_id, new.kind, new.key)
            if new.key is not None and same_key:
                return reused(known, new), False
        if new.exclusive and new.subject is not None:
            if (holder := self._exclusive.get(new.subject)) is not None:
                raise running(new.subject, holder)
            self._exclusive[new.subject] = new.id
        self._operations[new.id] = Operation(
            id=new.id,
            kind=new.kind,
            phase=Phase.PENDING,
            subject=new.subject,
            actor=new.actor,
            reason=new.reason,
            key=new.key,
            request_id=new.request_id,
            params=new.params,
            result={},
            error=None,
            cancel_requested=False,
            created_at=new.created_at,
            started_at=None,
            ended_at=None,
            steps=tuple(StepRecord(name, Phase.PENDING, None, None, 0, None, None) for name in new.step_names),
            project_id=new.project_id,
        )
        return self._operations[new.id], True

    def get(self, operation_id: str) -> Operation:
        try:
            return self._operations[operation_id]
        except KeyError:
            raise NotFound(f"There is no operation {operation_id}.", next="steelyard operation list") from None

    def all(
        self,
        *,
        project_id: str | None = None,
        subject: str | None = None,
        phase: Phase | None = None,
        kind: str | None = None,
        limit: int = 100,
        marker: str | None = None,
    ) -> list[Operation]:
        ordered = sorted(self._operations.values(), key=lambda o: (o.created_at, o.id), reverse=True)
        if marker is not None:
            if marker not in self._operations:
                raise unknown_marker()
            seen = self._operations[marker]
            ordered = [o for o in ordered if (o.created_at, o.id) < (seen.created_at, seen.id)]
        wanted = [
            o
            for o in ordered
            if (project_id is None or o.project_id == project_id)
            and (subject is None or o.subject == subject)
            and (phase is None or o.phase is phase)
            and (kind is None or o.kind == kind)
        ]
        return wanted[:limit]

    def by_key(self, user_id: str, kind: str, key: str) -> list[Operation]:
        return [
            o
            for o in self._operations.values()
            if (o.actor.user_id, o.kind) == (user_id, kind)
            and o.key is not None
            and (o.key == key or o.key.startswith(f"{key}:"))
        ]

    def unfinished(self) -> list[str]:
        return [o.id for o in self._operations.values() if not o.phase.ended]

    def step_begins(self, operation_id: str, position: int, name: str, at: datetime, deadline_at: datetime) -> None:
        operation = self.get(operation_id)
        steps = list(operation.steps)
        if position == len(steps):
            steps.append(StepRecord(name, Phase.PENDING, None, None, 0, None, None))
        begun = steps[position].started_at or at
        steps[position] = replace(steps[position], phase=Phase.RUNNING, started_at=begun, deadline_at=deadline_at)
        self._operations[operation_id] = replace(
            operation, phase=Phase.RUNNING, started_at=operation.started_at or at, steps=tuple(steps)
        )

    def step_waits(self, operation_id: str, position: int, attempts: int, waiting_for: str) -> None:
        self._change(operation_id, position, attempts=attempts, waiting_for=waiting_for)

    def step_ends(
        self,
        operation_id: str,
        position: int,
        phase: Phase,
        at: datetime,
        *,
        attempts: int,
        result: Mapping[str, Any] | None = None,
        error: OperationError | None = None,
        waiting_for: str | None = None,
    ) -> None:
        self._change(
            operation_id, position, phase=phase, ended_at=at, attempts=attempts, error=error, waiting_for=waiting_for
        )
        operation = self.get(operation_id)
        self._operations[operation_id] = replace(operation, result={**operation.result, **(result or {})})

    def finish(self, operation_id: str, phase: Phase, at: datetime, error: OperationError | None) -> None:
        operation = self.get(operation_id)
        if not operation.phase.ended:
            self._operations[operation_id] = replace(operation, phase=phase, ended_at=at, error=error)
            self._exclusive = {s: holder for s, holder in self._exclusive.items() if holder != operation_id}

    def request_cancel(self, operation_id: str, reason: str | None) -> Operation:  # noqa: ARG002 - Journal's
        operation = self.get(operation_id)
        if operation.phase.ended:
            raise ended(operation)
        self._operations[operation_id] = replace(operation, cancel_requested=True)
        return self._operations[operation_id]

    def _change(self, operation_id: str, position: int, **changes: Any) -> None:
        operation = self.get(operation_id)
        steps = list(operation.steps)
        steps[position] = replace(steps[position], **changes)
        self._operations[operation_id] = replace(operation, steps=tuple(steps))


class FakeOperations:
    """`Operations` that are over when `start()` returns."""

    def __init__(
        self,
        *,
        on_wait: Callable[[float], None] | None = None,
        repeat_steps: bool = False,
        fail_step: str | None = None,
    ) -> None:
        self.clock = FakeClock(on_wait)
        self.journal = MemoryJournal()
        self.kinds: dict[str, OperationKind] = {}
        self._repeat_steps = repeat_steps
        self._fail_step = fail_step

    def register(self, *kinds: OperationKind) -> None:
        for kind in kinds:
            if kind.name in self.kinds:
                raise ValueError(f"operation kind {kind.name} is registered twice")
            steps = [replace(step, do=self._harness(step)) for step in kind.steps]
            self.kinds[kind.name] = replace(kind, steps=steps)

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
        known = self.kinds[kind]
        self.clock.wait("", 0.001)  # so that the order of creation shows
        new = new_operation(known, params, actor, reason, key, subject, request_id, self.clock.now())
        operation, fresh = self.journal.create(new)
        if fresh:
            Runner(self.journal, self.kinds, self.clock).run(operation.id, remember=lambda _, run: run())
        return self.journal.get(operation.id)

    def get(self, operation_id: str) -> Operation:
        return self.journal.get(operation_id)

    def all(
        self,
        *,
        project_id: str | None = None,
        subject: str | None = None,
        phase: Phase | None = None,
        kind: str | None = None,
        limit: int = 100,
        marker: str | None = None,
    ) -> list[Operation]:
        return self.journal.all(
            project_id=project_id, subject=subject, phase=phase, kind=kind, limit=limit, marker=marker
        )

    def by_key(self, actor: Actor, kind: str, key: str) -> list[Operation]:
        return self.journal.by_key(actor.user_id, kind, key)

    def cancel(self, operation_id: str, *, reason: str | None = None) -> Operation:
        return self.journal.request_cancel(operation_id, reason)

    def _harness(self, step: Step) -> Callable[[StepContext], Outcome]:
        def do(context: StepContext) -> Outcome:
            outcome = step.do(context)
            if isinstance(outcome, Done) and self._repeat_steps:
                outcome = step.do(context)
            if isinstance(outcome, Done) and self._fail_step == step.name:
                return Failed(f"Made to fail after '{step.name}'.", code="made_to_fail")
            return outcome

        return do
