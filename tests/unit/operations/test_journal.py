"""Who may write what about an operation: the journals in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steelyard.errors import Conflict
from steelyard.nouns import Actor
from steelyard.operations.fake import MemoryJournal
from steelyard.operations.journal import Journal, new_operation, parent
from steelyard.operations.model import Done, Operation, OperationKind, Phase, Step
from steelyard.store import Store

KIND = OperationKind("test.kind", [Step("one", lambda _: Done()), Step("two", lambda _: Done())])
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
BOTH = {"boot-a", "boot-b"}


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    url = (
        request.getfixturevalue("new_postgresql")()
        if request.param == "postgresql"
        else f"sqlite:///{tmp_path / 's.sqlite'}"
    )
    store = Store.open(url, key_file=tmp_path / "keys")
    yield store.operations
    store.close()


@pytest.fixture
def operation(journal: Journal, actor: Actor) -> Operation:
    return journal.create(new_operation(KIND, {}, actor, None, None, "node:1", None, NOW))[0]


def begin(journal: Journal, operation: Operation, owner: str) -> bool:
    return journal.step_begins(operation.id, owner, 0, "one", NOW, LATER)


class TestClaims:
    def test_the_living_keep_what_they_have(self, journal: Journal, operation: Operation) -> None:
        assert journal.claim(operation.id, "boot-a", "a", BOTH)
        assert journal.claim(operation.id, "boot-a", "a", BOTH), "claiming twice is once"
        assert not journal.claim(operation.id, "boot-b", "b", BOTH)
        found = journal.get(operation.id)
        assert (found.owner, found.replica) == ("boot-a", "a")

    def test_the_dead_do_not(self, journal: Journal, operation: Operation) -> None:
        journal.claim(operation.id, "boot-a", "a", BOTH)
        assert journal.claim(operation.id, "boot-b", "b", {"boot-b"})
        assert journal.get(operation.id).replica == "b"

    def test_what_a_server_should_see_to(self, journal: Journal, operation: Operation, actor: Actor) -> None:
        others = journal.create(new_operation(KIND, {}, actor, None, None, None, None, LATER))[0]
        journal.claim(others.id, "boot-b", "b", BOTH)
        assert journal.claimable("boot-a", BOTH) == [operation.id]
        assert journal.claimable("boot-a", {"boot-a"}) == [operation.id, others.id]
        assert journal.claimable("boot-b", BOTH) == [operation.id, others.id]
        journal.finish(others.id, "boot-b", Phase.SUCCEEDED, LATER, None)
        assert journal.claimable("boot-b", BOTH) == [operation.id]

    def test_what_has_ended_is_nobodys(self, journal: Journal, operation: Operation) -> None:
        journal.claim(operation.id, "boot-a", "a", BOTH)
        journal.finish(operation.id, "boot-a", Phase.SUCCEEDED, LATER, None)
        assert not journal.claim(operation.id, "boot-b", "b", {"boot-b"})


class TestAZombie:
    def test_none_of_its_writes_is_taken(self, journal: Journal, operation: Operation) -> None:
        journal.claim(operation.id, "boot-a", "a", BOTH)
        assert begin(journal, operation, "boot-a")
        journal.claim(operation.id, "boot-b", "b", {"boot-b"})
        before = journal.get(operation.id)

        assert not begin(journal, operation, "boot-a")
        assert not journal.step_waits(operation.id, "boot-a", 0, 5, "a ghost", LATER, {"x": 1})
        assert not journal.step_ends(operation.id, "boot-a", 0, Phase.SUCCEEDED, LATER, attempts=1, result={"x": 1})
        assert not journal.pauses(operation.id, "boot-a", LATER, "a ghost")
        assert not journal.finish(operation.id, "boot-a", Phase.FAILED, LATER, None)
        assert journal.get(operation.id) == before

        assert begin(journal, operation, "boot-b")
        assert journal.step_ends(operation.id, "boot-b", 0, Phase.SUCCEEDED, LATER, attempts=1, result={"y": 1})
        assert journal.get(operation.id).result == {"y": 1}


class TestWaiting:
    def test_words_since_when_and_results(self, journal: Journal, operation: Operation) -> None:
        journal.claim(operation.id, "boot-a", "a", BOTH)
        begin(journal, operation, "boot-a")
        journal.step_waits(operation.id, "boot-a", 0, 1, "rain", NOW, {"a": 1, "b": 1})
        journal.step_waits(operation.id, "boot-a", 0, 2, "sun", LATER, {"b": 2})
        found = journal.get(operation.id)
        assert (found.steps[0].attempts, found.steps[0].waiting_for, found.steps[0].waiting_since) == (2, "sun", LATER)
        assert found.result == {"a": 1, "b": 2}


class TestPause:
    def test_one_that_runs_stops_by_itself(self, journal: Journal, operation: Operation) -> None:
        journal.claim(operation.id, "boot-a", "a", BOTH)
        asked = journal.request_pause(operation.id, "lunch", "eve")
        assert (asked.pause_requested, asked.paused_at) == (True, None)
        assert journal.pauses(operation.id, "boot-a", LATER, None)
        paused = journal.get(operation.id)
        assert (paused.paused_at, paused.owner, paused.pause_reason) == (LATER, None, "lunch")
        assert paused.waiting_for == f"paused: lunch; steelyard operation resume {operation.id}"
        assert journal.claimable("boot-a", BOTH) == []
        assert not journal.claim(operation.id, "boot-a", "a", BOTH)
        assert journal.all(paused=True) == [paused]
        assert journal.all(paused=False) == []

        resumed = journal.request_resume(operation.id, None, "eve")
        assert (resumed.paused_at, resumed.pause_requested, resumed.pause_reason) == (None, False, None)
        assert journal.claim(operation.id, "boot-a", "a", BOTH)

    def test_one_that_nobody_runs_is_paused_at_once(self, journal: Journal, operation: Operation) -> None:
        assert journal.request_pause(operation.id, None, None).paused_at is not None
        again = journal.request_pause(operation.id, "another reason", None)
        assert again.pause_reason is None, "pausing twice is once"

    def test_a_cancel_sets_it_going_to_its_end(self, journal: Journal, operation: Operation) -> None:
        journal.request_pause(operation.id, None, None)
        cancelled = journal.request_cancel(operation.id, None, None)
        assert (cancelled.cancel_requested, cancelled.paused_at) == (True, None)
        assert journal.claim(operation.id, "boot-a", "a", BOTH)

    def test_a_cancel_that_came_first_wins(self, journal: Journal, operation: Operation) -> None:
        journal.claim(operation.id, "boot-a", "a", BOTH)
        journal.request_cancel(operation.id, None, None)
        assert journal.pauses(operation.id, "boot-a", LATER, "the token has run out")
        found = journal.get(operation.id)
        assert (found.paused_at, found.owner, found.cancel_requested) == (None, "boot-a", True)

    def test_a_resume_that_came_first_wins(self, journal: Journal, operation: Operation) -> None:
        journal.claim(operation.id, "boot-a", "a", BOTH)
        journal.request_pause(operation.id, None, None)
        journal.request_resume(operation.id, None, None)
        assert journal.pauses(operation.id, "boot-a", LATER, None)
        assert journal.get(operation.id).paused_at is None

    def test_what_cannot_be(self, journal: Journal, operation: Operation) -> None:
        with pytest.raises(Conflict) as running:
            journal.request_resume(operation.id, None, None)
        assert running.value.code == "operation_not_paused"
        journal.claim(operation.id, "boot-a", "a", BOTH)
        journal.finish(operation.id, "boot-a", Phase.SUCCEEDED, LATER, None)
        for ask in (journal.request_pause, journal.request_resume, journal.request_cancel):
            with pytest.raises(Conflict) as ended:
                ask(operation.id, None, None)
            assert ended.value.code == "operation_ended"


def test_children_know_their_parent(journal: Journal, operation: Operation, actor: Actor) -> None:
    mark = parent.set(operation.id)
    child = journal.create(new_operation(KIND, {}, actor, None, None, None, None, LATER))[0]
    parent.reset(mark)
    assert journal.all(parent_id=operation.id) == [child]
    assert {each.id for each in journal.found([operation.id, child.id, "none"])} == {operation.id, child.id}
