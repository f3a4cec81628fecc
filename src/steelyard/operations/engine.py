"""The durable engine: our operations on DBOS Transact (https://docs.dbos.dev).

What DBOS does for us: its queue hands an operation to one server, with a limit on how many run at a time; it remembers
which steps are done, and which server had taken what from the queue. What it is given is the operation's id and the
step's answer (go on or not), nothing else. What people see, and what the steps exchange, is in our journal, written
before DBOS remembers; so a crash between the two repeats nothing.

Who may act is decided by the journal: a server claims an operation before it runs it, and what it writes is refused
once another has claimed it. DBOS starts nothing of a dead executor's by itself; every server looks every few seconds
for operations that no living server (`operations.leases`) sees to, and brings them back to the queue under the next
workflow id. So after a crash one and the same way leads on: for the same server started again, and for another one.

A waiting step is a thread that sleeps; DBOS is never asked to poll. On a stop the sleeping steps leave by `Interrupted`
and the operations stay as they are, to be resumed.
"""

from __future__ import annotations

import contextvars
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from dbos import DBOS, SetWorkflowID
from sqlalchemy.engine import make_url

from steelyard.errors import SteelyardError, Unavailable
from steelyard.nouns import Actor
from steelyard.operations.clock import RealClock
from steelyard.operations.journal import Journal, new_operation
from steelyard.operations.leases import ServerLease, Superseded
from steelyard.operations.model import Operation, OperationKind, Phase
from steelyard.operations.runner import Interrupted, MadeWay, PutAside, Runner

log = structlog.get_logger("steelyard.operations")

APPLICATION = "steelyard"
VERSION = "operations-1"
"""DBOS resumes only what its own version started. Ours changes when `Runner.run` would call its steps in another order,
never with a release: which steps an operation has is in the journal."""
ACTIVE = ("ENQUEUED", "DELAYED", "PENDING")
"""DBOS's words for workflows that are in a queue, or were taken from there and have not ended."""
CLAIM_PAUSE = 5.0
QUEUE = "operations"
QUEUE_POLL = 0.25
"""Seconds between two looks of DBOS into the queue. Kinds with a limit of their own are long; four times that does."""
DEFAULT_CONCURRENCY = 50
DEFAULT_CONNECTIONS = 8
"""DBOS's own default is 20: it works in short transactions, and who finds none free waits."""
ASIDE = f"{QUEUE}:aside"
"""The queue of operations that made way for others of their kind (`Step.aside`)."""
ASIDE_CONCURRENCY = 200
SWEEP_EVERY = 5.0
"""Seconds between two looks for operations that nobody runs; a third of the servers' lease where that is less."""


class DurableOperations:
    """`Operations` that survive the server. One per process (DBOS allows no more)."""

    def __init__(
        self,
        journal: Journal,
        lease: ServerLease,
        *,
        database_url: str,
        concurrency: int = DEFAULT_CONCURRENCY,
        connections: int = DEFAULT_CONNECTIONS,
    ) -> None:
        """`database_url`: DBOS's own database (SQLite file, or PostgreSQL where it takes the schema `dbos`).

        `connections`: the size of DBOS's pool; it keeps one more, on which PostgreSQL tells it what is new.
        `lease` is acquired at the launch and released at the close, unless it is held before.
        """
        self._journal = journal
        self._database_url = database_url
        self.lease = lease
        self._concurrency = concurrency
        self._connections = connections
        self._kinds: dict[str, OperationKind] = {}
        self._clock = RealClock()
        self._runner = Runner(journal, self._kinds, self._clock, guard=self._guard)
        self._launched = False
        self._sweeper: threading.Thread | None = None
        self._workflow: Callable[[str], None] = self._run
        self._workflow_aside: Callable[[str], None] = self._run

    def register(self, *kinds: OperationKind) -> None:
        for kind in kinds:
            if kind.name in self._kinds:
                raise ValueError(f"operation kind {kind.name} is registered twice")
            if self._launched:
                raise ValueError(f"operation kind {kind.name} is registered after the launch")
            self._kinds[kind.name] = kind

    def launch(self) -> None:
        """Begin to run operations; those that a crash or stop interrupted go on.

        Raises `Unavailable`, or `Conflict` (`replica_in_use`) when another server of this name is alive.
        """
        _quiet()
        self.lease.on_lost(self._clock.stop)
        self.lease.acquire()
        try:
            _prepare(self._database_url)
            DBOS(
                config={
                    "name": APPLICATION,
                    "system_database_url": self._database_url,
                    "application_version": VERSION,
                    "executor_id": self.lease.boot,
                    "sys_db_pool_size": None if self._database_url.startswith("sqlite") else self._connections,
                    "log_level": "ERROR",
                    "enable_otlp": False,
                    "max_executor_threads": self._concurrency
                    + 8
                    + ASIDE_CONCURRENCY
                    + sum(each.concurrency or 0 for each in self._kinds.values()),
                    "scheduler_polling_interval_sec": 3600.0,
                    "notification_listener_polling_interval_sec": 1.0,
                }
            )

            @DBOS.workflow(name="operation", max_recovery_attempts=None)
            def operation(operation_id: str) -> None:
                self._run(operation_id)

            @DBOS.workflow(name="operation aside", max_recovery_attempts=None)
            def operation_aside(operation_id: str) -> None:
                self._run(operation_id, aside=True)

            self._workflow, self._workflow_aside = operation, operation_aside
            DBOS.launch()
            DBOS.register_queue(
                QUEUE,
                worker_concurrency=self._concurrency,
                polling_interval_sec=QUEUE_POLL,
                on_conflict="always_update",
            )
            limits = {_queue(kind): kind.concurrency for kind in self._kinds.values() if kind.concurrency is not None}
            for name, limit in {**limits, ASIDE: ASIDE_CONCURRENCY}.items():
                DBOS.register_queue(
                    name,
                    worker_concurrency=limit,
                    polling_interval_sec=QUEUE_POLL * 4,
                    on_conflict="always_update",
                )
        except SteelyardError:
            self.lease.release()
            raise
        except Exception as error:
            DBOS.destroy(destroy_registry=True)
            self.lease.release()
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
        self.lease.release()
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
        if not self._launched or self._clock.stopping.is_set():
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
        parent_id: str | None = None,
        paused: bool | None = None,
        limit: int = 100,
        marker: str | None = None,
    ) -> list[Operation]:
        return self._journal.all(
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
        return self._journal.by_key(actor.user_id, kind, key)

    def found(self, ids: Sequence[str]) -> list[Operation]:
        return self._journal.found(ids)

    def cancel(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        operation = self._journal.request_cancel(operation_id, reason, by)
        self._go_on(operation)
        return operation

    def pause(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        operation = self._journal.request_pause(operation_id, reason, by)
        self._clock.wake(operation_id)
        return operation

    def resume(self, operation_id: str, *, reason: str | None = None, by: str | None = None) -> Operation:
        operation = self._journal.request_resume(operation_id, reason, by)
        self._go_on(operation)
        return operation

    def _go_on(self, operation: Operation) -> None:
        """Wake it if it runs here; bring it back to the queue if it runs nowhere."""
        self._clock.wake(operation.id)
        if operation.owner is None and self._launched:
            try:
                self._adopt(operation.id)
            except Exception:
                log.exception("operation not enqueued yet", operation_id=operation.id)  # the sweep does it

    def _guard(self) -> None:
        try:
            self.lease.ensure()
        except Superseded:
            raise Interrupted from None

    def _run(self, operation_id: str, *, aside: bool = False) -> None:
        """The DBOS workflow: an operation by its id. `aside`: in the queue where it takes no place of its kind."""
        made_way = False
        with self._clock.running(operation_id) as mine, structlog.contextvars.bound_contextvars(operation=operation_id):
            if mine and self._claim(operation_id):
                try:
                    self._runner.run(operation_id, self.lease.boot, remember=_remember, makes_way=not aside)
                except PutAside:
                    log.info("operation put aside")
                except MadeWay:
                    made_way = True
        if made_way:
            self._make_way(operation_id)

    def _make_way(self, operation_id: str) -> None:
        """The rest goes to the other queue. After a crash before that the sweep brings it back, and here again."""

        def enqueue() -> None:
            runs = DBOS.list_workflows(workflow_id_prefix=operation_id, load_input=False, load_output=False)
            with SetWorkflowID(f"{operation_id}.{len(runs)}"):
                DBOS.enqueue_workflow(ASIDE, self._workflow_aside, operation_id)

        contextvars.Context().run(enqueue)

    def _claim(self, operation_id: str) -> bool:
        while True:
            try:
                live = self.lease.servers.live()
                return self._journal.claim(operation_id, self.lease.boot, self.lease.replica, live)
            except Unavailable as error:
                log.error("journal unavailable", internal=error.internal)
                self._clock.wait("", CLAIM_PAUSE)

    def _enqueue(self, operation_id: str, kind: str, *, again: str = "") -> None:
        known = self._kinds.get(kind)
        queue = _queue(known) if known is not None and known.concurrency is not None else QUEUE

        def enqueue() -> None:
            with SetWorkflowID(operation_id + again):
                DBOS.enqueue_workflow(queue, self._workflow, operation_id)

        # In an empty context: an operation that a step starts is one of its own, not a part of the step.
        contextvars.Context().run(enqueue)

    def _sweep(self) -> None:
        """Take care of operations that are recorded and run nowhere: a crash came between journal and queue, or their
        server is dead, or DBOS gave a workflow up. The journal knows which steps are done, so running one under
        another workflow id is safe."""
        every = min(SWEEP_EVERY, self.lease.seconds / 3)
        while True:
            try:
                lost = [
                    operation_id
                    for operation_id in self._journal.claimable(self.lease.boot, self.lease.servers.live())
                    if not self._clock.runs(operation_id)
                ]
                seen_to = self._seen_to() if lost else frozenset()
                for operation_id in lost:
                    if operation_id not in seen_to:
                        self._adopt(operation_id)
            except Exception:
                if not self._clock.stopping.is_set():
                    log.exception("looking for lost operations failed")
            if self._clock.stopping.wait(every):
                return

    def _seen_to(self) -> frozenset[str]:
        """All operations that are in a queue, or were taken from there by a server that is alive; in one question."""
        live = self.lease.servers.live()
        active = DBOS.list_workflows(status=list(ACTIVE), load_input=False, load_output=False)
        return frozenset(
            run.workflow_id.partition(".")[0] for run in active if run.status != "PENDING" or run.executor_id in live
        )

    def _adopt(self, operation_id: str) -> None:
        """Bring it to the queue, unless it is there, or just taken from there by a server that is alive."""
        # In an empty context: the request to go on may come from within a step.
        runs = contextvars.Context().run(
            lambda: DBOS.list_workflows(workflow_id_prefix=operation_id, load_input=False, load_output=False)
        )
        live = self.lease.servers.live()
        for run in runs:
            if run.status in ACTIVE and (run.status != "PENDING" or run.executor_id in live):
                return
        for run in runs:
            if run.status == "PENDING":
                # So that its own server, should it wake up, is told by DBOS too.
                contextvars.Context().run(DBOS.cancel_workflow, run.workflow_id)
        operation = self._journal.get(operation_id)
        age = (self._clock.now() - operation.created_at).total_seconds()
        if operation.phase.ended or (not runs and age < 2 * QUEUE_POLL):  # it is just being started by `start()`
            return
        log.warning("an operation that nobody ran is taken up", operation_id=operation_id)
        self._enqueue(operation_id, operation.kind, again=f".{len(runs)}" if runs else "")


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
