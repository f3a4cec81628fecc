"""Reconcilers: on their period and on signal, in one server at a time, and what is written down of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steelyard.errors import NotFound, UpstreamError
from steelyard.operations.fake import MemoryServers
from steelyard.operations.leases import ServerLease, Servers
from steelyard.operations.reconcilers import PeriodicReconcilers, ReconcilerRecords, Run
from steelyard.operations.reconcilers_fake import MemoryRuns
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
REPORT = {"seen": 3, "changed": 1, "detail": "one", "data": {}}


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ReconcilerRecords, Servers]]:
    if request.param == "memory":
        servers = MemoryServers()
        yield MemoryRuns(servers.live), servers
        return
    url = (
        request.getfixturevalue("new_postgresql")()
        if request.param == "postgresql"
        else f"sqlite:///{tmp_path / 's.sqlite'}"
    )
    store = Store.open(url, key_file=tmp_path / "keys")
    yield store.reconcilers, store.servers
    store.close()


class TestRecords:
    def test_a_run(self, parts: tuple[ReconcilerRecords, Servers]) -> None:
        records, servers = parts
        servers.take("a", "boot-a", 60, alone=False)
        assert records.all() == {}
        assert records.begin("x.y", "boot-a", "a", NOW, not_after=None)
        assert records.all()["x.y"] == Run(running_since=NOW, last_started_at=NOW, replica="a")
        assert records.end("x.y", "boot-a", LATER, report=REPORT, error=None)
        run = records.all()["x.y"]
        assert run == Run(None, NOW, LATER, LATER, REPORT, None, 1, 0, "a")

    def test_a_failure_keeps_the_last_report(self, parts: tuple[ReconcilerRecords, Servers]) -> None:
        records, servers = parts
        servers.take("a", "boot-a", 60, alone=False)
        records.begin("x.y", "boot-a", "a", NOW, not_after=None)
        records.end("x.y", "boot-a", NOW, report=REPORT, error=None)
        records.begin("x.y", "boot-a", "a", LATER, not_after=None)
        records.end("x.y", "boot-a", LATER, report=None, error="Nova is away")
        run = records.all()["x.y"]
        assert (run.last_report, run.last_error, run.last_succeeded_at) == (REPORT, "Nova is away", NOW)
        assert (run.runs, run.failures) == (2, 1)

    def test_one_server_at_a_time_until_it_is_dead(self, parts: tuple[ReconcilerRecords, Servers]) -> None:
        records, servers = parts
        for name in ("a", "b"):
            servers.take(name, f"boot-{name}", 60, alone=False)
        assert records.begin("x.y", "boot-a", "a", NOW, not_after=None)
        assert not records.begin("x.y", "boot-b", "b", NOW, not_after=None)
        assert records.begin("x.z", "boot-b", "b", NOW, not_after=None), "another one is free"
        servers.release("boot-a")
        assert records.all()["x.y"].running_since is None, "nobody runs it"
        assert records.begin("x.y", "boot-b", "b", LATER, not_after=None)
        assert not records.end("x.y", "boot-a", LATER, report=REPORT, error=None), "the zombie's word does not count"
        assert records.end("x.y", "boot-b", LATER, report=REPORT, error=None)
        assert records.all()["x.y"].runs == 1

    def test_a_recent_run_of_another_is_enough(self, parts: tuple[ReconcilerRecords, Servers]) -> None:
        records, servers = parts
        for name in ("a", "b"):
            servers.take(name, f"boot-{name}", 60, alone=False)
        records.begin("x.y", "boot-a", "a", LATER, not_after=NOW)
        records.end("x.y", "boot-a", LATER, report=REPORT, error=None)
        assert not records.begin("x.y", "boot-b", "b", LATER, not_after=NOW)
        assert records.begin("x.y", "boot-b", "b", LATER, not_after=LATER)
        records.end("x.y", "boot-b", LATER, report=REPORT, error=None)
        assert records.begin("x.y", "boot-a", "a", NOW, not_after=NOW - timedelta(minutes=1)), "a clock that was ahead"


class Yard:
    """Engines over one set of records, as of several servers."""

    def __init__(self) -> None:
        self.servers = MemoryServers()
        self.records = MemoryRuns(self.servers.live)
        self.engines: list[PeriodicReconcilers] = []

    def engine(self, name: str, *reconcilers: Reconciler) -> PeriodicReconcilers:
        lease = ServerLease(self.servers, replica=name)
        self.servers.take(name, lease.boot, 60, alone=False)
        engine = PeriodicReconcilers(self.records, lease)
        engine.register(*reconcilers)
        self.engines.append(engine)
        return engine


@pytest.fixture
def yard() -> Iterator[Yard]:
    yard = Yard()
    yield yard
    for engine in yard.engines:
        engine.close(grace=5)


def until(condition: Callable[[], object], within: float = 10.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


class TestEngine:
    def test_it_runs_again_and_again(self, yard: Yard) -> None:
        runs: list[int] = []

        def run() -> Report:
            runs.append(1)
            return Report(seen=5, changed=len(runs), detail="counted")

        engine = yard.engine("a", Reconciler("x.y", "Counts.", run, period=0.1))
        engine.launch()
        until(lambda: len(runs) >= 3)
        status = engine.get("x.y")
        assert status.last_report is not None
        assert (status.last_report.seen, status.last_report.detail) == (5, "counted")
        assert status.duration is not None
        assert status.replica == "a"
        assert engine.close(grace=2)
        stopped = len(runs)
        time.sleep(0.3)
        assert len(runs) == stopped

    def test_a_signal_does_not_wait_for_the_period_and_many_are_one(self, yard: Yard) -> None:
        gate, entered = threading.Event(), threading.Event()
        runs: list[int] = []

        def run() -> Report:
            runs.append(1)
            entered.set()
            assert gate.wait(10)
            return Report(0, 0)

        engine = yard.engine("a", Reconciler("x.y", "Waits.", run, period=3600))
        engine.launch()
        engine.signal("x.y")
        assert entered.wait(5)
        for _ in range(10):
            engine.signal("x.y")
        assert engine.get("x.y").running_since is not None
        gate.set()
        until(lambda: len(runs) == 2)
        time.sleep(0.2)
        assert len(runs) == 2

    def test_one_that_fails_or_hangs_stops_no_other(self, yard: Yard) -> None:
        hanging, go = threading.Event(), threading.Event()
        good: list[int] = []

        def hang() -> Report:
            hanging.set()
            go.wait(20)
            return Report(0, 0)

        def fail() -> Report:
            raise UpstreamError("Ironic answered 500.")

        def broken() -> Report:
            raise KeyError("password")

        def run() -> Report:
            good.append(1)
            return Report(1, 0)

        engine = yard.engine(
            "a",
            *(Reconciler(f"x.{each.__name__}", "For a test.", each, period=0.05) for each in (hang, fail, broken, run)),
        )
        engine.launch()
        assert hanging.wait(5)
        until(lambda: len(good) >= 3)
        until(lambda: engine.get("x.fail").failures >= 2 and engine.get("x.broken").failures >= 1)
        assert engine.get("x.fail").last_error == "Ironic answered 500."
        assert "password" not in str(engine.get("x.broken").last_error)
        assert engine.get("x.hang").running_since is not None
        begin = time.monotonic()
        assert engine.close(grace=0.5) is False
        assert time.monotonic() - begin < 3
        go.set()

    def test_two_servers_do_not_run_it_twice_as_often(self, yard: Yard) -> None:
        lock = threading.Lock()
        now, most, runs = 0, 0, []

        def run() -> Report:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
                runs.append(time.monotonic())
            time.sleep(0.02)
            with lock:
                now -= 1
            return Report(0, 0)

        begin = time.monotonic()
        for name in ("a", "b"):
            yard.engine(name, Reconciler("x.y", "Once.", run, period=0.4)).launch()
        time.sleep(2.4)
        spent = time.monotonic() - begin
        assert most == 1
        assert 3 <= len(runs) <= spent / 0.25 + 1
        assert min(after - before for before, after in itertools.pairwise(runs)) > 0.1

    def test_run_now_says_how_it_went(self, yard: Yard) -> None:
        engine = yard.engine("a", Reconciler("x.y", "Says.", lambda: Report(2, 1, "done")))
        status = engine.run_now("x.y")
        assert status.last_report == Report(2, 1, "done")
        assert status.runs == 1

    def test_names(self, yard: Yard) -> None:
        engine = yard.engine("a", Reconciler("x.y", "One.", lambda: Report(0, 0)))
        with pytest.raises(ValueError, match="twice"):
            engine.register(Reconciler("x.y", "One.", lambda: Report(0, 0)))
        with pytest.raises(NotFound):
            engine.run_now("no.such")
        with pytest.raises(NotFound):
            engine.get("no.such")
        engine.signal("no.such")  # never raises
        assert [each.name for each in engine.all()] == ["x.y"]
        engine.launch()
        with pytest.raises(ValueError, match="after the launch"):
            engine.register(Reconciler("x.z", "Late.", lambda: Report(0, 0)))
