"""A server with everything that a cable may carry, from deployment to reclaim; whoever the network authority is."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from openstack.connection import Connection

from .cloud_at_hand import EmbeddedCloud, Ran, until
from .things import Things, unique

Json = dict[str, Any]


def agrees(cloud: EmbeddedCloud, node: str) -> list[Json]:
    """The NICs of a node in the order of their MACs; all three views of each agree, and the switch itself with them."""
    found = cloud.get("admin", f"/v1/nodes/{node}/isolation")["isolation"]
    assert found["agrees"], found["nics"]
    ports = cloud.rack.switch_ports()
    for nic in found["nics"]:
        truth = ports[f"{nic['switch']}/{nic['port']}"]["untagged_vlan"]
        assert [nic[view]["vlan"] for view in ("intended", "controller", "switch_view")] == [truth] * 3, nic
    return sorted(found["nics"], key=lambda nic: str(nic["mac"]))


def on(nic: Json) -> tuple[str | None, list[int]]:
    """The network that a NIC's switch port carries untagged, and the VLANs that it carries tagged."""
    return nic["switch_view"]["network"], nic["switch_view"]["tagged"]


def vlan(admin: Connection, network: Json) -> int:
    return int(admin.network.get_network(network["id"]).provider_segmentation_id)


def free_nodes(cloud: EmbeddedCloud, flavor: Json) -> list[str]:
    """The available nodes of a flavor's pool."""
    return [
        name for name, node in cloud.nodes().items()
        if node["phase"] == "available" and node["resource_class"].upper().replace("-", "_") in flavor["resource_class"]
    ]  # fmt: skip


def bonded(cloud: EmbeddedCloud, things: Things) -> tuple[Json, list[str]]:
    """A flavor, and the free nodes of its pool, each with its first two NICs in a bond over two leaves; they are parted
    when the test is over and the nodes are available again."""
    flavor = things.flavor()
    nodes = free_nodes(cloud, flavor)
    for node in nodes:
        members = [word for nic in cloud.rack.servers[node]["nics"][:2] for word in ("--nic", nic["mac"])]
        cloud.steelyard("admin", "node", "bond", "create", node, *members, "--wait").ok()
        things.after.callback(_part, cloud, node)
    return flavor, nodes


def _part(cloud: EmbeddedCloud, node: str) -> None:
    until(f"{node} is available", lambda: _available(cloud, node), seconds=300.0)
    cloud.steelyard("admin", "node", "bond", "delete", node, f"{node}-bond0", "--wait").ok()


def _available(cloud: EmbeddedCloud, node: str) -> bool:
    return bool(cloud.nodes()[node]["phase"] == "available")


def a_wired_life(cloud: EmbeddedCloud, things: Things, release: Callable[[Json], object]) -> None:
    """Deployed on a bond over two leaves with a security group, a second NIC with another, a sub-interface, two cables
    moved and back, released.

    The servers of the cloud have four NICs, in whose pool one is free.
    """
    admin = cloud.connect("admin")
    blue, red, green = (things.network(f"10.8{number}.0.0/24") for number in (1, 2, 3))
    image = things.image()
    flavor, nodes = bonded(cloud, things)
    web, private = (group(cloud, things) for _ in range(2))
    server = _deployed(things, flavor, image, blue, "--security-group", web)
    node = things.node_of(server)
    assert node in nodes
    first, second, third, _ = cloud.rack.servers[node]["nics"]
    expect: dict[str, tuple[str | None, list[int]]] = {
        nic["mac"]: (None, []) for nic in cloud.rack.servers[node]["nics"]
    }

    filters: dict[str, list[str]] = {mac: [] for mac in expect}

    def as_expected() -> None:
        found = agrees(cloud, node)
        assert {nic["mac"]: on(nic) for nic in found} == expect
        ports = cloud.rack.switch_ports()
        assert {nic["mac"]: ports[f"{nic['switch']}/{nic['port']}"]["filters"] for nic in found} == filters

    def nic(*words: str) -> None:
        cloud.steelyard("demo", "server", "nic", *words, "--wait").ok()
        as_expected()

    expect[first["mac"]] = expect[second["mac"]] = (blue["name"], [])
    filters[first["mac"]] = filters[second["mac"]] = [web]
    as_expected()
    for leaf in {cable["switch"] for cable in (first, second)}:
        assert cloud.rack.filters(leaf)[web] == _rules(admin, web)
    ports = cloud.rack.switch_ports()
    assert {ports[f"{cable['switch']}/{cable['port']}"]["lag"] for cable in (first, second)} == {"lacp"}
    expect[third["mac"]] = (red["name"], [])
    filters[third["mac"]] = [private]
    nic("attach", server["name"], "--network", red["name"], "--security-group", private)
    expect[first["mac"]] = expect[second["mac"]] = (blue["name"], [vlan(admin, green)])
    nic("tag", server["name"], blue["name"], "--network", green["name"])
    for cable, network in ((second, blue), (third, red)):
        spare = _spare(cloud, cable["switch"])
        _recable(cloud, node, cable, spare)
        as_expected()
        ports = cloud.rack.switch_ports()
        assert ports[f"{cable['switch']}/{spare}"]["untagged_vlan"] == vlan(admin, network)
        assert ports[f"{cable['switch']}/{cable['port']}"]["untagged_vlan"] is None
        bond = f"{node}-bond0" if cable is second else None
        until("the topology shows it", partial(_shown, cloud, node, (cable["mac"], spare, bond)), seconds=10.0)
        _recable(cloud, node, cable, cable["port"])
        as_expected()
    release(server)
    until("it is available again", lambda: _available(cloud, node), seconds=300.0)
    expect.update(dict.fromkeys(expect, (None, [])))
    filters = {mac: [] for mac in filters}
    as_expected()
    for network in (red, green):
        assert list(admin.network.ports(network_id=network["id"])) == []


def group(cloud: EmbeddedCloud, things: Things) -> str:
    """A security group that lets HTTPS in; its id."""
    demo = cloud.connect("demo").network
    group = demo.create_security_group(name=unique("group"))
    things.after.callback(demo.delete_security_group, group.id)
    demo.create_security_group_rule(
        security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=443, port_range_max=443,
        remote_ip_prefix="203.0.113.0/24",
    )  # fmt: skip
    return str(group.id)


def _rules(admin: Connection, group: str) -> list[Json]:
    """A group's rules as a switch has them."""
    words = (
        "direction", "ether_type", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix",
        "remote_group_id",
    )  # fmt: skip
    found = [
        {word.replace("ether_type", "ethertype"): rule[word] for word in words if rule[word] is not None}
        for rule in admin.network.security_group_rules(security_group_id=group)
    ]
    return sorted(found, key=lambda rule: json.dumps(rule, sort_keys=True))


def _deployed(things: Things, flavor: Json, image: Json, network: Json, *more: str) -> Json:
    """While it was bonded, a node was in maintenance; Nova tells Placement a few seconds later that it no longer is."""
    name = unique("server")

    def accepted() -> Ran | None:
        asked = things.start(name, flavor, image, network, *more, wait=True)
        return None if "No node is free" in asked.err else asked

    return dict(until("it is accepted", accepted, seconds=120.0, every=1.0).json)


def _shown(cloud: EmbeddedCloud, node: str, wanted: tuple[str, str, str | None]) -> bool:
    """The topology may be two seconds old."""
    rows = cloud.get("admin", "/v1/topology", node=node)["cables"]
    return wanted in [(row["mac"], row["port"], row["bond"]) for row in rows]


def _spare(cloud: EmbeddedCloud, switch: str) -> str:
    used = {nic["port"] for server in cloud.rack.servers.values() for nic in server["nics"] if nic["switch"] == switch}
    names = [key.partition("/")[2] for key in cloud.rack.switch_ports() if key.startswith(f"{switch}/")]
    return next(name for name in names if name not in used)


def _recable(cloud: EmbeddedCloud, node: str, cable: Json, port: str) -> None:
    cloud.steelyard(
        "admin", "node", "recable", node, cable["mac"], "--switch", cable["switch"], "--port", port, "--wait"
    ).ok()
