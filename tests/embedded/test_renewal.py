"""A tenant rebuilds a server, on the real services: the disk tells what was written."""

from __future__ import annotations

import pytest

from .local_cloud import LocalCloud
from .things import Things

pytestmark = pytest.mark.embedded


def test_a_server_is_rebuilt(cloud: LocalCloud, things: Things) -> None:
    first, second = things.image(), things.image()
    network, flavor = things.network("10.98.0.0/24"), things.flavor()
    server = things.server(flavor, first, network)
    node = things.node_of(server)

    cloud.steelyard("demo", "server", "rebuild", server["id"], "--image", second["id"], "--wait", within=300.0).ok()
    rebuilt = cloud.steelyard("demo", "server", "show", server["id"], "-f", "json").json
    assert (rebuilt["phase"], rebuilt["addresses"]) == ("active", server["addresses"])
    assert things.node_of(rebuilt) == node
    assert [disk["image"]["id"] for disk in cloud.rack.disks(node).values()] == [second["id"]]
    assert cloud.steelyard("admin", "isolation", "show", node, "-f", "json").json["agrees"]
