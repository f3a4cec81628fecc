"""NICs, bonds, sub-interfaces and cables on the real services: three views that agree at each step, and a clean end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .cloud_at_hand import EmbeddedCloud
from .local_cloud import LocalCloud
from .things import Things, unique
from .wiring import a_wired_life, agrees, on, vlan

pytestmark = pytest.mark.embedded

Json = dict[str, Any]


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


def test_a_bond_a_second_nic_and_a_tag_from_deployment_to_reclaim(
    new_cloud: Callable[[], LocalCloud], after: ExitStack, tmp_path: Path
) -> None:
    """And a stock client releases it, with its sub-interface: Nova can delete the port all the same."""
    cloud = new_cloud()
    cloud.up("--nodes", "1", "--nics", "4")
    cloud.onboard_everything()
    with after:
        a_wired_life(
            cloud,
            Things(cloud, tmp_path, after),
            lambda server: cloud.openstack("demo", "server", "delete", "--wait", server["id"]).ok(),
        )
