"""The durable engine: our operations on DBOS Transact (https://docs.dbos.dev).

What DBOS does for us: its queue hands an operation to one server, with a limit on how many run at a time; it knows
after a crash which were running in this executor and starts them again; it remembers which steps are done. What it is
given is the operation's id and the step's answer (go on or not), nothing else. What people see, and what the steps
exchange, is in our journal, written before DBOS remembers; so a crash between the two repeats nothing.

A waiting step is a thread that sleeps; DBOS is never asked to poll. On a stop the sleeping steps leave by `Interrupted`
and the operations stay as they are, to be resumed.
"""

from __future__ import annotations

import contextvars
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from dbos import DBOS, SetWorkflowID
from sqlalchemy.engine import make_url

from steelyard.errors import SteelyardError, Unavailable
from steelyard.nouns import Actor
from steelyard.operations.journal import Journal, new_operation
from steelyard.operations.model import Operation, OperationKind, Phase
from steelyard.operations.runner import Interrupted, Runner

log = structlog.get_logger("steelyard.operations")

APPLICATION = "steelyard"
VERSION = "operations-1"
"""DBOS resumes only what its own version started. Ours changes when `Runner.run` would call its steps in another order,
never with a release: which steps an operation has is in the journal."""
QUEUE = "operations"
QUEUE_POLL = 0.25
"""Seconds between two looks of DBOS into the queue. Kinds with a limit of their own are long; four times that does."""
DEFAULT_CONCURRENCY = 50
SWEEP_EVERY = 20.0
"""Seconds between two looks for operations that nobody runs."""


class RealClock:
    """Time that can be cut short: by a stop of the engine, or by the cancellation of one operation."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._wakers: dict[str, threading.Event] = {}

    def now(self) -> datetime:
        return datetime.now(UTC)

    @contextmanager
    def running(self, operation_id: str) -> Iterator[bool]:
        """Note that this thread runs the operation. Gives False, if another thread of this process does already."""
        with self._lock:
            mine = operation_id not in self._wakers
            if mine:
                self._wakers[operation_id] = threading.Event()
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    del self._wakers[operation_id]

    def runs(self, operation_id: str) -> bool:
        with self._lock:
            return operation_id in self._wakers

    def count(self) -> int:
        with self._lock:
            return len(self._wakers)

    def wait(self, operation_id: str, seconds: float) -> None:
        if self.stopping.is_set():
            raise Interrupted
        waker = self._wakers.get(operation_id, self.stopping)
        waker.wait(seconds)
        if self.stopping.is_set():
            raise Interrupted
        if waker is not self.stopping:
            waker.clear()

    def wake(self, operation_id: str) -> None:
        with self._lock:
            if (waker := self._wakers.get(operation_id)) is not None:
                waker.set()

    def stop(self) -> None:
        self.stopping.set()
        with self._lock:
            for waker in self._wakers.values():
                waker.set()


class DurableOperations:
    """`Operations` that survive the server. One per process (DBOS allows no more)."""

    def __init__(
        self,
        journal: Journal,
        *,
        database_url: str,
        executor_id: str = "steelyard",
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> None:
        """`database_url`: DBOS's own database (SQLite file, or PostgreSQL where it takes the schema `dbos`).

        `executor_id` names this server among those that share the database; the same again after a restart.
        """
        self._journal = journal
        self._database_url = database_url
        self._executor_id = executor_id
        self._concurrency = concurrency
        self._kinds: dict[str, OperationKind] = {}
        self._clock = RealClock()
        self._runner = Runner(journal, self._kinds, self._clock)
        self._launched = False
        self._sweeper: threading.Thread | None = None
        self._workflow: Callable[[str], None] = self._run

    def register(self, *kinds: OperationKind) -> None:
        for kind in kinds:
            if kind.name in self._kinds:
                raise ValueError(f"operation kind {kind.name} is registered twice")
            if self._launched:
                raise ValueError(f"operation kind {kind.name} is registered after the launch")
            self._kinds[kind.name] = kind

    def launch(self) -> None:
        """Begin to run operations; those that a crash or stop interrupted go on. Raises `Unavailable`."""
        _quiet()
        try:
            _prepare(self._database_url)
            DBOS(
                config={
                    "name": APPLICATION,
                    "system_database_url": self._database_url,
                    "application_version": VERSION,
                    "executor_id": self._executor_id,
                    "log_level": "ERROR",
                    "enable_otlp": False,
                    "max_executor_threads": self._concurrency * 2 + 8,
                    "scheduler_polling_interval_sec": 3600.0,
                    "notification_listener_polling_interval_sec": 1.0,
                }
            )

            @DBOS.workflow(name="operation", max_recovery_attempts=None)
            def operation(operation_id: str) -> None:
                self._run(operation_id)

            self._workflow = operation
            DBOS.launch()
            DBOS.register_queue(
                QUEUE,
                worker_concurrency=self._concurrency,
                polling_interval_sec=QUEUE_POLL,
                on_conflict="always_update",
            )
            for kind in self._kinds.values():
                if kind.concurrency is not None:
                    DBOS.register_queue(
                        _queue(kind),
                        worker_concurrency=kind.concurrency,
                        polling_interval_sec=QUEUE_POLL * 4,
                        on_conflict="always_update",
                    )
        except SteelyardError:
            raise
        except Exception as error:
            DBOS.destroy(destroy_registry=True)
            raise Unavailable(
                "The engine of operations cannot use its database.",
                code="operations_unavailable",
                internal=f"{type(error).__name__}: {error}",
            ) from error
        self._launched = True
        self._sweeper = threading.Thread(target=self._sweep, name="operations-sweeper", daemon=True)
        self._sweeper.start()

    def close(self, *, grace: float = 5.0) -> bool:
        """Stop. Steps that wait leave at once, those that work get `grace` seconds. True if all have left.

        What has not ended stays as it is and goes on at the next `launch()`.
        """
        self._clock.stop()
        if not self._launched:
            return True
        self._launched = False
        if self._sweeper is not None:
            self._sweeper.join(timeout=grace)
        end = self._clock.now().timestamp() + grace
        while (busy := self._clock.count()) and self._clock.now().timestamp() < end:
            threading.Event().wait(0.05)
        DBOS.destroy(destroy_registry=True)
        if busy:
            log.warning("operations were cut short; they go on at the next start", operations=busy)
        return not busy

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
        if not self._launched:
            raise Unavailable("The server is going down.", code="stopping", next="try again in a few seconds")
        known = self._kinds[kind]
        new = new_operation(known, params, actor, reason, key, subject, request_id, self._clock.now())
        operation, fresh = self._journal.create(new)
        if fresh:
            try:
                self._enqueue(operation.id, operation.kind)
            except Exception:
                # The intent is recorded; the sweep brings it to the queue.
                log.exception("operation not enqueued yet", operation_id=operation.id)
        return operation

    def get(self, operation_id: str) -> Operation:
        return self._journal.get(operation_id)

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
        return self._journal.all(
            project_id=project_id, subject=subject, phase=phase, kind=kind, limit=limit, marker=marker
        )

    def by_key(self, actor: Actor, kind: str, key: str) -> list[Operation]:
        return self._journal.by_key(actor.user_id, kind, key)

    def cancel(self, operation_id: str, *, reason: str | None = None) -> Operation:
        operation = self._journal.request_cancel(operation_id, reason)
        self._clock.wake(operation_id)
        return operation

    def _run(self, operation_id: str) -> None:
        """The one DBOS workflow: an operation by its id."""
        with self._clock.running(operation_id) as mine, structlog.contextvars.bound_contextvars(operation=operation_id):
            if mine:
                self._runner.run(operation_id, remember=_remember)

    def _enqueue(self, operation_id: str, kind: str, *, again: str = "") -> None:
        known = self._kinds.get(kind)
        queue = _queue(known) if known is not None and known.concurrency is not None else QUEUE

        def enqueue() -> None:
            with SetWorkflowID(operation_id + again):
                DBOS.enqueue_workflow(queue, self._workflow, operation_id)

        # In an empty context: an operation that a step starts is one of its own, not a part of the step.
        contextvars.Context().run(enqueue)

    def _sweep(self) -> None:
        """Take care of operations that are recorded and run nowhere: a crash came between journal and queue, or DBOS
        gave a workflow up. The journal knows which steps are done, so running one under another workflow id is safe."""
        while not self._clock.stopping.is_set():
            try:
                for operation_id in self._journal.unfinished():
                    if not self._clock.runs(operation_id):
                        self._adopt(operation_id)
            except Exception:
                log.exception("looking for lost operations failed")
            self._clock.stopping.wait(SWEEP_EVERY)

    def _adopt(self, operation_id: str) -> None:
        attempts = [operation_id, *(f"{operation_id}.{n}" for n in range(1, 100))]
        for number, workflow_id in enumerate(attempts):
            status = DBOS.get_workflow_status(workflow_id)
            if status is None:
                operation = self._journal.get(operation_id)
                age = (self._clock.now() - operation.created_at).total_seconds()
                if number or age > 2 * QUEUE_POLL:  # a younger one is just being started by `start()`
                    log.warning("an operation that nobody ran is taken up", operation_id=operation_id)
                    self._enqueue(operation_id, operation.kind, again=f".{number}" if number else "")
                return
            if status.status in ("PENDING", "ENQUEUED", "DELAYED"):
                return


def _remember(name: str, function: Callable[[], bool]) -> bool:
    return DBOS.run_step({"name": name}, function)


def _queue(kind: OperationKind) -> str:
    return f"{QUEUE}:{kind.name}"


def _prepare(database_url: str) -> None:
    """SQLite: the file is ours alone, and in WAL mode, so that readers do not wait for the writer."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


def _quiet() -> None:
    """DBOS tells of itself at length; only what goes wrong belongs in our log, through our handlers."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.ERROR)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # a handler keeps DBOS from adding its own to the console
    logger.propagate = True
