"""A node that somebody holds in maintenance: operations wait visibly, go on when it ends, and give up in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.lifecycle.holding import HELD_SINCE, Holding, ends_it, held
from steelyard.lifecycle.model import Phase, phase, quarantine
from steelyard.nouns import Actor
from steelyard.operations.fake import FakeOperations
from steelyard.operations.model import Operation, Retry, StepContext
from steelyard.operations.model import Phase as End

from .test_guard import node
from .test_node_work import first, now, quarantined
from .test_work import create

if TYPE_CHECKING:
    from .conftest import Bench

WHY = "a fan is changed"
ADMIN = Actor("u1", "ann", None, None, frozenset({"admin"}), system=True)


def context(**results: Any) -> StepContext:
    return StepContext("op", "nodes.clean", "clean", {}, results, ADMIN, None, 1)


class TestLooking:
    def test_it_waits_and_says_for_what(self) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        look = Holding(60.0, clock=lambda: at).look(node(maintenance=True, maintenance_reason=WHY), context())
        assert isinstance(look, Retry)
        assert look.waiting_for == f"node bm-1 leaves maintenance ({WHY}): steelyard node maintenance off bm-1"
        assert look.result == {HELD_SINCE: at.isoformat()}

    @pytest.mark.parametrize(("seconds", "waits"), [(59.0, True), (60.0, False)])
    def test_it_gives_up_in_time(self, seconds: float, waits: bool) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        holding = Holding(60.0, clock=lambda: at + timedelta(seconds=seconds))
        there = node(maintenance=True, maintenance_reason=WHY)
        assert isinstance(holding.look(there, context(**{HELD_SINCE: at.isoformat()})), Retry) is waits

    def test_another_maintenance_has_its_own_time(self) -> None:
        assert Holding().over(context(**{HELD_SINCE: "2026-01-01T00:00:00+00:00"})) == {HELD_SINCE: None}
        assert Holding().over(context()) == {}

    def test_whose_maintenance_it_is(self) -> None:
        assert held(node(maintenance=True, maintenance_reason=WHY))
        assert held(node(maintenance=True, fault="power failure"))
        assert not held(node(maintenance=True, maintenance_reason="steelyard: not proven clean"))
        assert not held(node("clean failed", maintenance=True, fault="clean failure"))
        assert not held(node())
        assert ends_it(node(maintenance=True, fault="power failure")) == "steelyard node show bm-1"


def hold(bench: Bench, operations: FakeOperations, *, state: str, looks: int | None) -> list[str]:
    """Somebody holds the first node as soon as it is in the state, for so many looks or for good. Returns what the
    operation was seen waiting for."""
    said: list[str] = []
    here = first(bench).id
    began = False

    def go_on(seconds: float) -> None:
        nonlocal began
        there = bench.world.nodes[here]
        if not began and there.provision_state == state:
            began = True
            bench.world.nodes[here] = replace(there, maintenance=True, maintenance_reason=WHY)
        elif there.maintenance and there.maintenance_reason == WHY:
            said.extend(step.waiting_for or "" for each in operations.all() for step in each.steps)
            if looks is not None and len([words for words in said if "leaves maintenance" in words]) >= looks:
                bench.world.nodes[here] = replace(there, maintenance=False, maintenance_reason=None)
        bench.world.tick()

    operations.clock._on_wait = go_on
    return said


def run(bench: Bench, kind: str, operations: FakeOperations) -> Operation:
    service = bench.over(operations)
    if kind == "servers.reclaim":
        other = list(bench.world.nodes)[1]
        bench.world.set_state(other, "enroll")  # so that the server comes to the first
        _, created = create(bench, service)
        return service.delete(bench.admin, bench.admin_token, created.params["server_id"], reason="over")[1]
    acts = {"nodes.clean": service.nodes.clean, "nodes.inspect": service.nodes.inspect}
    return acts.get(kind, service.nodes.release)(bench.admin, first(bench).id, reason="why")


CLEANS = pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("nodes.clean", "manageable"), ("nodes.clean", "cleaning"), ("nodes.clean", "clean wait"),
        ("nodes.release", "clean wait"), ("nodes.inspect", "clean wait"),
        ("servers.reclaim", "clean wait"),
    ],
)  # fmt: skip


class TestOperations:
    @CLEANS
    def test_a_clean_goes_on_when_the_maintenance_ends(self, bench: Bench, kind: str, state: str) -> None:
        if kind == "nodes.release":
            quarantined(bench)
        operations = bench.operations()
        said = hold(bench, operations, state=state, looks=3)
        operation = run(bench, kind, operations)
        assert operation.phase is End.SUCCEEDED, operation.error
        assert f"node bm-1 leaves maintenance ({WHY}): steelyard node maintenance off bm-1" in said
        after = now(bench, first(bench))
        assert (after.provision_state, quarantine(after)) == ("available", None)
        assert bench.store.tenancies.newest_clean(after.id) is not None

    @CLEANS
    def test_it_is_quarantined_when_that_takes_too_long(self, bench: Bench, kind: str, state: str) -> None:
        bench.settings = bench.settings.model_copy(update={"maintenance_seconds": 0.0})
        if kind == "nodes.release":
            quarantined(bench)
        operations = bench.operations()
        hold(bench, operations, state=state, looks=None)
        operation = run(bench, kind, operations)
        assert operation.error is not None
        assert operation.error.code == "node_in_maintenance"
        assert WHY in operation.error.detail
        assert operation.error.next == "steelyard node maintenance off bm-1"
        after = now(bench, first(bench))
        assert (phase(after), after.maintenance) == (Phase.QUARANTINED, True)
        released = bench.service().nodes.release(bench.admin, after.id, reason="the fan is changed")
        assert released.phase is End.SUCCEEDED, released.error
        assert now(bench, after).provision_state == "available"

    def test_a_tenant_is_told_that_a_deployment_waits(self, bench: Bench) -> None:
        operations = bench.operations()
        said: list[str] = []
        here = first(bench).id
        held_for = 0

        def go_on(seconds: float) -> None:
            nonlocal held_for
            there = bench.world.nodes[here]
            said.extend(step.waiting_for or "" for each in operations.all() for step in each.steps)
            if there.provision_state == "wait call-back":
                held_for += 1
                bench.world.nodes[here] = replace(
                    there, maintenance=held_for < 4, maintenance_reason=WHY if held_for < 4 else None
                )
            bench.world.tick()

        operations.clock._on_wait = go_on
        _, operation = create(bench, bench.over(operations))
        assert operation.phase is End.SUCCEEDED, operation.error
        assert "the end of an administrator's maintenance" in said
        assert not [words for words in said if WHY in words or "bm-1" in words]
