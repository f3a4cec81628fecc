"""Removal by force: whatever the node is doing; what can be released is, what cannot is said, the record stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from steelyard.discovery.model import Candidate, CandidateState
from steelyard.errors import Invalid, UpstreamError
from steelyard.lifecycle.model import Phase, phase, quarantine
from steelyard.lifecycle.removal import UNCLEAN
from steelyard.nouns import Node
from steelyard.operations.model import Operation
from steelyard.operations.model import Phase as End

from .test_work import create

if TYPE_CHECKING:
    from .conftest import Bench

STEPS = [
    "write down", "take out of the offer", "power off", "let Nova release it", "delete", "let Nova forget it",
    "release ports and allocations", "record",
]  # fmt: skip
STATES = [
    "enroll", "manageable", "available", "inspect wait", "clean wait", "clean failed", "deploy failed", "error",
    "adopt failed", "rescue failed",
]  # fmt: skip


def deployed(bench: Bench) -> Node:
    create(bench, bench.service())
    (node,) = [each for each in bench.world.nodes.values() if each.instance_id]
    candidate = Candidate(
        id="c1", address="192.0.2.1", port=443, system_path="/redfish/v1/Systems/1", state=CandidateState.ONBOARDED,
        first_seen_at=datetime.now(UTC), last_seen_at=datetime.now(UTC), node_id=node.id,
    )  # fmt: skip
    bench.store.candidates.put(candidate)
    return node


def nothing_is_left(bench: Bench, node: Node) -> None:
    """No service knows anything of the node or of its tenant's server any more."""
    own = bench.clouds.own
    assert node.id not in {each.id for each in own.nodes.all()}
    assert not [port for port in own.node_ports.all() if port.node_id == node.id]
    owners = {node.id, node.instance_id}
    assert not [port for port in own.attachments.all() if port.device_id in owners or port.host_id == node.id]
    assert not [record for record in own.placement.allocations() if record.node_id == node.id]
    assert node.instance_id not in {each.id for each in own.compute.all(all_projects=True)}


@pytest.mark.parametrize("repeat", [False, True], ids=["once", "each step twice"])
class TestDeployed:
    def test_everything_is_released_and_the_record_stays(self, bench: Bench, repeat: bool) -> None:
        node = deployed(bench)
        links = {port.mac: port.link for port in bench.world.node_ports.values() if port.node_id == node.id}
        operation = bench.service(repeat_steps=repeat).nodes.remove(bench.admin, node.id, reason="burnt out")
        assert operation.phase is End.SUCCEEDED, operation.error
        bench.world.settle()
        nothing_is_left(bench, node)
        events = bench.store.events.of(f"node:{node.id}")[::-1]
        assert [event.kind for event in events] == ["node.removal_started", "node.removed"]
        assert {(event.actor, event.reason, event.operation_id) for event in events} == {
            ("admin", "burnt out", operation.id)
        }
        assert events[0].data["instance_id"] == node.instance_id
        assert events[0].data["phase"] == "active"
        assert "NOT erased" in events[1].detail
        candidate = bench.store.candidates.get("c1")
        assert (candidate.state, candidate.node_id, candidate.reason) == (CandidateState.FOUND, None, UNCLEAN)
        assert bench.store.cables.of(list(links)) == links != {}

    def test_a_dead_bmc_does_not_keep_it(self, bench: Bench, repeat: bool) -> None:
        node = deployed(bench)
        bench.world.lose_bmc(node.id)
        operation = bench.service(repeat_steps=repeat).nodes.remove(bench.admin, node.id, reason="burnt out")
        assert operation.phase is End.SUCCEEDED, operation.error
        bench.world.settle()
        nothing_is_left(bench, node)
        assert "could NOT be powered off" in operation.result["summary"]

    def test_a_protected_one(self, bench: Bench, repeat: bool) -> None:
        node = deployed(bench)
        bench.clouds.own.nodes.update(node.id, {"/protected": True, "/protected_reason": "somebody's"})
        operation = bench.service(repeat_steps=repeat).nodes.remove(bench.admin, node.id, reason="burnt out")
        assert operation.phase is End.SUCCEEDED, operation.error
        bench.world.settle()
        nothing_is_left(bench, node)


@pytest.mark.parametrize("state", STATES)
def test_in_every_other_state(bench: Bench, state: str) -> None:
    node = next(iter(bench.world.nodes.values()))
    bench.world.set_state(node.id, state, maintenance=state.endswith("failed"))
    operation = bench.service().nodes.remove(bench.admin, node.id, reason="sold as scrap")
    assert operation.phase is End.SUCCEEDED, operation.error
    nothing_is_left(bench, node)


@pytest.mark.parametrize("step", STEPS)
def test_failing_at_each_step_it_is_never_offered_and_asking_again_goes_on(bench: Bench, step: str) -> None:
    node = deployed(bench)
    operation = bench.service(fail_step=step).nodes.remove(bench.admin, node.id, reason="burnt out")
    assert operation.phase is End.FAILED
    bench.world.settle()
    left = bench.world.nodes.get(node.id)
    assert node.id not in bench.clouds.own.placement.free("CUSTOM_BM_SMALL")
    if left is None:
        assert STEPS.index(step) >= STEPS.index("delete")
        return
    if step != "write down":
        assert left.maintenance
    again = bench.service().nodes.remove(bench.admin, node.id, reason="burnt out")
    assert again.phase is End.SUCCEEDED, again.error
    bench.world.settle()
    nothing_is_left(bench, node)


def cancelled(bench: Bench, node: Node, *, at: str) -> Operation:
    """A removal by force that is cancelled while it waits in this step."""
    operations = bench.operations()

    def cancel(_: float) -> None:
        for running in operations.all(kind="nodes.remove"):
            waits_for = next((step.name for step in running.steps if step.phase is End.RUNNING), None)
            if waits_for == at and not running.cancel_requested:
                operations.cancel(running.id, reason="the wrong one", by="ada")
        bench.world.tick()

    operations.clock._on_wait = cancel
    return bench.over(operations).nodes.remove(bench.admin, node.id, reason="burnt out")


def test_cancelled_while_nobody_has_it_it_ends_in_quarantine(bench: Bench) -> None:
    """Nobody else would say so: in maintenance an agent that is at work never comes to an end."""
    node = next(iter(bench.world.nodes.values()))
    bench.world.set_state(node.id, "clean wait")
    bench.world.nodes[node.id] = replace(bench.world.nodes[node.id], power_state="on")
    bench.world.hang_node(node.id)
    operation = cancelled(bench, node, at="power off")
    assert operation.phase is End.CANCELLED
    left = bench.world.nodes[node.id]
    assert quarantine(left) == "its removal by force did not end: Cancelled."
    assert phase(left) is Phase.QUARANTINED


@pytest.mark.parametrize("held", [False, True], ids=["", "in maintenance"])
def test_cancelled_while_a_tenant_has_it_the_server_stays_the_tenants(bench: Bench, held: bool) -> None:
    node = deployed(bench)
    if held:
        bench.service().nodes.maintenance(bench.admin, node.id, on=True, reason="a new fan")
    operation = cancelled(bench, node, at="power off")
    assert operation.phase is End.CANCELLED
    left = bench.world.nodes[node.id]
    assert (left.provision_state, left.maintenance, quarantine(left)) == ("active", held, None)
    assert left.instance_id == node.instance_id


@pytest.mark.parametrize("reason", [None, "", "  ", "x"])
def test_without_a_reason_nothing_happens(bench: Bench, reason: str | None) -> None:
    node = deployed(bench)
    with pytest.raises(Invalid) as caught:
        bench.service().nodes.remove(bench.admin, node.id, reason=reason)
    assert caught.value.code == "reason_needed"
    assert phase(bench.world.nodes[node.id]) is Phase.ACTIVE
    assert bench.store.events.of(f"node:{node.id}") == []


def test_what_cannot_be_released_is_said(bench: Bench) -> None:
    node = deployed(bench)
    stray = bench.world.fabric.add_port(
        bench.world.role_networks["cleaning"], now=bench.world.now, mac="52:54:00:ff:ff:ff",
        project_id=bench.world.service_project, device_id="left-behind", device_owner="baremetal:none",
    )  # fmt: skip
    bench.world.fabric.ports[stray.id] = replace(stray, host_id=node.id)
    bench.world.fail("attachments.delete", UpstreamError("HTTP 500"), times=10_000)
    ended = bench.service().nodes.remove(bench.admin, node.id, reason="burnt out")
    assert ended.phase is End.SUCCEEDED, ended.error
    assert node.id not in bench.world.nodes
    assert ended.result["left"] == [stray.id]
    assert f"NOT released: {stray.id}" in ended.result["summary"]


def test_without_nova_it_goes_on_and_says_so(bench: Bench) -> None:
    node = deployed(bench)
    bench.world.fail("compute.delete", UpstreamError("HTTP 500"), times=10_000)
    ended = bench.service().nodes.remove(bench.admin, node.id, reason="burnt out")
    assert ended.phase is End.SUCCEEDED, ended.error
    assert node.id not in bench.world.nodes
    assert f"NOT released: server {node.instance_id}" in ended.result["summary"]
    assert not [record for record in bench.clouds.own.placement.allocations() if record.node_id == node.id]
