"""Requests with the same idempotency key take turns; others do not wait for each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from steelyard.nouns import Actor
from steelyard.operations.journal import new_operation
from steelyard.operations.keys import Turns, turn
from steelyard.operations.model import Done, OperationKind, Step
from steelyard.store import Store

SOMEBODY = Actor("u", "user", "p", "project", frozenset({"member"}))


@pytest.mark.parametrize(("key", "waits"), [("k", True), (None, False)])
def test_who_waits(key: str | None, waits: bool) -> None:
    turns = Turns()
    second = threading.Event()

    def also() -> None:
        with turns.at(turn(SOMEBODY, key)):
            second.set()

    other = threading.Thread(target=also)
    with turns.at(turn(SOMEBODY, key)):
        other.start()
        assert second.wait(0.2 if waits else 5) is not waits
    other.join(5)
    assert second.is_set()


class TestAcrossServers:
    """Two servers on one PostgreSQL: each has its own store, and its own `Turns`."""

    @pytest.fixture
    def stores(self, tmp_path: Path, new_postgresql: Callable[[], str]) -> Iterator[tuple[Store, Store]]:
        url = new_postgresql()
        both = (Store.open(url, key_file=tmp_path / "keys"), Store.open(url, key_file=tmp_path / "keys"))
        yield both
        for store in both:
            store.close()

    @pytest.mark.parametrize(("scope", "waits"), [("images", True), ("nodes", False)])
    def test_who_waits(self, stores: tuple[Store, Store], scope: str, *, waits: bool) -> None:
        here, there = Turns(stores[0].locks, scope="images"), Turns(stores[1].locks, scope=scope)
        second = threading.Event()

        def also() -> None:
            with there.at(turn(SOMEBODY, "k")):
                second.set()

        other = threading.Thread(target=also)
        with here.at(turn(SOMEBODY, "k")):
            other.start()
            assert second.wait(0.5 if waits else 10) is not waits
        other.join(10)
        assert second.is_set()

    def test_equal_requests_at_once_do_the_work_once(self, stores: tuple[Store, Store]) -> None:
        """The pattern of every service: look for the key, else do it and write it down."""
        done: list[str] = []
        kind = OperationKind("test.kind", [Step("one", lambda _: Done())])

        def ask(store: Store, turns: Turns) -> None:
            with turns.at(turn(SOMEBODY, "k")):
                if store.operations.by_key(SOMEBODY.user_id, kind.name, "k"):
                    return
                done.append("asked the cloud")
                time.sleep(0.05)
                now = datetime.now(UTC)
                store.operations.create(new_operation(kind, {}, SOMEBODY, None, "k", None, None, now))

        threads = [
            threading.Thread(target=ask, args=(store, turns))
            for store in stores
            for turns in [Turns(store.locks, scope="images")]
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert done == ["asked the cloud"]

    def test_many_who_hold_one_and_use_the_database_do_not_starve(self, stores: tuple[Store, Store]) -> None:
        store = stores[0]
        turns = Turns(store.locks)
        ended: list[int] = []

        def work(number: int) -> None:
            with turns.at(number), store.database.read():
                time.sleep(0.05)
            ended.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(ended) == list(range(40))

    def test_all_locks_of_a_server_are_on_one_connection(self, stores: tuple[Store, Store]) -> None:
        here, there = stores
        sessions = sa.text(
            "SELECT count(DISTINCT pid), count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with here.locks.at("a"), here.locks.at("b"), there.locks.at("c"), here.database.read() as connection:
            assert connection.execute(sessions).one() == (2, 3)
        with here.database.read() as connection:
            assert connection.execute(sessions).one() == (0, 0)

    @pytest.mark.parametrize("held", [True, False])
    def test_a_lost_connection_gives_its_locks_up_and_is_replaced(
        self, stores: tuple[Store, Store], *, held: bool
    ) -> None:
        here, there = stores
        with here.locks.at("a"):
            pid = here.locks._connection.scalar(sa.select(sa.func.pg_backend_pid()))  # type: ignore[union-attr]
            if held:
                self._end(there, pid)
                with there.locks.at("a"):  # else it would wait for a minute, and give up
                    pass
        if not held:
            self._end(there, pid)
        with here.locks.at("a"), here.locks.at("b"):
            assert here.locks._connection.scalar(sa.select(sa.func.pg_backend_pid())) != pid  # type: ignore[union-attr]

    @staticmethod
    def _end(store: Store, pid: int) -> None:
        with store.database.read() as connection:
            assert connection.scalar(sa.select(sa.func.pg_terminate_backend(pid, 10_000)))
