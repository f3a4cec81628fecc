"""The engine of reconcilers: a thread for each, on its period and on signal, in one server at a time.

A thread of its own, so that one that hangs stops no other. Which server runs one is a row in the database, taken for
one run; the row of a server that is dead (`operations.leases`) is of no account. So two servers on one database share
the reconcilers, and when one dies the other goes on within a lease and a period.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from steelyard.errors import Conflict, NotFound, SteelyardError
from steelyard.operations.journal import plain_json
from steelyard.operations.leases import ServerLease
from steelyard.operations.reconciling import Reconciler, ReconcilerStatus, Report

log = structlog.get_logger("steelyard.reconcilers")

JITTER = 0.25
"""Of the period, at most, by which a run comes earlier."""
BUSY = 1.0
"""Seconds before a signalled reconciler that runs elsewhere is tried again."""
RUN_NOW = 300.0
"""Seconds that `run_now` waits for a run that is under way."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is written down of a reconciler."""

    running_since: datetime | None = None
    last_started_at: datetime | None = None
    last_ended_at: datetime | None = None
    last_succeeded_at: datetime | None = None
    last_report: Mapping[str, Any] | None = None
    last_error: str | None = None
    runs: int = 0
    failures: int = 0
    replica: str | None = None


class ReconcilerRecords(Protocol):
    """Where runs are written down. Implementations: `store.reconcilers` (database), `operations.fake` (memory)."""

    def begin(self, name: str, boot: str, replica: str, at: datetime, *, not_after: datetime | None) -> bool:
        """Take the reconciler for one run.

        False while a living server runs it, or when the last run began after `not_after`: somebody else's was enough.
        A run that began after `at` was written by a clock that is wrong, and is not enough.
        """

    def end(self, name: str, boot: str, at: datetime, *, report: Mapping[str, Any] | None, error: str | None) -> bool:
        """The run has ended, with a report or an error. False, and nothing is written, when it was taken over."""

    def all(self) -> dict[str, Run]:
        """By name. `running_since` only where a living server runs it."""


@dataclass
class _Worker:
    """One reconciler in this server."""

    reconciler: Reconciler
    signalled: threading.Event = field(default_factory=threading.Event)
    running: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None


class PeriodicReconcilers:
    """`Reconcilers` by threads. Before its launch, and after its close, a signal does nothing."""

    def __init__(
        self,
        records: ReconcilerRecords,
        lease: ServerLease,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._records = records
        self._lease = lease
        self._now = now
        self._jitter = jitter
        self._workers: dict[str, _Worker] = {}
        self._stopping = threading.Event()
        self._launched = False

    def register(self, *reconcilers: Reconciler) -> None:
        for each in reconcilers:
            if each.name in self._workers:
                raise ValueError(f"reconciler {each.name} is registered twice")
            if self._launched:
                raise ValueError(f"reconciler {each.name} is registered after the launch")
            self._workers[each.name] = _Worker(each)

    def launch(self) -> None:
        """Begin to run them. The lease must be held."""
        self._launched = True
        for name, worker in self._workers.items():
            worker.thread = threading.Thread(target=self._work, args=(worker,), name=f"reconciler-{name}", daemon=True)
            worker.thread.start()

    def close(self, *, grace: float = 5.0) -> bool:
        """Begin no more runs and wait for those under way. True if all have ended within `grace` seconds."""
        self._stopping.set()
        for worker in self._workers.values():
            worker.signalled.set()
        end = self._now().timestamp() + grace
        threads = [worker.thread for worker in self._workers.values() if worker.thread is not None]
        for thread in threads:
            thread.join(timeout=max(0.0, end - self._now().timestamp()))
        left = [thread.name for thread in threads if thread.is_alive()]
        if left:
            log.warning("reconcilers were cut short", left=left)
        return not left

    def signal(self, name: str) -> None:
        worker = self._workers.get(name)
        if worker is None:
            log.error("there is no such reconciler", name=name)
        else:
            worker.signalled.set()

    def run_now(self, name: str) -> ReconcilerStatus:
        worker = self._worker(name)
        asked = self._now()
        end = asked.timestamp() + RUN_NOW
        while not self._run(worker, not_after=None):
            if self._now().timestamp() > end:
                raise Conflict(
                    f"Reconciler {name} has been running for longer than {RUN_NOW:g} s.",
                    code="reconciler_running",
                    next=f"steelyard reconciler show {name}",
                )
            self._stopping.wait(BUSY / 4)
        return self.get(name)

    def get(self, name: str) -> ReconcilerStatus:
        """Raises `NotFound`."""
        return _status(self._worker(name).reconciler, self._records.all().get(name, Run()))

    def all(self) -> list[ReconcilerStatus]:
        known = self._records.all()
        return [_status(worker.reconciler, known.get(name, Run())) for name, worker in sorted(self._workers.items())]

    def _worker(self, name: str) -> _Worker:
        try:
            return self._workers[name]
        except KeyError:
            raise NotFound(f"There is no reconciler {name[:64]}.", next="steelyard reconciler list") from None

    def _work(self, worker: _Worker) -> None:
        """The thread: wait for the period or a signal, run, and again."""
        period = worker.reconciler.period
        wait = period * JITTER * self._jitter()  # the first runs of a start do not come all at once
        while True:
            signalled = worker.signalled.wait(wait)
            if self._stopping.is_set():
                return
            worker.signalled.clear()
            wait = period * (1 - JITTER * self._jitter())
            try:
                recent = None if signalled else _earlier(self._now(), period * (1 - JITTER) * 0.9)
                if not self._run(worker, not_after=recent) and signalled:
                    worker.signalled.set()
                    self._stopping.wait(BUSY)
            except Exception as error:
                internal = error.internal if isinstance(error, SteelyardError) else type(error).__name__
                log.error("reconciler cannot be recorded", name=worker.reconciler.name, internal=internal)
                if signalled:
                    worker.signalled.set()
                    self._stopping.wait(BUSY)

    def _run(self, worker: _Worker, *, not_after: datetime | None) -> bool:
        """One run in this thread, unless it runs already, here or elsewhere, or did so a moment ago."""
        name = worker.reconciler.name
        if not worker.running.acquire(blocking=False):
            return False
        try:
            boot = self._lease.boot
            if not self._records.begin(name, boot, self._lease.replica, self._now(), not_after=not_after):
                return False
            report, error = _outcome(worker.reconciler)
            if not self._records.end(name, boot, self._now(), report=report, error=error):
                log.warning("the run of a reconciler was taken over by another server", name=name)
            return True
        finally:
            worker.running.release()


def _outcome(reconciler: Reconciler) -> tuple[Mapping[str, Any] | None, str | None]:
    """Call it. Returns the report, or the words of its failure."""
    try:
        return plain_json(asdict(reconciler.run()), "report"), None
    except SteelyardError as error:
        log.warning("reconciler failed", name=reconciler.name, detail=error.detail, internal=error.internal)
        return None, error.detail
    except Exception as error:
        log.exception("reconciler broke", name=reconciler.name)
        return None, f"Internal error ({type(error).__name__}); the server's log has the details."


def _earlier(now: datetime, seconds: float) -> datetime:
    return datetime.fromtimestamp(now.timestamp() - seconds, UTC)


def _status(reconciler: Reconciler, run: Run) -> ReconcilerStatus:
    return ReconcilerStatus(
        name=reconciler.name,
        about=reconciler.about,
        period=reconciler.period,
        running_since=run.running_since,
        last_started_at=run.last_started_at,
        last_ended_at=run.last_ended_at,
        last_succeeded_at=run.last_succeeded_at,
        last_report=Report(**run.last_report) if run.last_report is not None else None,
        last_error=run.last_error,
        runs=run.runs,
        failures=run.failures,
        replica=run.replica,
    )
