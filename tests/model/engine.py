"""The server's engine in histories: operations and reconcilers as tasks, over the real journal and runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from steelyard.errors import NotFound, SteelyardError
from steelyard.nouns import Actor
from steelyard.operations.journal import new_operation
from steelyard.operations.model import Operation, OperationKind, Phase
from steelyard.operations.reconciling import Reconciler, ReconcilerStatus
from steelyard.operations.runner import PutAside, Runner
from steelyard.store import Store

from .faults import Process


class TaskClock:
    """The runner's clock: waiting lets other tasks go on."""

    def __init__(self, process: Process, now: Callable[[], datetime]) -> None:
        self._process = process
        self._now = now

    def now(self) -> datetime:
        return self._now()

    def wait(self, operation_id: str, seconds: float) -> None:
        self._process.check()
        self._process.tasks.pause(seconds)
        self._process.check()


class TaskOperations:
    """`Operations` whose steps interleave as the history wills; resumed from the journal after a kill."""

    def __init__(
        self, store: Store, process: Process, *, boot: str, now: Callable[[], datetime], tell: Callable[[str], None]
    ) -> None:
        self.journal = store.operations
        self.kinds: dict[str, OperationKind] = {}
        self.boot = boot
        self._process = process
        self._now = now
        self._tell = tell
        self._runner = Runner(self.journal, self.kinds, TaskClock(process, now))
        self._running: set[str] = set()

    def register(self, *kinds: OperationKind) -> None:
        for kind in kinds:
            if kind.name in self.kinds:
                raise ValueError(f"operation kind {kind.name} is registered twice")
            self.kinds[kind.name] = kind

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
        new = new_operation(self.kinds[kind], params, actor, reason, key, subject, request_id, self._now())
        operation, fresh = self.journal.create(new)
        if fresh:
            self._begin(operation.id, kind)
        return operation

    def _begin(self, operation_id: str, kind: str) -> None:
        if operation_id in self._running:
            return
        self._running.add(operation_id)
        self._process.tasks.spawn(
            f"{kind} {operation_id[:8]}", lambda: self._run(operation_id), operation_id=operation_id
        )

    def _run(self, operation_id: str) -> None:
        try:
            while True:
                try:
                    claimed = self.journal.claim(operation_id, self.boot, "model", {self.boot})
                    break
                except SteelyardError:
                    self._process.tasks.pause(5.0)
            if claimed:
                self._runner.run(operation_id, self.boot, remember=lambda _, run: run())
                ended = self.journal.get(operation_id)
                why = f": {ended.error.detail}" if ended.error else ""
                self._tell(f"  operation {ended.kind} {operation_id[:8]} has {ended.phase}{why}")
        except PutAside:
            self._tell(f"  operation {operation_id[:8]} was put aside")
        finally:
            self._running.discard(operation_id)

    def take_up(self) -> int:
        """Begin what nobody runs: after a start, and now and then."""
        waiting = self.journal.claimable(self.boot, {self.boot})
        for operation_id in waiting:
            self._begin(operation_id, self.journal.get(operation_id).kind)
        return len(waiting)

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
        **more: Any,
    ) -> list[Operation]:
        return self.journal.all(
            project_id=project_id, subject=subject, phase=phase, kind=kind, limit=limit, marker=marker, **more
        )

    def by_key(self, actor: Actor, kind: str, key: str) -> list[Operation]:
        return self.journal.by_key(actor.user_id, kind, key)

    def found(self, ids: Sequence[str]) -> list[Operation]:
        return self.journal.found(ids)

    def cancel(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        return self._go_on(self.journal.request_cancel(operation_id, reason, by))

    def pause(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        return self._go_on(self.journal.request_pause(operation_id, reason, by))

    def resume(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        return self._go_on(self.journal.request_resume(operation_id, reason, by))

    def _go_on(self, operation: Operation) -> Operation:
        self._process.tasks.wake(operation.id)
        if operation.owner is None:
            self._begin(operation.id, operation.kind)
        return operation


class TaskReconcilers:
    """`Reconcilers` that run when the history says so; one run of each at a time."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._known: dict[str, Reconciler] = {}
        self._status: dict[str, ReconcilerStatus] = {}
        self.signalled: list[str] = []
        self.running: set[str] = set()

    def register(self, *reconcilers: Reconciler) -> None:
        for each in reconcilers:
            if each.name in self._known:
                raise ValueError(f"reconciler {each.name} is registered twice")
            self._known[each.name] = each
            self._status[each.name] = ReconcilerStatus(
                each.name, each.about, each.period, None, None, None, None, None, None, 0, 0, None
            )

    @property
    def names(self) -> list[str]:
        return sorted(self._known)

    def signal(self, name: str) -> None:
        if name in self._known and name not in self.signalled:
            self.signalled.append(name)

    def run(self, name: str) -> SteelyardError | None:
        """One run, in the task that calls. Whatever else it raises passes."""
        if name in self.running:
            return None
        self.running.add(name)
        try:
            self._known[name].run()
        except SteelyardError as error:
            return error
        finally:
            self.running.discard(name)
        return None

    def run_now(self, name: str) -> ReconcilerStatus:
        if name not in self._known:
            raise NotFound(f"There is no reconciler {name}.")
        self.run(name)
        return self._status[name]

    def all(self) -> list[ReconcilerStatus]:
        return [self._status[name] for name in self.names]
