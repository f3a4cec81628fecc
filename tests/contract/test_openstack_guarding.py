"""What the OpenStack adapters read of a node beyond its state, and how they hold one back in Placement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from steelyard.errors import Conflict, Invalid
from steelyard.nouns import AllocationRecord

from .answering import AnsweringCloud, Reply, Request, answering_cloud

NODE = {
    "uuid": "n1", "driver": "redfish", "provision_state": "active", "health": "WARNING", "fault": "power failure",
    "target_power_state": "power on", "automated_clean": False, "protected": True,
    "protected_reason": "the queen's, see http://10.0.0.1/?agent_token=canary-url", "network_interface": "steelyard",
    "power_interface": "redfish", "description": "under the stairs",
    "driver_internal_info": {
        "agent_secret_token": "canary-agent", "agent_url": "https://canary-address:9999",
        "redfish_auth": {"password": "canary-redfish"}, "steelyard": {"cleaned": {"ended": "2026-01-01T00:00:00"}},
    },
}  # fmt: skip
PROVIDER = "/placement/resource_providers/n1"
INVENTORY = {"total": 1, "reserved": 0, "min_unit": 1, "max_unit": 1, "step_size": 1, "allocation_ratio": 1.0}


@pytest.fixture
def cloud() -> Iterator[AnsweringCloud]:
    with answering_cloud() as cloud:
        yield cloud


def test_a_node_is_read_whole_and_its_inner_life_is_not(cloud: AnsweringCloud) -> None:
    cloud.answers["GET", "/baremetal/v1/nodes"] = Reply(200, {"nodes": [NODE]})
    (node,) = cloud.clouds().own.nodes.all()
    assert (node.health, node.fault, node.target_power_state) == ("warning", "power failure", "power on")
    assert (node.automated_clean, node.protected, node.description) == (False, True, "under the stairs")
    assert (node.network_interface, node.power_interface) == ("steelyard", "redfish")
    assert node.driver_notes == {"cleaned": {"ended": "2026-01-01T00:00:00"}}
    assert "canary" not in repr(node)


@pytest.mark.parametrize("inner", [{}, {"content": "** Redacted **"}, {"steelyard": "x"}, {"steelyard": [1]}, None])
def test_without_notes_there_are_none(cloud: AnsweringCloud, inner: Any) -> None:
    cloud.answers["GET", "/baremetal/v1/nodes/n1"] = Reply(200, {**NODE, "driver_internal_info": inner})
    assert cloud.clouds().own.nodes.get("n1").driver_notes == {}


@pytest.mark.parametrize(("newest", "asked"), [("1.115", True), ("1.109", True), ("1.108", False), ("1.88", False)])
def test_health_is_asked_for_only_where_it_is_known(cloud: AnsweringCloud, newest: str, asked: bool) -> None:
    cloud.answers["GET", "/baremetal/v1"] = Reply(headers={"X-OpenStack-Ironic-API-Maximum-Version": newest})
    cloud.answers["GET", "/baremetal/v1/nodes"] = Reply(200, {"nodes": []})
    cloud.clouds().own.nodes.all()
    (request,) = cloud.seen("GET", "/baremetal/v1/nodes")
    assert ("health" in request.query) is asked
    assert "driver_internal_info" in request.query


def placement(cloud: AnsweringCloud, *, conflicts: int = 0, reserved: int = 0) -> list[dict[str, Any]]:
    """A provider whose inventory somebody else changes so many times while we write; what was written."""
    state = {"generation": 7, "left": conflicts, "inventory": {**INVENTORY, "reserved": reserved}}
    written: list[dict[str, Any]] = []

    def read(request: Request) -> Reply:
        body = {"resource_provider_generation": state["generation"], "inventories": {"CUSTOM_BM": state["inventory"]}}
        return Reply(200, body)

    def write(request: Request) -> Reply:
        body = json.loads(request.body)
        written.append(body)
        if state["left"]:
            state["left"] -= 1  # type: ignore[operator]
            state["generation"] += 1  # type: ignore[operator]
        if body["resource_provider_generation"] != state["generation"]:
            error = {"status": 409, "detail": "resource provider generation conflict", "title": "Conflict",
                     "code": "placement.concurrent_update"}  # fmt: skip
            return Reply(409, {"errors": [error]})
        state["inventory"] = body["inventories"]["CUSTOM_BM"]
        return Reply(200, body)

    cloud.answers["GET", f"{PROVIDER}/inventories"] = read
    cloud.answers["PUT", f"{PROVIDER}/inventories"] = write
    return written


def test_a_node_is_held_back_whole(cloud: AnsweringCloud) -> None:
    written = placement(cloud)
    own = cloud.clouds().own
    own.placement.hold_back("n1")
    assert written == [{"resource_provider_generation": 7, "inventories": {"CUSTOM_BM": {**INVENTORY, "reserved": 1}}}]
    own.placement.hold_back("n1")
    assert len(written) == 1


def test_who_is_overtaken_looks_again(cloud: AnsweringCloud) -> None:
    written = placement(cloud, conflicts=2)
    cloud.clouds().own.placement.hold_back("n1")
    assert [body["resource_provider_generation"] for body in written] == [7, 8, 9]
    assert written[-1]["inventories"]["CUSTOM_BM"]["reserved"] == 1


def test_who_is_always_overtaken_says_so(cloud: AnsweringCloud) -> None:
    written = placement(cloud, conflicts=100)
    with pytest.raises(Conflict):
        cloud.clouds().own.placement.hold_back("n1")
    assert len(written) == 5


def test_all_allocations_cost_no_call_for_what_is_free(cloud: AnsweringCloud) -> None:
    def providers(request: Request) -> Reply:
        free = "resources=CUSTOM_BM%3A1" in request.query
        return Reply(200, {"resource_providers": [{"uuid": "n2"}] if free else [{"uuid": "n1"}, {"uuid": "n2"}]})

    classes = {"resource_classes": [{"name": "VCPU"}, {"name": "CUSTOM_BM"}]}
    cloud.answers["GET", "/placement/resource_classes"] = Reply(200, classes)
    cloud.answers["GET", "/placement/resource_providers"] = providers
    held = {"c1": {"resources": {"CUSTOM_BM": 1}, "consumer_generation": 1}}
    cloud.answers["GET", f"{PROVIDER}/allocations"] = Reply(200, {"allocations": held})
    assert cloud.clouds().own.placement.allocations() == [AllocationRecord("n1", "c1", {"CUSTOM_BM": 1})]
    assert not cloud.seen("GET", "/placement/resource_providers/n2/allocations")


@pytest.mark.parametrize("there", [False, True], ids=["somebody was quicker", "it stays"])
def test_a_vif_that_somebody_else_takes_off_at_that_moment_is_off(cloud: AnsweringCloud, there: bool) -> None:
    """Ironic answers 400 for one that is not attached."""
    vifs = "/baremetal/v1/nodes/n1/vifs"
    looks = iter([["v1"], ["v1"] if there else []])
    cloud.answers["GET", vifs] = lambda _: Reply(200, {"vifs": [{"id": one} for one in next(looks)]})
    said = "Unable to detach VIF v1 from node n1 because it is not attached to it."
    cloud.answers["DELETE", f"{vifs}/v1"] = Reply(400, {"error_message": said})
    ports = cloud.clouds().own.node_ports
    if there:
        with pytest.raises(Invalid):
            ports.detach("n1", "v1")
    else:
        ports.detach("n1", "v1")
