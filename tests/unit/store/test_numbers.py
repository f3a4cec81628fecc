"""What metrics count, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from steelyard.nouns import Actor
from steelyard.operations.journal import new_operation
from steelyard.operations.model import OperationKind, Phase
from steelyard.store import Store
from steelyard.store.connections import DEFAULT, shares_of
from steelyard.store.engine_tables import servers
from steelyard.store.numbers import Ended

ADMIN = Actor("u1", "ada", None, None, frozenset({"admin"}))
KIND = OperationKind("nodes.clean", [])
NOW = datetime.now(UTC)


def start(store: Store, replica: str) -> str:
    new = new_operation(KIND, {}, ADMIN, None, None, None, None, NOW - timedelta(seconds=90))
    store.operations.create(new)
    assert store.operations.claim(new.id, f"boot-{replica}", replica, set())
    return new.id


def end(store: Store, operation_id: str, replica: str, phase: Phase = Phase.SUCCEEDED) -> None:
    assert store.operations.finish(operation_id, f"boot-{replica}", phase, NOW, None)


def test_each_server_counts_what_it_has_ended_once(store: Store) -> None:
    mine, mine_too, theirs = start(store, "a"), start(store, "a"), start(store, "b")
    begun = NOW - timedelta(seconds=60)
    store.operations.step_begins(mine, "boot-a", 0, "clean", begun, NOW)
    at = store.events.newest()
    assert store.numbers.ended("a", at) == ([], at)
    end(store, mine, "a")
    end(store, theirs, "b")
    ended, after = store.numbers.ended("a", at)
    assert ended == [Ended("nodes.clean", Phase.SUCCEEDED, 60.0)]
    assert after == store.events.newest()
    end(store, mine_too, "a", Phase.CANCELLED)
    ended, last = store.numbers.ended("a", after)
    assert ended == [Ended("nodes.clean", Phase.CANCELLED, None)]
    assert store.numbers.ended("a", last) == ([], last)


def test_servers_that_live_and_that_died(store: Store) -> None:
    assert store.numbers.replicas() == {"live": 0, "dead": 0}
    now = datetime.now(UTC)
    with store.database.write() as connection:
        for name, seconds in (("a", 60), ("b", 60), ("c", -60), ("d", -90_000)):
            values = {"replica": name, "boot": name, "started_at": now, "beat_at": now}
            connection.execute(servers.insert().values(**values, expires_at=now + timedelta(seconds=seconds)))
    assert store.numbers.replicas() == {"live": 2, "dead": 1}


def test_connections(store: Store) -> None:
    before = store.numbers.connections()
    with store.database.read() as connection:
        connection.execute(sa.select(1))
        during = store.numbers.connections()
    assert (before.in_use, during.in_use) == (0, 1)
    assert before.limit == during.limit == (40 if store.database.is_sqlite else shares_of(DEFAULT).store)


def test_open_work_by_kind_and_phase(store: Store) -> None:
    running = start(store, "a")
    store.operations.step_begins(running, "boot-a", 0, "clean", NOW, NOW + timedelta(hours=1))
    paused = start(store, "a")
    store.operations.step_begins(paused, "boot-a", 0, "clean", NOW, NOW + timedelta(hours=1))
    assert store.operations.pauses(paused, "boot-a", NOW, "enough")
    start(store, "a")
    end(store, start(store, "a"), "a")
    assert store.workload.counts() == {
        ("nodes.clean", "running"): 1, ("nodes.clean", "paused"): 1, ("nodes.clean", "pending"): 1,
    }  # fmt: skip
    assert {(each.phase, each.step, each.pause_reason) for each in store.workload.open()} == {
        (Phase.RUNNING, "clean", None), (Phase.RUNNING, "clean", "enough"), (Phase.PENDING, None, None),
    }  # fmt: skip
