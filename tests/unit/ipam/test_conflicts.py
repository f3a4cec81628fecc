"""What is wrong with addresses, over virtual and physical; and the reconcilers that look."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from steelyard.attention.model import Severity
from steelyard.errors import NotFound
from steelyard.ipam.checking import CHECK, reconcilers
from steelyard.ipam.model import AddressState
from steelyard.nouns import FixedAddress, NetworkPort

from .conftest import Place


def add_port(place: Place, address: str, **changes: object) -> NetworkPort:
    """A port as a controller that checks nothing would have it."""
    port = NetworkPort(
        str(uuid.uuid4()), "odd", place.blue.id, place.demo[0].project_id, f"fa:16:3e:{uuid.uuid4().hex[:6]}",
        (FixedAddress(place.subnet.id, address),), "", "", None, "normal", "DOWN", None, place.world.now,
    )  # fmt: skip
    port = replace(port, **changes)  # type: ignore[arg-type]
    place.world.fabric.ports[port.id] = port
    return port


def kinds(place: Place, subnet: str | None = None) -> list[tuple[str, str]]:
    return [(each.kind, each.name) for each in place.check.check(subnet).conflicts]


def test_a_sound_cloud_has_none(place: Place) -> None:
    place.add_machine("vm-1")
    place.world.settle()
    place.reservations.reserve(*place.demo, "blue", ["10.1.0.9"], note="x")
    place.reservations.reserve(*place.demo, "blue", ["10.1.0.10"], note="y", state=AddressState.BROWNFIELD)
    report = place.check.check()
    assert report.conflicts == []
    assert report.totals == {"subnets": 7, "addresses": 5, "ports": 5, "servers": 2}


def test_two_owners_of_one_address(place: Place) -> None:
    machine = place.add_machine("vm-1")
    place.world.settle()
    add_port(place, "10.1.0.2", device_id=machine.id, device_owner="compute:nova", host_id="virtual-1")
    (found,) = place.check.check().conflicts
    assert (found.kind, found.severity) == ("address_twice", Severity.CRITICAL)
    assert found.reason == "10.1.0.2 of 10.1.0.0/24 has 2 owners: bare metal web, virtual machine vm-1."
    assert {owner["name"] for owner in found.evidence["owners"]} == {"web", "vm-1"}
    assert found.next.startswith("openstack port show ")


def test_the_gateways_address_with_a_server(place: Place) -> None:
    machine = place.add_machine("vm-1")
    place.world.settle()
    port = next(port for port in place.world.fabric.ports.values() if port.device_id == machine.id)
    place.world.fabric.ports[port.id] = replace(port, addresses=(FixedAddress(place.subnet.id, "10.1.0.1"),))
    assert kinds(place) == [("address_twice", "10.1.0.1"), ("address_outside_pool", "10.1.0.1")]


def test_an_address_outside_of_its_pool_or_subnet(place: Place) -> None:
    place.world.fabric.subnets[place.subnet.id] = replace(place.subnet, pools=(("10.1.0.2", "10.1.0.9"),))
    add_port(place, "10.1.0.77")
    add_port(place, "10.9.0.77")
    add_port(place, "10.1.0.78", device_owner="network:dhcp", device_id="d")
    place.reservations.reserve(*place.admin, "blue", ["10.1.0.79"], note="old", state=AddressState.BROWNFIELD)
    assert kinds(place) == [("address_outside_subnet", "10.9.0.77"), ("address_outside_pool", "10.1.0.77")]


def test_one_mac_twice(place: Place) -> None:
    add_port(place, "10.1.0.20", mac="fa:16:3e:00:00:77")
    add_port(place, "10.1.0.21", mac="fa:16:3e:00:00:77")
    (found,) = place.check.check().conflicts
    assert (found.kind, found.subject) == ("mac_twice", "mac:fa:16:3e:00:00:77")
    assert found.reason == "The MAC fa:16:3e:00:00:77 is on 2 ports of the network blue."


def test_a_mac_that_two_have_at_a_time(place: Place) -> None:
    green = next(n for n in place.world.fabric.networks.values() if n.name == "green")
    mac = "fa:16:3e:00:00:77"
    add_port(place, "10.1.0.20", mac=mac, device_id="i1", device_owner="compute:nova", host_id="virtual-1")
    add_port(
        place, "10.1.0.21", mac=mac, device_id="i2", device_owner="compute:nova", network_id=green.id, host_id="v2"
    )
    assert ("mac_twice", mac) in kinds(place)


def test_a_nics_mac_with_a_virtual_machine(place: Place) -> None:
    nic = next(nic for nic in place.world.node_ports.values()
               if nic.mac not in {port.mac for port in place.world.fabric.ports.values()})  # fmt: skip
    machine = place.add_machine("vm-1")
    place.world.settle()
    port = next(port for port in place.world.fabric.ports.values() if port.device_id == machine.id)
    place.world.fabric.ports[port.id] = replace(port, mac=nic.mac)
    (found,) = place.check.check().conflicts
    assert found.kind == "mac_twice"
    assert "is that of a NIC of node bm-1, and of a virtual machine" in found.reason


def test_a_nic_on_its_way_from_one_network_to_another_is_one_owner(place: Place) -> None:
    """Its cleaning port and its tenant's port have the same MAC for a while."""
    node_port = next(port for port in place.world.fabric.ports.values() if port.host_id == place.node.id)
    cleaning = place.world.fabric.networks[place.world.role_networks["cleaning"]]
    add_port(
        place, "10.91.0.5", mac=node_port.mac, network_id=cleaning.id, device_id=place.node.id, host_id=place.node.id,
        device_owner="baremetal:none", vnic_type="baremetal",
        addresses=(FixedAddress(cleaning.subnet_ids[0], "10.91.0.5"),),
    )  # fmt: skip
    assert "mac_twice" not in {kind for kind, _ in kinds(place)}


def test_an_owner_that_no_longer_exists_is_told_as_drift_tells_it(place: Place) -> None:
    add_port(place, "10.1.0.20", device_id=str(uuid.uuid4()), device_owner="compute:nova")
    (found,) = place.check.check().conflicts
    assert (found.kind, found.next) == ("port_without_server", "steelyard drift plan -o plan.json")
    assert found.reason.startswith("10.1.0.20 is held by an owner that is gone.")
    report = place.check.reconcile()
    assert (report.changed, report.detail) == (0, "1 port without server"), "its finding is drift's"
    assert place.store.findings.by(CHECK) == []


def test_a_brownfield_address_that_would_be_handed_out(place: Place) -> None:
    brownfield = AddressState.BROWNFIELD
    place.reservations.reserve(*place.admin, "blue", ["10.1.0.30"], note="old database", state=brownfield)
    place.world.fabric.remove_port(place.addresses()["10.1.0.30"].id)
    (found,) = place.check.check().conflicts
    assert found.kind == "brownfield_in_pool"
    assert found.next == (
        f"steelyard ipam reserve {place.subnet.id} 10.1.0.30 --brownfield --note 'old database'"
    )  # fmt: skip
    place.reservations.reserve(*place.admin, place.subnet.id, ["10.1.0.30"], note="old database", state=brownfield)
    assert kinds(place) == []


def test_a_brownfield_address_that_was_handed_out(place: Place) -> None:
    place.reservations.reserve(*place.admin, "blue", ["10.1.0.4"], note="old database", state=AddressState.BROWNFIELD)
    place.world.fabric.remove_port(place.addresses()["10.1.0.4"].id)
    place.add_machine("vm-1")
    place.world.settle()
    (found,) = place.check.check().conflicts
    assert (found.kind, found.severity) == ("address_twice", Severity.CRITICAL)
    assert "virtual machine vm-1, brownfield (old database)" in found.reason


def connect(place: Place, *networks: str) -> None:
    """One router in these networks."""
    router = str(uuid.uuid4())
    for name in networks:
        network = next(n for n in place.world.fabric.networks.values() if n.name == name)
        address = place.world.fabric.subnets[network.subnet_ids[0]].gateway or ""
        add_port(
            place, address, network_id=network.id, device_id=router, device_owner="network:router_interface",
            addresses=(FixedAddress(network.subnet_ids[0], address),),
        )  # fmt: skip


def test_subnets_that_overlap_where_a_router_connects_them(place: Place) -> None:
    assert kinds(place) == [], "two tenants may have the same addresses"
    place.world.add_network("red", project="demo", cidr="10.1.0.128/25")
    place.world.add_network("white", project="demo", cidr="10.3.0.0/24")
    connect(place, "blue", "white")
    assert kinds(place) == []
    connect(place, "white", "red")  # a second router: blue, white and red are one domain
    (found,) = [each for each in place.check.check().conflicts if each.kind == "subnets_overlap"]
    assert found.name == "10.1.0.128/25"
    assert "10.1.0.0/24 of blue and 10.1.0.128/25 of red overlap" in found.reason


@pytest.mark.parametrize("of", ["blue", "10.1.0.0/24"])
def test_a_check_of_one_subnet_tells_of_that_one(place: Place, of: str) -> None:
    place.world.fabric.networks.pop(next(n.id for n in place.world.fabric.networks.values() if n.name == "green"))
    place.world.fabric.subnets = {
        id: subnet for id, subnet in place.world.fabric.subnets.items()
        if subnet.network_id in place.world.fabric.networks
    }  # fmt: skip
    add_port(place, "10.1.0.20", mac="fa:16:3e:00:00:77")
    add_port(place, "10.1.0.21", mac="fa:16:3e:00:00:77")
    assert [kind for kind, _ in kinds(place, of)] == ["mac_twice"]
    assert kinds(place, "cleaning") == []
    with pytest.raises(NotFound):
        place.check.check("nonsense")


def test_what_is_seen_once_was_changing(place: Place) -> None:
    port = add_port(place, "10.1.0.2", device_id="x", device_owner="compute:nova")
    place.between_looks = lambda: place.world.fabric.remove_port(port.id)
    assert kinds(place) == []


def test_findings_open_and_close(place: Place) -> None:
    port = add_port(place, "10.1.0.2", device_owner="neutron:odd", device_id="odd")
    assert place.check.reconcile().detail == "1 address twice"
    (opened,) = place.store.findings.by(CHECK)
    assert (opened.finding.kind, opened.finding.severity) == ("ipam.address_twice", Severity.CRITICAL)
    assert place.check.reconcile().changed == 0
    place.world.fabric.remove_port(port.id)
    assert place.check.reconcile().changed == 1
    assert place.store.findings.by(CHECK) == []


# History


def test_who_had_an_address(place: Place) -> None:
    runs = {each.name: each.run for each in reconcilers(place.check)}
    remember: Callable[[], object] = runs["ipam.history"]
    machine = place.add_machine("vm-1")
    place.world.settle()
    began = place.world.now
    remember()
    place.world.tick()
    place.clouds.own.compute.delete(machine.id)
    place.world.settle()
    place.world.tick(60)
    (kept,) = place.reservations.allocate(*place.demo, "blue", note="the cluster")
    assert kept.address == "10.1.0.4", "a freed one is handed out again at once"
    remember()

    def had(who: tuple[object, str], **when: object) -> list[tuple[str, str | None]]:
        found = place.service.history(*who, "blue", "10.1.0.4", **when)  # type: ignore[arg-type]
        return [(each.owner.value, each.owner_name) for each in found]

    assert had(place.demo) == [("by hand", "the cluster"), ("virtual machine", "vm-1")]
    assert had(place.demo, at=began) == [("virtual machine", "vm-1")]
    assert had(place.demo, at=place.world.now) == [("by hand", "the cluster")]
    (over,) = place.service.history(*place.demo, "blue", "10.1.0.4", at=began)
    assert over.seen_at == began
    assert over.until == place.world.now


def test_the_same_port_with_another_owner_is_another_interval(place: Place) -> None:
    (kept,) = place.reservations.allocate(*place.demo, "blue", note="for vm-2")
    place.check.remember()
    place.world.tick()
    port = place.world.fabric.ports[kept.port_id or ""]
    machine = place.add_machine("vm-2")
    place.world.fabric.ports[port.id] = replace(port, device_id=machine.id, device_owner="compute:nova")
    place.check.remember()
    newest, oldest = place.service.history(*place.demo, "blue", kept.address)
    assert (newest.owner.value, newest.owner_name, newest.since) == ("virtual machine", "vm-2", place.world.now)
    assert (oldest.owner.value, oldest.until) == ("by hand", place.world.now)
    assert place.check.remember().changed == 0


def test_the_port_of_a_machine_in_the_making_is_that_machine_s(place: Place) -> None:
    """Nova makes a port with the server's id first and calls it its own in a second call; a look may come between."""
    machine = place.add_machine("vm-2")
    while (address := _of(place, machine.id)) is None:
        place.world.tick()
    assert place.addresses()[address].device_owner == ""
    place.check.remember()
    (making,) = place.service.history(*place.demo, "blue", address)
    place.world.settle()
    assert place.addresses()[address].device_owner == "compute:nova"
    assert place.check.remember().changed == 0
    (made,) = place.service.history(*place.demo, "blue", address)
    assert made == making
    assert (made.owner.value, made.owner_id, made.owner_name) == ("virtual machine", machine.id, "vm-2")


@pytest.mark.parametrize(("physical", "owner"), [(False, "virtual machine"), (True, "bare metal")])
def test_more_is_known_of_an_owner_and_no_other_one_is_made_of_it(place: Place, physical: bool, owner: str) -> None:
    """The lists of servers and nodes may be older than the one of ports; at the end of a server's life they are gone
    before it."""
    place.check.remember()
    place.world.add_node("bm-2")
    machine = place.add_machine("second", physical=physical)
    place.world.settle()
    address = _of(place, machine.id)
    assert address is not None
    port, world = place.addresses()[address], place.world
    instance, nodes, nics = world.instances.pop(machine.id), dict(world.nodes), dict(world.node_ports)
    world.nodes.clear()
    world.node_ports.clear()
    world.fabric.ports[port.id] = replace(port, device_owner="", vnic_type="normal", host_id=None)
    place.check.remember()
    (first,) = place.service.history(*place.admin, "blue", address)
    assert (first.owner.value, first.owner_id, first.owner_name) == ("unknown", machine.id, None)

    world.tick()
    world.instances[machine.id] = instance
    world.nodes.update(nodes)
    world.node_ports.update(nics)
    world.fabric.ports[port.id] = port
    assert place.check.remember().changed == 1
    (known,) = place.service.history(*place.admin, "blue", address)
    assert (known.owner.value, known.owner_id, known.owner_name) == (owner, machine.id, "second")
    assert (known.node_name is not None) is physical
    assert (known.id, known.since, known.until) == (first.id, first.since, None)

    del world.instances[machine.id]
    world.nodes.clear()
    world.node_ports.clear()
    assert place.check.remember().changed == 0, "what was known is not forgotten"
    world.fabric.remove_port(port.id)
    place.check.remember()
    (over,) = place.service.history(*place.admin, "blue", address)
    assert over == replace(known, until=world.now, seen_at=over.seen_at)


def _of(place: Place, machine: str) -> str | None:
    """The address of this server, if it has a port."""
    return next((address for address, port in place.addresses().items() if port.device_id == machine), None)


def test_a_tenant_is_told_of_the_own_project_and_of_no_node(place: Place) -> None:
    place.check.remember()
    (mine,) = place.service.history(*place.demo, "blue", "10.1.0.2")
    (theirs,) = place.service.history(*place.admin, "blue", "10.1.0.2")
    assert (theirs.node_name, mine.node_name, mine.node_id) == ("bm-1", None, None)
    assert mine.owner_id == theirs.owner_id
    with pytest.raises(NotFound):
        place.service.history(*place.other, "blue", "10.1.0.2")
    port = place.addresses()["10.1.0.2"]
    place.world.fabric.ports[port.id] = replace(port, project_id=place.world.project("other"))
    place.check.remember()
    assert len(place.service.history(*place.admin, "blue", "10.1.0.2")) == 2
    assert len(place.service.history(*place.demo, "blue", "10.1.0.2")) == 1


def test_of_a_subnet_that_is_gone_an_administrator_is_told(place: Place) -> None:
    place.check.remember()
    subnet = place.subnet
    for port in list(place.addresses().values()):
        place.world.fabric.remove_port(port.id)
    place.world.fabric.remove_subnet(subnet.id)
    place.check.remember()
    (found,) = place.service.history(*place.admin, subnet.id, "10.1.0.2")
    assert found.until is not None
    with pytest.raises(NotFound):
        place.service.history(*place.demo, subnet.id, "10.1.0.2")
    with pytest.raises(NotFound):
        place.service.history(*place.admin, "nonsense", "10.1.0.2")


def test_what_is_missed_in_one_look_is_not_over(place: Place) -> None:
    """A controller that has just been started may show less than it has."""
    place.check.remember()
    hidden = dict(place.world.fabric.ports)
    place.world.fabric.ports.clear()
    place.between_looks = lambda: place.world.fabric.ports.update(hidden)
    assert place.check.remember().changed == 0
    (lasting,) = place.service.history(*place.demo, "blue", "10.1.0.2")
    assert lasting.until is None
