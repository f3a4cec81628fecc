"""How operations are brought to their end: attempts, waiting, deadlines, errors; for the engine and the fake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

import structlog

from steelyard.errors import DeadlineExceeded, SteelyardError, Unavailable
from steelyard.operations.journal import Journal, plain_json
from steelyard.operations.model import (
    Done,
    Failed,
    Operation,
    OperationError,
    OperationKind,
    Outcome,
    Pause,
    Phase,
    Retry,
    Step,
    StepContext,
)

log = structlog.get_logger("steelyard.operations")

P = ParamSpec("P")
R = TypeVar("R")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
SHORTEST_PAUSE = 0.05
JOURNAL_PAUSE = 5.0
WRITE_EVERY = 5.0
"""Seconds between two records of an unchanged wait."""
UNDO = "clean up after failure"
CANCELLED = Failed("Cancelled.", code="cancelled")


class Interrupted(BaseException):
    """The server is going down: leave everything as it is, to be resumed.

    Not an `Exception`, so that nothing on the way takes it for the end of the operation (DBOS records those).
    """


class PutAside(Interrupted):
    """This run is over, the operation is not: it is paused, or another server has taken it over."""


class MadeWay(Interrupted):
    """This run has come to where the operation needs no place of its kind any more (`Step.aside`)."""


class Clock(Protocol):
    """Time, as the runner needs it: the real one, or the fake's."""

    def now(self) -> datetime: ...

    def wait(self, operation_id: str, seconds: float) -> None:
        """Return after so many seconds, or earlier when the operation is cancelled. Raises `Interrupted`."""


class Runner:
    """Runs operations step by step and writes down what happens."""

    def __init__(
        self,
        journal: Journal,
        kinds: Mapping[str, OperationKind],
        clock: Clock,
        *,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """`guard` is called before each attempt, and raises where this server should not act any more."""
        self._journal = journal
        self._kinds = kinds
        self._clock = clock
        self._guard = guard

    def run(
        self,
        operation_id: str,
        owner: str,
        *,
        remember: Callable[[str, Callable[[], bool]], bool],
        makes_way: bool = False,
    ) -> None:
        """Run all steps that are not done yet, then end the operation. `owner` has claimed it.

        `remember(name, function)` calls the function and may remember its answer for the next run. Raises `PutAside`
        when the operation was paused, or is not `owner`'s any more; where it `makes_way`, `MadeWay` at the first step
        that takes no place of its kind.
        """
        operation = self._keep(self._journal.get, operation_id)
        names = [step.name for step in operation.steps if step.name != UNDO]
        kind = self._kinds.get(operation.kind)
        aside = frozenset(step.name for step in kind.steps if step.aside) if kind is not None and makes_way else ()
        for position, name in enumerate(names):
            if name in aside:
                raise MadeWay
            if not remember(name, partial(self.run_step, operation_id, owner, position, name)):
                remember(UNDO, partial(self.undo, operation_id, owner, len(names)))
                break
        remember("finish", partial(self.finish, operation_id, owner))

    def run_step(self, operation_id: str, owner: str, position: int, name: str) -> bool:
        """Bring one step to its end. True: go on with the next one."""
        operation = self._mine(operation_id, owner)
        if operation.phase.ended:
            return False
        record = operation.steps[position]
        if record.phase.ended:  # it had ended, but the crash came before anybody else remembered that
            return record.phase is Phase.SUCCEEDED
        kind = self._kinds.get(operation.kind)
        step = next((step for step in kind.steps if step.name == name), None) if kind else None
        if step is None:
            missing = Failed(f"This release has no step '{name}' of {operation.kind}.", code="unknown_step")
            step = Step(name, lambda _: missing)
        return self._attempts(operation, owner, position, step)

    def undo(self, operation_id: str, owner: str, position: int) -> bool:
        """Call the kind's compensation, if it has one. Always True."""
        operation = self._mine(operation_id, owner)
        kind = self._kinds.get(operation.kind)
        if kind is None or kind.on_failure is None or operation.phase.ended:
            return True
        if len(operation.steps) > position and operation.steps[position].phase.ended:
            return True
        step = Step(UNDO, kind.on_failure, deadline=kind.failure_deadline)
        self._attempts(operation, owner, position, step, cause=_cause(operation))
        return True

    def finish(self, operation_id: str, owner: str) -> bool:
        """Write down how the operation ended. Always True."""
        operation = self._mine(operation_id, owner)
        phases = {step.phase for step in operation.steps if step.name != UNDO}
        if phases <= {Phase.SUCCEEDED}:
            phase = Phase.SUCCEEDED
        else:
            phase = Phase.CANCELLED if Phase.CANCELLED in phases else Phase.FAILED
        self._write(self._journal.finish, operation_id, owner, phase, self._clock.now(), _cause(operation))
        return True

    def _attempts(
        self, operation: Operation, owner: str, position: int, step: Step, *, cause: OperationError | None = None
    ) -> bool:
        """Call the step until it ends, and write that down. True when it is done."""
        start = self._clock.now()
        end = partial(self._end, operation.id, owner, position, fallback=self._fallback(operation))
        if cause is None and (asked := self._mine(operation.id, owner)).pause_requested and not asked.cancel_requested:
            self._pause(operation.id, owner)
        deadline = start + timedelta(seconds=step.deadline)
        self._write(self._journal.step_begins, operation.id, owner, position, step.name, start, deadline)
        attempt, pause, written = 0, FIRST_PAUSE, start
        waiting: str | None = None
        since = start
        known: Mapping[str, Any] = {}
        while True:
            current = self._mine(operation.id, owner)
            if cause is None and current.cancel_requested:
                return end(CANCELLED, attempt, waiting)
            if cause is None and current.pause_requested:
                self._pause(operation.id, owner)
                continue
            self._keep(self._guard)
            attempt += 1
            outcome = _call(step, _context(current, step, attempt, cause), pause)
            if isinstance(outcome, Pause) and cause is None:
                self._pause(operation.id, owner, outcome.reason)
                continue
            if isinstance(outcome, Pause):
                outcome = Retry(LONGEST_PAUSE, outcome.reason)
            if not isinstance(outcome, Retry):
                return end(outcome, attempt, waiting, step=step.name)
            now = self._clock.now()
            if (
                outcome.waiting_for != waiting
                or outcome.result != known
                or (now - written).total_seconds() >= WRITE_EVERY
            ):
                since = now if outcome.waiting_for != waiting else since
                waiting, known, written = outcome.waiting_for, outcome.result, now
                self._write(self._journal.step_waits, operation.id, owner, position, attempt, waiting, since, known)
            left = (deadline - now).total_seconds()
            if left <= 0:
                late = f"'{step.name}' did not end within {step.deadline:g} s. It waited for: {waiting}."
                failure = Failed(late, next=_next(step, operation), code=DeadlineExceeded.kind)
                return end(failure, attempt, waiting, step=step.name)
            pause = min(pause * 2, LONGEST_PAUSE)
            self._clock.wait(operation.id, min(max(outcome.after, SHORTEST_PAUSE), left))

    def _pause(self, operation_id: str, owner: str, reason: str | None = None) -> None:
        """Raises `PutAside`, unless a cancel or a resume came in between: then the operation goes on."""
        self._write(self._journal.pauses, operation_id, owner, self._clock.now(), reason)
        self._mine(operation_id, owner)  # nobody's, when it is paused

    def _end(
        self,
        operation_id: str,
        owner: str,
        position: int,
        outcome: Done | Failed,
        attempts: int,
        waiting: str | None,
        *,
        step: str | None = None,
        fallback: str | None = None,
    ) -> bool:
        phase = Phase.SUCCEEDED
        error = None
        result = None
        if isinstance(outcome, Failed):
            phase = Phase.CANCELLED if outcome is CANCELLED else Phase.FAILED
            error = OperationError(outcome.reason, outcome.code, next=outcome.next or fallback, step=step)
        else:
            result = outcome.result
        self._write(
            self._journal.step_ends,
            operation_id,
            owner,
            position,
            phase,
            self._clock.now(),
            attempts=attempts,
            result=result,
            error=error,
            waiting_for=waiting,
        )
        return error is None

    def _mine(self, operation_id: str, owner: str) -> Operation:
        """The operation as it is now. Raises `PutAside` when it is another server's."""
        operation = self._keep(self._journal.get, operation_id)
        if operation.owner != owner:
            raise PutAside
        return operation

    def _write(self, call: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> None:
        if not self._keep(call, *args, **kwargs):
            raise PutAside

    def _fallback(self, operation: Operation) -> str | None:
        """What the kind advises after a failure that advises nothing."""
        kind = self._kinds.get(operation.kind)
        return _filled(kind.next, operation) if kind is not None and kind.next else None

    def _keep(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Use the journal; while it cannot be used (disk full, database restarting) the operation holds its breath."""
        while True:
            try:
                return call(*args, **kwargs)
            except Unavailable as error:
                log.error("journal unavailable", internal=error.internal)
                self._clock.wait("", JOURNAL_PAUSE)


def _context(operation: Operation, step: Step, attempt: int, cause: OperationError | None) -> StepContext:
    return StepContext(
        operation_id=operation.id,
        kind=operation.kind,
        step=step.name,
        params=operation.params,
        results=operation.result,
        actor=operation.actor,
        reason=operation.reason,
        attempt=attempt,
        request_id=operation.request_id,
        error=cause,
    )


def _call(step: Step, context: StepContext, pause: float) -> Outcome:
    """One attempt; errors become outcomes."""
    about = {"operation_id": context.operation_id, "kind": context.kind, "step": step.name}
    try:
        outcome: object = step.do(context)
        if isinstance(outcome, Done):
            return Done(plain_json(outcome.result, "result"))
        if isinstance(outcome, Retry) and outcome.result:
            return replace(outcome, result=plain_json(outcome.result, "result"))
    except DeadlineExceeded as error:
        return Failed(error.detail, next=error.next, code=error.code)
    except Unavailable as error:
        return Retry(pause, f"{error.detail} (trying again)")
    except SteelyardError as error:
        log.info("step failed", code=error.code, internal=error.internal, **about)
        return Failed(error.detail, next=error.next, code=error.code)
    except Exception as error:
        log.exception("step broke", **about)
        return Failed(
            f"Internal error ({type(error).__name__}) in '{step.name}'; the server's log has the details.",
            next=f"steelyard operation show {context.operation_id}",
            code="internal",
        )
    if isinstance(outcome, Failed | Retry | Pause):
        return outcome
    return Failed(f"Internal error: '{step.name}' ended without an outcome.", code="internal")


def _next(step: Step, operation: Operation) -> str:
    return (_filled(step.next, operation) if step.next else None) or f"steelyard operation show {operation.id}"


def _filled(template: str, operation: Operation) -> str | None:
    """A next command with its words filled in; None when it names what is not known."""
    words = {**operation.params, **operation.result, "operation_id": operation.id}
    try:
        return template.format(**words)
    except (KeyError, IndexError, ValueError, AttributeError):
        log.warning("a next command names what is not known", next=template, kind=operation.kind)
        return None


def _cause(operation: Operation) -> OperationError | None:
    failures = (step.error for step in operation.steps if step.error is not None and step.name != UNDO)
    return next(failures, None)
