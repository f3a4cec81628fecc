from __future__ import annotations

from dataclasses import replace

import pytest

from steelyard.errors import Conflict, NotFound
from steelyard.ipam.model import AddressState, OwnerKind

from .conftest import Place


def test_a_tenant_sees_who_has_what_but_no_node(place: Place) -> None:
    found = place.service.addresses(*place.demo, "blue")
    rows = [
        (use.state.value, use.owner.value, use.instance_name, use.port_name, use.node_name) for use in found.addresses
    ]
    assert sorted(rows, key=str) == [
        ("allocated", "bare metal", "web", None, None),
        ("gateway", "gateway", None, None, None),
        ("reserved", "nobody", None, "kept", None),
    ]
    assert found.plan.utilisation.free == 254 - 3


def test_an_administrator_sees_the_node(place: Place) -> None:
    found = place.service.addresses(*place.admin, place.blue.subnet_ids[0])
    metal = [use for use in found.addresses if use.owner is OwnerKind.BARE_METAL]
    assert [(use.node_id, use.node_name, use.instance_name) for use in metal] == [(place.node.id, "bm-1", "web")]


def test_a_state_narrows_the_list_and_not_the_count(place: Place) -> None:
    found = place.service.addresses(*place.demo, "blue", state=AddressState.RESERVED)
    assert [use.port_name for use in found.addresses] == ["kept"]
    assert found.plan.utilisation.allocated == 1


def test_a_tenant_sees_own_subnets_only(place: Place) -> None:
    assert [p.network_name for p in place.service.subnets(*place.demo)] == ["blue"]
    assert [p.network_name for p in place.service.subnets(*place.other)] == ["green"]
    everything = {p.network_name for p in place.service.subnets(*place.admin)}
    assert everything == {"blue", "green", "provisioning", "cleaning", "inspection", "rescue", "quarantine"}
    cleaning = place.world.fabric.networks[place.world.role_networks["cleaning"]]
    for reference in ("blue", place.blue.id, *place.blue.subnet_ids, "cleaning", cleaning.id, *cleaning.subnet_ids):
        with pytest.raises(NotFound):
            place.service.addresses(*place.other, reference)


def test_a_shared_network_is_not_a_tenants_to_count(place: Place) -> None:
    place.world.fabric.networks[place.blue.id] = replace(place.world.fabric.networks[place.blue.id], shared=True)
    assert [p.network_name for p in place.service.subnets(*place.other)] == ["green"]


def test_a_subnet_is_found_by_what_a_user_has_at_hand(place: Place) -> None:
    for reference in ("blue", "blue-subnet", "10.1.0.0/24", place.blue.id, place.blue.subnet_ids[0]):
        assert place.service.addresses(*place.demo, reference).plan.network_name == "blue"
    with pytest.raises(Conflict) as refusal:
        place.service.addresses(*place.admin, "10.1.0.0/24")
    assert refusal.value.code == "ambiguous"


def test_nothing_is_asked_for_one_address(place: Place) -> None:
    place.world.calls.clear()
    place.service.addresses(*place.demo, "blue")
    place.service.subnets(*place.admin)
    assert {name.partition(".")[2] for name in place.world.calls} <= {"all", "subnets"}
    assert max(place.world.calls.values()) <= 2


def test_free_ranges_stand_between_what_is_taken(place: Place) -> None:
    found = place.service.addresses(*place.demo, "blue", free=True)
    rows = [(use.address, use.last, use.state.value, use.pool) for use in found.addresses]
    assert rows == [
        ("10.1.0.1", None, "gateway", False),
        ("10.1.0.2", None, "allocated", True),
        ("10.1.0.3", None, "reserved", True),
        ("10.1.0.4", "10.1.0.254", "free", True),
    ]
    free = place.service.addresses(*place.demo, "blue", state=AddressState.FREE)
    assert [(use.address, use.last) for use in free.addresses] == [("10.1.0.4", "10.1.0.254")]
    assert found.plan.utilisation == free.plan.utilisation


def test_virtual_and_physical_stand_in_one_list(place: Place) -> None:
    machine = place.add_machine("vm-1")
    place.world.settle()
    found = place.service.addresses(*place.demo, "blue", state=AddressState.ALLOCATED)
    assert [(use.owner.value, use.instance_name) for use in found.addresses] == [
        ("bare metal", "web"),
        ("virtual machine", "vm-1"),
    ]
    assert {use.instance_id for use in found.addresses} >= {machine.id}


def test_a_network_has_the_sum_of_its_subnets_of_one_version(place: Place) -> None:
    place.world.add_subnet(place.blue, "10.2.0.0/24")
    place.world.add_subnet(place.blue, "fd00:1::/64")
    four, six = sorted(place.service.networks(*place.demo), key=lambda each: each.version)
    assert (four.cidrs, four.utilisation.total, four.utilisation.allocated) == (("10.1.0.0/24", "10.2.0.0/24"), 508, 1)
    assert (six.cidrs, six.utilisation.total) == (("fd00:1::/64",), 2**64 - 1)


def test_a_further_page_is_of_the_list_of_the_first(place: Place) -> None:
    place.service.addresses(*place.demo, "blue")
    place.world.calls.clear()
    before = place.service.addresses(*place.demo, "blue", going_on=True)
    assert not place.world.calls
    place.reservations.reserve(*place.demo, "blue", ["10.1.0.99"], note="kept")
    assert "10.1.0.99" in {use.address for use in place.service.addresses(*place.demo, "blue").addresses}
    place.clock += 16
    assert place.service.addresses(*place.demo, "blue", going_on=True).addresses != before.addresses
    other = place.who("other", "member")
    with pytest.raises(NotFound):
        place.service.addresses(*other, "blue", going_on=True)
