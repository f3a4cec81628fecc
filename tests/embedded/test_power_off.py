"""Secure power-off: a server that is off is off its tenant's network, and back on it before it gets power."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from openstack.connection import Connection

from .cloud_at_hand import EmbeddedCloud, until
from .things import Things

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
SOON = 90.0
"""Seconds: Ironic's power sync and Steelyard's look, on a slow machine."""


@dataclass
class Deployed:
    """A tenant's server that runs, and what is true of it."""

    cloud: EmbeddedCloud
    admin: Connection
    system: Connection
    server: Json
    node: str
    vlan: int
    """Of the tenant's network."""
    address: str

    @property
    def id(self) -> str:
        return str(self.server["id"])

    def isolation(self) -> Json:
        return dict(self.cloud.get("admin", f"/v1/nodes/{self.node}/isolation")["isolation"])

    def quarantined(self) -> bool:
        """All three views say the segment that it has to itself, and so does the switch."""
        found = self.isolation()
        nic = _nic_with_network(found)
        views = [nic["intended"], nic["controller"], nic["switch_view"]] if nic else []
        names = {view["network"] if view else None for view in views}
        leased = self.cloud.get("admin", "/v1/isolation/segments")["segments"]
        own = {segment["network"]: segment["vlan"] for segment in leased if segment["node"] == self.node}
        there = self.cloud.rack.vlan_of(self.node) in own.values() and names == own.keys()
        return found["phase"] == "powered-off" and found["agrees"] and len(own) == 1 and there

    def on_tenant(self) -> bool:
        return self.cloud.rack.vlan_of(self.node) == self.vlan

    def disk(self) -> Json:
        return self.cloud.rack.disks(self.node)

    def reserved(self) -> Json:
        """The tenant's port as Neutron has it: what must not change while the server is off."""
        [port] = list(self.admin.network.ports(device_id=self.id))
        return {"id": port.id, "mac": port.mac_address, "addresses": port.fixed_ips, "network": port.network_id}

    def check_order(self, since: int) -> None:
        """By the switch's own log, the tenant's VLAN was there before the BMC got power."""
        cable = self.cloud.rack.servers[self.node]["nics"][0]
        mine = [
            change
            for change in self.cloud.rack.switch_log(after=since)
            if (change["switch"], change["port"]) == (cable["switch"], cable["port"])
        ]
        assert mine[-1]["after"]["untagged_vlan"] == self.vlan, mine
        powered = datetime.fromisoformat(self.cloud.rack.hardware(self.node)["power_since"])
        assert datetime.fromisoformat(mine[-1]["time"]) < powered
        assert not {change["after"]["untagged_vlan"] for change in mine} & {2004, *range(2101, 2200)}, "quarantine"

    def start_by_nova(self) -> None:
        # Steelyard may see the power off before Nova has ended its stop, in which it begins nothing else.
        until("Nova is done", lambda: self.admin.compute.get_server(self.id).task_state is None, seconds=SOON)
        since = self.cloud.rack.last_change()
        self.cloud.openstack("demo", "server", "start", self.id).ok()
        until("it runs", lambda: self.shown()["status"] == "ACTIVE" and self.power() == "On", seconds=SOON)
        self.check_powering_order(since)

    def check_powering_order(self, since: int) -> None:
        self.check_order(since)
        until("all three views say tenant", lambda: self.isolation()["agrees"] and self.on_tenant(), seconds=SOON)

    def shown(self) -> Json:
        return dict(self.cloud.get("demo", f"/v1/servers/{self.id}")["server"])

    def provision_state(self) -> str:
        return str(self.system.baremetal.get_node(self.node).provision_state)

    def last_error(self) -> str:
        return str(self.system.baremetal.get_node(self.node).last_error)

    def power(self) -> str:
        return str(self.cloud.rack.hardware(self.node)["power"])


def _nic_with_network(isolation: Json) -> Json | None:
    return next((nic for nic in isolation["nics"] if nic["role"] != "idle"), None)


@pytest.fixture
def deployed(cloud: EmbeddedCloud, things: Things) -> Deployed:
    image, network, flavor = things.image(), things.network("10.96.0.0/24"), things.flavor()
    server = things.server(flavor, image, network)
    admin, system = cloud.connect("admin"), cloud.connect("system")
    vlan = admin.network.get_network(network["id"]).provider_segmentation_id
    made = Deployed(cloud, admin, system, server, things.node_of(server), int(vlan), server["addresses"][0])
    until("it is on its tenant's network", made.on_tenant)
    assert made.isolation()["agrees"]
    return made


def by_steelyard(deployed: Deployed) -> None:
    deployed.cloud.steelyard("demo", "server", "power", deployed.id, "off", "--wait").ok()
    assert deployed.quarantined(), "the operation ends when the NICs are in quarantine"


def by_nova(deployed: Deployed) -> None:
    deployed.cloud.openstack("demo", "server", "stop", deployed.id).ok()


def by_bmc(deployed: Deployed) -> None:
    deployed.cloud.rack.reset(deployed.node, "ForceOff")


@pytest.mark.parametrize("turn_off", [by_steelyard, by_nova, by_bmc])
def test_a_server_that_is_off_is_in_quarantine_until_it_is_powered_on(
    deployed: Deployed, turn_off: Callable[[Deployed], None]
) -> None:
    disk, reserved = deployed.disk(), deployed.reserved()
    turn_off(deployed)
    until("it is in quarantine", deployed.quarantined, seconds=SOON)
    assert deployed.disk() == disk
    assert deployed.reserved() == reserved
    until("its tenant sees that it is off", lambda: deployed.shown()["phase"] == "powered-off", seconds=SOON)
    assert deployed.shown()["addresses"] == [deployed.address]
    events = deployed.cloud.get("admin", f"/v1/nodes/{deployed.node}/timeline")
    assert "network.flipped" in str(events)

    deployed.start_by_nova()
    assert deployed.disk() == disk
    assert deployed.reserved() == reserved
    until("nothing of the quarantine is left", lambda: _leftovers(deployed) == [], seconds=SOON)


def _leftovers(deployed: Deployed) -> list[str]:
    """Steelyard's quarantine ports, and marks on the node."""
    ports = [port.id for port in deployed.admin.network.ports(name="steelyard-quarantine")]
    node = deployed.system.baremetal.get_node(deployed.node)
    return ports + (["mark"] if "steelyard_parked" in node.extra else [])


def test_power_on_by_steelyard_and_reboot(deployed: Deployed) -> None:
    deployed.cloud.steelyard("demo", "server", "power", deployed.id, "off", "--wait").ok()
    since = deployed.cloud.rack.last_change()
    deployed.cloud.steelyard("demo", "server", "power", deployed.id, "on", "--wait").ok()
    assert deployed.power() == "On"
    deployed.check_powering_order(since)
    deployed.cloud.steelyard("demo", "server", "power", deployed.id, "reboot", "--wait").ok()
    assert deployed.on_tenant()


def test_power_on_is_refused_while_the_switch_does_not_obey(deployed: Deployed) -> None:
    deployed.cloud.steelyard("demo", "server", "power", deployed.id, "off", "--wait").ok()
    cable = deployed.cloud.rack.servers[deployed.node]["nics"][0]
    where = f"{cable['switch']}/{cable['port']}"
    with deployed.cloud.rack.fault("switch", where, "not_applied"):
        refused = deployed.cloud.steelyard("demo", "server", "power", deployed.id, "on", within=120.0)
        assert refused.code == 5, str(refused)
        assert deployed.node not in refused.err
        assert cable["switch"] not in refused.err
        # The stock client is refused by the conductor, for the same reason.
        deployed.cloud.openstack("demo", "server", "start", deployed.id)
        until("Ironic says why", lambda: "Steelyard does not let" in deployed.last_error(), seconds=SOON)
        assert deployed.power() == "Off"
        until("the finding is open", lambda: "isolation.flip_failed" in str(_attention(deployed.cloud)), seconds=SOON)
    until("it is in quarantine again", deployed.quarantined, seconds=SOON)
    # Nova took the refused start for done; it looks again every 30 s.
    until("Nova knows that it is off", lambda: deployed.shown()["status"] == "SHUTOFF", seconds=SOON)
    deployed.start_by_nova()
    until("the finding is closed", lambda: "isolation.flip_failed" not in str(_attention(deployed.cloud)), seconds=SOON)


def _attention(cloud: EmbeddedCloud) -> Any:
    return cloud.steelyard("admin", "attention", "-f", "json").out


def test_a_powered_off_server_that_is_deleted_with_the_stock_client_ends_clean_and_available(
    deployed: Deployed, after: ExitStack
) -> None:
    deployed.cloud.openstack("demo", "server", "stop", deployed.id).ok()
    until("it is in quarantine", deployed.quarantined, seconds=SOON)
    deployed.cloud.openstack("demo", "server", "delete", deployed.id, "--wait", within=300.0).ok()
    until("it is available", lambda: deployed.provision_state() == "available", seconds=240.0)
    assert deployed.disk() == {}
    assert deployed.cloud.rack.vlan_of(deployed.node) is None
    until("nothing of the quarantine is left", lambda: _leftovers(deployed) == [], seconds=SOON)
    notes = deployed.system.baremetal.get_node(deployed.node).driver_internal_info["steelyard"]
    assert notes["cleaned"]["at"] > notes["used"]
    assert any(step["step"].startswith("erase") for step in notes["cleaned"]["steps"])


def test_a_project_that_keeps_its_networks(deployed: Deployed, after: ExitStack) -> None:
    after.callback(deployed.cloud.steelyard, "admin", "isolation", "policy", "set", "demo", "quarantine")
    deployed.cloud.steelyard("admin", "isolation", "policy", "set", "demo", "keep", "--reason", "wake-on-LAN").ok()
    [policy] = deployed.cloud.steelyard("demo", "isolation", "policy", "list", "-f", "json").json
    assert policy["power_off"] == "keep"
    assert policy["reason"] is None
    since = deployed.cloud.rack.last_change()
    deployed.cloud.steelyard("demo", "server", "power", deployed.id, "off", "--wait").ok()
    found = deployed.isolation()
    assert (found["phase"], found["agrees"]) == ("powered-off", True)
    assert deployed.on_tenant()
    deployed.cloud.steelyard("admin", "reconciler", "run", "isolation.power").ok()
    assert deployed.cloud.rack.switch_log(after=since) == []

    # The other way round while it is off, and back again.
    deployed.cloud.steelyard("admin", "isolation", "policy", "set", "demo", "quarantine").ok()
    until("it is in quarantine", deployed.quarantined, seconds=SOON)
    deployed.cloud.steelyard("admin", "isolation", "policy", "set", "demo", "keep").ok()
    until("it is back", deployed.on_tenant, seconds=SOON)
    refused = deployed.cloud.steelyard("demo", "isolation", "policy", "set", "demo", "keep")
    assert refused.code == 3, str(refused)
