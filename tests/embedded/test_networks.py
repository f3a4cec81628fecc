"""NICs, bonds, sub-interfaces and cables on the real services: three views that agree at each step, and a clean end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openstack.connection import Connection

from .cloud_at_hand import EmbeddedCloud, until
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]


def isolation(cloud: EmbeddedCloud, node: str) -> Json:
    return dict(cloud.get("admin", f"/v1/nodes/{node}/isolation")["isolation"])


def agrees(cloud: EmbeddedCloud, node: str) -> list[Json]:
    """The NICs of a node whose three views all agree; by MAC."""
    found = isolation(cloud, node)
    assert found["agrees"], found["nics"]
    return sorted(found["nics"], key=lambda nic: str(nic["mac"]))


def on(nic: Json) -> tuple[str | None, list[int]]:
    return nic["switch_view"]["network"], nic["switch_view"]["tagged"]


def vlan(admin: Connection, network: Json) -> int:
    return int(admin.network.get_network(network["id"]).provider_segmentation_id)


def nics(cloud: EmbeddedCloud, server: Json) -> list[Json]:
    return list(cloud.get("demo", f"/v1/servers/{server['id']}/nics")["nics"])


def test_a_network_is_made_as_asked(cloud: EmbeddedCloud, things: Things) -> None:
    name = unique("net")
    made = cloud.steelyard(
        "demo", "network", "create", name, "--subnet", "10.94.0.0/24", "--subnet", "fd00:94::/64", "--pool",
        "10.94.0.50-10.94.0.59", "--route", "10.99.0.0/16=10.94.0.2", "--dns", "10.94.0.5", "-f", "json",
    ).json  # fmt: skip
    things.after.callback(cloud.steelyard, "demo", "network", "delete", made["id"])
    four, six = made["subnets"]
    assert four["pools"] == [{"first": "10.94.0.50", "last": "10.94.0.59"}]
    assert four["host_routes"] == [{"destination": "10.99.0.0/16", "next_hop": "10.94.0.2"}]
    assert (four["dns_servers"], six["gateway"]) == (["10.94.0.5"], "fd00:94::1")


def test_nics_of_a_running_server(cloud: EmbeddedCloud, things: Things) -> None:
    admin = cloud.connect("admin")
    blue, red, green = (things.network(f"10.9{number}.0.0/24") for number in (1, 2, 3))
    server = things.server(things.flavor(), things.image(), blue)
    node = things.node_of(server)
    name = server["name"]

    def nic(*words: str) -> None:
        cloud.steelyard("demo", "server", "nic", *words, "--wait").ok()

    nic("attach", name, "--network", red["name"])
    assert [on(each)[0] for each in agrees(cloud, node)] == [blue["name"], red["name"]]
    assert cloud.rack.vlan_of(node, 1) == vlan(admin, red)
    refused = cloud.steelyard("demo", "server", "nic", "attach", name, "--network", green["name"])
    assert (refused.code, "NICs" in str(refused)) == (5, True)
    nic("move", name, red["name"], "--network", green["name"])
    assert cloud.rack.vlan_of(node, 1) == vlan(admin, green)
    nic("tag", name, green["name"], "--network", red["name"])
    assert on(agrees(cloud, node)[1]) == (green["name"], [vlan(admin, red)])
    [sub] = nics(cloud, server)[1]["sub_interfaces"]
    assert (sub["network"], sub["vlan"], len(sub["addresses"])) == (red["name"], vlan(admin, red), 1)
    nic("untag", name, green["name"], "--network", red["name"])
    assert on(agrees(cloud, node)[1]) == (green["name"], [])
    nic("detach", name, green["name"])
    assert cloud.rack.vlan_of(node, 1) is None
    assert [each["network"] for each in nics(cloud, server)] == [blue["name"]]
    agrees(cloud, node)


def test_a_tenant_chooses_no_tag(cloud: EmbeddedCloud, things: Things) -> None:
    blue = things.network()
    server = things.server(things.flavor(), things.image(), blue)
    [port] = nics(cloud, server)
    refused = cloud.openstack("demo", "network", "trunk", "create", "--parent-port", port["port_id"], unique("trunk"))
    assert refused.code != 0
    assert "403" in str(refused) or "not allowed" in str(refused) or "Forbidden" in str(refused)


def test_a_security_group_is_refused_and_one_of_a_stock_client_is_found(
    cloud: EmbeddedCloud, things: Things
) -> None:  # fmt: skip
    demo = cloud.connect("demo")
    group = demo.network.create_security_group(name=unique("group"))
    things.after.callback(demo.network.delete_security_group, group.id)
    flavor, image, blue = things.flavor(), things.image(), things.network()
    refused = cloud.steelyard(
        "demo", "server", "create", unique("server"), "--flavor", flavor["id"], "--image", image["id"], "--network",
        blue["id"], "--security-group", group.name,
    )  # fmt: skip
    assert refused.code == 5
    assert "would not be enforced" in str(refused)
    server = things.server(flavor, image, blue)
    [port] = nics(cloud, server)
    demo.network.update_port(port["port_id"], security_groups=[group.id])
    cloud.steelyard("admin", "reconciler", "run", "networks.security_groups").ok()

    def told() -> bool:
        found = cloud.steelyard("admin", "attention", "-f", "json").json
        return any(each["kind"] == "network.security_group_not_enforced" for each in found)

    until("the finding is there", told, seconds=90.0)


@contextmanager
def bonded(cloud: EmbeddedCloud, things: Things) -> Iterator[tuple[Json, list[str]]]:
    """A flavor, and the free nodes of its pool, each with a bond over two leaves."""
    flavor = things.flavor()
    nodes = [
        name for name, node in cloud.nodes().items()
        if node["phase"] == "available" and node["resource_class"].upper().replace("-", "_") in flavor["resource_class"]
    ]  # fmt: skip
    for node in nodes:
        cloud.steelyard("admin", "node", "bond", "create", node, "--wait").ok()
    try:
        yield flavor, nodes
    finally:
        for node in nodes:
            until(
                f"{node} is available",
                lambda node=node: cloud.nodes()[node]["phase"] == "available",  # type: ignore[misc]
                seconds=300.0,
            )
            cloud.steelyard("admin", "node", "bond", "delete", node, f"{node}-bond0", "--wait").ok()


def test_a_bond_over_two_leaves_from_deployment_to_reclaim(cloud: EmbeddedCloud, things: Things) -> None:
    admin = cloud.connect("admin")
    blue, red = things.network("10.91.0.0/24"), things.network("10.92.0.0/24")
    image = things.image()
    with bonded(cloud, things) as (flavor, nodes):
        server = things.server(flavor, image, blue)
        node = things.node_of(server)
        assert node in nodes
        cables = cloud.rack.servers[node]["nics"]
        for nic in agrees(cloud, node):
            assert on(nic) == (blue["name"], [])
        ports = cloud.rack.switch_ports()
        assert {ports[f"{cable['switch']}/{cable['port']}"]["lag"] for cable in cables} == {"lacp"}
        cloud.steelyard("demo", "server", "nic", "tag", server["name"], blue["name"], "--network", red["name"],
                        "--wait").ok()  # fmt: skip
        for nic in agrees(cloud, node):
            assert on(nic) == (blue["name"], [vlan(admin, red)])
        second = cables[1]
        spare = _spare(cloud, second["switch"])
        _recable(cloud, node, second["mac"], second["switch"], spare)
        for nic in agrees(cloud, node):
            assert on(nic) == (blue["name"], [vlan(admin, red)])
        ports = cloud.rack.switch_ports()
        assert ports[f"{second['switch']}/{spare}"]["untagged_vlan"] == vlan(admin, blue)
        assert ports[f"{second['switch']}/{second['port']}"]["untagged_vlan"] is None
        rows = cloud.get("admin", "/v1/topology", node=node)["cables"]
        assert {(row["port"], row["bond"], len(row["networks"])) for row in rows} == {
            (cables[0]["port"], f"{node}-bond0", 2), (spare, f"{node}-bond0", 2)
        }  # fmt: skip
        _recable(cloud, node, second["mac"], second["switch"], second["port"])
        agrees(cloud, node)
        # A stock client releases it, with its sub-interface: Nova can delete the port all the same.
        cloud.openstack("demo", "server", "delete", "--wait", server["id"]).ok()
        until("it is available again", lambda: cloud.nodes()[node]["phase"] == "available", seconds=300.0)
        assert [on(nic) for nic in agrees(cloud, node)] == [(None, []), (None, [])]
        assert list(admin.network.ports(network_id=red["id"])) == []


def _spare(cloud: EmbeddedCloud, switch: str) -> str:
    used = {nic["port"] for server in cloud.rack.servers.values() for nic in server["nics"] if nic["switch"] == switch}
    names = [key.partition("/")[2] for key in cloud.rack.switch_ports() if key.startswith(f"{switch}/")]
    return next(name for name in names if name not in used)


def _recable(cloud: EmbeddedCloud, node: str, mac: str, switch: str, port: str) -> None:
    cloud.steelyard("admin", "node", "recable", node, mac, "--switch", switch, "--port", port, "--wait").ok()
