"""A switch that lies: the stock network interface ends ACTIVE on the wrong network, Steelyard's fails and says why.

Two servers at a time, each on a node of its own and each with its own fault, put in once the agent boots: the write of
the tenant's network gets lost on the one, and goes to a wrong VLAN on the other.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from openstack.connection import Connection

from .cloud_at_hand import EmbeddedCloud, until
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
FAULTS = ("not_applied", "wrong_vlan")
SOON = 180.0
"""Seconds, on a slow machine."""


@dataclass
class Deployment:
    """One server on its way, by Nova alone, onto the node that is told."""

    cloud: EmbeddedCloud
    admin: Connection
    system: Connection
    node: str
    server: str

    @property
    def place(self) -> str:
        """The boot NIC's switch port."""
        cable = self.cloud.rack.servers[self.node]["nics"][0]
        return f"{cable['switch']}/{cable['port']}"

    def vlan(self) -> int | None:
        """What the switch really carries there."""
        return self.cloud.rack.vlan_of(self.node)

    def instance(self) -> Any:
        return self.admin.compute.get_server(self.server)

    def controller_says(self) -> str:
        [port] = list(self.admin.network.ports(device_id=self.server, device_owner="compute:nova"))
        return str(port.status)

    def ironic(self) -> Any:
        return self.system.baremetal.get_node(self.node)

    def ended(self) -> str | None:
        status = str(self.instance().status)
        return status if status in ("ACTIVE", "ERROR") else None

    def findings(self) -> list[Json]:
        return [
            each for each in self.cloud.steelyard("admin", "attention", "-f", "json").json if self.node in str(each)
        ]

    def flips(self) -> list[Json]:
        node_id = self.cloud.nodes()[self.node]["id"]
        found = self.cloud.get("admin", "/v1/events", subject=f"node:{node_id}", kind="network.*", limit=100)["events"]
        return list(found)


def _serves(node: Json, flavor: Json) -> bool:
    return "CUSTOM_" + str(node["resource_class"]).upper().replace("-", "_") == flavor["resource_class"]


@pytest.fixture
def things(cloud: EmbeddedCloud, after: ExitStack, tmp_path: Any) -> Things:
    return Things(cloud, tmp_path, after, who="admin")


@pytest.fixture
def deployments(cloud: EmbeddedCloud, things: Things, after: ExitStack) -> Any:
    """Starts one server on each of two nodes with this network interface, and the faults once the agents boot."""
    admin, system = cloud.connect("admin"), cloud.connect("system")
    image, network, flavor = things.image(), things.network("10.97.0.0/24"), things.flavor(free=len(FAULTS))
    vlan = int(admin.network.get_network(network["id"]).provider_segmentation_id)
    nodes = [n for n in cloud.nodes().values() if n["phase"] == "available" and _serves(n, flavor)]

    def start(interface: str) -> tuple[list[Deployment], int]:
        found = []
        for node, fault in zip(sorted(nodes, key=lambda node: str(node["name"])), FAULTS, strict=False):
            before = system.baremetal.get_node(node["id"]).network_interface
            if before != interface:
                system.baremetal.update_node(node["id"], network_interface=interface)
                after.callback(_restore, system, node["id"], before)
            answer = admin.compute.post(
                "/servers",
                json={"server": {
                    "name": unique("server"), "flavorRef": flavor["id"], "imageRef": image["id"],
                    "networks": [{"uuid": network["id"]}], "hypervisor_hostname": node["id"],
                }},
                microversion="2.74",
            )  # fmt: skip
            assert answer.status_code == 202, answer.text
            made = Deployment(cloud, admin, system, node["name"], answer.json()["server"]["id"])
            found.append(made)
            after.callback(_delete, made)
            where = {2001} if interface == "neutron" else set(cloud.segment_vlans)
            until("the agent boots", lambda made=made, on=where: made.vlan() in on, seconds=SOON, every=0.1)
            after.enter_context(cloud.rack.fault("switch", made.place, fault, match="plug", times=1))
        return found, vlan

    return start


def _restore(system: Connection, node_id: str, interface: str) -> None:
    """Ironic takes it while nothing moves the node."""
    until("it is clean", lambda: system.baremetal.get_node(node_id).provision_state == "available", seconds=SOON)
    system.baremetal.update_node(node_id, network_interface=interface)


def _delete(made: Deployment) -> None:
    def gone() -> bool:
        """One that is deleted in the middle ends in ERROR, and has to be deleted again."""
        server = made.admin.compute.find_server(made.server)
        if server is not None and server.task_state is None:
            made.admin.compute.delete_server(made.server, ignore_missing=True)
        return server is None

    until("it is gone", gone, seconds=SOON, every=2.0)


def test_the_stock_interface_ends_active_on_no_network_and_on_a_wrong_one(deployments: Any) -> None:
    (lost, wrong), vlan = deployments("neutron")
    for each in (lost, wrong):
        assert until("Nova has ended", each.ended, seconds=SOON) == "ACTIVE", each.instance().fault
        assert each.controller_says() == "ACTIVE"
        assert each.ironic().provision_state == "active"
    assert lost.vlan() is None
    assert wrong.vlan() == vlan + 1


def test_steelyards_interface_fails_the_deployment_and_says_which_system_disagrees(
    cloud: EmbeddedCloud, deployments: Any
) -> None:
    (lost, wrong), vlan = deployments("steelyard")
    for each, found in ((lost, "no VLAN"), (wrong, f"VLAN {vlan + 1}")):
        said = f"the switch carries {found} on {each.place.replace('/', ' ')}, wanted VLAN {vlan} "
        assert until("Nova has ended", each.ended, seconds=SOON) == "ERROR"
        until("it is in quarantine", lambda each=each: cloud.nodes()[each.node]["phase"] == "quarantined", seconds=SOON)
        failed = [event for event in each.flips() if event["kind"] == "network.flip_failed"]
        assert any(said in event["detail"] for event in failed), failed
        # What Nova's release led to: it never became available.
        until("Ironic lets go", lambda each=each: each.ironic().provision_state == "clean failed", seconds=SOON)
        assert said in str(each.ironic().last_error)
        assert each.place.split("/")[1] not in str(each.instance().fault), "no tenant is told how the racks are wired"
        release = f"steelyard node release {each.node}"
        until("it has the mark", lambda each=each, to=release: each.findings()[0]["next"] == to, seconds=SOON)
        [shown] = each.findings()
        assert said in str(shown["reason"]), shown
        flipped = [event for event in each.flips() if event["kind"] == "network.flipped"]
        assert {event["data"]["to"] for event in flipped} >= {"provisioning", "idle"}
        assert all(event["data"]["verified"] for event in flipped)
    for each in (lost, wrong):
        _delete(each)
        assert each.ironic().is_maintenance, "nobody is offered it"
    cloud.rack.clear_faults("switch")
    for each in (lost, wrong):
        cloud.steelyard("admin", "node", "release", each.node, "--wait", within=SOON).ok()
        assert cloud.nodes()[each.node]["phase"] == "available"
        assert each.vlan() is None
        assert cloud.rack.disks(each.node) == {}
        until("nothing is found any more", lambda each=each: each.findings() == [], seconds=SOON)
