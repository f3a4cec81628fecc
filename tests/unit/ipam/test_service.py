from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Conflict, NotFound
from steelyard.ipam.model import AddressState, OwnerKind
from steelyard.ipam.service import IpamService
from steelyard.nouns import Actor, FlavorSpec, ImageSpec, ServerSpec


class Place:
    """A tenant with a deployed server and a reserved port; another tenant with nothing but a network."""

    def __init__(self) -> None:
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.service = IpamService(clouds=self.clouds)
        self.demo = self.who("demo", "member")
        self.other = self.who("other", "reader")
        self.admin = self.who("admin", "admin")
        self.node = self.world.add_node("bm-1")
        self.blue = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        self.world.add_network("green", project="other", cidr="10.1.0.0/24")
        flavor = self.clouds.own.flavors.create(FlavorSpec("f", "bm.small"))
        tenant = self.clouds.on_behalf_of(self.demo[1])
        spec = ImageSpec("i", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1)
        image = tenant.images.create(spec, io.BytesIO(b"x"))
        tenant.compute.create(ServerSpec("web", flavor.id, image.id, (self.blue.id,)))
        self.world.settle()
        self.world.fabric.add_port(
            self.blue.id, now=self.world.now, mac="fa:16:3e:00:00:09", project_id=self.demo[0].project_id,
            device_id="", device_owner="", name="kept", vnic_type="normal",
        )  # fmt: skip

    def who(self, project: str, role: str) -> tuple[Actor, str]:
        token = self.world.token(project=project, roles={role})
        return self.clouds.identity.validate(token), token


@pytest.fixture
def place() -> Place:
    return Place()


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
