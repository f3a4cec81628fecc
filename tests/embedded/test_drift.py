"""Drift that is made by hand in each system is found, planned and mended; a plan whose world has changed is refused."""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .cloud_at_hand import EmbeddedCloud, Ran, until
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
PERIOD = 15.0
"""Seconds, more than Nova takes to tell Placement of a changed trait."""


class ByHand:
    """The drifts, as somebody makes them with the stock clients and at the switch."""

    def __init__(self, cloud: EmbeddedCloud, after: ExitStack, node: str, free: Json) -> None:
        self.cloud = cloud
        self.after = after
        self.node = node
        self.free = free
        self.admin = cloud.connect("admin")
        self.system = cloud.connect("system")

    def put_vlan(self, vlan: int | None) -> None:
        """Write to the switch port of the server's first NIC, past the controller."""
        cable = self.cloud.rack.servers[self.node]["nics"][0]
        self.cloud.rack.set_port(cable["switch"], cable["port"], untagged_vlan=vlan)

    def stray_port(self) -> str:
        """Reserved by an administrator, and forgotten."""
        network = self.admin.network.find_network("cleaning")
        made = self.admin.network.create_port(network_id=network.id, name=unique("stray"))
        self.after.callback(self.admin.network.delete_port, made.id, ignore_missing=True)
        return str(made.id)

    def orphan_an_allocation(self) -> str:
        """As a scheduler leaves it that died after its claim."""
        consumer = str(uuid.uuid4())
        placement = self.admin.placement
        [inventory] = list(placement.resource_provider_inventories(self.free["id"]))
        body = {
            "allocations": {self.free["id"]: {"resources": {inventory.resource_class: 1}}},
            "project_id": self.admin.current_project_id,
            "user_id": self.admin.current_user_id,
        }
        answer = placement.put(f"/allocations/{consumer}", json=body, microversion="1.12")
        assert answer.status_code == 204, answer.text
        self.after.callback(placement.delete, f"/allocations/{consumer}")
        return consumer

    def held(self, consumer: str) -> Json:
        return dict(self.admin.placement.get(f"/allocations/{consumer}").json()["allocations"])

    def traits(self) -> set[str]:
        return set(self.system.baremetal.get_node(self.free["id"]).traits)

    def take_a_trait(self) -> str:
        trait = next(name for name in sorted(self.traits()) if name.startswith("CUSTOM_VENDOR_"))
        words = ("baremetal", "node", "remove", "trait", self.free["id"], trait)
        self.cloud.openstack("system", *words).ok()
        self.after.callback(self.system.baremetal.add_node_trait, self.free["id"], trait)
        return trait

    def delete_binding(self, port_id: str) -> None:
        self.admin.network.update_port(port_id, binding_host_id="")


def drift(cloud: EmbeddedCloud) -> dict[tuple[str, str], Json]:
    """By kind and subject."""
    answer = cloud.steelyard("admin", "drift", "-f", "json").json
    return {(each["kind"], each["subject"]): each for each in answer["drift"]}


def plan(cloud: EmbeddedCloud, file: Path, subjects: set[str]) -> Ran:
    file.unlink(missing_ok=True)
    words = [word for subject in sorted(subjects) for word in ("--subject", subject)]
    return cloud.steelyard("admin", "drift", "plan", "-o", file, *words)


def apply(cloud: EmbeddedCloud, file: Path) -> Ran:
    return cloud.steelyard(
        "admin", "drift", "apply", file, "--yes", "--reason", "made by hand", "--wait", within=300.0
    )  # fmt: skip


def check(cloud: EmbeddedCloud, node: str) -> int:
    return cloud.steelyard("admin", "isolation", "check", "--node", node).code


def test_drift_by_hand_is_found_planned_and_mended(
    cloud: EmbeddedCloud, things: Things, after: ExitStack, tmp_path: Path
) -> None:
    server = things.server(things.flavor(free=2), things.image(), things.network("10.97.0.0/24"))
    node = things.node_of(server)
    free = next(each for each in cloud.nodes().values() if each["phase"] == "available" and not each["maintenance"])
    hand = ByHand(cloud, after, node, free)
    [port] = list(hand.admin.network.ports(device_id=server["id"]))
    nic = f"nic:{port.mac_address}"
    vlan = cloud.rack.vlan_of(node)
    assert vlan is not None
    assert check(cloud, node) == 0
    before = set(drift(cloud))

    # Four systems, each changed behind the others' backs
    stray, consumer, trait = hand.stray_port(), hand.orphan_an_allocation(), hand.take_a_trait()
    hand.put_vlan(vlan + 1)
    expected = {
        ("port_without_owner", f"port:{stray}"): "delete_port",
        ("allocation_without_server", f"allocation:{consumer}:{free['id']}"): "delete_allocation",
        ("trait_missing", f"node:{free['id']}"): "set_node_traits",
        ("switch_differs", nic): "bind_port",
    }
    found = drift(cloud)
    assert set(found) - before == set(expected)
    for key, verb in expected.items():
        assert found[key]["action"]["verb"] == verb, found[key]
        assert found[key]["evidence"], found[key]
    moved = found["switch_differs", nic]
    assert (moved["severity"], str(vlan + 1) in moved["evidence"]["switch"]["carries"]) == ("critical", True)
    assert check(cloud, node) == 7

    # A plan whose world has changed is refused as a whole
    subjects = {subject for _, subject in expected}
    file = tmp_path / "plan.json"
    assert len(json.loads(plan(cloud, file, subjects).ok() and file.read_text())["steps"]) == len(expected)
    hand.put_vlan(vlan + 2)
    refused = apply(cloud, file)
    assert refused.code == 5, str(refused)
    assert "nothing was done" in refused.err
    assert cloud.rack.vlan_of(node) == vlan + 2
    assert hand.admin.network.find_port(stray) is not None
    assert hand.held(consumer)
    assert trait not in hand.traits()

    # A new plan is done, and each system says so itself
    plan(cloud, file, subjects).ok()
    apply(cloud, file).ok()
    assert cloud.rack.vlan_of(node) == vlan
    assert hand.admin.network.find_port(stray) is None
    assert hand.held(consumer) == {}
    assert trait in hand.traits()
    assert check(cloud, node) == 0
    assert not set(expected) & set(drift(cloud))
    told = cloud.get("admin", "/v1/events", subject=f"node:{cloud.nodes()[node]['id']}", limit=200)["events"]
    [mended] = [event for event in told if event["kind"] == "drift.mended"]
    assert (mended["reason"], mended["data"]["action"]["verb"]) == ("made by hand", "bind_port")

    # A binding of a server that runs, deleted with the stock client
    hand.delete_binding(port.id)
    until("the switch carries nothing", lambda: cloud.rack.vlan_of(node) is None or None, seconds=PERIOD)
    found = drift(cloud)
    assert found["controller_differs", nic]["action"]["verb"] == "bind_port"
    plan(cloud, file, {nic}).ok()
    apply(cloud, file).ok()
    assert cloud.rack.vlan_of(node) == vlan
    assert check(cloud, node) == 0
    [port] = list(hand.admin.network.ports(device_id=server["id"]))
    assert port.status == "ACTIVE"


def test_no_moment_of_a_deployment_and_of_a_release_is_drift(
    cloud: EmbeddedCloud, things: Things, after: ExitStack
) -> None:
    """Ironic's own ports are on the NICs meanwhile: they carry the server's id, or the node's as it is cleaned."""
    after.enter_context(cloud.rack.fault("agents", "*", "slow", match="lookup", seconds=10))  # time to look twice
    flavor, image, network = things.flavor(), things.image(), things.network("10.96.0.0/24")
    before = set(drift(cloud))
    server = things.server(flavor, image, network, wait=False)
    seen: dict[str, int] = {}
    found: dict[tuple[str, str], Json] = {}

    def phase() -> str:
        now: str = cloud.steelyard("demo", "server", "show", server["id"], "-f", "json").json["phase"]
        return now

    def look(phase: str) -> str:
        seen[phase] = seen.get(phase, 0) + 1
        found.update(drift(cloud))
        return phase

    def on_provisioning() -> bool:
        ports = cloud.connect("admin").network.ports(device_id=server["id"], device_owner="baremetal:none")
        return any(True for _ in ports)

    until("its agent boots", on_provisioning, seconds=60.0)
    look(phase())
    assert on_provisioning(), "that was looked at"
    until("it is active", lambda: look(phase()) == "active", seconds=180.0, every=0.1)
    node = things.node_of(server)
    things.release(server["id"])
    until("it is available", lambda: look(cloud.nodes()[node]["phase"]) == "available", seconds=180.0, every=0.1)
    assert set(found) - before == set(), found
    assert seen.get("cleaning", 0) + seen.get("reclaiming", 0) >= 1, seen


def test_a_nic_that_a_server_that_is_gone_has_taken_is_free_again(
    cloud: EmbeddedCloud, things: Things, after: ExitStack
) -> None:
    """As a Nova leaves it that is killed after it has noted the server's ports, and before the deployment."""
    free = next(each for each in cloud.nodes().values() if each["phase"] == "available" and not each["maintenance"])
    hand = ByHand(cloud, after, free["name"], free)
    network = things.network("10.98.0.0/24")
    nics = list(hand.system.baremetal.ports(node_id=free["id"], details=True))
    ports = [hand.admin.network.create_port(network_id=network["id"], name=unique("gone")) for _ in nics]
    for port in ports:
        hand.system.baremetal.attach_vif_to_node(free["id"], port.id)
        hand.admin.network.delete_port(port.id)
    subjects = {("vif_without_server", f"vif:{free['id']}:{port.id}") for port in ports}
    found = drift(cloud)
    assert {found[key]["action"]["verb"] for key in subjects} == {"detach_vif"}
    left = cloud.steelyard("admin", "leaks", "-f", "json").json["leaks"]
    assert {each["kind"] for each in left if each["name"] == free["name"]} == {"vif_without_server"}

    def taken() -> list[str]:
        units = hand.system.baremetal.ports(node_id=free["id"], details=True)
        return [unit.address for unit in units if (unit.internal_info or {}).get("tenant_vif_port_id")]

    assert len(taken()) == len(nics)
    until("every NIC is free again", lambda: not taken(), seconds=180.0, every=2.0)
    assert not subjects & set(drift(cloud))
    told = cloud.get("admin", "/v1/events", subject=f"node:{free['id']}", limit=200)["events"]
    assert len([event for event in told if event["kind"] == "node.vif_detached"]) == len(nics)

    def told_of() -> set[str]:
        lines = cloud.get("admin", "/v1/attention", limit=1000)["attention"]
        found = [each for line in lines for each in (line, *line["also"]) if line["name"] == free["name"]]
        return {each["kind"] for each in found if each["kind"].endswith("vif_without_server")}

    until("attention has nothing of it", lambda: not told_of(), seconds=30.0)
