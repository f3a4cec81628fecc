"""A server's whole life on the real services: found, onboarded, deployed, powered off, released, cleaned, deleted.

One test, because it is one story; each stage says what it is about, so that a failure names it. Steelyard's word is
compared with that of OpenStack (openstacksdk) and of the simulated hardware and switches themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from openstack.exceptions import NotFoundException

from ..switch_history import Tenancy
from .cloud_at_hand import EmbeddedCloud, until
from .switch_history import history, segments, shared
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]


@contextmanager
def stage(title: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"in the stage: {title}")
        raise


def test_a_servers_whole_life(cloud: EmbeddedCloud, things: Things, after: ExitStack) -> None:
    rack = cloud.rack
    with stage("two servers are no nodes yet"):
        names = _two_strangers(cloud)
        known = {each["name"] for each in cloud.steelyard("admin", "candidate", "list", "-f", "json").json}
        begin = rack.last_change()

    with stage("discovery"):
        swept = _discover(cloud)
        found = {each["name"]: each for each in swept["result"]["candidates"]}
        assert set(found) >= set(names)
        assert {found[name]["state"] for name in names} == {"found"}
        assert {name for name in names if found[name]["new"]} == set(names) - known
        candidates = {each["name"]: each for each in cloud.steelyard("admin", "candidate", "list", "-f", "json").json}
        for name in names:
            real = rack.servers[name]
            assert candidates[name]["address"] == real["bmc_address"]
            assert candidates[name]["serial"] == real["serial"]
            assert candidates[name]["uuid"] == real["uuid"]
            assert sorted(candidates[name]["macs"]) == sorted(nic["mac"] for nic in real["nics"])
            assert (candidates[name]["cpus"], candidates[name]["memory_mib"]) == (real["cpus"], real["memory_mib"])

    with stage("onboarding"):
        operations = cloud.steelyard("admin", "node", "onboard", "--all", "--wait", "-f", "json", within=600).json
        assert {each["phase"] for each in operations} == {"succeeded"}
        nodes = cloud.nodes()
        ironic = {node.name: node for node in cloud.connect("system").baremetal.nodes(details=True)}
        for name in names:
            assert nodes[name]["phase"] == "available"
            assert ironic[name].provision_state == "available"
            assert ironic[name].resource_class == nodes[name]["resource_class"]
            cables = {(nic["mac"], nic["switch"], nic["port"]) for nic in rack.servers[name]["nics"]}
            assert {(nic["mac"], nic["switch"], nic["port"]) for nic in nodes[name]["nics"]} == cables
            assert rack.hardware(name)["power"] == "Off"
            assert rack.vlan_of(name) is None

    with stage("image, flavor, tenant network"):
        image, network = things.image(), things.network("10.92.0.0/24")
        pool = nodes[names[0]]["resource_class"]
        flavor = cloud.steelyard("admin", "flavor", "create", unique("flavor"), "--pool", pool, "-f", "json").json
        after.callback(cloud.steelyard, "admin", "flavor", "delete", flavor["id"])
        assert flavor["capacity"]["free"] >= 2

    with stage("two servers are deployed for the tenant"):
        first, second = unique("web"), unique("web")
        things.start(first, flavor, image, network, wait=False).ok()
        things.start(second, flavor, image, network, wait=True).ok()
        servers = {
            name: until(f"{name} is active", partial(_active, cloud, name), seconds=180) for name in (first, second)
        }
        places = {name: things.node_of(server) for name, server in servers.items()}
        assert len(set(places.values())) == 2
        for name, node in places.items():
            nova = cloud.connect("demo").compute.get_server(servers[name]["id"])
            assert nova.status == "ACTIVE"
            written = rack.disks(node)
            assert [content["image"]["id"] for content in written.values()] == [image["id"]]
            assert rack.hardware(node)["running"] == "system"

    with stage("three views of every NIC agree, and with the switch's own record"):
        vlan = cloud.connect("admin").network.get_network(network["id"]).provider_segmentation_id
        for node in places.values():
            shown = cloud.steelyard("admin", "isolation", "show", node, "-f", "json").json
            assert shown["agrees"], shown
            assert shown["phase"] == "active"
            on_tenant = [nic for nic in shown["nics"] if nic["role"] == "tenant"]
            assert len(on_tenant) == 1
            for nic in shown["nics"]:
                views = [nic[view]["vlan"] for view in ("intended", "controller", "switch_view")]
                truth = rack.switch_ports()[f"{nic['switch']}/{nic['port']}"]["untagged_vlan"]
                assert views == [truth] * 3
                assert truth == (vlan if nic in on_tenant else None)

    with stage("one address plan: both addresses, as bare metal, with their owner"):
        rows = cloud.steelyard("demo", "ipam", "list", network["name"], "-f", "json").json
        listed = {row["address"]: (row["owner"], row["instance_name"]) for row in rows if row["state"] == "allocated"}
        for name, server in servers.items():
            (address,) = server["addresses"]
            assert listed[address] == ("bare metal", name)
        assert all(row["node_name"] is None for row in rows), "a tenant is not told the node"
        by_admin = cloud.steelyard("admin", "ipam", "list", network["id"], "-f", "json").json
        owners = {row["instance_name"]: row["node_name"] for row in by_admin if row["instance_name"]}
        assert owners == places

    node = places[first]
    with stage("a deployed server cannot be deleted from the node list"):
        _refused(cloud, node, servers[first]["id"])

    with stage("power off"):
        cloud.steelyard("demo", "server", "power", first, "off", "--wait").ok()
        assert rack.hardware(node)["power"] == "Off"
        assert cloud.steelyard("demo", "server", "show", first, "-f", "json").json["phase"] == "powered-off"
        _refused(cloud, node, servers[first]["id"])
        assert rack.disks(node), "nothing may be erased while the tenant has it"

    with stage("release, cleaning, available again"):
        cloud.steelyard("demo", "server", "delete", first, "--wait", within=300).ok()
        until(f"{node} is available", partial(_is_available, cloud, node), seconds=240)
        assert rack.disks(node) == {}, "the tenant's data is still there"
        assert rack.hardware(node)["power"] == "Off"
        assert rack.vlan_of(node) is None
        left = cloud.steelyard("demo", "ipam", "list", network["name"], "-f", "json").json
        assert servers[first]["addresses"][0] not in {row["address"] for row in left}
        kept = cloud.steelyard("demo", "server", "list", "-f", "json").json
        assert first not in {row["name"] for row in kept}
        assert second in {row["name"] for row in kept}
        assert cloud.steelyard("admin", "isolation", "show", places[second], "-f", "json").json["agrees"]

    with stage("the node is deleted"):
        node_id = cloud.nodes()[node]["id"]
        ended = cloud.steelyard("admin", "node", "delete", node, "--reason", "the story", "--wait", "-f", "json").json
        assert ended["phase"] == "succeeded"
        assert node not in cloud.nodes()
        with pytest.raises(NotFoundException):
            cloud.connect("system").baremetal.get_node(node_id)
        gone = cloud.steelyard("admin", "node", "show", node)
        assert gone.code == 4
        assert "steelyard node list" in gone.next
        again = cloud.steelyard("admin", "candidate", "show", node, "-f", "json").json
        assert again["state"] == "found"

    with stage("the switches' own log of the whole story"):
        tenancies = [Tenancy(0, node, "demo") for node in places.values()]
        log = history(rack, begin, tenancies)
        alone, inspection = segments(cloud.record), cloud.record["ramdisk_vlans"]["inspection"]
        assert len(log) > 20
        assert log.tenant_vlans_of(names) == {vlan}
        ramdisk = {*cloud.record["ramdisk_vlans"].values(), *alone}
        assert log.mixed(ramdisk) == [], "a server was on a tenant's and a ramdisk network at the same time"
        assert log.doubled() == [], "a port carried two networks at the same time"
        assert log.meetings(owner_of={vlan: "demo"}, shared={inspection}) == [], "two strangers met"
        for name in names:
            assert log.visited(name, alone), "it was cleaned and deployed"
            assert not log.visited(name, shared(cloud.record))


def _two_strangers(cloud: EmbeddedCloud) -> list[str]:
    """Two servers of one size that are no nodes, by name; nodes that are free are deleted for it."""
    pairs: dict[str, list[str]] = {}
    for server in cloud.rack.servers.values():
        pairs.setdefault(server["size"], []).append(server["name"])
    names = min((sorted(pair)[:2] for pair in pairs.values() if len(pair) >= 2), key=lambda pair: pair[0])
    for name in set(names) & set(cloud.nodes()):
        until(f"{name} is available", partial(_is_available, cloud, name), seconds=240)
        cloud.steelyard("admin", "node", "delete", name, "--reason", "the story begins", "--wait").ok()
        cloud.steelyard("admin", "candidate", "delete", name).ok()  # it is to be found again, as if for the first time
    assert not set(cloud.nodes()) & set(names)
    return names


def _discover(cloud: EmbeddedCloud) -> Json:
    ended: Json = cloud.steelyard(
        "admin", "discover", cloud.bmc_range, "--port", str(cloud.bmc_port),
        "--credentials", cloud.bmc_credentials, "--wait", "-f", "json",
    ).json  # fmt: skip
    return ended


def _active(cloud: EmbeddedCloud, name: str) -> Json | None:
    server: Json = cloud.steelyard("demo", "server", "show", name, "-f", "json").json
    assert server["status"] != "ERROR", server
    return server if server["phase"] == "active" else None


def _is_available(cloud: EmbeddedCloud, node: str) -> bool:
    return bool(cloud.nodes()[node]["phase"] == "available")


def _refused(cloud: EmbeddedCloud, node: str, server_id: str) -> None:
    """Deleting a deployed node is refused, with the reason and the next safe command, and nothing happens."""
    refused = cloud.steelyard("admin", "node", "delete", node, "--reason", "the story")
    assert refused.code == 5, str(refused)
    assert "deployed" in refused.err
    assert refused.next == f"steelyard server delete {server_id} --wait"
    with cloud.rest(cloud.token("admin")) as rest:
        answer = rest.delete(f"/v1/nodes/{node}")
    assert answer.status_code == 409
    assert answer.json()["code"] == "node_deployed"
    assert answer.json()["next"] == refused.next
    assert cloud.connect("system").baremetal.get_node(cloud.nodes()[node]["id"]).provision_state == "active"
