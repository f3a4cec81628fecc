"""A server opens no more connections to PostgreSQL than it is told to, whatever it has to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from steelyard.nouns import Actor
from steelyard.operations.engine import DurableOperations
from steelyard.operations.keys import Turns
from steelyard.operations.model import Done, OperationKind, Outcome, Phase, Step, StepContext
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.store.connections import DEFAULT, LEAST, shares_of
from steelyard.wiring import open_operations

TOTAL = 10
ADMIN = Actor("u", "root", None, None, frozenset({"admin"}))


@pytest.mark.parametrize("total", [LEAST, TOTAL, DEFAULT, 100])
def test_the_shares_add_up(total: int) -> None:
    shares = shares_of(total)
    assert shares.store + shares.engine + shares.locks + shares.listener == total
    assert min(shares.store, shares.engine) >= 3


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        shares_of(LEAST - 1)
    with pytest.raises(ValueError, match="database_connections"):
        Settings(database_connections=LEAST - 1)


@pytest.fixture
def server(tmp_path: Path, new_postgresql: Callable[[], str]) -> Iterator[tuple[Store, DurableOperations]]:
    """As `wiring.build` has it."""
    settings = Settings(home=tmp_path, database=new_postgresql(), database_connections=TOTAL)
    store = Store.open(settings.steelyard_database(), key_file=tmp_path / "keys", connections=TOTAL)
    operations = open_operations(settings, store)
    yield store, operations
    operations.close()
    store.close()


class Watcher(threading.Thread):
    """Counts the sessions of a database, again and again, by a connection that is not counted."""

    def __init__(self, url: sa.URL) -> None:
        super().__init__(daemon=True)
        self._engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        self._done = threading.Event()
        self.most = 0

    def run(self) -> None:
        asked = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        with self._engine.connect() as connection:
            while not self._done.wait(0.01):
                self.most = max(self.most, int(connection.scalar(asked) or 0))
        self._engine.dispose()

    def end(self) -> int:
        self._done.set()
        self.join(10)
        return self.most


def test_a_busy_server_keeps_to_them(server: tuple[Store, DurableOperations]) -> None:
    store, operations = server

    def work(_: StepContext) -> Outcome:
        with store.database.read() as connection:
            connection.execute(sa.text("SELECT pg_sleep(0.02)"))
        return Done()

    kind = OperationKind("test.busy", [Step("one", work), Step("two", work)])
    operations.register(kind)
    operations.launch()
    watcher = Watcher(store.database.url)
    watcher.start()
    turns, asked = Turns(store.locks, scope="test"), []

    def ask(number: int) -> None:
        with turns.at(number), store.database.read() as connection:
            connection.execute(sa.text("SELECT pg_sleep(0.02)"))
        asked.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
    started = [operations.start(kind.name, {}, ADMIN).id for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    end = time.monotonic() + 90
    while any(each.phase is not Phase.SUCCEEDED for each in operations.found(started)):
        assert time.monotonic() < end, [each.phase for each in operations.found(started)]
        time.sleep(0.1)
    most = watcher.end()
    assert sorted(asked) == list(range(60))
    # all that the store may have, and something of the engine's: it was as busy as it can be
    assert shares_of(TOTAL).store + 2 <= most <= TOTAL
