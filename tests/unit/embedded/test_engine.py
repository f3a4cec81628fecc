"""The supervisor's engine with real, tiny child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steelyard.embedded import processes, restarts
from steelyard.embedded.engine import Engine
from steelyard.embedded.processes import MARK, Identity
from steelyard.embedded.status import State, UnitStatus
from steelyard.embedded.units import Plan, Service, Step

PATIENT = 20.0


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", text)


FOREVER = program("import time; time.sleep(1000)")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "log").mkdir()
    yield tmp_path
    processes.end_all(processes.carrying(tmp_path), grace_seconds=0.1)


@pytest.fixture
def engine_of(home: Path) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(*units: Step | Service) -> Engine:
        steps = tuple(unit for unit in units if isinstance(unit, Step))
        services = tuple(unit for unit in units if isinstance(unit, Service))
        made.append(Engine(Plan(steps, services), home, describe_end=lambda log, code: f"{code}: {log.read_text()}"))
        return made[-1]

    yield make
    for engine in made:
        engine.stop(lambda: None)


def until(engine: Engine, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not reached():
        assert time.monotonic() < deadline, engine.report()
        engine.tick()


def of(engine: Engine, name: str) -> UnitStatus:
    return next(unit for unit in engine.report() if unit.name == name)


def pid_of(engine: Engine, name: str) -> int:
    pid = of(engine, name).pid
    assert pid is not None
    return pid


def service(name: str, home: Path, arguments: tuple[str, ...] = FOREVER, **more: object) -> Service:
    return Service(name, arguments, environment={MARK: str(home)}, **more)  # type: ignore[arg-type]


def test_units_start_when_what_they_need_is_there(home: Path, engine_of: Callable[..., Engine]) -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    engine = engine_of(
        Step("last", "last", call=noting("last"), needs=("api",)),
        Step("first", "first", call=noting("first")),
        service("api", home, needs=("first",), check=lambda: order.append("check")),
    )
    until(engine, lambda: engine.all_up)
    assert order == ["first", "check", "last"]


def test_a_service_is_up_only_when_its_check_is_content(home: Path, engine_of: Callable[..., Engine]) -> None:
    answers = ["not yet", "still not", None]
    engine = engine_of(service("api", home, check=lambda: answers.pop(0)))
    until(engine, lambda: of(engine, "api").reason == "still not" or engine.all_up)
    until(engine, lambda: engine.all_up)
    assert answers == []
    assert of(engine, "api").reason is None


def test_a_step_is_done_once_and_again_when_its_inputs_change(home: Path, engine_of: Callable[..., Engine]) -> None:
    done: list[str] = []
    for inputs in ("a", "a", "b"):
        engine = engine_of(Step("seed", "seed", call=lambda value=inputs: done.append(value), inputs=inputs))  # type: ignore[misc]
        until(engine, lambda engine=engine: engine.all_up)  # type: ignore[misc]
    assert done == ["a", "b"]


def test_what_an_interrupted_step_left_is_removed_first(home: Path, engine_of: Callable[..., Engine]) -> None:
    half_made = home / "half.sqlite"
    half_made.write_text("half")
    step = Step("make", "make", program(f"open({str(half_made)!r}, 'x').write('whole')"), discards=(half_made,))
    engine = engine_of(step)
    until(engine, lambda: engine.all_up)
    assert half_made.read_text() == "whole"
    again = engine_of(step)
    until(again, lambda: again.all_up)
    assert half_made.read_text() == "whole"


def test_a_failed_step_says_why_and_is_tried_again_next_time(home: Path, engine_of: Callable[..., Engine]) -> None:
    failing = Step("make", "make", program("raise SystemExit('no space left')"))
    engine = engine_of(failing, service("api", home, needs=("make",)))
    until(engine, lambda: engine.failed_step is not None)
    failed = engine.failed_step
    assert failed is not None
    assert "no space left" in (failed.reason or "")
    assert of(engine, "api").state is State.WAITING
    mended = engine_of(Step("make", "make", program("pass")))
    until(mended, lambda: mended.all_up)


def test_a_step_of_ours_that_raises_fails_and_does_not_hang(engine_of: Callable[..., Engine]) -> None:
    def broken() -> None:
        raise KeyError("networks")

    engine = engine_of(Step("seed", "seed", call=broken))
    until(engine, lambda: engine.failed_step is not None)
    assert "KeyError" in (of(engine, "seed").reason or "")


def test_a_killed_service_comes_back(home: Path, engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(service("api", home))
    until(engine, lambda: engine.all_up)
    first = pid_of(engine, "api")
    os.kill(first, signal.SIGKILL)
    until(engine, lambda: of(engine, "api").restarts == 1 and engine.all_up)
    assert pid_of(engine, "api") != first


def test_a_service_that_dies_again_and_again_is_said_to_fail(
    home: Path, engine_of: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "FIRST_DELAY", 0.01)
    engine = engine_of(
        service("api", home, program("raise SystemExit('bad configuration')"), check=lambda: "nothing listens")
    )
    until(engine, lambda: of(engine, "api").state is State.FAILING)
    status = of(engine, "api")
    assert status.restarts == restarts.PATIENCE
    assert "bad configuration" in (status.reason or "")
    engine.tick()
    assert of(engine, "api").pid is None  # it waits before the next attempt


def test_what_a_dead_service_forked_goes_with_it(home: Path, engine_of: Callable[..., Engine]) -> None:
    forking = program("import os, time; os.fork(); time.sleep(1000)")
    engine = engine_of(service("api", home, forking))
    until(engine, lambda: engine.all_up and len(processes.carrying(home)) == 2)
    os.kill(pid_of(engine, "api"), signal.SIGKILL)
    until(engine, lambda: of(engine, "api").restarts == 1 and engine.all_up)
    until(engine, lambda: len(processes.carrying(home)) == 2)


def test_a_service_that_never_becomes_ready_is_started_again(
    home: Path, engine_of: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steelyard.embedded.engine.READY_WITHIN", 0.3)
    engine = engine_of(service("api", home, check=lambda: "no answer"))
    until(engine, lambda: of(engine, "api").restarts == 1)
    assert "not ready after" in (of(engine, "api").reason or "")
    assert "no answer" in (of(engine, "api").reason or "")


def test_services_stop_in_waves_each_waited_for(home: Path, engine_of: Callable[..., Engine]) -> None:
    log = home / "order"
    slow = (
        "import signal, sys, time\n"
        f"def stop(*_): time.sleep(0.3); open({str(log)!r}, 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "open(sys.argv[2], 'w').close()\n"
        "while True: time.sleep(0.05)"
    )

    def stopping(name: str, wave: int) -> Service:
        ready = home / f"{name}.ready"
        return service(
            name, home, (*program(slow), name, str(ready)), stop_wave=wave,
            check=lambda: None if ready.exists() else "not there",
        )  # fmt: skip

    engine = engine_of(stopping("c", 3), stopping("a", 1), stopping("b", 2))
    until(engine, lambda: engine.all_up)
    states: list[State] = []
    engine.stop(lambda: states.append(of(engine, "c").state))
    assert log.read_text() == "abc"
    assert states[0] is State.UP  # c runs on while a is being stopped
    assert processes.carrying(home) == []


def test_a_service_that_does_not_obey_is_killed(
    home: Path, engine_of: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steelyard.embedded.engine.STOP_GRACE", 0.3)
    deaf = program("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(1000)")
    log = home / "log" / "deaf.log"
    check = lambda: None if log.exists() and log.read_text() else "starting"  # noqa: E731
    engine = engine_of(service("deaf", home, ("/usr/bin/env", "PYTHONUNBUFFERED=1", *deaf[:1], *deaf[3:]), check=check))
    until(engine, lambda: engine.all_up)
    began = time.monotonic()
    engine.stop(lambda: None)
    assert 0.3 <= time.monotonic() - began < PATIENT
    assert processes.carrying(home) == []


def test_nothing_outlives_a_killed_supervisor(home: Path) -> None:
    """The kernel ends the services (prctl(2), PR_SET_PDEATHSIG) when nobody else is left who could."""
    supervisor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from pathlib import Path\n"
            "from steelyard.embedded.processes import MARK, spawn\n"
            "home = Path(sys.argv[1])\n"
            "for name in 'ab':\n"
            "    spawn(['/bin/sleep', '1000'], {MARK: str(home)}, home / 'log' / name, home)\n"
            "time.sleep(1000)",
            str(home),
        ]
    )
    try:
        wait_for(lambda: len(sleepers(home)) == 2)
        supervisor.kill()
        supervisor.wait()
        wait_for(lambda: processes.carrying(home) == [])
    finally:
        supervisor.kill()


def sleepers(home: Path) -> list[Identity]:
    """Those that have become what they are to run (not the wrapper that ties them to the supervisor)."""
    return [one for one in processes.carrying(home) if Path(f"/proc/{one.pid}/comm").read_text() == "sleep\n"]


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_identity_is_more_than_a_number() -> None:
    process = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        known = processes.identity(process.pid)
        assert known is not None
        assert processes.is_running(known)
        assert not processes.is_running(Identity(known.pid, known.start - 1))  # an earlier process of that number
    finally:
        process.kill()
        process.wait()
    assert not processes.is_running(known)
    assert processes.identity(process.pid) is None


def test_a_large_log_is_put_aside(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_LIMIT", 10)
    log = home / "log" / "api.log"
    log.write_text("x" * 11)
    processes.spawn(["/bin/true"], {MARK: str(home)}, log, home).wait()
    assert (home / "log" / "api.log.1").read_text() == "x" * 11
    assert log.stat().st_size == 0
