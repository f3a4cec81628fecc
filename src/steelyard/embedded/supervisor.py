"""The daemon that runs one embedded cloud: `python -m steelyard.embedded.supervisor --home HOME --openstack ENV`.

Runbook:
1. take the home's lock (a second supervisor of the same home ends at once), close everything to others (umask 077);
2. end what an earlier supervisor of this home may have left (a service outlives a killed supervisor for a moment);
3. fill empty databases from the template, if there is one;
4. run the plan: steps once, services for ever, each as soon as what it needs is there (engine.py);
5. when all is up for the first time, keep a template;
6. write run/status.json whenever something changes;
7. on SIGTERM or SIGINT stop everything in order, waiting, and say `down`.

A step that fails ends the start: everything is stopped and the status says why and what to do next. A service that
dies is started again for as long as the supervisor runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from steelyard.embedded import assembly, home, processes, services, template
from steelyard.embedded.credentials import redacted
from steelyard.embedded.engine import Engine
from steelyard.embedded.home import Home
from steelyard.embedded.status import Phase, Status
from steelyard.embedded.units import Plan
from steelyard.errors import SteelyardError

WRITE_EVERY = 5.0
"""Seconds between two writings of the status when nothing changes (memory is measured then)."""
TAIL_LINES = 15
NEARLY_FULL_MIB = 16
"""With less room than this, a program that ended probably ended for want of it."""

Planner = Callable[[Home], Plan]


def full_plan(of: Home) -> Plan:
    """The plan of a complete cloud."""
    return services.plan(of, assembly.describe(of))


class Supervisor:
    """One home's supervisor, from start to end."""

    def __init__(self, of: Home, planner: Planner):
        self._home = of
        self._planner = planner
        self._stopping = threading.Event()
        self._phase = Phase.STARTING
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._from_template = False
        self._engine: Engine | None = None
        self._error: SteelyardError | None = None
        self._written = 0.0
        self._last: Status | None = None

    def run(self) -> int:
        """Until told to stop. Gives the exit code: 0 after an ordered stop, 1 when the start failed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _signal, _frame: self._stopping.set())
        self._write()
        try:
            processes.end_all(processes.carrying(self._home.root), grace_seconds=5.0)
            self._from_template = template.restore(self._home)
            engine = self._engine = Engine(self._planner(self._home), self._home.root, describe_end=self._describe_end)
            self._loop(engine)
        except SteelyardError as error:
            self._error = error
        if self._engine is not None:
            self._phase = Phase.FAILED if self._error is not None else Phase.STOPPING
            self._engine.stop(self._write)
        processes.end_all(processes.carrying(self._home.root), grace_seconds=2.0)
        self._phase = Phase.FAILED if self._error is not None else Phase.DOWN
        self._write()
        return 1 if self._error is not None else 0

    def _loop(self, engine: Engine) -> None:
        while not self._stopping.is_set():
            engine.tick()
            if (failed := engine.failed_step) is not None:
                raise SteelyardError(
                    f"{failed.title} failed. {failed.reason}",
                    code="start_failed",
                    next=f"look at {failed.log}, then: steelyard up  (continues where it stopped)",
                )
            if engine.all_up:
                if self._phase is Phase.STARTING:
                    template.snapshot(self._home)
                    engine.measure()
                self._phase = Phase.UP
            elif self._phase in (Phase.UP, Phase.DEGRADED):
                self._phase = Phase.DEGRADED
            self._write()

    def _write(self) -> None:
        """Write the status if it has changed, or if the last one is old."""
        due = time.monotonic() - self._written > WRITE_EVERY
        if due and self._engine is not None:
            self._engine.measure()
        units = self._engine.report() if self._engine is not None else ()
        status = Status(
            home=str(self._home.root),
            supervisor=processes.identity(os.getpid()) or processes.Identity(os.getpid(), 0),
            phase=self._phase,
            started=self._started,
            units=units,
            error=self._error.detail if self._error is not None else None,
            next=self._error.next if self._error is not None else None,
            from_template=self._from_template,
        )
        if status == self._last and not due:
            return
        self._last, self._written = status, time.monotonic() if due else self._written
        try:
            status.write(self._home.path("run", "status.json"))
        except SteelyardError as error:  # a full disk must not end the services
            print(error.detail, file=sys.stderr)

    def _describe_end(self, log: Path, code: int) -> str:
        """How a program ended and what it said last, without secrets."""
        how = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        free = shutil.disk_usage(self._home.root).free >> 20
        full = f"The disk that holds {self._home.root} is full ({free} MiB free). " if free < NEARLY_FULL_MIB else ""
        return f"{full}It {how}; the last lines of {log}:\n{tail(self._home, log, TAIL_LINES)}"


def tail(of: Home, log: Path, lines: int) -> str:
    """The last lines of a log with the home's secrets struck out; at most 64 KiB are looked at."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - (64 << 10)))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError as error:
        return f"(cannot be read: {error.strerror})"
    return redacted("\n".join(text.splitlines()[-lines:]), of.credentials)


def main(arguments: Sequence[str] | None = None, *, planner: Planner = full_plan) -> int:
    """Command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="steelyard.embedded.supervisor", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--openstack", type=Path, required=True)
    options = parser.parse_args(arguments)
    os.umask(0o077)
    root: Path = options.home
    with home.locked(root, "supervisor") as mine:
        if not mine:
            print("another supervisor runs this home", file=sys.stderr)
            return 1
        return Supervisor(home.load(root, options.openstack), planner).run()


if __name__ == "__main__":
    sys.exit(main())
