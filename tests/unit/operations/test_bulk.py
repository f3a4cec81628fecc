"""Bulk operations: limits, waves, failures, pause and cancel; and the three tests of every kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from steelyard.errors import Forbidden, Invalid, NotFound, Refused, Unauthenticated, Unavailable
from steelyard.nouns import Actor
from steelyard.operations.bulk import BULK, BULK_ADMIN, BulkAction, BulkContext, BulkLimits, ItemPhase
from steelyard.operations.bulk_steps import forget_token
from steelyard.operations.bulking import Bulk
from steelyard.operations.engine import DurableOperations
from steelyard.operations.fake import FakeOperations
from steelyard.operations.journal import new_operation
from steelyard.operations.model import Done, Failed, Operation, OperationKind, Outcome, Phase, Retry, Step, StepContext
from steelyard.operations.reconciling import Report
from steelyard.store import Store
from steelyard.store.engine_tables import batch_items

from .conftest import engine_in

CANARY = "canary-token-5b1f"
Item = Mapping[str, Any]


class Yard:
    """Things to work on, one child operation each: `do` decides how one ends."""

    def __init__(self, operations: FakeOperations | DurableOperations, store: Store) -> None:
        self.operations = operations
        self.store = store
        self.deeds: list[str] = []
        self.starts: list[str] = []
        self.now = 0
        self.most = 0
        self.gates: dict[str, threading.Event] = {}
        self.tokens: list[str] = []
        self.kept: list[str] = []
        self.refuse: dict[str, Exception] = {}
        self._lock = threading.Lock()
        operations.register(OperationKind("test.child", [Step("do", self._do, deadline=300.0)]))
        self.bulk = Bulk(operations, store)
        self.bulk.register(
            BulkAction("test.child", "Work.", self.start, needs_token=True),
            BulkAction("test.admin", "Work on nodes.", self.start, administrators=True, check=self.check),
        )

    def start(self, item: Item, ctx: BulkContext) -> Operation:
        name = str(item["name"])
        self.starts.append(name)
        if name in self.refuse:
            raise self.refuse[name]
        if item.get("token"):
            self.tokens.append(ctx.token())
            batch = self.store.bulk.get(self.operations.get(ctx.parent_id).params["batch"])
            self.kept.append(str(batch.secret_id))
        return self.operations.start("test.child", dict(item), ctx.actor, reason=ctx.reason, key=ctx.key)

    @staticmethod
    def check(item: Item) -> None:
        if "name" not in item:
            raise Invalid("An item needs a name.", code="no_name")

    def _do(self, ctx: StepContext) -> Outcome:
        name = ctx.params["name"]
        with self._lock:
            if ctx.attempt == 1:
                self.now += 1
                self.most = max(self.most, self.now)
        if (gate := self.gates.get(name)) is not None and not gate.is_set():
            return Retry(0.05, "the gate")
        with self._lock:
            self.now -= 1
            self.deeds.append(name)
        if ctx.params.get("fail"):
            return Failed(f"{name} is on fire", next="steelyard node list", code="fire")
        return Done()


def items(count: int, *, failing: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [{"name": f"n{number}", **({"fail": True} if number in failing else {})} for number in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 's.sqlite'}", key_file=tmp_path / "keys")
    yield opened
    opened.close()


@pytest.fixture
def yard(store: Store) -> Yard:
    return Yard(FakeOperations(), store)


class TestTheThreeTests:
    def test_it_succeeds(self, yard: Yard, actor: Actor) -> None:
        ended = yard.bulk.start(actor, CANARY, "test.child", items(5), reason="spring cleaning")
        assert ended.phase is Phase.SUCCEEDED
        assert ended.kind == BULK
        assert ended.result == {"pending": 0, "running": 0, "succeeded": 5, "failed": 0, "cancelled": 0}
        assert yard.deeds == ["n0", "n1", "n2", "n3", "n4"]
        children = yard.operations.all(parent_id=ended.id)
        assert len(children) == 5
        assert {child.reason for child in children} == {"spring cleaning"}
        shown = yard.bulk.items(ended)
        assert [each.phase for each in shown] == [ItemPhase.SUCCEEDED] * 5
        assert [each.name for each in shown] == yard.deeds
        assert {each.operation_id for each in shown} == {child.id for child in children}

    def test_repeating_each_step_changes_nothing(self, store: Store, actor: Actor) -> None:
        yard = Yard(FakeOperations(repeat_steps=True), store)
        ended = yard.bulk.start(actor, CANARY, "test.child", items(5))
        assert ended.phase is Phase.SUCCEEDED
        assert len(yard.operations.all(kind="test.child")) == 5
        assert yard.starts == ["n0", "n1", "n2", "n3", "n4"]

    @pytest.mark.parametrize("step", ["items", "end"])
    def test_failing_at_each_step_ends_clean(self, store: Store, actor: Actor, step: str) -> None:
        yard = Yard(FakeOperations(fail_step=step), store)
        ended = yard.bulk.start(actor, CANARY, "test.child", items(3))
        assert ended.phase is Phase.FAILED
        batch = store.bulk.get(ended.params["batch"])
        assert batch.secret_id is None
        assert store.bulk.leftovers(datetime.now(UTC)) == []
        assert store.bulk.counts(batch.id)[ItemPhase.RUNNING] == 0


class TestFailures:
    def test_each_failure_has_its_reason_and_next(self, yard: Yard, actor: Actor) -> None:
        yard.refuse["n2"] = Refused("n2 is deployed", code="node_deployed", next="steelyard server list")
        ended = yard.bulk.start(actor, CANARY, "test.child", items(4, failing=(1,)))
        assert ended.phase is Phase.FAILED
        assert ended.error is not None
        assert (ended.error.code, ended.error.detail) == ("items_failed", "2 of 4 did not succeed.")
        fire, refused = yard.bulk.items(ended, phase=ItemPhase.FAILED)
        assert fire.error is not None
        assert refused.error is not None
        assert (fire.error.detail, fire.error.next) == ("n1 is on fire", "steelyard node list")
        assert (refused.error.detail, refused.error.code) == ("n2 is deployed", "node_deployed")
        assert refused.operation_id is None
        assert yard.deeds == ["n0", "n1", "n3"]

    def test_no_more_are_started_after_too_many(self, yard: Yard, actor: Actor) -> None:
        ended = yard.bulk.start(
            actor, CANARY, "test.child", items(10, failing=(1, 3, 4)), limits=BulkLimits(1, max_failures=1)
        )
        assert ended.phase is Phase.FAILED
        assert ended.error is not None
        assert ended.error.code == "too_many_failures"
        assert "6 were not started" in ended.error.detail
        assert yard.deeds == ["n0", "n1", "n2", "n3"]

    def test_a_passing_trouble_is_no_failure(self, yard: Yard, actor: Actor) -> None:
        yard.refuse["n1"] = Unavailable("Nova does not answer")
        waited: list[str] = []

        def mend(_: float) -> None:
            waited.append("waited")
            yard.refuse.clear()

        assert isinstance(yard.operations, FakeOperations)
        yard.operations.clock._on_wait = lambda seconds: mend(seconds) if yard.starts[-1:] == ["n1"] else None
        ended = yard.bulk.start(actor, CANARY, "test.child", items(3))
        assert ended.phase is Phase.SUCCEEDED
        assert waited
        assert yard.deeds == ["n0", "n1", "n2"]


class TestAsking:
    def test_the_same_key_twice_is_one(self, yard: Yard, actor: Actor) -> None:
        first = yard.bulk.start(actor, CANARY, "test.child", items(3), key="k")
        again = yard.bulk.start(actor, CANARY, "test.child", items(3), key="k")
        assert first.id == again.id
        assert len(yard.deeds) == 3

    @pytest.mark.parametrize(
        "limits",
        [
            BulkLimits(0),
            BulkLimits(10**6),
            BulkLimits(wave=0),
            BulkLimits(wave_pause=-1),
            BulkLimits(max_failures=-1),
        ],
    )
    def test_limits_that_cannot_be(self, yard: Yard, actor: Actor, limits: BulkLimits) -> None:
        with pytest.raises(Invalid):
            yard.bulk.start(actor, CANARY, "test.child", items(1), limits=limits)

    def test_what_is_refused_leaves_nothing(self, yard: Yard, actor: Actor, admin: Actor) -> None:
        with pytest.raises(Invalid) as unknown:
            yard.bulk.start(actor, CANARY, "no.such", items(1))
        assert unknown.value.code == "unknown_action"
        assert "test.admin" not in unknown.value.detail
        with pytest.raises(Forbidden):
            yard.bulk.start(actor, CANARY, "test.admin", items(1))
        with pytest.raises(Invalid):
            yard.bulk.start(admin, CANARY, "test.admin", [*items(1), {"other": 1}])
        with pytest.raises(Invalid):
            yard.bulk.start(actor, CANARY, "test.child", [])
        assert yard.operations.all() == []
        assert yard.starts == []

    def test_administrators_actions_are_theirs_to_see(self, yard: Yard, admin: Actor, actor: Actor) -> None:
        ended = yard.bulk.start(admin, CANARY, "test.admin", items(1))
        assert ended.kind == BULK_ADMIN
        assert ended.project_id is None
        assert [each.name for each in yard.bulk.actions(actor)] == ["test.child"]


class TestACrash:
    """Between the start of a child and the note of it."""

    @pytest.mark.parametrize("started", [False, True])
    def test_the_child_is_found_again_or_started(self, store: Store, actor: Actor, *, started: bool) -> None:
        yard = Yard(FakeOperations(), store)
        asked = items(3)
        asked[1]["pause"] = True
        crashed: list[str] = []
        note = store.bulk.note

        def crashing(batch_id: str, number: int, phase: ItemPhase, **values: Any) -> None:
            if number == 1 and (phase is not ItemPhase.RUNNING or "operation_id" in values) and not crashed:
                crashed.append(batch_id)
                raise Unavailable("the server was killed here")
            note(batch_id, number, phase, **values)

        def start_nothing(_: Item, __: BulkContext) -> Operation:
            raise Unavailable("the server was killed here")

        if not started:
            yard.bulk._actions["test.child"] = replace(
                yard.bulk._actions["test.child"], start=Once(start_nothing, yard)
            )
        store.bulk.note = crashing  # type: ignore[method-assign]
        ended = yard.bulk.start(actor, CANARY, "test.child", asked)
        assert crashed
        assert ended.phase is Phase.SUCCEEDED
        assert len(yard.operations.all(parent_id=ended.id)) == 3
        assert sorted(yard.deeds) == ["n0", "n1", "n2"]

    def test_a_cancel_finds_a_child_that_was_not_noted(self, durable_yard: DurableYard, actor: Actor) -> None:
        yard = durable_yard
        operation = yard.bulk.start(actor, CANARY, "test.child", gated(yard, 2), limits=BulkLimits(concurrency=1))
        yard.until(lambda: yard.now == 1)
        yard.operations.pause(operation.id)
        yard.until(lambda: yard.operations.get(operation.id).paused_at)
        with yard.store.database.write() as connection:
            connection.execute(batch_items.update().values(operation_id=None))
        yard.bulk.cancel_children(operation)
        yard.operations.cancel(operation.id)
        ended = yard.ended(operation)
        (child,) = yard.operations.all(parent_id=operation.id)
        assert (ended.phase, child.phase) == (Phase.CANCELLED, Phase.CANCELLED)
        assert (ended.result["cancelled"], ended.result["pending"]) == (1, 1)


class Once:
    """A starter that stands in for another one the first time it is asked for the second item."""

    def __init__(self, instead: Callable[[Item, BulkContext], Operation], yard: Yard) -> None:
        self._instead = instead
        self._yard = yard
        self._asked = False

    def __call__(self, item: Item, ctx: BulkContext) -> Operation:
        if ctx.number == 1 and not self._asked:
            self._asked = True
            return self._instead(item, ctx)
        return self._yard.start(item, ctx)


class TestTheToken:
    def test_it_is_kept_encrypted_while_it_lasts_and_nowhere_else(
        self, yard: Yard, actor: Actor, tmp_path: Path
    ) -> None:
        ended = yard.bulk.start(actor, CANARY, "test.child", [{"name": "a", "token": True}])
        assert ended.phase is Phase.SUCCEEDED
        assert yard.tokens == [CANARY]
        assert CANARY not in repr(ended)
        assert yard.bulk.items(ended)[0].item == {}, "what it was is not needed any more"
        with pytest.raises(NotFound):
            yard.store.secrets.get(yard.kept[0])
        assert yard.store.bulk.get(ended.params["batch"]).secret_id is None
        for path in tmp_path.glob("s.sqlite*"):
            assert CANARY.encode() not in path.read_bytes()

    def test_when_it_runs_out_the_operation_pauses_and_a_resume_brings_a_fresh_one(
        self, yard: Yard, actor: Actor, admin: Actor
    ) -> None:
        yard.refuse["b"] = Unauthenticated("The token has expired.")
        asked = [{"name": "a", "token": True}, {"name": "b", "token": True}]
        paused = yard.bulk.start(actor, "first token", "test.child", asked)
        assert not paused.phase.ended
        assert paused.paused_at is not None
        assert "token" in (paused.waiting_for or "")
        yard.refuse.clear()

        yard.bulk.fresh_token(paused, admin, "somebody else's")
        yard.bulk.fresh_token(paused, actor, "second token")
        ended = yard.operations.resume(paused.id)
        assert ended.phase is Phase.SUCCEEDED
        assert yard.tokens == ["first token", "second token"]
        assert yard.deeds == ["a", "b"]

    @pytest.mark.parametrize("database", ["sqlite", "postgresql"])
    def test_what_a_crash_left_is_forgotten(
        self, request: pytest.FixtureRequest, tmp_path: Path, actor: Actor, database: str
    ) -> None:
        url = request.getfixturevalue("new_postgresql")() if database == "postgresql" else f"sqlite:///{tmp_path / 'x'}"
        store = Store.open(url, key_file=tmp_path / "keys")
        yard = Yard(FakeOperations(), store)
        secret_id = store.secrets.put({"token": CANARY})
        left = store.bulk.put("test.child", [("a", {"name": "a"})], secret_id)  # and the server was killed
        alive_secret = store.secrets.put({"token": CANARY})
        alive = store.bulk.put("test.child", [("a", {"name": "a"})], alive_secret)
        kind = OperationKind(BULK, [])
        store.operations.create(new_operation(kind, {"batch": alive}, actor, None, None, None, None, datetime.now(UTC)))
        (reconciler,) = yard.bulk.reconcilers()
        assert reconciler.run() == Report(0, 0), "it may be about to begin"
        assert [each.id for each in store.bulk.leftovers(datetime.now(UTC))] == [left]
        forget_token(store, store.bulk.get(left))
        assert store.bulk.leftovers(datetime.now(UTC)) == []
        with pytest.raises(NotFound):
            store.secrets.get(secret_id)
        assert store.secrets.get(alive_secret) == {"token": CANARY}
        store.close()


class DurableYard(Yard):
    operations: DurableOperations

    def until(self, condition: Callable[[], object], within: float = 20.0) -> None:
        waiter = threading.Event()
        for _ in range(int(within / 0.02)):
            if condition():
                return
            waiter.wait(0.02)
        raise AssertionError("did not happen in time")

    def ended(self, operation: Operation) -> Operation:
        self.until(lambda: self.operations.get(operation.id).phase.ended)
        return self.operations.get(operation.id)

    def counts(self, operation: Operation) -> Mapping[str, Any]:
        return self.bulk.note_ended(self.operations.get(operation.id)).result


@pytest.fixture
def durable_yard(tmp_path: Path) -> Iterator[DurableYard]:
    store, engine = engine_in(tmp_path)
    yard = DurableYard(engine, store)
    engine.launch()
    yield yard
    for gate in yard.gates.values():
        gate.set()
    engine.close()
    store.close()


def gated(yard: Yard, count: int) -> list[dict[str, Any]]:
    asked = items(count)
    yard.gates = {each["name"]: threading.Event() for each in asked}
    return asked


class TestWhileItRuns:
    def test_at_most_so_many_at_a_time_with_counts(self, durable_yard: DurableYard, actor: Actor) -> None:
        yard = durable_yard
        operation = yard.bulk.start(actor, CANARY, "test.child", gated(yard, 6), limits=BulkLimits(concurrency=2))
        yard.until(lambda: yard.now == 2)
        yard.until(lambda: yard.operations.get(operation.id).waiting_for == "0 of 6 done, 2 running")
        yard.gates["n0"].set()
        yard.until(lambda: yard.operations.get(operation.id).waiting_for == "1 of 6 done, 2 running")
        assert yard.operations.get(operation.id).result["succeeded"] == 1
        for gate in yard.gates.values():
            gate.set()
        assert yard.ended(operation).phase is Phase.SUCCEEDED
        assert yard.most == 2

    def test_a_wave_begins_when_the_last_one_has_ended(self, durable_yard: DurableYard, actor: Actor) -> None:
        yard = durable_yard
        limits = BulkLimits(concurrency=10, wave=2, wave_pause=1.5)
        operation = yard.bulk.start(actor, CANARY, "test.child", gated(yard, 4), limits=limits)
        yard.until(lambda: yard.now == 2)
        yard.gates["n0"].set()
        yard.until(lambda: yard.operations.get(operation.id).waiting_for == "1 of 4 done, 1 running")
        assert yard.starts == ["n0", "n1"]
        yard.gates["n1"].set()
        yard.until(lambda: "next wave in" in (yard.operations.get(operation.id).waiting_for or ""))
        yard.until(lambda: yard.starts == ["n0", "n1", "n2", "n3"])
        for gate in yard.gates.values():
            gate.set()
        assert yard.ended(operation).phase is Phase.SUCCEEDED

    def test_pause_starts_no_more_and_resume_goes_on(self, durable_yard: DurableYard, actor: Actor) -> None:
        yard = durable_yard
        operation = yard.bulk.start(actor, CANARY, "test.child", gated(yard, 4), limits=BulkLimits(concurrency=1))
        yard.until(lambda: yard.now == 1)
        yard.operations.pause(operation.id, reason="lunch")
        yard.until(lambda: yard.operations.get(operation.id).paused_at)
        assert "lunch" in (yard.operations.get(operation.id).waiting_for or "")
        yard.gates["n0"].set()
        yard.until(lambda: yard.deeds == ["n0"])
        yard.until(lambda: yard.counts(operation)["succeeded"] == 1)
        assert yard.starts == ["n0"], "what was at work ended, nothing more was started"
        for gate in yard.gates.values():
            gate.set()
        yard.operations.resume(operation.id)
        assert yard.ended(operation).phase is Phase.SUCCEEDED
        assert yard.starts == ["n0", "n1", "n2", "n3"]

    @pytest.mark.parametrize("children", [False, True])
    def test_cancel(self, durable_yard: DurableYard, actor: Actor, *, children: bool) -> None:
        yard = durable_yard
        operation = yard.bulk.start(actor, CANARY, "test.child", gated(yard, 5), limits=BulkLimits(concurrency=2))
        yard.until(lambda: yard.now == 2)
        if children:
            yard.bulk.cancel_children(operation)
        yard.operations.cancel(operation.id)
        if not children:
            yard.until(lambda: "no more are started" in (yard.operations.get(operation.id).waiting_for or ""))
            yard.gates["n0"].set()
            yard.gates["n1"].set()
        ended = yard.ended(operation)
        assert ended.phase is Phase.CANCELLED
        assert ended.result["pending"] == 3
        assert ended.result["cancelled" if children else "succeeded"] == 2
        assert len(yard.starts) == 2
        assert yard.store.bulk.get(ended.params["batch"]).secret_id is None

    def test_a_paused_one_can_be_cancelled(self, durable_yard: DurableYard, actor: Actor) -> None:
        yard = durable_yard
        operation = yard.bulk.start(actor, CANARY, "test.child", gated(yard, 3), limits=BulkLimits(concurrency=1))
        yard.until(lambda: yard.now == 1)
        yard.operations.pause(operation.id)
        yard.until(lambda: yard.operations.get(operation.id).paused_at)
        yard.bulk.cancel_children(operation)
        yard.operations.cancel(operation.id)
        assert yard.ended(operation).phase is Phase.CANCELLED
