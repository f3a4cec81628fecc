"""Steelyard's own adapter on a controller with Keystone and switches: what it says is bound, the switch carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from steelyard.clouds.contrail import ContrailCloud, ContrailClouds
from steelyard.errors import Conflict, Forbidden
from steelyard.networks.preflight import Check, Status
from steelyard.networks.set_up import PreflightService
from steelyard.nouns import AttachmentSpec, Lag, Network, SubnetSpec, SwitchLink
from steelyard.settings import Settings
from steelyard.wiring import open_clouds

from .cloud_at_hand import until
from .local_cloud import LocalCloud

pytestmark = pytest.mark.embedded

NODE = "11111111-2222-4333-8444-555555555551"
OPERATORS = {
    f"{role}_network": f"site-{role}" for role in ("provisioning", "cleaning", "inspection", "rescue", "quarantine")
}
"""Other ones than Neutron's, whose drivers have theirs at the same controller."""


@dataclass
class Place:
    cloud: LocalCloud
    settings: Settings
    clouds: ContrailClouds

    @property
    def own(self) -> ContrailCloud:
        return self.clouds.own

    def link(self, server: str, nic: int = 0) -> SwitchLink:
        cable = self.cloud.rack.servers[server]["nics"][nic]
        [switch] = [each for each in self.own.fabric.facts().switches or () if each.name == cable["switch"]]
        assert switch.chassis_id is not None
        return SwitchLink(switch.chassis_id, cable["port"], cable["switch"])

    def on(self, link: SwitchLink) -> dict[str, Any]:
        return self.cloud.rack.switch_ports()[f"{link.switch_name}/{link.port_id}"]

    def carries(self, link: SwitchLink, vlan: int | None, *tagged: int) -> bool:
        port = self.on(link)
        return port["untagged_vlan"] == vlan and sorted(port.get("tagged_vlans") or []) == sorted(tagged)

    def checks(self) -> dict[str, Check]:
        return {each.name: each for each in PreflightService(clouds=self.clouds, settings=self.settings).run().checks}


def test_the_adapter_with_keystone_and_switches(new_cloud: Callable[[], LocalCloud]) -> None:
    cloud = new_cloud()
    cloud.up("--nodes", "2", "--network", "contrail")
    settings = Settings(
        home=cloud.home, clouds_file=cloud.home / "clouds.yaml", cloud="steelyard", network_controller="contrail",
        contrail_vlans="3000:3099", **OPERATORS,
    )  # fmt: skip
    clouds = open_clouds(settings)
    assert isinstance(clouds, ContrailClouds)
    place = Place(cloud, settings, clouds)
    network = check_a_tenant_makes_a_network(place)
    check_the_switch_carries_what_is_bound(place, network)
    check_a_bond_and_a_sub_interface(place, network)
    check_preflight_before_and_after(place)
    check_preflight_as_it_is_typed(cloud)
    cloud.down()


def check_a_tenant_makes_a_network(place: Place) -> Network:
    tenant = place.clouds.on_behalf_of(place.cloud.token("demo"))
    network = tenant.networks.create("blue")
    tenant.networks.create_subnet(SubnetSpec("blue", network.id, "10.60.0.0/24"))
    assert network.project_id == place.clouds.identity.validate(place.cloud.token("demo")).project_id
    assert network.segmentation_id is None
    [seen] = [each for each in place.own.networks.all() if each.id == network.id]
    assert seen.segmentation_id in range(3000, 3100)
    with pytest.raises(Forbidden):
        tenant.fabric.facts()
    return seen


def check_the_switch_carries_what_is_bound(place: Place, network: Network) -> None:
    link = place.link("bm-001")
    mac = place.cloud.rack.servers["bm-001"]["nics"][0]["mac"]
    spec = AttachmentSpec("one", network.id, NODE, mac, link, with_address=True)
    port = place.own.attachments.create(spec)
    assert (port.status, port.link, len(port.addresses)) == ("ACTIVE", link, 1)
    until("the network on the switch port", lambda: place.carries(link, network.segmentation_id))
    other = place.own.networks.create("other")
    with pytest.raises(Conflict):
        place.own.attachments.create(AttachmentSpec("two", other.id, NODE, mac, link))
    assert place.carries(link, network.segmentation_id)
    place.own.attachments.unbind(port.id)
    until("nothing on the switch port", lambda: place.carries(link, None))
    again = place.own.attachments.bind(port.id, node_id=NODE, mac=mac, link=link)
    assert again.addresses == port.addresses
    until("the network again", lambda: place.carries(link, network.segmentation_id))
    place.own.attachments.delete(port.id)
    until("nothing again", lambda: place.carries(link, None))
    place.own.networks.delete(other.id)


def check_a_bond_and_a_sub_interface(place: Place, network: Network) -> None:
    """Over two switch ports, with another network tagged on both."""
    tagged = place.own.networks.create("tagged")
    [vlan] = [each.segmentation_id for each in place.own.networks.all() if each.id == tagged.id]
    assert vlan is not None
    links = (place.link("bm-001"), place.link("bm-002"))
    lag = Lag("22222222-2222-4333-8444-555555555551", "bond0", links)
    mac = place.cloud.rack.servers["bm-001"]["nics"][0]["mac"]
    port = place.own.attachments.create(AttachmentSpec("bond", network.id, NODE, mac, links[0], lag=lag))
    for link in links:
        until("the network on both", lambda link=link: place.carries(link, network.segmentation_id))
    place.own.sub_interfaces.add(port.id, network_id=tagged.id, name="sub")
    for link in links:
        until("both networks", lambda link=link: place.carries(link, network.segmentation_id, vlan))
    place.own.attachments.delete(port.id)
    for link in links:
        until("nothing on both", lambda link=link: place.carries(link, None))
    place.own.networks.delete(tagged.id)


def check_preflight_as_it_is_typed(cloud: LocalCloud) -> None:
    """The server of this cloud asks Neutron: its networks are as they must be, until one of them is shared."""
    found = cloud.steelyard("admin", "network", "preflight", "-f", "json").json
    assert (found["controller"], found["passed"]) == ("neutron", True), found
    status = {each["name"]: each["status"] for each in found["checks"]}
    for name in ("reachable", "rights", "operator_networks", "private_networks", "vlans", "dhcp", "mtu"):
        assert status[name] == "ok", found
    assert cloud.steelyard("admin", "network", "preflight").code == 0
    assert cloud.steelyard("demo", "network", "preflight").code == 3
    cloud.openstack("admin", "network", "set", "--share", "cleaning").ok()
    refused = cloud.steelyard("admin", "network", "preflight")
    assert refused.code == 7
    assert "cleaning may be used by everybody" in " ".join(refused.out.split())
    cloud.openstack("admin", "network", "set", "--no-share", "cleaning").ok()
    assert cloud.steelyard("admin", "network", "preflight").code == 0


def check_preflight_before_and_after(place: Place) -> None:
    """From a controller that has no network of the operator's to one that is set up; each check turns when its cause
    is mended."""
    found = place.checks()
    assert found["operator_networks"].status is Status.FAILED
    for name in ("reachable", "rights", "service_nodes", "switch_ports"):
        assert found[name].status is Status.OK, found[name]
    networks = [place.own.networks.create(name) for name in OPERATORS.values()]
    assert place.checks()["dhcp"].status is Status.FAILED
    for number, network in enumerate(networks):
        place.own.networks.create_subnet(SubnetSpec(network.name, network.id, f"10.61.{number}.0/24"))
    found = place.checks()
    assert {name for name, each in found.items() if each.status is Status.FAILED} == {"boot_server"}
    for name in ("operator_networks", "private_networks", "vlans", "dhcp"):
        assert found[name].status is Status.OK, found[name]
    media = PreflightService(
        clouds=place.clouds, settings=place.settings.model_copy(update={"deploy_iso": "http://x/iso"})
    )
    assert not [each for each in media.run().checks if each.status is Status.FAILED]
