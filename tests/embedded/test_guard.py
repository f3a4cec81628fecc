"""What is not proven clean is not offered, and what is deployed is not removed, whichever client tries."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import ExitStack
from typing import Any

import pytest

from .cloud_at_hand import EmbeddedCloud, until
from .things import Things

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
PERIOD = 20.0
"""Seconds between two looks of the guard (STEELYARD_GUARD_SECONDS)."""


def ironic(cloud: EmbeddedCloud, name: str) -> Json:
    """A node as the stock client shows it."""
    return dict(cloud.openstack("system", "baremetal", "node", "show", name, "-f", "json").json)


def kinds(cloud: EmbeddedCloud, name: str) -> set[str]:
    """What is wrong with a node, as the first screen of an operator has it."""
    lines = cloud.get("admin", "/v1/attention", limit=1000)["attention"]
    found = [each for line in lines for each in (line, *line["also"]) if line["name"] == name]
    return {each["kind"] for each in found}


def reserved(cloud: EmbeddedCloud, node_id: str) -> bool:
    """Whether Placement holds all of the node back."""
    placement = cloud.connect("admin").placement
    inventories = list(placement.resource_provider_inventories(node_id))
    return bool(inventories) and all(each.reserved == each.total for each in inventories)


def free_node(cloud: EmbeddedCloud) -> Json:
    cloud.pool_with(1)
    return next(node for node in cloud.nodes().values() if node["phase"] == "available" and not node["maintenance"])


def release(cloud: EmbeddedCloud, name: str) -> None:
    """Bring a node back into the offer, as the finding says."""
    cloud.openstack("system", "baremetal", "node", "set", name, "--automated-clean").ok()
    if cloud.nodes()[name]["phase"] == "quarantined":
        cloud.steelyard("admin", "node", "release", name, "--wait", within=300.0).ok()


def test_a_node_that_was_pushed_to_available_uncleaned_is_taken_away(cloud: EmbeddedCloud, after: ExitStack) -> None:
    node = free_node(cloud)
    name = node["name"]
    after.callback(release, cloud, name)
    # The clean that made it available serves that stay alone, which the guard must have seen: it may just have begun.
    cloud.steelyard("admin", "reconciler", "run", "lifecycle.guard").ok()
    stock = ("baremetal", "node")
    cloud.openstack("system", *stock, "set", name, "--no-automated-clean").ok()
    cloud.openstack("system", *stock, "manage", name, "--wait", "60").ok()
    cloud.openstack("system", *stock, "provide", name, "--wait", "60").ok()

    until(f"{name} is in quarantine", lambda: cloud.nodes()[name]["phase"] == "quarantined", seconds=2 * PERIOD)
    shown = ironic(cloud, name)
    assert shown["provision_state"] == "available", "it is available for Ironic, and offered to nobody"
    assert shown["maintenance"] is True
    assert shown["maintenance_reason"].startswith("steelyard: not proven clean")
    until(f"Placement holds {name} back", lambda: reserved(cloud, node["id"]), seconds=10)
    assert "lifecycle.not_proven_clean" in kinds(cloud, name)

    # Who takes it out of maintenance with the stock client does not get it.
    cloud.openstack("system", *stock, "maintenance", "unset", name).ok()
    until(f"{name} is in maintenance again", lambda: ironic(cloud, name)["maintenance"], seconds=2 * PERIOD)

    # What the finding says brings it back, cleaned.
    release(cloud, name)
    until(f"{name} is offered", lambda: cloud.nodes()[name]["phase"] == "available", seconds=60)
    until(f"Placement offers {name}", lambda: not reserved(cloud, node["id"]), seconds=60)
    until(f"nothing is wrong with {name}", lambda: not kinds(cloud, name), seconds=3 * PERIOD)
    assert ironic(cloud, name)["maintenance"] is False


def test_a_deployed_node_in_maintenance_cannot_be_deleted(cloud: EmbeddedCloud, things: Things) -> None:
    server = things.server(things.flavor(), things.image(), things.network("10.94.0.0/24"))
    name = things.node_of(server)
    things.after.callback(cloud.openstack, "system", "baremetal", "node", "maintenance", "unset", name)
    refused = cloud.openstack("system", "baremetal", "node", "delete", name)
    assert refused.code != 0, "deployed"

    cloud.openstack("system", "baremetal", "node", "maintenance", "set", name, "--reason", "a fan is broken").ok()
    until(f"{name} is protected", lambda: ironic(cloud, name)["protected"], seconds=2 * PERIOD)
    assert ironic(cloud, name)["protected_reason"].startswith("steelyard: ")
    refused = cloud.openstack("system", "baremetal", "node", "delete", name)
    assert refused.code != 0
    assert "protected" in refused.err, str(refused)

    cloud.openstack("system", "baremetal", "node", "maintenance", "unset", name).ok()
    until(f"{name} is no more protected", lambda: not ironic(cloud, name)["protected"], seconds=2 * PERIOD)
    assert ironic(cloud, name)["instance_uuid"] == server["id"]


def test_a_clean_waits_for_the_end_of_a_maintenance_and_that_is_found(cloud: EmbeddedCloud, after: ExitStack) -> None:
    """Ironic accepts it, and takes no notice of the agent until the maintenance ends."""
    name = free_node(cloud)["name"]
    after.callback(release, cloud, name)
    nodes = cloud.connect("system").baremetal

    def state() -> str:
        return str(nodes.get_node(name).provision_state)

    nodes.set_node_provision_state(name, "manage")
    until(f"{name} is manageable", lambda: state() == "manageable", seconds=60)
    nodes.set_node_maintenance(name, "a fan is changed")
    after.callback(nodes.unset_node_maintenance, name)
    nodes.set_node_provision_state(name, "provide")
    until("the agent is waited for", lambda: state() == "clean wait", seconds=120)
    until("it is found", lambda: "lifecycle.held_in_maintenance" in kinds(cloud, name), seconds=60)
    time.sleep(30)  # several of the agent's heartbeats: that nothing happens can only be seen by waiting
    assert state() == "clean wait"

    cloud.steelyard("admin", "node", "maintenance", "off", name, "--wait").ok()
    until(f"{name} is offered", lambda: cloud.nodes()[name]["phase"] == "available", seconds=180)
    until(f"nothing is wrong with {name}", lambda: not kinds(cloud, name), seconds=3 * PERIOD)


def test_a_tenant_may_release_a_server_whose_node_is_in_maintenance(cloud: EmbeddedCloud, things: Things) -> None:
    """With the stock client Nova meets the protection, and gives up; the guard sees that, and finishes it."""
    server = things.server(things.flavor(), things.image(), things.network("10.95.0.0/24"))
    name = things.node_of(server)
    things.after.callback(cloud.openstack, "system", "baremetal", "node", "maintenance", "unset", name)
    cloud.openstack("system", "baremetal", "node", "maintenance", "set", name, "--reason", "a fan is broken").ok()
    until(f"{name} is protected", lambda: ironic(cloud, name)["protected"], seconds=2 * PERIOD)

    cloud.openstack("demo", "server", "delete", server["id"]).ok()

    def gone() -> bool:
        return cloud.openstack("admin", "server", "show", server["id"]).code != 0

    until("the server is gone", gone, seconds=180, every=2)
    cloud.openstack("system", "baremetal", "node", "maintenance", "unset", name).ok()

    def at_rest() -> bool:
        return cloud.nodes()[name]["phase"] in ("available", "quarantined")

    until(f"{name} is clean, or in quarantine", at_rest, seconds=180, every=2)
    release(cloud, name)
    until(f"{name} is offered", lambda: cloud.nodes()[name]["phase"] == "available", seconds=120)


def test_nothing_is_left_behind_and_what_is_is_found(cloud: EmbeddedCloud, things: Things) -> None:
    assert cloud.steelyard("admin", "leaks", "-f", "json").json["leaks"] == []
    network = things.network("10.96.0.0/24")
    neutron = cloud.connect("admin").network
    gone = str(uuid.uuid4())
    port = neutron.create_port(network_id=network["id"], device_id=gone, device_owner="compute:nova")
    things.after.callback(neutron.delete_port, port.id)
    found = cloud.steelyard("admin", "leaks", "--exit-code", "-f", "json")
    assert found.code == 1
    (leak,) = json.loads(found.out)["leaks"]
    assert (leak["kind"], leak["id"]) == ("port_without_server", port.id)
    assert gone in leak["reason"]
    assert leak["next"] == f"openstack port delete {port.id}"
    cloud.openstack("admin", *leak["next"].split()[1:]).ok()
    assert cloud.steelyard("admin", "leaks", "--exit-code").ok().out.startswith("Nothing was left behind")
