"""Plans: made, applied exactly, refused when the world is another, and no hostile file does anything."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from steelyard.drift.plan import Plan, canonical, check, seal
from steelyard.errors import Invalid, Refused, Unavailable
from steelyard.operations.model import Phase

from .conftest import Bench

MAKERS: list[Callable[[Bench], object]] = [
    Bench.orphan_an_allocation, Bench.stray_port, Bench.move_a_vlan, Bench.put_a_vlan, Bench.delete_a_binding,
    Bench.take_a_trait, Bench.change_a_provider, Bench.claim_for_nobody, Bench.attach_a_stranger,
    Bench.leave_in_the_controller, Bench.leave_a_vif,
]  # fmt: skip
ANY_REPEAT = pytest.mark.parametrize("repeat", [False, True], ids=["once", "each step twice"])


def names(maker: Callable[[Bench], object]) -> str:
    return maker.__name__


def state(bench: Bench) -> str:
    """The whole world, to see that nothing was changed."""
    world = bench.world
    return repr((
        sorted(world.nodes.items()), sorted(world.fabric.ports.items()), sorted(world.allocations.items()),
        sorted((id, sorted(traits)) for id, traits in world.provider_traits.items()), world.switch_ports(),
    ))  # fmt: skip


# It succeeds; repeating each step changes nothing


@ANY_REPEAT
@pytest.mark.parametrize("make", MAKERS, ids=names)
def test_each_drift_is_found_planned_and_mended(bench: Bench, make: Callable[[Bench], object], repeat: bool) -> None:
    make(bench)
    bench.assemble(repeat_steps=repeat)
    plan = bench.plan()
    assert [step.number for step in plan.steps] == [1]
    operation = bench.drift.apply(bench.admin, plan, reason="ticket 4711")
    assert operation.phase is Phase.SUCCEEDED, operation.error
    assert operation.result["applied"] == 1
    assert bench.drift.report().drifts == []
    [step] = plan.steps
    node_id = getattr(step.action, "node_id", None)
    told = bench.store.events.of(f"node:{node_id}" if node_id else step.subject)
    [event] = [event for event in told if event.kind == "drift.mended"]
    assert (event.actor, event.reason, event.operation_id) == ("ada", "ticket 4711", operation.id)
    assert event.data["before"] == step.observed
    assert event.data["action"]["verb"] == step.action.verb


@ANY_REPEAT
def test_many_at_once(bench: Bench, repeat: bool) -> None:
    for make in (
        bench.orphan_an_allocation, bench.stray_port, bench.stray_port, bench.move_a_vlan, bench.put_a_vlan,
        bench.take_a_trait, bench.change_a_provider,
    ):  # fmt: skip
        make()
    bench.assemble(repeat_steps=repeat)
    plan = bench.plan()
    assert len(plan.steps) == 7
    operation = bench.drift.apply(bench.admin, plan)
    assert (operation.phase, operation.result["applied"]) == (Phase.SUCCEEDED, 7)
    assert bench.drift.report().drifts == []
    assert bench.vlan(bench.nic) == bench.world.fabric.networks[bench.port.network_id].segmentation_id
    assert bench.vlan(bench.free_nic()) is None
    assert bench.free.traits == {"HW_ARCH_X86_64", "CUSTOM_VENDOR_ACME", "CUSTOM_MINE"}, "others that it had stay"


# Failing at each step ends clean


@pytest.mark.parametrize("step", ["compare", "apply"])
def test_failing_at_each_step_ends_clean(bench: Bench, step: str) -> None:
    bench.orphan_an_allocation()
    bench.move_a_vlan()
    bench.assemble(fail_step=step)
    plan, before = bench.plan(), state(bench)
    operation = bench.drift.apply(bench.admin, plan)
    assert operation.phase is Phase.FAILED
    assert operation.error is not None
    assert operation.error.next == "steelyard drift plan -o FILE"
    if step == "compare":
        assert state(bench) == before, "nothing was done"
    else:
        assert bench.drift.report().drifts == [], "all was done before that"
    bench.assemble()
    left = bench.plan()
    if left.steps:
        assert bench.drift.apply(bench.admin, left).phase is Phase.SUCCEEDED
    assert bench.drift.report().drifts == []


@pytest.mark.parametrize("number", [1, 2])
def test_a_plan_step_that_fails_stops_there(bench: Bench, number: int) -> None:
    bench.move_a_vlan()
    bench.orphan_an_allocation()
    plan = bench.plan()
    assert [step.action.verb for step in plan.steps] == ["bind_port", "delete_allocation"]
    if number == 1:
        assert bench.nic.link is not None
        bench.world.jam_switch_port(bench.nic.link)
    else:
        bench.world.fail("placement.delete_allocation", Invalid("no"), times=9)
    operation = bench.drift.apply(bench.admin, plan)
    assert operation.phase is Phase.FAILED
    assert operation.error is not None
    assert f"{number - 1} steps were done" in operation.error.detail
    assert operation.result["applied"] == number - 1
    assert {each.kind for each in bench.drift.report().drifts} == {
        1: {"switch_differs", "allocation_without_server"}, 2: {"allocation_without_server"}
    }[number]  # fmt: skip


def test_what_passes_is_waited_for(bench: Bench) -> None:
    bench.orphan_an_allocation()
    plan = bench.plan()
    bench.world.fail("placement.delete_allocation", Unavailable("away"), times=3)
    assert bench.drift.apply(bench.admin, plan).phase is Phase.SUCCEEDED


def test_a_kill_after_a_step_was_done_does_not_do_it_twice(bench: Bench) -> None:
    """What was begun before the kill is looked at, and its being done is no change of the world."""
    consumer = bench.orphan_an_allocation()
    plan = bench.plan()
    real = bench.drift.acting.act
    calls: list[str] = []

    def once(action: Any) -> None:
        calls.append(action.verb)
        real(action)
        if len(calls) == 1:
            raise Unavailable("killed, and started again")

    bench.drift.acting.act = once  # type: ignore[method-assign]
    operation = bench.drift.apply(bench.admin, plan)
    assert (operation.phase, calls) == (Phase.SUCCEEDED, ["delete_allocation"])
    assert consumer not in bench.world.allocations


# A world that has changed


def test_a_plan_whose_world_has_changed_is_refused_as_a_whole(bench: Bench) -> None:
    consumer = bench.orphan_an_allocation()
    bench.stray_port()
    plan = bench.plan()
    bench.clouds.own.placement.delete_allocation(consumer)
    before = state(bench)
    with pytest.raises(Refused, match="nothing was done") as error:
        bench.drift.apply(bench.admin, plan)
    assert error.value.code == "plan_outdated"
    assert state(bench) == before
    assert bench.operations.all() == []


def test_a_drift_of_the_same_name_and_another_content_is_refused(bench: Bench) -> None:
    bench.move_a_vlan()
    plan = bench.plan()
    assert bench.nic.link is not None
    bench.world.tamper_switch(bench.nic.link, 1000)
    with pytest.raises(Refused, match="another thing now"):
        bench.drift.apply(bench.admin, plan)


def test_a_port_that_got_an_owner_meanwhile_is_not_deleted(bench: Bench) -> None:
    stray = bench.stray_port()
    plan = bench.plan()
    bench.world.fabric.ports[stray.id] = replace(stray, device_owner="network:dhcp", device_id="dhcp-1")
    with pytest.raises(Refused):
        bench.drift.apply(bench.admin, plan)
    assert stray.id in bench.world.fabric.ports


@pytest.mark.parametrize("when", ["before the first step", "between two steps"])
def test_a_world_that_changes_under_way_stops_it(bench: Bench, when: str) -> None:
    bench.orphan_an_allocation()
    stray = bench.stray_port()
    plan = bench.plan()
    assert [step.action.verb for step in plan.steps] == ["delete_allocation", "delete_port"]

    def change(_: float) -> None:
        if when == "before the first step" or len(bench.world.allocations) == 1:
            port = bench.world.fabric.ports.get(stray.id)
            if port is not None:
                bench.world.fabric.ports[stray.id] = replace(port, device_id="mine", device_owner="compute:nova")

    bench.operations.clock._on_wait = change
    operation = bench.drift.apply(bench.admin, plan)
    assert operation.phase is Phase.FAILED
    assert operation.error is not None
    assert operation.error.code == "plan_outdated"
    assert stray.id in bench.world.fabric.ports
    assert operation.result.get("applied", 0) == (0 if when == "before the first step" else 1)


def test_the_same_key_starts_one_operation(bench: Bench) -> None:
    bench.orphan_an_allocation()
    plan = bench.plan()
    first = bench.drift.apply(bench.admin, plan, key="k")
    assert bench.drift.apply(bench.admin, plan, key="k").id == first.id


def test_a_part_of_it(bench: Bench) -> None:
    consumer = bench.orphan_an_allocation()
    stray = bench.stray_port()
    plan = bench.drift.plan(bench.admin, kinds=["port_without_owner"])
    assert [step.subject for step in plan.steps] == [f"port:{stray.id}"]
    plan = bench.drift.plan(bench.admin, subjects=[f"allocation:{consumer}:{bench.free.id}"])
    assert [step.kind for step in plan.steps] == ["allocation_without_server"]
    bench.world.fabric.remove_port(bench.port.id)
    assert bench.drift.plan(bench.admin, kinds=["server_without_port"]).left_out == 1, "only a person can mend that"


# Hostile files


def document(bench: Bench) -> dict[str, Any]:
    bench.stray_port()
    plan: dict[str, Any] = json.loads(bench.plan().model_dump_json())
    return plan


def resealed(plan: dict[str, Any]) -> dict[str, Any]:
    """As somebody would who knows how digests are made."""
    for step in plan["steps"]:
        step["fingerprint"] = canonical(step["observed"])
    plan["digest"] = canonical({key: value for key, value in plan.items() if key != "digest"})
    return plan


def test_a_plan_survives_being_written_and_read(bench: Bench) -> None:
    plan = document(bench)
    check(Plan.model_validate(json.loads(json.dumps(plan))))


def test_a_plan_of_somebodys_own_making_is_refused(bench: Bench) -> None:
    """Nothing but what drift itself would do now is done, however well the file is made."""
    plan = document(bench)
    tenants = bench.port
    forged = copy.deepcopy(plan)
    step = forged["steps"][0]
    step |= {"subject": f"port:{tenants.id}", "action": {"verb": "delete_port", "port_id": tenants.id}}
    step["observed"] = dict(bench.drift.acting.observe(Plan.model_validate(resealed(forged)).steps[0].action))
    with pytest.raises(Refused):
        bench.drift.apply(bench.admin, Plan.model_validate(resealed(forged)))
    sly = copy.deepcopy(plan)
    sly["steps"][0]["action"]["port_id"] = tenants.id  # the subject of a real drift, and another port
    sly["steps"][0]["observed"] = step["observed"]
    with pytest.raises(Refused):
        bench.drift.apply(bench.admin, Plan.model_validate(resealed(sly)))
    assert tenants.id in bench.world.fabric.ports


@pytest.mark.parametrize("field", ["made_at", "made_by", "left_out", "steps", "digest"])
def test_a_tampered_plan_is_refused(bench: Bench, field: str) -> None:
    plan = document(bench)
    changes: dict[str, Any] = {
        "made_at": "2020-01-01", "made_by": "eve", "left_out": 7, "digest": "sha256:" + "0" * 64,
        "steps": [{**plan["steps"][0], "reason": "because"}],
    }  # fmt: skip
    with pytest.raises(Invalid) as error:
        bench.drift.apply(bench.admin, Plan.model_validate({**plan, field: changes[field]}))
    assert error.value.code == "plan_tampered"


def test_steps_out_of_order_and_observations_of_another_are_tampering(bench: Bench) -> None:
    plan = document(bench)
    for changed in (
        {**plan, "steps": [{**plan["steps"][0], "number": 2}]},
        {**plan, "steps": [{**plan["steps"][0], "observed": {}}]},
    ):
        changed["digest"] = canonical({key: value for key, value in changed.items() if key != "digest"})
        with pytest.raises(Invalid, match="Step 1"):
            check(Plan.model_validate(changed))


def test_an_empty_plan(bench: Bench) -> None:
    with pytest.raises(Invalid) as error:
        bench.drift.apply(bench.admin, bench.plan())
    assert error.value.code == "plan_empty"
    assert seal(made_at="", made_by="", steps=[], left_out=0).steps == []


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1}, {"version": 2}, {"version": "1"}, {"version": 0}, {"format": "plan"}, {"steps": None},
        {"steps": {}}, {"left_out": -1}, {"left_out": "0"}, {"digest": "sha1:00"}, {"made_by": ["x"]},
        {"made_by": "x" * 300},
    ],
)  # fmt: skip
def test_wrong_types_and_unknown_fields(bench: Bench, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate({**document(bench), **change})


@pytest.mark.parametrize(
    "action",
    [
        None, {}, {"verb": "run"}, {"verb": "delete_port"}, {"verb": "delete_port", "port_id": 1},
        {"verb": "delete_port", "port_id": ""}, {"verb": "delete_port", "port_id": "../../networks/x"},
        {"verb": "delete_port", "port_id": "x", "force": True}, {"verb": "set_node_traits", "node_id": "n", "add": []},
        {"verb": "set_node_traits", "node_id": "n", "add": ["; rm"]}, {"verb": "bind_port", "port_id": "p"},
        {"verb": "empty_switch_port", "node_id": "n", "mac": "everything"}, ["delete_port"], "delete_port",
        {"verb": "delete_allocation", "consumer_id": "c\n", "node_id": "n"},
    ],
)  # fmt: skip
def test_no_other_action_can_be_asked_for(bench: Bench, action: Any) -> None:
    plan = document(bench)
    plan["steps"][0]["action"] = action
    with pytest.raises(ValidationError):
        Plan.model_validate(plan)


def test_more_steps_than_a_plan_may_have(bench: Bench) -> None:
    plan = document(bench)
    plan["steps"] = [{**plan["steps"][0], "number": min(number, 300)} for number in range(1, 400)]
    with pytest.raises(ValidationError):
        Plan.model_validate(plan)


def test_random_damage_is_never_applied(bench: Bench) -> None:
    """Whatever is changed in a plan, it is refused: as no plan, as tampered with, or as outdated."""
    chance = random.Random(20261128)
    plan = document(bench)
    before = state(bench)
    bench.drift.report = lambda: pytest.fail("it was looked at")  # type: ignore[method-assign]
    for _ in range(300):
        damaged = copy.deepcopy(plan)
        place: Any = damaged
        while True:
            key = chance.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
            if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.7:
                place = place[key]
                continue
            old = place[key]
            place[key] = chance.choice([v for v in (None, 0, 1, "x", [], {}, "sha256:" + "0" * 64) if v != old])
            break
        try:
            check(Plan.model_validate(damaged))
        except (ValidationError, Invalid):
            continue
        raise AssertionError(damaged)
    assert state(bench) == before
