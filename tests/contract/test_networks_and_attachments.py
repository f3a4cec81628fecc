"""The contracts of `Networks`, `Attachments`, `SubInterfaces` and `SecurityGroups`.

For every network controller: what differs by controller comes from the stage, never from a name in here.
"""

from __future__ import annotations

import pytest

from steelyard.clouds.ports import Attachments, Fabric, Networks, SecurityGroups, SubInterfaces
from steelyard.errors import Duplicate, Forbidden, Invalid, NotFound
from steelyard.nouns import AttachmentSpec, HostRoute, Lag, Network, NetworkPort, SubnetSpec, SwitchLink

from .stages import Stage

pytestmark = pytest.mark.parametrize(
    "stage", ["fake", "contrail", pytest.param("embedded", marks=pytest.mark.embedded)], indirect=True
)


def add(stage: Stage) -> Network:
    network = stage.tenant.networks.create(stage.name("network"))
    stage.after.callback(stage.own.networks.delete, network.id)
    return network


def test_a_tenants_network_is_private_and_has_a_segment(stage: Stage) -> None:
    assert isinstance(stage.tenant.networks, Networks)
    network = add(stage)
    assert network.project_id == stage.project_id
    assert not network.shared
    assert network.segmentation_id is None, "a tenant does not see VLAN ids"
    seen = {found.id: found for found in stage.own.networks.all()}[network.id]
    assert seen.network_type == "vlan"
    assert seen.segmentation_id
    assert network.id in {found.id for found in stage.tenant.networks.all()}
    assert network.id not in {found.id for found in stage.other.networks.all()}


def test_two_networks_have_two_segments(stage: Stage) -> None:
    first, second = add(stage), add(stage)
    seen = {found.id: found.segmentation_id for found in stage.own.networks.all()}
    assert seen[first.id] != seen[second.id]


def test_tenants_do_not_see_the_administrators_networks(stage: Stage) -> None:
    names = {found.name for found in stage.own.networks.all()}
    assert {"provisioning", "cleaning", "inspection"} <= names
    visible = {found.name for found in stage.tenant.networks.all()}
    assert not visible & {"provisioning", "cleaning", "inspection", "quarantine", "rescue"}
    assert {s.network_id for s in stage.tenant.networks.subnets()} <= {n.id for n in stage.tenant.networks.all()}


def test_an_administrator_makes_a_network_for_a_tenant(stage: Stage) -> None:
    network = stage.own.networks.create(stage.name("network"), project_id=stage.project_id)
    stage.after.callback(stage.own.networks.delete, network.id)
    assert network.project_id == stage.project_id
    assert network.id in {found.id for found in stage.tenant.networks.all()}


def test_tenants_make_networks_only_for_themselves(stage: Stage) -> None:
    with pytest.raises(Forbidden):
        stage.tenant.networks.create(stage.name("network"), project_id=stage.other_project_id)
    with pytest.raises(Forbidden):
        stage.reader.networks.create(stage.name("network"))


def test_a_subnet_has_a_gateway_and_a_pool(stage: Stage) -> None:
    network = add(stage)
    subnet = stage.tenant.networks.create_subnet(SubnetSpec("blue", network.id, "10.77.0.0/24"))
    assert subnet.network_id == network.id
    assert subnet.cidr == "10.77.0.0/24"
    assert subnet.gateway == "10.77.0.1"
    assert subnet.pools == (("10.77.0.2", "10.77.0.254"),)
    assert subnet.dhcp
    assert subnet in stage.tenant.networks.subnets()
    assert {n.id: n.subnet_ids for n in stage.tenant.networks.all()}[network.id] == (subnet.id,)
    assert subnet.id not in {found.id for found in stage.other.networks.subnets()}


def test_a_subnet_is_made_as_asked(stage: Stage) -> None:
    network = add(stage)
    spec = SubnetSpec(
        "asked", network.id, "10.78.0.0/24", gateway="10.78.0.254", dhcp=False,
        pools=(("10.78.0.10", "10.78.0.20"),), dns_servers=("192.0.2.53",),
    )  # fmt: skip
    subnet = stage.tenant.networks.create_subnet(spec)
    assert (subnet.gateway, subnet.dhcp, subnet.pools) == ("10.78.0.254", False, (("10.78.0.10", "10.78.0.20"),))
    assert subnet.dns_servers == ("192.0.2.53",)


def test_a_subnet_tells_its_hosts_routes(stage: Stage) -> None:
    network = add(stage)
    routes = (HostRoute("10.99.0.0/16", "10.78.0.2"), HostRoute("192.0.2.0/24", "10.78.0.3"))
    subnet = stage.tenant.networks.create_subnet(SubnetSpec("routes", network.id, "10.78.0.0/24", host_routes=routes))
    assert sorted(subnet.host_routes, key=str) == sorted(routes, key=str)
    seen = {each.id: each for each in stage.tenant.networks.subnets()}[subnet.id]
    assert sorted(seen.host_routes, key=str) == sorted(routes, key=str)


def test_a_network_has_subnets_of_both_versions(stage: Stage) -> None:
    network = add(stage)
    four = stage.tenant.networks.create_subnet(SubnetSpec("four", network.id, "10.86.0.0/24"))
    six = stage.tenant.networks.create_subnet(
        SubnetSpec("six", network.id, "fd00:86::/64", gateway="fd00:86::1", pools=(("fd00:86::10", "fd00:86::ff"),))
    )
    assert (six.cidr, six.gateway) == ("fd00:86::/64", "fd00:86::1")
    assert six.pools == (("fd00:86::10", "fd00:86::ff"),)
    assert set({n.id: n.subnet_ids for n in stage.tenant.networks.all()}[network.id]) == {four.id, six.id}
    port = attach(stage, network, with_address=True)
    assert {fixed.subnet_id for fixed in port.addresses} == {four.id, six.id}


@pytest.mark.parametrize("cidr", ["nonsense", "10.0.0.0/33", "10.79.0.1/24", "10.79.0.0/24 ", ""])
def test_what_is_no_subnet_is_refused(stage: Stage, cidr: str) -> None:
    network = add(stage)
    with pytest.raises(Invalid):
        stage.tenant.networks.create_subnet(SubnetSpec("bad", network.id, cidr))


def test_subnets_of_a_network_do_not_overlap(stage: Stage) -> None:
    network = add(stage)
    stage.tenant.networks.create_subnet(SubnetSpec("one", network.id, "10.80.0.0/24"))
    with pytest.raises(Invalid):
        stage.tenant.networks.create_subnet(SubnetSpec("two", network.id, "10.80.0.128/25"))


def test_a_subnet_needs_a_network_that_one_sees(stage: Stage) -> None:
    network = add(stage)
    with pytest.raises(NotFound):
        stage.other.networks.create_subnet(SubnetSpec("mine", network.id, "10.81.0.0/24"))


def test_nobody_deletes_what_is_not_his(stage: Stage) -> None:
    network = add(stage)
    subnet = stage.tenant.networks.create_subnet(SubnetSpec("mine", network.id, "10.82.0.0/24"))
    stage.other.networks.delete_subnet(subnet.id)
    stage.other.networks.delete(network.id)
    assert subnet in stage.tenant.networks.subnets()


def test_deleting_twice_is_fine(stage: Stage) -> None:
    network = add(stage)
    subnet = stage.tenant.networks.create_subnet(SubnetSpec("gone", network.id, "10.83.0.0/24"))
    stage.tenant.networks.delete_subnet(subnet.id)
    stage.tenant.networks.delete_subnet(subnet.id)
    stage.tenant.networks.delete(network.id)
    stage.tenant.networks.delete(network.id)
    assert network.id not in {found.id for found in stage.own.networks.all()}


def test_an_empty_network_has_no_attachments(stage: Stage) -> None:
    assert isinstance(stage.own.attachments, Attachments)
    network = add(stage)
    assert stage.own.attachments.all(network_ids=[network.id]) == []
    assert stage.own.attachments.all(network_ids=[]) == []
    with pytest.raises(NotFound):
        stage.own.attachments.get("00000000-0000-4000-8000-000000000000")
    stage.own.attachments.delete("00000000-0000-4000-8000-000000000000")


NOWHERE = SwitchLink(switch_id="02:ff:ff:00:00:01", port_id="Ethernet99", switch_name="no-such-switch")
"""A cable into a switch that no network controller configures: everything but the plugging can be seen on it."""
NODE, MAC = "11111111-2222-4333-8444-555555555555", "52:54:00:ab:cd:01"


def attach(stage: Stage, network: Network, *, with_address: bool = False) -> NetworkPort:
    name = stage.name("port")
    port = stage.own.attachments.create(
        AttachmentSpec(name, network.id, NODE, MAC, NOWHERE, with_address=with_address)
    )  # fmt: skip
    stage.after.callback(stage.own.attachments.delete, port.id)
    return port


def test_a_port_of_our_own_is_made_bound_and_once(stage: Stage) -> None:
    network = add(stage)
    stage.tenant.networks.create_subnet(SubnetSpec("own", network.id, "10.84.0.0/24"))
    port = attach(stage, network)
    assert (port.network_id, port.mac, port.device_id, port.host_id) == (network.id, MAC, NODE, NODE)
    assert (port.device_owner, port.vnic_type, port.addresses) == ("baremetal:none", "baremetal", ())
    assert port.link == NOWHERE
    again = stage.own.attachments.create(AttachmentSpec(port.name, network.id, NODE, MAC, NOWHERE))
    assert again.id == port.id
    assert [seen.id for seen in stage.own.attachments.all(network_ids=[network.id])] == [port.id]


def test_what_is_bound_to_a_node_whoever_owns_it(stage: Stage) -> None:
    network = add(stage)
    port = attach(stage, network)
    there = {seen.id: seen for seen in stage.own.attachments.bound(NODE)}
    assert there[port.id].link == NOWHERE
    assert stage.own.attachments.bound("99999999-2222-4333-8444-555555555555") == []
    stage.own.attachments.unbind(port.id)
    assert port.id not in {seen.id for seen in stage.own.attachments.bound(NODE)}


def test_a_mac_is_on_a_network_once(stage: Stage) -> None:
    network = add(stage)
    attach(stage, network)
    with pytest.raises(Duplicate):
        stage.own.attachments.create(AttachmentSpec(stage.name("port"), network.id, NODE, MAC, NOWHERE))


def test_unbinding_keeps_the_port_its_mac_and_its_addresses(stage: Stage) -> None:
    network = add(stage)
    stage.tenant.networks.create_subnet(SubnetSpec("kept", network.id, "10.85.0.0/24"))
    port = attach(stage, network, with_address=True)
    assert len(port.addresses) == 1
    for _ in range(2):
        stage.own.attachments.unbind(port.id)
        unbound = stage.own.attachments.get(port.id)
        assert (unbound.host_id, unbound.link, unbound.status) == (None, None, "DOWN")
        assert (unbound.mac, unbound.addresses, unbound.device_id) == (port.mac, port.addresses, port.device_id)
    for _ in range(2):
        bound = stage.own.attachments.bind(port.id, node_id=NODE, mac=MAC, link=NOWHERE)
        assert (bound.host_id, bound.link, bound.vnic_type) == (NODE, NOWHERE, "baremetal")
        assert (bound.mac, bound.addresses, bound.device_id) == (port.mac, port.addresses, port.device_id)


def test_tenants_bind_nothing(stage: Stage) -> None:
    network = add(stage)
    port = attach(stage, network)
    with pytest.raises((Forbidden, NotFound)):
        stage.tenant.attachments.bind(port.id, node_id=NODE, mac=MAC, link=NOWHERE)
    with pytest.raises((Forbidden, NotFound)):
        stage.tenant.attachments.unbind(port.id)
    with pytest.raises((Forbidden, NotFound, Invalid)):
        stage.other.attachments.create(AttachmentSpec(stage.name("port"), network.id, NODE, MAC, NOWHERE))


def test_what_is_not_there_is_not_bound(stage: Stage) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(NotFound):
        stage.own.attachments.unbind(missing)
    with pytest.raises(NotFound):
        stage.own.attachments.bind(missing, node_id=NODE, mac=MAC, link=NOWHERE)
    with pytest.raises(NotFound):
        stage.own.attachments.create(AttachmentSpec("x", missing, NODE, MAC, NOWHERE))


def test_attachments_of_some_owners_only(stage: Stage) -> None:
    network = add(stage)
    port = attach(stage, network)
    assert [seen.id for seen in stage.own.attachments.all(device_ids=[NODE, "nobody"])] == [port.id]
    assert stage.own.attachments.all(device_ids=[]) == []
    assert stage.own.attachments.all(device_ids=[NODE], network_ids=[network.id])[0].id == port.id
    assert stage.own.attachments.all(device_ids=[NODE], network_ids=["another"]) == []


ELSEWHERE = SwitchLink(switch_id="02:ff:ff:00:00:02", port_id="Ethernet99", switch_name="no-such-other")
BOND = Lag("33333333-2222-4333-8444-555555555555", "bond-of-the-suite", (NOWHERE, ELSEWHERE))


def test_a_port_is_bound_to_all_links_of_a_bond(stage: Stage) -> None:
    network = add(stage)
    spec = AttachmentSpec(stage.name("port"), network.id, NODE, MAC, NOWHERE, lag=BOND)
    port = stage.own.attachments.create(spec)
    stage.after.callback(stage.own.attachments.delete, port.id)
    assert port.links == (NOWHERE, ELSEWHERE)
    assert (port.link, port.mac) == (NOWHERE, MAC)
    assert stage.own.attachments.create(spec).id == port.id
    seen = {each.id: each for each in stage.own.attachments.all(network_ids=[network.id])}[port.id]
    assert seen.links == (NOWHERE, ELSEWHERE)
    stage.own.attachments.unbind(port.id)
    assert stage.own.attachments.get(port.id).links == ()
    again = stage.own.attachments.bind(port.id, node_id=NODE, mac=MAC, link=NOWHERE, lag=BOND)
    assert again.links == (NOWHERE, ELSEWHERE)
    single = stage.own.attachments.bind(port.id, node_id=NODE, mac=MAC, link=ELSEWHERE)
    assert single.links == (ELSEWHERE,)


def test_a_sub_interface_has_the_vlan_of_its_network(stage: Stage) -> None:
    assert isinstance(stage.own.sub_interfaces, SubInterfaces)
    network, tagged = add(stage), add(stage)
    stage.tenant.networks.create_subnet(SubnetSpec("tagged", tagged.id, "10.87.0.0/24"))
    port = attach(stage, network)
    stage.own.attachments.unbind(port.id)  # bound where no controller plugs it, Neutron takes no parent
    name = stage.name("sub")
    made = stage.own.sub_interfaces.add(port.id, network_id=tagged.id, name=name, project_id=stage.project_id)
    stage.after.callback(stage.own.sub_interfaces.remove, port.id, made.port_id)
    vlan = {each.id: each.segmentation_id for each in stage.own.networks.all()}[tagged.id]
    assert made.vlan == vlan
    assert stage.own.attachments.get(port.id).subports == (made,)
    child = stage.own.attachments.get(made.port_id)
    assert (child.network_id, child.project_id, child.name) == (tagged.id, stage.project_id, name)
    assert len(child.addresses) == 1
    again = stage.own.sub_interfaces.add(port.id, network_id=tagged.id, name=name, project_id=stage.project_id)
    assert again == made
    for _ in range(2):
        stage.own.sub_interfaces.remove(port.id, made.port_id)
    assert stage.own.attachments.get(port.id).subports == ()
    with pytest.raises(NotFound):
        stage.own.attachments.get(made.port_id)
    stage.own.attachments.delete(port.id)
    with pytest.raises(NotFound):
        stage.own.attachments.get(port.id)


def test_a_sub_interface_is_of_another_network(stage: Stage) -> None:
    network = add(stage)
    port = attach(stage, network)
    with pytest.raises(Invalid):
        stage.own.sub_interfaces.add(port.id, network_id=network.id, name="same")
    with pytest.raises(NotFound):
        stage.own.sub_interfaces.add(port.id, network_id="00000000-0000-4000-8000-000000000000", name="none")
    with pytest.raises(NotFound):
        stage.own.sub_interfaces.add("00000000-0000-4000-8000-000000000000", network_id=network.id, name="none")
    assert stage.own.attachments.get(port.id).subports == ()


def test_tenants_choose_no_tags(stage: Stage) -> None:
    network, tagged = add(stage), add(stage)
    port = attach(stage, network)
    for cloud in (stage.tenant, stage.other, stage.reader):
        with pytest.raises((Forbidden, NotFound, Invalid)):
            cloud.sub_interfaces.add(port.id, network_id=tagged.id, name="mine")
    assert stage.own.attachments.get(port.id).subports == ()


def test_every_project_has_a_default_group_of_its_own(stage: Stage) -> None:
    assert isinstance(stage.tenant.security_groups, SecurityGroups)
    mine = [group for group in stage.tenant.security_groups.all() if group.is_default]
    theirs = [group for group in stage.other.security_groups.all() if group.is_default]
    assert [group.project_id for group in mine] == [stage.project_id]
    assert [group.project_id for group in theirs] == [stage.other_project_id]
    everybodys = {group.id for group in stage.own.security_groups.all()}
    assert {group.id for group in (*mine, *theirs)} <= everybodys
    enforced = stage.own.security_groups.enforced_on_nics()
    assert stage.own.security_groups.on_switch(None) == (frozenset() if enforced else None)


def test_the_fabric_tells_who_may_use_a_network(stage: Stage) -> None:
    assert isinstance(stage.own.fabric, Fabric)
    network = add(stage)
    without = stage.own.fabric.facts([network.id]).networks[network.id]
    assert (without.network_id, without.users, without.dhcp) == (network.id, (), False)
    stage.tenant.networks.create_subnet(SubnetSpec("dhcp", network.id, "10.88.0.0/24"))
    assert stage.own.fabric.facts([network.id]).networks[network.id].dhcp
    missing = "00000000-0000-4000-8000-000000000000"
    assert stage.own.fabric.facts([missing]).networks == {}
    assert stage.own.fabric.facts().networks == {}


def test_what_is_in_use_is_no_leftover(stage: Stage) -> None:
    network = add(stage)
    stage.tenant.networks.create_subnet(SubnetSpec("used", network.id, "10.89.0.0/24"))
    port = attach(stage, network, with_address=True)
    for _ in range(2):
        stage.own.fabric.remove("instance-ip", "00000000-0000-4000-8000-000000000000")
    addresses = {fixed.address for fixed in port.addresses}
    assert not [each for each in stage.own.fabric.leftovers() if each.name in addresses]
    assert stage.own.attachments.get(port.id) == port
