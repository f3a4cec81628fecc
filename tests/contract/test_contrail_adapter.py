"""The Contrail adapter against a controller that does what real ones do: each trap is met, and no flip is believed.

The traps themselves are reproduced by raw requests in the suite of the controller; here the adapter has to handle them.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from steelyard.clouds.contrail import ContrailCloud, ContrailClouds, parse_range
from steelyard.clouds.contrail.flips import Flips
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.ports import Attachments, Fabric, Networks, SecurityGroups, SubInterfaces
from steelyard.errors import Conflict, Forbidden, Invalid, NotFound, SteelyardError, Unavailable, UpstreamError
from steelyard.nouns import AttachmentSpec, Lag, Network, NetworkPort, SubnetSpec, SwitchLink

from .contrail_site import ROOT, ControllerAtHand

NODE, OTHER_NODE = "11111111-2222-4333-8444-555555555551", "11111111-2222-4333-8444-555555555552"
VMI = "virtual-machine-interface"


@dataclass
class Site:
    """A controller with a leaf of its own, and the cloud on it."""

    controller: ControllerAtHand
    clouds: ContrailClouds
    leaf: str
    after: ExitStack = field(default_factory=ExitStack)
    macs: Iterator[str] = field(
        default_factory=lambda: (f"52:54:00:cc:{n // 256:02x}:{n % 256:02x}" for n in range(9999))
    )

    @property
    def own(self) -> ContrailCloud:
        return self.clouds.own

    @property
    def tenant(self) -> ContrailCloud:
        return self.clouds.on_behalf_of(self.controller.token("red"))

    def link(self, port: str = "xe-0/0/1", *, leaf: str | None = None) -> SwitchLink:
        return SwitchLink("02:aa:00:00:00:01", port, leaf or self.leaf)

    def network(self, *cidrs: str, tenant: bool = True, pools: tuple[tuple[str, str], ...] = ()) -> Network:
        cloud = self.tenant if tenant else self.own
        network = cloud.networks.create(f"net-{uuid.uuid4().hex[:8]}")
        self.after.callback(self.own.networks.delete, network.id)
        for number, cidr in enumerate(cidrs):
            cloud.networks.create_subnet(SubnetSpec(f"s{number}", network.id, cidr, pools=pools if number == 0 else ()))
        return next(each for each in self.own.networks.all() if each.id == network.id)

    def port(
        self, network: Network, *, link: SwitchLink | None = None, mac: str | None = None, node: str = NODE,
        with_address: bool = False, lag: Lag | None = None,
    ) -> NetworkPort:  # fmt: skip
        spec = AttachmentSpec(
            f"p-{uuid.uuid4().hex[:6]}", network.id, node, mac or next(self.macs), link or self.link(),
            with_address=with_address, lag=lag,
        )  # fmt: skip
        port = self.own.attachments.create(spec)
        self.after.callback(self.own.attachments.delete, port.id)
        return port

    def groups_of(self, port: str, *, leaf: str | None = None) -> list[dict[str, Any]]:
        """The port groups that a switch port is in, raw."""
        name = [leaf or self.leaf, port]
        [found] = [each for each in self.controller.all("physical-interface") if each["fq_name"][-2:] == name]
        refs = self.controller.read("physical-interface", found["uuid"]).get("virtual_port_group_back_refs") or []
        return [self.controller.read("virtual-port-group", ref["uuid"]) for ref in refs]

    def networks_on(self, port: str, *, leaf: str | None = None) -> set[str]:
        """The networks that a switch port carries, raw."""
        found = set()
        for group in self.groups_of(port, leaf=leaf):
            for ref in group.get("virtual_machine_interface_refs") or []:
                found.add(self.controller.read(VMI, ref["uuid"])["virtual_network_refs"][0]["uuid"])
        return found

    def raw_port(self, network: Network, **bindings: str) -> str:
        """A VMI of somebody else's, made and bound by raw requests."""
        name = f"raw-{uuid.uuid4().hex[:8]}"
        identifier = self.controller.make(
            VMI, ["default-domain", "admin", name], parent_type="project",
            virtual_network_refs=[{"uuid": network.id, "attr": None}],
            virtual_machine_interface_device_owner="baremetal:none",
        )  # fmt: skip
        self.after.callback(self.controller.remove, VMI, identifier)
        if bindings:
            status, text = self.bind_raw(identifier, **bindings)
            assert status == 200, text
        return identifier

    def bind_raw(self, identifier: str, *, port: str = "xe-0/0/1", **bindings: str) -> tuple[int, str]:
        link = {"switch_info": self.leaf, "port_id": port, "switch_id": "02:aa:00:00:00:01"}
        pairs = {"vnic_type": "baremetal", "profile": json.dumps({"local_link_information": [link]}), **bindings}
        listed = {"key_value_pair": [{"key": key, "value": value} for key, value in pairs.items()]}
        return self.controller.change(VMI, identifier, virtual_machine_interface_bindings=listed)

    def bindings(self, port_id: str) -> dict[str, str]:
        found = self.controller.read(VMI, port_id)["virtual_machine_interface_bindings"]["key_value_pair"]
        return {pair["key"]: pair["value"] for pair in found}

    @contextmanager
    def fault(self, kind: str, target: str, *, match: str | None = None, times: int | None = None) -> Iterator[None]:
        body = {
            "target": target,
            "kind": kind,
            **({"match": match} if match else {}),
            **({"times": times} if times else {}),
        }
        self.controller.standalone.control("POST", "/faults", body)
        try:
            yield
        finally:
            self.controller.standalone.control("DELETE", "/faults")


@pytest.fixture
def site(contrail_site: ControllerAtHand) -> Iterator[Site]:
    leaf = f"leaf-{uuid.uuid4().hex[:6]}"
    contrail_site.add_switch(leaf, "xe-0/0/1", "xe-0/0/2", "xe-0/0/3_1", mac="02:aa:00:00:00:01")
    made = Site(contrail_site, contrail_site.clouds(), leaf)
    with made.after:
        yield made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.clouds.contrail.rest.PAUSE", 0.0)


def test_it_is_every_port_of_the_network(site: Site) -> None:
    own = site.own
    assert isinstance(own.networks, Networks)
    assert isinstance(own.attachments, Attachments)
    assert isinstance(own.sub_interfaces, SubInterfaces)
    assert isinstance(own.security_groups, SecurityGroups)
    assert isinstance(own.fabric, Fabric)


# Trap 1: one switch port in two networks


def test_the_whole_flip(site: Site) -> None:
    """Provisioning to tenant as a deployment does it, proven in the controller at each step."""
    provisioning, tenant = site.network(tenant=False), site.network("10.40.0.0/24")
    mac = next(site.macs)
    first = site.port(provisioning, mac=mac)
    assert site.networks_on("xe-0/0/1") == {provisioning.id}
    reserved = site.port(tenant, mac=mac, link=site.link("xe-0/0/2"), with_address=True)
    site.own.attachments.unbind(reserved.id)
    with pytest.raises(Conflict) as refusal:
        site.own.attachments.bind(reserved.id, node_id=NODE, mac=mac, link=site.link())
    assert refusal.value.code == "switch_port_taken"
    assert first.id in refusal.value.detail
    assert site.networks_on("xe-0/0/1") == {provisioning.id}
    site.own.attachments.unbind(first.id)
    assert site.networks_on("xe-0/0/1") == set()
    bound = site.own.attachments.bind(reserved.id, node_id=NODE, mac=mac, link=site.link())
    assert site.networks_on("xe-0/0/1") == {tenant.id}
    assert (bound.status, bound.addresses, bound.link) == ("ACTIVE", reserved.addresses, site.link())
    assert site.bindings(bound.id)["tor_port_vlan_id"] == str(tenant.segmentation_id)
    site.own.attachments.delete(first.id)
    assert site.networks_on("xe-0/0/1") == {tenant.id}


def test_binding_again_writes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    port = site.port(site.network())
    written: list[str] = []
    change = ContrailRest.change
    monkeypatch.setattr(ContrailRest, "change", lambda *given: (written.append(given[1]), change(*given))[1])
    again = site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link())
    assert again == port
    assert written == []


def test_a_second_network_that_came_without_a_vlan_is_seen(site: Site) -> None:
    """Somebody else walked into the trap on our switch port: the controller said 200, and we do not."""
    ours, theirs = site.network(), site.network()
    port = site.port(ours)
    site.raw_port(theirs, host_id=OTHER_NODE)
    assert site.networks_on("xe-0/0/1") == {ours.id, theirs.id}, "the trap is open in this controller"
    with pytest.raises(Conflict) as refusal:
        site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link())
    assert refusal.value.code == "switch_port_taken"


@pytest.mark.parametrize("theirs_first", [{"host_id": OTHER_NODE}, {"host_id": OTHER_NODE, "tor_port_vlan_id": "77"}])
def test_a_race_for_a_switch_port_ends_with_one_network(
    site: Site, monkeypatch: pytest.MonkeyPatch, theirs_first: dict[str, str]
) -> None:
    """Between our look and our request somebody binds his port: read back, and taken off again."""
    ours, theirs = site.network("10.41.0.0/24"), site.network()
    port = site.port(ours, link=site.link("xe-0/0/2"), with_address=True)
    site.own.attachments.unbind(port.id)
    other = site.raw_port(theirs)
    look = Flips._require_free

    def and_then_he_comes(self: Flips, *given: Any) -> None:
        look(self, *given)
        status, text = site.bind_raw(other, **theirs_first)
        assert status == 200, text

    monkeypatch.setattr(Flips, "_require_free", and_then_he_comes)
    with pytest.raises(SteelyardError):
        site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link())
    assert site.networks_on("xe-0/0/1") == {theirs.id}
    after = site.own.attachments.get(port.id)
    assert (after.link, after.host_id, after.status) == (None, None, "DOWN")
    assert after.addresses == port.addresses


def test_a_controller_that_cannot_be_read_back_is_not_believed(site: Site) -> None:
    network = site.network()
    port = site.port(network, link=site.link("xe-0/0/2"))
    site.own.attachments.unbind(port.id)
    with site.fault("wrong_answer", "virtual-port-group", match="read"), pytest.raises(SteelyardError):
        site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link())


def test_the_vlan_is_that_of_the_network_and_is_always_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, str]] = []
    change = ContrailRest.change

    def watch(self: ContrailRest, kind: str, identifier: str, changes: Any) -> None:
        if kind == VMI:
            assert "virtual_network_refs" not in changes, "a VMI's network is never changed (trap 2)"
            pairs = changes["virtual_machine_interface_bindings"]["key_value_pair"]
            sent.append({pair["key"]: pair["value"] for pair in pairs})
        change(self, kind, identifier, changes)

    monkeypatch.setattr(ContrailRest, "change", watch)
    network = site.network()
    port = site.port(network)
    site.own.attachments.unbind(port.id)
    site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link("xe-0/0/2"))
    with_place = [each for each in sent if "local_link_information" in each["profile"]]
    assert [each["tor_port_vlan_id"] for each in with_place] == [str(network.segmentation_id)] * 2


# Trap 2: the routing instance


def test_another_network_is_another_port(site: Site) -> None:
    first, second = site.network(), site.network()
    mac = next(site.macs)
    port = site.port(first, mac=mac)
    site.own.attachments.delete(port.id)
    moved = site.port(second, mac=mac)
    assert moved.id != port.id
    [routing] = site.controller.read(VMI, moved.id)["routing_instance_refs"]
    assert routing["to"][2] == second.name


# Trap 3: unbinding what was refused


def test_what_was_refused_is_unbound(site: Site) -> None:
    taken, network = site.network(), site.network()
    site.port(taken, node=OTHER_NODE)
    other = site.raw_port(network)
    status, text = site.bind_raw(other, host_id=NODE, tor_port_vlan_id=str(network.segmentation_id))
    assert status == 400, text
    status, text = site.bind_raw(other, profile="{}")
    assert (status, "Unable to retrieve fabric name" in text) == (400, True), "the trap is open in this controller"
    for _ in range(2):
        site.own.attachments.unbind(other)
    assert site.own.attachments.get(other).link is None
    site.own.attachments.delete(other)
    with pytest.raises(NotFound):
        site.own.attachments.get(other)
    assert site.networks_on("xe-0/0/1") == {taken.id}


def test_unbinding_takes_nothing_from_others_in_the_group(site: Site) -> None:
    """An empty profile takes the switch ports from the whole group: a server would lose all for one sub-interface."""
    network, tagged = site.network(), site.network()
    port = site.port(network)
    sub = site.own.sub_interfaces.add(port.id, network_id=tagged.id, name="sub")
    assert site.networks_on("xe-0/0/1") == {network.id, tagged.id}
    site.own.sub_interfaces.remove(port.id, sub.port_id)
    assert site.networks_on("xe-0/0/1") == {network.id}
    [group] = site.groups_of("xe-0/0/1")
    assert len(group["physical_interface_refs"]) == 1
    assert site.own.attachments.get(port.id).status == "ACTIVE"


# Trap 4: whose switch port


def test_tenants_see_and_touch_no_switch_port(site: Site) -> None:
    network = site.network()
    port = site.tenant.attachments
    bound = site.port(network)
    assert bound.id not in {each.id for each in port.all()}, "a port of the operator's"
    mine = site.controller.make(
        VMI, ["default-domain", "red", f"mine-{uuid.uuid4().hex[:6]}"], parent_type="project", token="red",
        virtual_network_refs=[{"uuid": network.id, "attr": None}],
    )  # fmt: skip
    site.after.callback(site.own.attachments.delete, mine)
    site.own.attachments.bind(mine, node_id=NODE, mac=next(site.macs), link=site.link("xe-0/0/2"))
    [seen] = [each for each in port.all() if each.id == mine]
    assert (seen.host_id, seen.link, seen.status) == (None, None, "ACTIVE")
    assert port.bound(NODE) == []
    for touch in (
        lambda: port.bind(mine, node_id=OTHER_NODE, mac=bound.mac, link=site.link()),
        lambda: port.unbind(mine),
        lambda: site.tenant.sub_interfaces.add(mine, network_id=network.id, name="x"),
        lambda: site.tenant.fabric.facts(),
        lambda: site.tenant.fabric.leftovers(),
        lambda: port.delete(mine),
    ):
        with pytest.raises(Forbidden):
            touch()
    assert site.own.attachments.get(mine).status == "ACTIVE"


# Trap 5: addresses


def test_addresses_come_from_the_bottom_of_the_pool(site: Site) -> None:
    network = site.network("10.42.0.0/24", pools=(("10.42.0.50", "10.42.0.60"),))
    first = site.port(network, with_address=True)
    second = site.port(network, link=site.link("xe-0/0/2"), with_address=True, node=OTHER_NODE)
    assert [each.addresses[0].address for each in (first, second)] == ["10.42.0.50", "10.42.0.51"]


def test_no_other_family_comes_when_one_is_used_up(site: Site) -> None:
    network = site.network("10.43.0.0/29", "fd00:43::/64", pools=(("10.43.0.3", "10.43.0.3"),))
    assert len(site.port(network, with_address=True).addresses) == 2
    before = len(site.controller.all("instance-ip"))
    with pytest.raises(Conflict) as refusal:
        site.port(network, link=site.link("xe-0/0/2"), with_address=True)
    assert refusal.value.code == "no_free_address"
    assert len(site.controller.all("instance-ip")) == before
    assert len(site.own.attachments.all(network_ids=[network.id])) == 1
    assert site.networks_on("xe-0/0/2") == set()


@pytest.mark.parametrize("address", ["10.44.0.1", "10.44.0.100", "10.44.0.53"], ids=["gateway", "outside", "dns"])
def test_an_address_that_nobody_may_have_is_given_back(site: Site, address: str) -> None:
    """The controller takes such a one by request; under the name that ours would have, it is looked at and refused."""
    network = site.network()
    site.tenant.networks.create_subnet(SubnetSpec(
        "s", network.id, "10.44.0.0/24", pools=(("10.44.0.10", "10.44.0.60"),), dns_servers=("10.44.0.53",),
    ))  # fmt: skip
    spec = AttachmentSpec("p", network.id, NODE, next(site.macs), site.link(), with_address=True)
    from steelyard.clouds.contrail.addresses import own_name
    from steelyard.clouds.contrail.attachments import own_port_id

    name = own_name(own_port_id(spec), "v4")
    site.controller.make(
        "instance-ip", [name], virtual_network_refs=[{"uuid": network.id, "attr": None}], instance_ip_address=address
    )
    with pytest.raises(Conflict) as refusal:
        site.own.attachments.create(spec)
    assert refusal.value.code == "address_not_usable"
    assert not [each for each in site.controller.all("instance-ip") if each["fq_name"] == [name]]
    assert site.own.attachments.all(network_ids=[network.id]) == []


def test_a_mac_that_the_controller_would_take_twice(site: Site) -> None:
    network = site.network()
    port = site.port(network)
    other = site.raw_port(network)
    with pytest.raises(Conflict) as refusal:
        site.own.attachments.bind(other, node_id=OTHER_NODE, mac=port.mac.upper(), link=site.link("xe-0/0/2"))
    assert refusal.value.code == "mac_in_use"


# Trap 6: the order of deletion


def test_everything_goes_in_the_order_that_the_controller_wants(site: Site) -> None:
    network = site.network("10.45.0.0/24")
    port = site.port(network, with_address=True)
    outside = site.network("198.51.100.0/24", tenant=False)
    pool = site.controller.make(
        "floating-ip-pool", ["default-domain", "admin", outside.name, "pool"], parent_type="virtual-network"
    )
    site.after.callback(site.controller.remove, "floating-ip-pool", pool)
    project = site.controller.project_id("admin")
    name = ["default-domain", "admin", outside.name, "pool", f"f-{port.id}"]
    floating = site.controller.make(
        "floating-ip", name, parent_type="floating-ip-pool",
        project_refs=[{"uuid": str(uuid.UUID(project)), "attr": None}],
        virtual_machine_interface_refs=[{"uuid": port.id, "attr": None}],
    )  # fmt: skip
    site.after.callback(site.controller.remove, "floating-ip", floating)
    with pytest.raises(Conflict) as refusal:
        site.own.networks.delete(network.id)
    assert refusal.value.code == "network_in_use"
    [group] = site.groups_of("xe-0/0/1")
    site.own.attachments.delete(port.id)
    assert not site.controller.read("floating-ip", floating).get("virtual_machine_interface_refs")
    assert group["uuid"] not in {each["uuid"] for each in site.controller.all("virtual-port-group")}
    assert not [each for each in site.controller.all("instance-ip") if port.id in each["fq_name"][0]]
    site.own.networks.delete(network.id)
    left = [each for each in site.controller.all("network-ipam") if each["fq_name"][-1].startswith("steelyard-subnet-")]
    assert not [each for each in left if network.subnet_ids and network.subnet_ids[0] in each["fq_name"][-1]]


# LAG, multihoming, names with a colon, cables that nobody knows


def test_a_bond_over_two_leaves(site: Site) -> None:
    second = f"{site.leaf}-b"
    site.controller.add_switch(second, "xe-0/0/1")
    network = site.network()
    links = (site.link(), site.link("xe-0/0/1", leaf=second))
    port = site.port(network, lag=Lag("bond-1", "bond0", links))
    assert port.links == links
    [group] = site.groups_of("xe-0/0/1")
    assert [group["uuid"]] == [each["uuid"] for each in site.groups_of("xe-0/0/1", leaf=second)]
    assert group["virtual_port_group_lacp_enabled"] is True
    assert {ref["to"][1] for ref in group["physical_interface_refs"]} == {site.leaf, second}
    single = site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=links[1])
    assert single.links == (links[1],)
    assert site.networks_on("xe-0/0/1") == set()


def test_a_port_name_with_a_colon(site: Site) -> None:
    link = site.link("xe-0/0/3:1")
    port = site.port(site.network(), link=link)
    assert port.link == link
    assert port.status == "ACTIVE"
    assert len(site.groups_of("xe-0/0/3_1")) == 1


def test_a_switch_port_that_the_controller_does_not_know(site: Site) -> None:
    network = site.network()
    with pytest.raises(NotFound) as refusal:
        site.port(network, link=site.link("xe-9/9/9"))
    assert refusal.value.code == "unknown_switch_port"
    assert refusal.value.next == "steelyard network preflight"
    with pytest.raises(Invalid) as refusal:
        site.port(network, link=SwitchLink("02:aa:00:00:00:01", "xe-0/0/1"))
    assert refusal.value.code == "no_switch_name"
    assert site.own.attachments.all(network_ids=[network.id]) == []


def test_sub_interfaces_follow_their_port(site: Site) -> None:
    network, tagged = site.network(), site.network("10.46.0.0/24")
    port = site.port(network)
    sub = site.own.sub_interfaces.add(port.id, network_id=tagged.id, name="sub")
    site.own.attachments.unbind(port.id)
    assert site.networks_on("xe-0/0/1") == set()
    site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link("xe-0/0/2"))
    assert site.networks_on("xe-0/0/2") == {network.id, tagged.id}
    assert site.own.attachments.get(port.id).subports == (sub,)
    assert [each.id for each in site.own.attachments.bound(NODE) if each.network_id == tagged.id] == []
    site.own.attachments.delete(port.id)
    assert site.networks_on("xe-0/0/2") == set()
    with pytest.raises(NotFound):
        site.own.attachments.get(sub.port_id)


def test_security_groups_of_a_port_are_replaced(site: Site) -> None:
    port = site.port(site.network())
    [group] = [each for each in site.own.security_groups.all() if each.project_id == site.controller.project_id("red")]
    for wanted in ([group.id], [], [group.id]):
        site.own.security_groups.put(port.id, wanted)
        assert list(site.own.attachments.get(port.id).security_groups) == wanted
    assert site.own.attachments.get(port.id).status == "ACTIVE", "its place is not touched"
    with pytest.raises(NotFound):
        site.own.security_groups.put(port.id, ["00000000-0000-4000-8000-000000000000"])
    for cloud in (site.tenant, site.clouds.on_behalf_of(site.controller.token("blue"))):
        with pytest.raises((Forbidden, NotFound)):
            cloud.security_groups.put(port.id, [group.id])


# VLANs


def test_networks_get_vlans_of_their_own_at_once(site: Site) -> None:
    made: list[Network] = []
    errors: list[Exception] = []

    def make() -> None:
        try:
            made.append(site.network())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    vlans = [network.segmentation_id for network in made]
    assert len(set(vlans)) == 8
    assert all(vlan in range(2200, 2400) for vlan in vlans)


def test_without_a_range_a_network_has_no_vlan_and_no_server_is_put_on_it(site: Site) -> None:
    clouds = site.controller.clouds(vlans=None)
    network = clouds.own.networks.create(f"bare-{uuid.uuid4().hex[:6]}")
    site.after.callback(clouds.own.networks.delete, network.id)
    assert (network.segmentation_id, network.network_type) == (None, "vxlan")
    with pytest.raises(Conflict) as refusal:
        clouds.own.attachments.create(AttachmentSpec("p", network.id, NODE, next(site.macs), site.link()))
    assert refusal.value.code == "network_without_vlan"
    assert clouds.own.attachments.all(network_ids=[network.id]) == []


def test_a_range_that_is_used_up(site: Site) -> None:
    clouds = site.controller.clouds(vlans=range(2390, 2391))
    first = clouds.own.networks.create(f"one-{uuid.uuid4().hex[:6]}")
    site.after.callback(clouds.own.networks.delete, first.id)
    before = len(site.controller.all("virtual-network"))
    with pytest.raises(Conflict) as refusal:
        clouds.own.networks.create(f"two-{uuid.uuid4().hex[:6]}")
    assert refusal.value.code == "network_without_vlan"
    assert len(site.controller.all("virtual-network")) == before


@pytest.mark.parametrize("text", ["", "x", "0:10", "10:9", "4000:4095", "1:2:3"])
def test_what_is_no_range_of_vlans(text: str) -> None:
    with pytest.raises(Invalid):
        parse_range(text)


# Answers that are lost, refused, or no answers


LOSSES: list[tuple[str, Callable[[Site], object]]] = [
    ("virtual-network", lambda site: site.network()),
    ("network-ipam", lambda site: site.network("10.47.0.0/24")),
    (VMI, lambda site: site.port(site.network("10.48.0.0/24"), with_address=True)),
    ("instance-ip", lambda site: site.port(site.network("10.49.0.0/24"), with_address=True)),
]


@pytest.mark.parametrize("kind", ["answer_lost", "refuse", "drop"])
@pytest.mark.parametrize(("target", "make"), LOSSES, ids=[each[0] for each in LOSSES])
def test_what_is_asked_again_is_there_once(site: Site, target: str, make: Callable[[Site], object], kind: str) -> None:
    before = {each["uuid"] for each in site.controller.all(target)}
    with site.fault(kind, target, match="create", times=2):
        make(site)
    assert len({each["uuid"] for each in site.controller.all(target)} - before) == 1


@pytest.mark.parametrize("kind", ["answer_lost", "refuse"])
def test_a_flip_whose_answers_are_lost_is_done_once(site: Site, kind: str) -> None:
    network = site.network()
    with site.fault(kind, VMI, match="update", times=1), site.fault(kind, "ref-update", times=1):
        port = site.port(network)
        site.own.attachments.unbind(port.id)
        site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link())
    assert site.networks_on("xe-0/0/1") == {network.id}
    with site.fault("answer_lost", VMI, match="delete", times=1):
        site.own.attachments.delete(port.id)
    assert site.groups_of("xe-0/0/1") == []


def test_a_controller_that_is_away_says_so(site: Site) -> None:
    with site.fault("refuse", "virtual-network"), pytest.raises(Unavailable) as refusal:
        site.own.networks.all()
    assert refusal.value.next == "steelyard network preflight"
    with site.fault("garbage", "virtual-network", match="read"), pytest.raises(UpstreamError) as nonsense:
        site.own.networks.all()
    told = f"{nonsense.value.detail} {nonsense.value.internal} {refusal.value.detail} {refusal.value.internal}"
    assert site.controller.token("admin") not in told


def test_a_name_that_is_taken(site: Site) -> None:
    network = site.network()
    with pytest.raises(Conflict) as refusal:
        site.tenant.networks.create(network.name)
    assert refusal.value.kind == "duplicate"


# Observation


def test_the_port_group_says_where_a_port_is_and_not_its_profile(site: Site) -> None:
    """As after a Neutron plugin, or hands in the controller's screens: what is carried counts."""
    network = site.network()
    port = site.port(network)
    [group] = site.groups_of("xe-0/0/1")
    [there, other] = [
        next(
            each["uuid"]
            for each in site.controller.all("physical-interface")
            if each["fq_name"][-2:] == [site.leaf, name]
        )
        for name in ("xe-0/0/1", "xe-0/0/2")
    ]
    site.controller.refer("virtual-port-group", group["uuid"], "physical-interface", there, operation="DELETE")
    lost = site.own.attachments.get(port.id)
    assert (lost.link, lost.status) == (site.link(), "DOWN"), "it is said to be there, and nothing carries it"
    site.controller.refer("virtual-port-group", group["uuid"], "physical-interface", other)
    moved = site.own.attachments.get(port.id)
    assert (moved.link, moved.status) == (site.link("xe-0/0/2"), "ACTIVE"), "with the MAC that the controller has"
    assert [each.link for each in site.own.attachments.bound(NODE)] == [site.link("xe-0/0/2")]
    back = site.own.attachments.bind(port.id, node_id=NODE, mac=port.mac, link=site.link())
    assert back.link == site.link()
    assert (site.networks_on("xe-0/0/1"), site.networks_on("xe-0/0/2")) == ({network.id}, set())


def test_many_ports_take_few_requests(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    network = site.network("10.50.0.0/24")
    for number in range(30):
        identifier = site.raw_port(network)
        site.controller.make(
            "instance-ip", [f"many-{identifier}"], instance_ip_family="v4",
            virtual_network_refs=[{"uuid": network.id, "attr": None}],
            virtual_machine_interface_refs=[{"uuid": identifier, "attr": None}],
        )  # fmt: skip
        site.after.callback(site.own.attachments.delete, identifier)
        assert number < 30
    asked: list[str] = []
    call = ContrailRest.call

    def count(self: ContrailRest, method: str, path: str, **more: Any) -> Any:
        asked.append(f"{method} {path}")
        return call(self, method, path, **more)

    monkeypatch.setattr(ContrailRest, "call", count)
    found = [port for port in site.own.attachments.all() if port.network_id == network.id]
    assert len(found) == 30
    assert all(len(port.addresses) == 1 for port in found)
    assert len(asked) <= 4, asked


def test_lists_of_many_pages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.clouds.contrail.rest.PAGE", 3)
    networks = [site.network() for _ in range(7)]
    assert {network.id for network in networks} <= {network.id for network in site.own.networks.all()}
    assert len(site.own.networks.all()) == len({network.id for network in site.own.networks.all()})


# The fabric, and what nobody owns


def test_the_fabric_as_preflight_needs_it(site: Site) -> None:
    node = site.controller.make(
        "virtual-router", [ROOT, f"tsn-{site.leaf}"], parent_type="global-system-config",
        virtual_router_type="tor-service-node", virtual_router_ip_address="192.0.2.9",
    )  # fmt: skip
    router = next(each for each in site.controller.all("physical-router") if each["fq_name"][-1] == site.leaf)
    network = site.network("10.51.0.0/24", tenant=False)
    facts = site.own.fabric.facts([network.id])
    [switch] = [each for each in facts.switches or () if each.name == site.leaf]
    assert (switch.chassis_id, switch.service_nodes) == ("02:aa:00:00:00:01", ())
    assert {each.port_id for each in facts.ports or () if each.switch_name == site.leaf} == {
        "xe-0/0/1", "xe-0/0/2", "xe-0/0/3_1"
    }  # fmt: skip
    assert facts.networks[network.id].users == ()
    assert facts.networks[network.id].boot_servers == ()
    assert facts.networks[network.id].dhcp
    site.controller.refer("physical-router", router["uuid"], "virtual-router", node)
    [ipam] = [each for each in site.controller.all("network-ipam") if network.subnet_ids[0] in each["fq_name"][-1]]
    options = [{"dhcp_option_name": "66", "dhcp_option_value": "192.0.2.66"},
               {"dhcp_option_name": "26", "dhcp_option_value": "9000"}]  # fmt: skip
    management = {"ipam_method": "dhcp", "dhcp_option_list": {"dhcp_option": options}}
    assert site.controller.change("network-ipam", ipam["uuid"], network_ipam_mgmt=management)[0] == 200
    assert site.controller.change("virtual-network", network.id, is_shared=True)[0] == 200
    facts = site.own.fabric.facts([network.id])
    [switch] = [each for each in facts.switches or () if each.name == site.leaf]
    assert switch.service_nodes == (f"tsn-{site.leaf}",)
    known = facts.networks[network.id]
    assert (known.users, known.boot_servers, known.mtu) == (("everybody",), ("192.0.2.66",), 9000)


def test_what_nobody_owns_is_found_and_removed(site: Site) -> None:
    network = site.network("10.52.0.0/24")
    lost = site.controller.make(
        "instance-ip", [f"lost-{uuid.uuid4().hex[:6]}"], virtual_network_refs=[{"uuid": network.id, "attr": None}]
    )
    ipam = site.controller.make(
        "network-ipam", ["default-domain", "admin", f"steelyard-subnet-{uuid.uuid4()}"], parent_type="project"
    )
    port = site.port(network, with_address=True)
    found = {(each.kind, each.id) for each in site.own.fabric.leftovers()}
    assert {("instance-ip", lost), ("network-ipam", ipam)} <= found
    held = [each["uuid"] for each in site.controller.all("instance-ip") if port.id in each["fq_name"][0]]
    assert not {("instance-ip", each) for each in held} & found
    [group] = site.groups_of("xe-0/0/1")
    for kind, identifier in (("instance-ip", held[0]), ("virtual-port-group", group["uuid"])):
        with pytest.raises(Conflict) as refusal:
            site.own.fabric.remove(kind, identifier)
        assert refusal.value.code == "in_use"
    with pytest.raises(Invalid):
        site.own.fabric.remove("virtual-network", network.id)
    for kind, identifier in (("instance-ip", lost), ("network-ipam", ipam)):
        for _ in range(2):
            site.own.fabric.remove(kind, identifier)
    assert not {("instance-ip", lost), ("network-ipam", ipam)} & {
        (each.kind, each.id) for each in site.own.fabric.leftovers()
    }
    assert site.networks_on("xe-0/0/1") == {network.id}
