"""Operations in memory, without threads and without waiting: for the unit tests of rooms.

`start()` runs the whole operation before it returns. A waiting step costs no time: the fake's clock jumps, and
`on_wait(seconds)` is called so that a fake cloud can go on by as much. Two harnesses that every kind should pass:

* `FakeOperations(repeat_steps=True)` runs each attempt that is done a second time (idempotent?);
* `FakeOperations(fail_step="name")` fails that step after it was done, as a refusal would (clean-up complete?).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from steelyard.nouns import Actor
from steelyard.operations.journal import new_operation
from steelyard.operations.memory import MemoryJournal, MemoryServers
from steelyard.operations.model import Done, Failed, Operation, OperationKind, Outcome, Phase, Step, StepContext
from steelyard.operations.runner import PutAside, Runner

__all__ = ["FakeClock", "FakeOperations", "MemoryJournal", "MemoryServers"]

BOOT = "the fake"


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
        self._running: set[str] = set()

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
            self._run(operation.id)
        return self.journal.get(operation.id)

    def _run(self, operation_id: str) -> None:
        """To its end, or until it is paused."""
        if operation_id not in self._running and self.journal.claim(operation_id, BOOT, "steelyard", {BOOT}):
            self._running.add(operation_id)
            with suppress(PutAside):
                Runner(self.journal, self.kinds, self.clock).run(operation_id, BOOT, remember=lambda _, run: run())
            self._running.discard(operation_id)

    def get(self, operation_id: str) -> Operation:
        return self.journal.get(operation_id)

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
        return self.journal.all(
            project_id=project_id,
            subject=subject,
            phase=phase,
            kind=kind,
            parent_id=parent_id,
            paused=paused,
            limit=limit,
            marker=marker,
        )

    def by_key(self, actor: Actor, kind: str, key: str) -> list[Operation]:
        return self.journal.by_key(actor.user_id, kind, key)

    def found(self, ids: Sequence[str]) -> list[Operation]:
        return self.journal.found(ids)

    def cancel(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        self.journal.request_cancel(operation_id, reason, by)
        self._run(operation_id)
        return self.journal.get(operation_id)

    def pause(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        return self.journal.request_pause(operation_id, reason, by)

    def resume(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        self.journal.request_resume(operation_id, reason, by)
        self._run(operation_id)
        return self.journal.get(operation_id)

    def _harness(self, step: Step) -> Callable[[StepContext], Outcome]:
        def do(context: StepContext) -> Outcome:
            outcome = step.do(context)
            if isinstance(outcome, Done) and self._repeat_steps:
                outcome = step.do(context)
            if isinstance(outcome, Done) and self._fail_step == step.name:
                return Failed(f"Made to fail after '{step.name}'.", code="made_to_fail")
            return outcome

        return do
