"""Several servers on one PostgreSQL: they share the work, and one finishes what another left, however it left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steelyard.operations.bulk import BULK
from steelyard.operations.model import Phase
from steelyard.store import Store

REPLICA = Path(__file__).with_name("replica.py")
STEPS = ("one", "two", "three", "four")
LEASE = 2.0


class Yard:
    """One database, and the processes of servers on it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.store = Store.open(url, key_file=folder / "keys")

    @contextmanager
    def server(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self.process(name, *arguments)
        try:
            self.until(lambda: (self.folder / f"ready-{name}").exists() or process.poll() is not None)
            assert process.poll() is None
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def process(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        (self.folder / f"ready-{name}").unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, str(REPLICA), str(self.folder), self.url, name, str(LEASE), *arguments],
            stderr=subprocess.PIPE,
        )

    def log(self) -> list[tuple[str, str, str, str]]:
        """(begin or end, number, step, server)"""
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(a, b, c, d) for a, b, c, d in (line.split() for line in lines)]

    def count(self, word: str, server: str | None = None) -> int:
        return sum(1 for line in self.log() if line[0] == word and server in (None, line[3]))

    def all_ended(self) -> bool:
        return all(each.phase.ended for each in self.store.operations.all(limit=1000))

    @staticmethod
    def until(condition: Callable[[], object], within: float = 60.0) -> None:
        end = time.monotonic() + within
        while not condition():
            assert time.monotonic() < end, "did not happen in time"
            time.sleep(0.05)

    def check_deeds(self, numbers: int, *, repeated: int) -> None:
        """Every step of every operation was done, once but for those that were interrupted in their middle."""
        ends = Counter((number, step) for word, number, step, _ in self.log() if word == "end")
        assert set(ends) == {(str(number), step) for number in range(numbers) for step in STEPS}
        assert sum(ends.values()) - len(ends) <= repeated
        for operation in self.store.operations.all(kind="test.kind", limit=1000):
            assert operation.phase is Phase.SUCCEEDED
            assert set(operation.result) == set(STEPS)
            for step in STEPS:  # the one whose record counts did it
                assert ("end", str(operation.params["n"]), step, operation.result[step]) in self.log()


@pytest.fixture
def yard(tmp_path: Path, new_postgresql: Callable[[], str]) -> Iterator[Yard]:
    yard = Yard(tmp_path, new_postgresql())
    yield yard
    yard.store.close()


def test_two_share_the_work(yard: Yard) -> None:
    with yard.server("a"), yard.server("b", "start", "40"):
        yard.until(yard.all_ended)
    yard.check_deeds(40, repeated=0)
    assert {line[3] for line in yard.log()} == {"a", "b"}
    assert {each.replica for each in yard.store.operations.all(limit=100)} == {"a", "b"}


def test_one_is_killed_amid_twenty_and_the_other_finishes_them_all(yard: Yard) -> None:
    with yard.server("b"), yard.server("a", "start", "20", "three") as a:
        yard.until(lambda: sum(1 for line in yard.log() if line[0] == "begin" and line[2] == "three") >= 20)
        os.kill(a.pid, signal.SIGKILL)
        a.wait()
        left = [
            each.id for each in yard.store.operations.all(limit=100) if not each.phase.ended and each.replica == "a"
        ]
        assert left, "nothing was left to be taken over"  # one server takes 15 at most
        before = len(yard.log())
        (yard.folder / "go").touch()
        yard.until(yard.all_ended, within=30)
        assert {line[3] for line in yard.log()[before:]} == {"b"}
    yard.check_deeds(20, repeated=len(left))
    assert {yard.store.operations.get(each).replica for each in left} == {"b"}
    for each in left:
        taken_over = yard.store.operations.get(each)
        for step in (step for step in STEPS if taken_over.result[step] == "a"):
            again = ("begin", str(taken_over.params["n"]), step, "b")
            assert again not in yard.log(), "what the dead one had done and written down is not done again"


def test_an_orderly_stop_hands_the_work_over_at_once(yard: Yard) -> None:
    with yard.server("a", "start", "20") as a, yard.server("b"):
        yard.until(lambda: yard.count("end") >= 10)
        (yard.folder / "stop-a").touch()
        assert a.wait(timeout=20) == 0
        yard.until(yard.all_ended, within=30)
    yard.check_deeds(20, repeated=0)


def test_a_server_that_was_only_stopped_is_refused_when_it_wakes(yard: Yard) -> None:
    """SIGSTOP for longer than the lease: the others take over. SIGCONT: what it goes on with is not recorded."""
    with yard.server("a", "start", "6", "three") as a:
        yard.until(lambda: sum(1 for line in yard.log() if line[:1] == ("begin",) and line[2] == "three") == 6)
        os.kill(a.pid, signal.SIGSTOP)
        with yard.server("b"):
            yard.until(
                lambda: sum(1 for w, _, step, who in yard.log() if (w, step, who) == ("begin", "three", "b")) == 6,
                within=30,
            )
            os.kill(a.pid, signal.SIGCONT)
            (yard.folder / "go").touch()
            yard.until(yard.all_ended, within=30)
            # The zombie's own call may end, too; its word does not count, and it goes no further.
            yard.until(lambda: yard.count("end", "a") >= 12 + 6)
            time.sleep(1.0)
            assert not [line for line in yard.log() if line[2] == "four" and line[3] == "a"]
            assert a.poll() is None, "it goes on as a server"
    for operation in yard.store.operations.all(limit=100):
        assert operation.phase is Phase.SUCCEEDED
        assert (operation.result["three"], operation.result["four"]) == ("b", "b")


def test_a_second_one_of_the_same_name_is_refused_and_a_restart_is_not(yard: Yard) -> None:
    with yard.server("a", "start", "1", "three") as a:
        twin = yard.process("a")
        _, errors = twin.communicate(timeout=30)
        assert twin.returncode != 0
        assert b"Another server named 'a' is running" in errors
        (yard.folder / "ready-a").touch()
        os.kill(a.pid, signal.SIGKILL)
        a.wait()
        (yard.folder / "go").touch()
        with yard.server("a"):
            yard.until(yard.all_ended)
    yard.check_deeds(1, repeated=1)


def test_a_bulk_operation_is_taken_over_and_starts_nothing_twice(yard: Yard) -> None:
    with yard.server("a", "bulk", "16") as a:
        yard.until(lambda: yard.count("start") >= 6)
        os.kill(a.pid, signal.SIGKILL)
        a.wait()
        with yard.server("b"):
            yard.until(yard.all_ended)
    (parent,) = yard.store.operations.all(kind=BULK)
    assert parent.phase is Phase.SUCCEEDED
    assert parent.result["succeeded"] == 16
    children = yard.store.operations.all(kind="test.kind", limit=100)
    assert sorted(each.params["n"] for each in children) == list(range(16))
    assert {each.parent_id for each in children} == {parent.id}
