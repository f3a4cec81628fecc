"""A tenant rebuilds a server and brings it into rescue, on the real services: disk and switch tell what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from .cloud_at_hand import until
from .local_cloud import LocalCloud
from .switch_history import segments
from .things import Things

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
LONG = 300.0
"""Seconds for a boot of the agent on a slow machine."""


@dataclass
class Deployed:
    """A tenant's server that runs."""

    cloud: LocalCloud
    server: Json
    node: str
    vlan: int
    """Of the tenant's network."""

    def do(self, verb: str, *words: str) -> None:
        self.cloud.steelyard("demo", "server", verb, self.server["id"], *words, "--wait", within=LONG).ok()

    def shown(self) -> Json:
        return dict(self.cloud.get("demo", f"/v1/servers/{self.server['id']}")["server"])

    def machine(self) -> Json:
        """The hardware's own view: power, and what runs."""
        return dict(self.cloud.rack.hardware(self.node))

    def vlans(self, since: int) -> list[int | None]:
        """What the first NIC's switch port carried, by the switch's own record, change by change."""
        cable = self.cloud.rack.servers[self.node]["nics"][0]
        return [
            change["after"]["untagged_vlan"]
            for change in self.cloud.rack.switch_log(after=since)
            if (change["switch"], change["port"]) == (cable["switch"], cable["port"])
        ]

    def in_rescue(self, since: int) -> None:
        """It had a segment to itself while the agent took the password, and the rescue system runs beside the tenant's
        other servers now."""
        machine = self.machine()
        assert (machine["power"], machine["running"]) == ("On", "ramdisk")
        carried = [vlan for vlan in self.vlans(since) if vlan is not None]
        assert carried[0] in segments(self.cloud.record), carried
        assert carried[1:] == [self.vlan], carried
        isolation = self.cloud.get("admin", f"/v1/nodes/{self.node}/isolation")["isolation"]
        assert (isolation["phase"], isolation["agrees"]) == ("rescue", True)

    def on_its_own_disk(self) -> None:
        """It runs what is on its disk, on its tenant's network."""
        machine = self.machine()
        assert (machine["power"], machine["running"]) == ("On", "system")
        assert self.cloud.rack.vlan_of(self.node) == self.vlan
        assert self.cloud.get("admin", f"/v1/nodes/{self.node}/isolation")["isolation"]["agrees"]


@pytest.fixture
def deployed(cloud: LocalCloud, things: Things) -> Deployed:
    image, network, flavor = things.image(), things.network("10.99.0.0/24"), things.flavor()
    server = things.server(flavor, image, network)
    vlan = cloud.connect("admin").network.get_network(network["id"]).provider_segmentation_id
    return Deployed(cloud, server, things.node_of(server), int(vlan))


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


def test_rescue_and_back_and_a_release_out_of_rescue(cloud: LocalCloud, deployed: Deployed) -> None:
    node, disks = deployed.node, cloud.rack.disks(deployed.node)
    assert disks

    # With Steelyard, in and out.
    since = cloud.rack.last_change()
    deployed.do("rescue")
    assert deployed.shown()["phase"] == "rescue"
    deployed.in_rescue(since)
    # Nova may have looked amid the reboot; it looks again every 30 s.
    until("Nova knows that it is on", lambda: deployed.shown()["power"] == "on", seconds=LONG)
    assert cloud.rack.disks(node) == disks
    deployed.do("unrescue")
    after = deployed.shown()
    assert (after["phase"], after["addresses"]) == ("active", deployed.server["addresses"])
    deployed.on_its_own_disk()
    assert cloud.rack.disks(node) == disks

    # With the stock client, in and out.
    since = cloud.rack.last_change()
    cloud.openstack("demo", "server", "rescue", deployed.server["id"], "--password", "correct-horse-1").ok()
    until("it is in rescue", lambda: deployed.shown()["status"] == "RESCUE", seconds=LONG)
    assert deployed.shown()["phase"] == "rescue"
    deployed.in_rescue(since)
    cloud.openstack("demo", "server", "unrescue", deployed.server["id"]).ok()
    until("it is back", lambda: deployed.shown()["status"] == "ACTIVE", seconds=LONG)
    deployed.on_its_own_disk()

    # Released out of rescue, its disk is erased like any other's.
    deployed.do("rescue")
    deployed.do("delete")
    until("its node is offered again", lambda: cloud.nodes()[node]["phase"] == "available", seconds=LONG)
    assert cloud.rack.disks(node) == {}
    assert deployed.machine()["power"] == "Off"
    assert cloud.rack.vlan_of(node) is None
