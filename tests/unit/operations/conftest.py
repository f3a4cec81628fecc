from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steelyard.nouns import Actor
from steelyard.operations.engine import DurableOperations
from steelyard.operations.fake import FakeOperations
from steelyard.operations.leases import ServerLease
from steelyard.operations.model import Operation, OperationKind, Operations
from steelyard.store import Store


class Bench:
    """One implementation of `Operations` under test, with a way to wait for the end of what it was given.

    An engine takes a second to start, so one serves all tests of a module; each test replaces the kinds of the last.
    """

    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    def register(self, *kinds: OperationKind) -> None:
        if isinstance(self.operations, DurableOperations):
            self.operations._kinds.update({kind.name: kind for kind in kinds})
        else:
            self.operations.register(*kinds)

    def ended(self, operation: Operation, *, within: float = 20.0) -> Operation:
        return self.until(operation, lambda current: current.phase.ended, within=within)

    def until(self, operation: Operation, condition: Callable[[Operation], bool], *, within: float = 20.0) -> Operation:
        end = time.monotonic() + within
        while not condition(current := self.operations.get(operation.id)):
            assert time.monotonic() < end, current
            time.sleep(0.02)
        return current


@pytest.fixture
def actor() -> Actor:
    return Actor(f"user-{uuid.uuid4()}", "ada", f"project-{uuid.uuid4()}", "demo", frozenset({"member"}))


@pytest.fixture
def admin() -> Actor:
    return Actor(f"user-{uuid.uuid4()}", "root", f"project-{uuid.uuid4()}", "admin", frozenset({"admin"}), system=True)


def engine_in(folder: Path, url: str | None = None) -> tuple[Store, DurableOperations]:
    store = Store.open(url or f"sqlite:///{folder / 's.sqlite'}", key_file=folder / "keys")
    lease = ServerLease(store.servers, alone=store.database.is_sqlite)
    return store, DurableOperations(
        store.operations, lease, database_url=url or f"sqlite:///{folder / 'operations.sqlite'}"
    )


@pytest.fixture(scope="module", params=["fake", "sqlite", "postgresql"])
def durable(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DurableOperations | None]:
    if request.param == "fake":
        yield None
        return
    url = request.getfixturevalue("new_postgresql")() if request.param == "postgresql" else None
    store, engine = engine_in(tmp_path_factory.mktemp("engine"), url)
    engine.launch()
    yield engine
    engine.close()
    store.close()


@pytest.fixture
def bench(durable: DurableOperations | None) -> Iterator[Bench]:
    bench = Bench(durable or FakeOperations())
    yield bench
    for left in bench.operations.all(limit=1000):  # the next test replaces the kinds that these run
        bench.ended(left)
