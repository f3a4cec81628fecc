"""Waiting for nodes costs Ironic and Placement little, and what others listed a moment ago deceives nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.clouds.fake import FakeClouds
from steelyard.discovery.looking import NOW_AND_THEN, Looks
from steelyard.discovery.onboarding import CLEANING, Onboarding
from steelyard.discovery.stopping import UNBROKEN, Watch
from steelyard.errors import Refused
from steelyard.lifecycle.cleaning import SEEN
from steelyard.operations.model import Done, Operation, Phase, Retry, StepContext

from .test_work import CREDENTIALS, PORT, found, onboard, only_node

if TYPE_CHECKING:
    from .conftest import Bench


def onboarded(bench: Bench, *, listed: bool) -> Operation:
    """Onboarding with agents that take their time, beside reconcilers that list all nodes, or none."""
    operations = bench.operations()
    waited = 0

    def go_on(seconds: float) -> None:
        nonlocal waited
        waited += 1
        slow = any(node.provision_state in ("inspect wait", "clean wait") for node in bench.world.nodes.values())
        if not slow or waited % 20 == 0:
            bench.world.tick()
        if listed:
            bench.observer.forget()
            bench.observer.nodes()

    operations.clock._on_wait = go_on
    found(bench)
    return onboard(bench.over(operations), bench)


def test_where_all_nodes_are_listed_anyway_single_ones_are_hardly_asked_for(bench: Bench) -> None:
    operation = onboarded(bench, listed=True)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert bench.world.calls["nodes.get"] < 20


def test_where_nobody_lists_them_they_are_asked_for(bench: Bench) -> None:
    operation = onboarded(bench, listed=False)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert bench.world.calls["nodes.get"] > 30


def a_look(bench: Bench, *, attempt: int = 1, **results: Any) -> StepContext:
    """Of an operation that waits for the only node."""
    node = only_node(bench)
    params = {"candidate_id": node.notes["candidate_id"]}
    return StepContext(
        "o1", "nodes.onboard", "wait", params, {"node_id": node.id, **results}, bench.admin, None, attempt
    )


@pytest.fixture
def waiting(bench: Bench) -> Bench:
    """A node that is being cleaned."""
    onboard(found(bench), bench)
    bench.world.set_state(only_node(bench).id, "cleaning")
    bench.observer.forget()
    bench.world.calls.clear()
    return bench


@pytest.mark.parametrize(
    ("listed", "age", "asked"),
    [
        ({}, 0, False), ({}, 2, False), ({}, 3, True), ({"maintenance": True}, 0, True),
        ({"provision_state": "manageable"}, 0, True), ({"provision_state": "available"}, 0, True),
    ],
)  # fmt: skip
def test_a_list_is_enough_only_where_it_is_fresh_and_says_that_the_node_works(
    waiting: Bench, listed: dict[str, Any], age: int, asked: bool
) -> None:
    node = only_node(waiting)
    waiting.world.nodes[node.id] = replace(node, **listed)
    waiting.observer.nodes()
    waiting.world.nodes[node.id] = node
    waiting.world.hang_node(node.id)
    waiting.world.tick(age)
    looks = Looks(FakeClouds(waiting.world), waiting.store, waiting.observer)
    assert looks.node(a_look(waiting), at_work=CLEANING).provision_state == "cleaning"
    assert bool(waiting.world.calls["nodes.get"]) is asked


@pytest.mark.parametrize(("age", "unbroken"), [(0.0, True), (2.0, False)])
def test_a_watch_knows_how_old_its_last_look_may_be(bench: Bench, age: float, unbroken: bool) -> None:
    """Whatever fits between two looks must fit between what they saw."""
    now = [0.0]
    node = bench.world.add_node("new", state="manageable")
    node = bench.world.nodes[node.id] = replace(node, provision_state="enroll", extra={"steelyard": {}})
    context = StepContext("op", "nodes.onboard", "wait", {}, {}, bench.admin, None, 1)
    watch = Watch(FakeClouds(bench.world), lambda: now[0])
    watch.begin(node)
    for now[0] in (UNBROKEN - 1, 2 * UNBROKEN - 1):
        watch.look(node, context, age=age)
    assert (node.id in watch._seen) is unbroken


def test_an_agent_that_was_at_work_in_a_list_proves_no_cleaning(waiting: Bench) -> None:
    """The list may be from before this cleaning was asked for; nor is the agent overlooked as the list is late."""
    node = only_node(waiting)
    waiting.world.set_state(node.id, "clean wait")
    waiting.observer.nodes()
    waiting.world.set_state(node.id, "cleaning")
    onboarding = Onboarding(
        clouds=FakeClouds(waiting.world), store=waiting.store, settings=waiting.settings, observer=waiting.observer
    )
    first = onboarding.cleaning_ended(a_look(waiting))
    assert isinstance(first, Retry)
    assert SEEN not in first.result
    waiting.observer.forget()
    waiting.observer.nodes()
    waiting.world.set_state(node.id, "clean wait")
    then = onboarding.cleaning_ended(a_look(waiting))
    assert isinstance(then, Retry)
    assert SEEN in then.result


@pytest.mark.parametrize(("notes", "marked", "asked"), [(True, False, False), (False, False, True), (True, True, True)])
def test_where_the_conductor_notes_every_clean_a_list_is_enough(
    waiting: Bench, notes: bool, marked: bool, asked: bool
) -> None:
    """But not for a node in quarantine: this onboarding ends that only if it saw the agent at work."""
    node = only_node(waiting)
    extra = {"steelyard": {**node.notes, "quarantine": {"reason": "suspected"}}} if marked else dict(node.extra)
    power = "steelyard-redfish" if notes else "redfish"
    waiting.world.nodes[node.id] = replace(node, power_interface=power, extra=extra)
    waiting.observer.nodes()
    onboarding = Onboarding(
        clouds=FakeClouds(waiting.world), store=waiting.store, settings=waiting.settings, observer=waiting.observer
    )
    outcome = onboarding.cleaning_ended(a_look(waiting))
    assert isinstance(outcome, Retry)
    assert outcome.waiting_for == "node is cleaning, wanted available"
    assert bool(waiting.world.calls["nodes.get"]) is asked


def test_what_placement_offers_is_asked_once_for_all_who_wait(waiting: Bench) -> None:
    looks = Looks(FakeClouds(waiting.world), waiting.store, waiting.observer)
    said = [looks.not_offered_yet(a_look(waiting, attempt=attempt), "bm-other") for attempt in range(1, NOW_AND_THEN)]
    assert said == [True] * (NOW_AND_THEN - 1)
    assert (waiting.world.calls["placement.free"], waiting.world.calls["nodes.get"]) == (1, 0)


def test_a_tenant_who_is_faster_than_placement_ends_the_wait(waiting: Bench) -> None:
    """Placement never shows such a node as free."""
    node = only_node(waiting)
    waiting.world.nodes[node.id] = replace(node, provision_state="deploying", instance_id="i1")
    onboarding = Onboarding(
        clouds=FakeClouds(waiting.world), store=waiting.store, settings=waiting.settings, observer=waiting.observer
    )
    looks = [
        onboarding.offered(a_look(waiting, attempt=attempt, offered_as="CUSTOM_BM_OTHER"))
        for attempt in range(1, NOW_AND_THEN + 1)
    ]
    assert all(isinstance(look, Retry) for look in looks[:-1])
    assert looks[-1] == Done({"resource_class": "bm-small"})


def test_many_at_the_same_moment_list_the_nodes_once(bench: Bench) -> None:
    """As a bulk operation starts them, one by one; a list for each would keep Ironic from its work."""
    for number in range(1, 9):
        bench.add_server(number)
    service = bench.service()
    service.discover(bench.admin, ["10.0.0.0/28"], CREDENTIALS, port=PORT)
    bench.world.calls.clear()
    chosen = [service._chosen([f"bm-{number:03}"], everything=False)[0].name for number in range(1, 9)]
    assert chosen == [f"bm-{number:03}" for number in range(1, 9)]
    assert bench.world.calls["nodes.all"] == 1


def test_whom_an_old_list_refuses_a_new_one_is_asked_about(bench: Bench) -> None:
    service = found(bench)
    onboard(service, bench)
    bench.observer.forget()
    bench.observer.nodes()
    with pytest.raises(Refused, match="is a node already"):
        service.onboard(bench.admin, ["bm-001"])
    bench.world.nodes.clear()  # deleted a moment ago
    bench.world.node_ports.clear()
    operation = onboard(service, bench)
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert only_node(bench).provision_state == "available"


def test_who_enrolls_it_at_the_same_moment_stops_it_before_anything_is_erased(bench: Bench) -> None:
    operations = bench.operations()
    states: set[str] = set()

    def go_on(seconds: float) -> None:
        bench.world.tick()
        if len(bench.world.nodes) == 1:
            theirs = bench.world.add_node("stock")
            bench.world.nodes[theirs.id] = replace(theirs, bmc_address=f"https://10.0.0.1:{PORT}")
        states.update(node.provision_state for node in bench.world.nodes.values() if node.name == "bm-001")

    operations.clock._on_wait = go_on
    found(bench)
    operation = onboard(bench.over(operations), bench)
    assert operation.error is not None
    assert operation.error.code == "already_enrolled"
    (theirs,) = (node for node in bench.world.nodes.values() if node.name == "stock")
    assert operation.error.next == f"steelyard node show {theirs.id}"
    assert not states & CLEANING
