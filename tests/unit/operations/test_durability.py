"""What happens to operations when the server ends, in every way that it can."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steelyard.errors import Unavailable
from steelyard.nouns import Actor
from steelyard.operations import engine as engine_module
from steelyard.operations.journal import new_operation
from steelyard.operations.model import Done, Operation, OperationKind, Outcome, Phase, Retry, Step, StepContext
from steelyard.store import Store

from .conftest import engine_in

CHILD = Path(__file__).with_name("child.py")


class Server:
    """The child process over one folder, which may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(f"sqlite:///{folder / 's.sqlite'}", key_file=folder / "keys")

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        (self.folder / "ready").unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, str(CHILD), str(self.folder), *arguments])
        try:
            self.until(lambda: (self.folder / "ready").exists())
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def operation(self) -> Operation:
        (only,) = self.store.operations.all()
        return only

    @staticmethod
    def until(condition: object, within: float = 20.0) -> None:
        end = time.monotonic() + within
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < end, "did not happen in time"
            time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.store.close()


class TestSigkill:
    def test_in_the_middle_of_a_step(self, server: Server) -> None:
        with server.running("start") as process:
            server.until(lambda: any(line.startswith("second begins") for line in server.log()))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        left = server.operation()
        assert left.phase is Phase.RUNNING
        assert [step.phase for step in left.steps] == [Phase.SUCCEEDED, Phase.RUNNING, Phase.PENDING]

        (server.folder / "go").touch()
        (server.folder / "go on").touch()
        with server.running():
            server.until(lambda: server.operation().phase.ended)
        ended = server.operation()
        assert ended.phase is Phase.SUCCEEDED
        assert ended.result == {"made": ended.id}
        assert server.log() == [
            "first",
            "second begins, knowing ['made']",
            "second begins, knowing ['made']",
            "second ends",
            "third 1",
        ], "the step that was done is not done again, the interrupted one is"

    def test_while_a_step_waits_and_again_while_it_is_resumed(self, server: Server) -> None:
        (server.folder / "go").touch()
        for arguments in (("start",), (), ()):
            before = len(server.log())
            with server.running(*arguments) as process:
                server.until(lambda before=before: server.log()[before:].count("third 2") > 0)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        (server.folder / "go on").touch()
        with server.running():
            server.until(lambda: server.operation().phase.ended)
        assert server.operation().phase is Phase.SUCCEEDED
        assert server.log().count("first") == 1
        assert server.log().count("second ends") == 1

    def test_asked_again_with_the_same_key_after_the_crash(self, server: Server) -> None:
        with server.running("start") as process:
            # Not at "first": between a step's deed and its record a kill rightly has it done again.
            server.until(lambda: any(line.startswith("second begins") for line in server.log()))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        (server.folder / "go").touch()
        (server.folder / "go on").touch()
        with server.running("start"):
            server.until(lambda: server.operation().phase.ended)
        assert server.operation().phase is Phase.SUCCEEDED
        assert server.log().count("first") == 1, "one operation, resumed"

    def test_an_orderly_stop_leaves_them_to_be_resumed(self, server: Server) -> None:
        (server.folder / "go").touch()
        with server.running("start") as process:
            server.until(lambda: "third 2" in server.log())
            (server.folder / "stop").touch()
            assert process.wait(timeout=15) == 0
        assert server.operation().phase is Phase.RUNNING
        (server.folder / "stop").unlink()
        (server.folder / "go on").touch()
        with server.running():
            server.until(lambda: server.operation().phase.ended)
        assert server.operation().phase is Phase.SUCCEEDED


ACTOR = Actor("u", "ada", "p", "demo", frozenset({"member"}))


class TestLostAndFound:
    """The moments between two writes."""

    @pytest.fixture(autouse=True)
    def _often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "SWEEP_EVERY", 0.2)

    def test_recorded_but_never_enqueued(self, tmp_path: Path) -> None:
        store, engine = engine_in(tmp_path)
        kind = OperationKind("test.kind", [Step("one", lambda _: Done())])
        engine.register(kind)
        earlier = datetime.now(UTC) - timedelta(minutes=1)
        lost, _ = store.operations.create(new_operation(kind, {}, ACTOR, None, None, None, None, earlier))
        engine.launch()
        try:
            Server.until(lambda: store.operations.get(lost.id).phase.ended)
            assert store.operations.get(lost.id).phase is Phase.SUCCEEDED
        finally:
            engine.close()
            store.close()

    def test_the_engine_gave_it_up(self, tmp_path: Path) -> None:
        """DBOS says ERROR, our journal says running: the journal is right."""
        gate = threading.Event()
        ran: list[str] = []

        def one(_: StepContext) -> Outcome:
            ran.append("one")
            return Done()

        def two(_: StepContext) -> Outcome:
            return Done() if gate.is_set() else Retry(0.05, "the gate")

        steps = [Step("one", one), Step("two", two)]
        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", steps))
        engine.launch()
        operation = engine.start("test.kind", {}, ACTOR)
        Server.until(lambda: engine.get(operation.id).waiting_for == "the gate")
        engine.close()
        connection = sqlite3.connect(tmp_path / "operations.sqlite")
        connection.execute("UPDATE workflow_status SET status = 'ERROR'")
        connection.commit()
        connection.close()

        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", steps))
        gate.set()
        engine.launch()
        try:
            Server.until(lambda: store.operations.get(operation.id).phase.ended)
            assert store.operations.get(operation.id).phase is Phase.SUCCEEDED
            assert ran == ["one"]
        finally:
            engine.close()
            store.close()

    def test_a_release_that_does_not_know_the_step(self, tmp_path: Path) -> None:
        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", [Step("old", lambda _: Retry(0.05, "for ever"))]))
        engine.launch()
        operation = engine.start("test.kind", {}, ACTOR)
        Server.until(lambda: engine.get(operation.id).waiting_for == "for ever")
        engine.close()
        store.close()

        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", [Step("new", lambda _: Done())]))
        engine.launch()
        try:
            Server.until(lambda: store.operations.get(operation.id).phase.ended)
            ended = store.operations.get(operation.id)
            assert ended.phase is Phase.FAILED
            assert ended.error is not None
            assert ended.error.code == "unknown_step"
        finally:
            engine.close()
            store.close()


class TestLimits:
    def test_at_most_so_many_of_a_kind_at_a_time(self, tmp_path: Path) -> None:
        lock = threading.Lock()
        now, most = 0, 0

        def work(_: StepContext) -> Outcome:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.1)
            with lock:
                now -= 1
            return Done()

        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", [Step("one", work)], concurrency=2))
        engine.launch()
        try:
            started = [engine.start("test.kind", {}, ACTOR) for _ in range(8)]
            Server.until(lambda: all(engine.get(each.id).phase.ended for each in started))
            assert most == 2
        finally:
            engine.close()
            store.close()

    def test_who_waits_aside_takes_nobodys_place(self, tmp_path: Path) -> None:
        lock = threading.Lock()
        now, most = 0, 0
        go = threading.Event()
        worked: list[str] = []

        def work(ctx: StepContext) -> Outcome:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.05)
            with lock:
                now -= 1
                worked.append(ctx.operation_id)
            return Done({"worked": True})

        def wait(ctx: StepContext) -> Outcome:
            assert ctx.results["worked"]
            return Done() if go.is_set() else Retry(0.05, "the gate")

        store, engine = engine_in(tmp_path)
        kind = OperationKind("test.kind", [Step("work", work), Step("wait", wait, aside=True)], concurrency=1)
        engine.register(kind)
        engine.launch()
        try:
            started = [engine.start("test.kind", {}, ACTOR) for _ in range(4)]
            Server.until(lambda: all(engine.get(each.id).waiting_for == "the gate" for each in started))
            go.set()
            Server.until(lambda: all(engine.get(each.id).phase is Phase.SUCCEEDED for each in started))
            assert most == 1
            assert sorted(worked) == sorted(each.id for each in started)
        finally:
            engine.close()
            store.close()

    def test_who_waits_aside_can_be_cancelled_and_clean_up(self, tmp_path: Path) -> None:
        undone = threading.Event()

        def undo(_: StepContext) -> Outcome:
            undone.set()
            return Done()

        store, engine = engine_in(tmp_path)
        steps = [Step("wait", lambda _: Retry(0.05, "for ever"), aside=True)]
        engine.register(OperationKind("test.kind", steps, on_failure=undo, concurrency=1))
        engine.launch()
        try:
            operation = engine.start("test.kind", {}, ACTOR)
            Server.until(lambda: engine.get(operation.id).waiting_for == "for ever")
            engine.cancel(operation.id)
            Server.until(lambda: engine.get(operation.id).phase is Phase.CANCELLED)
            assert undone.is_set()
        finally:
            engine.close()
            store.close()

    def test_who_waits_aside_goes_on_after_a_restart(self, tmp_path: Path) -> None:
        worked: list[str] = []
        go = threading.Event()

        def work(ctx: StepContext) -> Outcome:
            worked.append(ctx.operation_id)
            return Done()

        def wait(_: StepContext) -> Outcome:
            return Done() if go.is_set() else Retry(0.05, "the gate")

        kind = OperationKind("test.kind", [Step("work", work), Step("wait", wait, aside=True)], concurrency=1)
        for again in (False, True):
            store, engine = engine_in(tmp_path)
            engine.register(kind)
            engine.launch()
            try:
                if not again:
                    operation = engine.start("test.kind", {}, ACTOR)
                    Server.until(lambda: engine.get(operation.id).waiting_for == "the gate")  # noqa: B023
                else:
                    go.set()
                    Server.until(lambda: engine.get(operation.id).phase is Phase.SUCCEEDED)  # noqa: B023
            finally:
                engine.close()
                store.close()
        assert worked == [operation.id]

    def test_who_got_lost_on_the_way_aside_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As after a crash between leaving one queue and entering the other."""
        store, engine = engine_in(tmp_path)
        make_way, lost = engine._make_way, threading.Event()

        def lose_once(operation_id: str) -> None:
            if lost.is_set():
                make_way(operation_id)
            lost.set()

        monkeypatch.setattr(engine, "_make_way", lose_once)
        engine.register(OperationKind("test.kind", [Step("wait", lambda _: Done(), aside=True)], concurrency=1))
        engine.launch()
        try:
            operation = engine.start("test.kind", {}, ACTOR)
            Server.until(lambda: engine.get(operation.id).phase is Phase.SUCCEEDED)
            assert lost.is_set()
        finally:
            engine.close()
            store.close()

    def test_nothing_is_started_after_the_close(self, tmp_path: Path) -> None:
        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", []))
        engine.launch()
        engine.close()
        with pytest.raises(Unavailable) as refused:
            engine.start("test.kind", {}, ACTOR)
        assert refused.value.code == "stopping"
        store.close()

    def test_a_close_does_not_wait_for_a_step_that_hangs(self, tmp_path: Path) -> None:
        go = threading.Event()

        def hang(_: StepContext) -> Outcome:
            go.wait(30)
            return Done()

        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", [Step("one", hang)]))
        engine.launch()
        operation = engine.start("test.kind", {}, ACTOR)
        Server.until(lambda: engine.get(operation.id).phase is Phase.RUNNING)
        begin = time.monotonic()
        assert engine.close(grace=0.3) is False
        assert time.monotonic() - begin < 5
        assert store.operations.get(operation.id).phase is Phase.RUNNING
        go.set()
        store.close()

    def test_its_files_are_for_the_owner_only_and_hold_no_params(self, tmp_path: Path) -> None:
        store, engine = engine_in(tmp_path)
        engine.register(OperationKind("test.kind", [Step("one", lambda _: Done({"x": "canary-result"}))]))
        engine.launch()
        operation = engine.start("test.kind", {"x": "canary-params"}, ACTOR, reason="canary-reason")
        Server.until(lambda: engine.get(operation.id).phase.ended)
        engine.close()
        store.close()
        for path in tmp_path.glob("operations.sqlite*"):
            assert path.stat().st_mode & 0o077 == 0
            assert b"canary" not in path.read_bytes()
