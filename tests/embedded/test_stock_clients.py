"""The stock clients and Steelyard look at the same cloud: what one does, the other shows."""

from __future__ import annotations

from typing import Any

import pytest

from .cloud_at_hand import EmbeddedCloud, until
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]


def _names(rows: list[Json], key: str = "Name") -> set[str]:
    return {row[key] for row in rows}


def test_each_side_shows_what_the_other_did(cloud: EmbeddedCloud, things: Things) -> None:
    image, network, flavor = things.image(), things.network("10.93.0.0/24"), things.flavor(free=2)

    # What Steelyard made is there for the stock clients.
    assert image["name"] in _names(cloud.openstack("demo", "image", "list", "-f", "json").json)
    assert network["name"] in _names(cloud.openstack("demo", "network", "list", "-f", "json").json)
    assert flavor["name"] in _names(cloud.openstack("demo", "flavor", "list", "-f", "json").json)

    # One server by each.
    ours = unique("ours")
    things.start(ours, flavor, image, network, wait=False).ok()
    theirs = unique("theirs")
    things.after.callback(things.release, theirs)
    made = cloud.openstack(
        "demo", "server", "create", theirs, "--flavor", flavor["name"], "--image", image["name"],
        "--network", network["name"], "--wait", "-f", "json", within=300.0,
    ).json  # fmt: skip
    assert made["status"] == "ACTIVE"
    until(f"{ours} is active", lambda: _shown(cloud, ours)["phase"] == "active", seconds=180)

    # Steelyard shows the stock client's server, to its tenant and to the administrator.
    listed = {row["name"]: row for row in cloud.steelyard("demo", "server", "list", "-f", "json").json}
    assert listed[theirs]["id"] == made["id"]
    assert listed[theirs]["phase"] == "active"
    by_server = {node["instance"]: node for node in cloud.nodes().values() if node["instance"]}
    assert by_server[theirs]["instance_id"] == made["id"]
    assert by_server[theirs]["group"] == "deployed"
    node = by_server[theirs]["name"]
    assert cloud.steelyard("admin", "isolation", "show", node, "-f", "json").json["agrees"]

    # The stock clients show Steelyard's, node and all.
    stock = {row["Name"]: row for row in cloud.openstack("demo", "server", "list", "-f", "json").json}
    assert stock[ours]["Status"] == "ACTIVE"
    assert stock[ours]["Networks"] == {network["name"]: listed[ours]["addresses"]}
    ironic = _nodes(cloud)
    assert set(ironic) == set(cloud.nodes())
    assert ironic[node]["instance_uuid"] == made["id"]
    assert ironic[node]["provision_state"] == "active"

    # Power and deletion by the stock client are seen.
    cloud.openstack("demo", "server", "stop", theirs).ok()
    until("the power is off", lambda: _shown(cloud, theirs)["phase"] == "powered-off")
    assert cloud.rack.hardware(node)["power"] == "Off"
    cloud.openstack("demo", "server", "delete", theirs, "--wait", within=300.0).ok()
    assert theirs not in {row["name"] for row in cloud.steelyard("demo", "server", "list", "-f", "json").json}
    until("the node is available", lambda: cloud.nodes()[node]["phase"] == "available", seconds=240, every=1.0)
    assert cloud.rack.disks(node) == {}


def _nodes(cloud: EmbeddedCloud) -> dict[str, Json]:
    """`openstack baremetal node list`, by name. Its versions disagree on "Instance UUID" and `instance_uuid`."""
    listed = cloud.openstack("system", "baremetal", "node", "list", "-f", "json").json
    rows = [{key.lower().replace(" ", "_"): value for key, value in row.items()} for row in listed]
    return {row["name"]: row for row in rows}


def test_lists_of_the_stock_clients(cloud: EmbeddedCloud) -> None:
    """Every list that the issue names answers, also where there is nothing to list yet."""
    cloud.openstack("system", "baremetal", "node", "list", "-f", "json").ok()
    cloud.openstack("demo", "image", "list", "-f", "json").ok()
    cloud.openstack("demo", "server", "list", "-f", "json").ok()
    operators = {"provisioning", "cleaning", "inspection", "rescue", "quarantine", "segment-001"}
    assert operators <= _names(cloud.openstack("admin", "network", "list", "-f", "json").json)
    assert not operators & _names(cloud.openstack("demo", "network", "list", "-f", "json").json)
    nodes = cloud.openstack("demo", "baremetal", "node", "list", "-f", "json")
    assert nodes.code != 0 or nodes.json == [], "a tenant must not see nodes in Ironic either"


def _shown(cloud: EmbeddedCloud, server: str) -> Json:
    found: Json = cloud.steelyard("demo", "server", "show", server, "-f", "json").json
    return found
