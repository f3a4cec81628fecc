"""Bring a plan up and keep it up: one loop over steps and services, in the main thread.

Everything is forked by the main thread, because the kernel kills a child with the THREAD that forked it
(launchers/lifeline.py); the readiness checks and our own steps, which wait for answers, run in threads of their own.
"""

from __future__ import annotations

import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from steelyard.embedded.files import make_directory, write_atomically
from steelyard.embedded.processes import kill_group, rss_mib, spawn
from steelyard.embedded.restarts import Restarts
from steelyard.embedded.status import State, UnitStatus
from steelyard.embedded.units import Plan, Service, Step
from steelyard.errors import SteelyardError

FAST_TICK = 0.05
SLOW_TICK = 0.25
READY_WITHIN = 300.0
"""A service that has not answered within this many seconds is started again."""
STOP_GRACE = 15.0
"""Seconds between SIGTERM and SIGKILL."""


@dataclass
class _Unit:
    """A step or service and how it is."""

    unit: Step | Service
    state: State = State.WAITING
    changed: float = field(default_factory=time.time)
    started: float | None = None
    seconds: float | None = None
    process: subprocess.Popen[bytes] | None = None
    restarts: Restarts = field(default_factory=Restarts)
    not_before: float = 0.0
    reason: str | None = None
    rss_mib: int | None = None
    """Resident memory when it was last measured."""

    def become(self, state: State, reason: str | None = None) -> None:
        if state != self.state:
            self.changed = time.time()
        self.state, self.reason = state, reason

    @property
    def settled(self) -> bool:
        return self.state in (State.UP, State.DONE)


class Engine:
    """Runs one plan. `directory` is where programs start and where `log/` and the steps' markers are kept."""

    def __init__(self, plan: Plan, directory: Path, *, describe_end: Callable[[Path, int], str]):
        self._directory = directory
        self._describe_end = describe_end
        units: tuple[Step | Service, ...] = (*plan.steps, *plan.services)
        self._units = {unit.name: _Unit(unit) for unit in units}
        self._events: queue.Queue[tuple[str, object, str | None]] = queue.Queue()
        self._markers = make_directory(directory / "db" / "steps")

    # -- what others see -----------------------------------------------------------------------------------------------

    @property
    def all_up(self) -> bool:
        """Whether every step is done and every service is up."""
        return all(unit.settled for unit in self._units.values())

    @property
    def failed_step(self) -> UnitStatus | None:
        """The step that could not be done, if there is one."""
        return next((one for one in self.report() if one.state is State.FAILED), None)

    def measure(self) -> None:
        """Take everybody's memory (some milliseconds)."""
        for unit in self._units.values():
            unit.rss_mib = rss_mib(unit.process.pid) if unit.process is not None else None

    def report(self) -> tuple[UnitStatus, ...]:
        """How every step and service is."""
        return tuple(self._report(unit) for unit in self._units.values())

    def _report(self, unit: _Unit) -> UnitStatus:
        definition = unit.unit
        pid = unit.process.pid if unit.process is not None else None
        return UnitStatus(
            name=definition.name,
            title=definition.title if isinstance(definition, Step) else definition.name,
            kind="step" if isinstance(definition, Step) else "service",
            state=unit.state,
            seconds=unit.seconds,
            pid=pid,
            restarts=unit.restarts.total,
            since=datetime.fromtimestamp(unit.changed, UTC).isoformat(timespec="seconds"),
            port=definition.port if isinstance(definition, Service) else None,
            rss_mib=unit.rss_mib if pid is not None else None,
            reason=unit.reason,
            log=str(self._log(definition.name)),
        )

    def _log(self, name: str) -> Path:
        return self._directory / "log" / f"{name}.log"

    # -- the loop ------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at everything once: collect what has ended, start what can start. Then waits a moment for news."""
        for unit in self._units.values():
            self._reap(unit)
        for unit in self._units.values():
            if unit.state in (State.WAITING, State.RESTARTING, State.FAILING) and self._can_start(unit):
                self._start(unit)
        try:
            self._note(*self._events.get(timeout=SLOW_TICK if self.all_up else FAST_TICK))
            while True:
                self._note(*self._events.get_nowait())
        except queue.Empty:
            return

    def _can_start(self, unit: _Unit) -> bool:
        if time.monotonic() < unit.not_before:
            return False
        return all(self._units[name].settled for name in unit.unit.needs)

    def _start(self, unit: _Unit) -> None:
        definition = unit.unit
        unit.started, unit.seconds = time.monotonic(), None
        if isinstance(definition, Step):
            if self._is_done(definition):
                unit.become(State.DONE)
                return
            if not self._marker(definition).exists():
                for path in definition.discards:
                    path.unlink(missing_ok=True)
        unit.become(State.STARTING)
        if isinstance(definition, Step) and definition.call is not None:
            threading.Thread(target=self._call, args=(definition,), name=definition.name, daemon=True).start()
            return
        try:
            unit.process = spawn(
                definition.arguments,
                definition.environment,
                self._log(definition.name),
                self._directory,
                fresh_log=isinstance(definition, Step),
            )
        except SteelyardError as error:
            self._died(unit, error.detail)
            return
        if isinstance(definition, Service):
            arguments = (definition, unit.process)
            threading.Thread(target=self._watch, args=arguments, name=definition.name, daemon=True).start()

    def _call(self, step: Step) -> None:
        """Do a step of ours (in a thread)."""
        assert step.call is not None
        try:
            step.call()
        except SteelyardError as error:
            self._events.put((step.name, None, error.detail))
        except Exception as error:  # a bug of ours must not look like a step that never ends
            self._events.put((step.name, None, f"{type(error).__name__}: {error}"))
        else:
            self._events.put((step.name, None, None))

    def _watch(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        """Ask a service (in a thread) until it is ready, or has ended, or has taken too long."""
        deadline = time.monotonic() + READY_WITHIN
        while process.returncode is None:
            missing = service.check()
            if missing is None:
                self._events.put((service.name, process, None))
                return
            unit = self._units[service.name]
            if time.monotonic() > deadline:
                self._events.put((service.name, process, f"not ready after {READY_WITHIN:.0f} s: {missing}"))
                return
            if unit.state is State.STARTING:
                unit.reason = missing
            waited = time.monotonic() - (deadline - READY_WITHIN)
            time.sleep(min(1.0, max(0.1, waited / 20)))  # a service that answers with errors is asked less and less

    def _note(self, name: str, process: object, problem: str | None) -> None:
        """News from a thread; stale when the process it speaks of is not the present one."""
        unit = self._units[name]
        if unit.process is not process or unit.state is not State.STARTING:
            return
        if isinstance(unit.unit, Step):
            self._finish(unit, unit.unit, problem)
        elif problem is None:
            unit.seconds = time.monotonic() - (unit.started or 0.0)
            unit.become(State.UP)
        else:
            unit.reason = problem
            if unit.process is not None:
                kill_group(unit.process.pid, signal.SIGKILL)

    def _reap(self, unit: _Unit) -> None:
        process = unit.process
        if process is None or process.poll() is None:
            return
        unit.process = None
        kill_group(process.pid, signal.SIGKILL)  # what it may have forked goes with it
        code = process.returncode
        if isinstance(unit.unit, Step):
            self._finish(unit, unit.unit, None if code == 0 else self._why(unit, code))
        else:
            self._died(unit, self._why(unit, code))

    def _why(self, unit: _Unit, code: int) -> str:
        if unit.reason is not None and unit.reason.startswith("not ready"):
            return unit.reason
        return self._describe_end(self._log(unit.unit.name), code)

    def _finish(self, unit: _Unit, step: Step, problem: str | None) -> None:
        unit.seconds = time.monotonic() - (unit.started or 0.0)
        if problem is None:
            write_atomically(self._marker(step), step.inputs)
            unit.become(State.DONE)
        else:
            unit.become(State.FAILED, problem)

    def _died(self, unit: _Unit, why: str) -> None:
        unit.restarts = unit.restarts.after_death(time.monotonic() - (unit.started or 0.0))
        unit.not_before = time.monotonic() + unit.restarts.delay_seconds
        unit.become(State.FAILING if unit.restarts.is_failing else State.RESTARTING, why)

    # -- markers of steps ----------------------------------------------------------------------------------------------

    def _marker(self, step: Step) -> Path:
        return self._markers / step.name

    def _is_done(self, step: Step) -> bool:
        marker = self._marker(step)
        return marker.is_file() and marker.read_text(encoding="utf-8") == step.inputs

    # -- the end -------------------------------------------------------------------------------------------------------

    def stop(self, on_change: Callable[[], None]) -> None:
        """Stop everything, wave by wave, waiting for each to end; kills what does not obey. Calls `on_change` often."""
        waves: dict[int, list[_Unit]] = {}
        for unit in self._units.values():
            if unit.process is not None:
                wave = unit.unit.stop_wave if isinstance(unit.unit, Service) else 0
                waves.setdefault(wave, []).append(unit)
        for _, units in sorted(waves.items()):
            self._stop_wave(units, on_change)

    def _stop_wave(self, units: list[_Unit], on_change: Callable[[], None]) -> None:
        for unit in units:
            unit.become(State.STOPPING)
            if unit.process is not None:
                unit.process.terminate()
        deadline = time.monotonic() + STOP_GRACE
        left = list(units)
        on_change()
        while left:
            for unit in list(left):
                process = unit.process
                if process is None or process.poll() is not None:
                    if process is not None:
                        kill_group(process.pid, signal.SIGKILL)
                    unit.process = None
                    unit.become(State.STOPPED)
                    left.remove(unit)
                    on_change()
                elif time.monotonic() > deadline:
                    kill_group(process.pid, signal.SIGKILL)
            time.sleep(FAST_TICK)
