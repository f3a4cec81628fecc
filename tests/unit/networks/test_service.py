from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Duplicate, Forbidden, Invalid, NotFound, Refused, Unavailable, UpstreamError
from steelyard.networks.model import NetworkRole
from steelyard.networks.service import NetworkService
from steelyard.nouns import Actor, FlavorSpec, ImageSpec, ServerSpec
from steelyard.settings import Settings


class Place:
    def __init__(self) -> None:
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.service = NetworkService(clouds=self.clouds, settings=Settings())
        self.demo = self.who("demo", "member")
        self.other = self.who("other", "member")
        self.admin = self.who("admin", "admin")

    def who(self, project: str, role: str) -> tuple[Actor, str]:
        token = self.world.token(project=project, roles={role})
        return self.clouds.identity.validate(token), token

    def names(self, who: tuple[Actor, str]) -> list[str]:
        return sorted(shown.network.name for shown in self.service.all(*who))


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_network_is_the_projects_own(place: Place) -> None:
    made = place.service.create(*place.demo, "blue", ["10.1.0.0/24", "fd00::/64"], dns_servers=["9.9.9.9"])
    assert made.network.project_id == place.demo[0].project_id
    assert [subnet.gateway for subnet in made.subnets] == ["10.1.0.1", "fd00::1"]
    assert {subnet.project_id for subnet in made.subnets} == {place.demo[0].project_id}
    assert [subnet.dns_servers for subnet in made.subnets] == [("9.9.9.9",), ()]
    assert place.names(place.demo) == ["blue"]
    assert place.names(place.other) == []
    assert "blue" in place.names(place.admin)
    for reference in ("blue", made.network.id):
        with pytest.raises(NotFound):
            place.service.get(*place.other, reference)
        assert place.service.get(*place.demo, reference).network.id == made.network.id
        with pytest.raises(NotFound):
            place.service.delete(*place.other, reference)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("role", ["provisioning", "cleaning", "inspection", "rescue", "quarantine"])
def test_no_path_leads_a_tenant_to_an_operators_network(place: Place, role: str, shared: bool) -> None:
    network_id = place.world.role_networks[role]
    place.world.fabric.networks[network_id] = replace(place.world.fabric.networks[network_id], shared=shared)
    assert place.names(place.demo) == []
    for reference in (network_id, role):
        for attempt in (place.service.get, place.service.delete):
            with pytest.raises(NotFound):
                attempt(*place.demo, reference)
        with pytest.raises(NotFound):
            place.service.attachable(*place.demo, [reference])
        with pytest.raises(Forbidden):
            place.service.attachable(*place.admin, [reference])
        with pytest.raises(Refused):
            place.service.delete(*place.admin, reference)
    assert place.service.get(*place.admin, role).role == NetworkRole(role)
    with pytest.raises(Invalid) as refusal:
        place.service.create(*place.demo, role, ["10.1.0.0/24"])
    assert refusal.value.code == "reserved_name"


def test_other_names_in_the_settings_are_honoured() -> None:
    world = FakeWorld(networks={"cleaning": "wash"})
    clouds = FakeClouds(world)
    service = NetworkService(clouds=clouds, settings=Settings(cleaning_network="wash"))
    token = world.token(project="demo")
    actor = clouds.identity.validate(token)
    world.fabric.networks[world.role_networks["cleaning"]] = replace(
        world.fabric.networks[world.role_networks["cleaning"]], shared=True
    )
    assert service.all(actor, token) == []


def test_networks_to_attach_to_come_in_the_order_asked(place: Place) -> None:
    blue = place.service.create(*place.demo, "blue", ["10.1.0.0/24"]).network
    red = place.service.create(*place.demo, "red", ["10.1.0.0/24"]).network
    assert [n.id for n in place.service.attachable(*place.demo, ["red", blue.id])] == [red.id, blue.id]


def test_a_name_is_used_once_in_a_project_and_again_in_another(place: Place) -> None:
    place.service.create(*place.demo, "blue", ["10.1.0.0/24"])
    place.service.create(*place.other, "blue", ["10.1.0.0/24"])
    with pytest.raises(Duplicate):
        place.service.create(*place.demo, "blue", ["10.2.0.0/24"])


def test_a_subnet_that_fails_leaves_no_network(place: Place) -> None:
    place.world.fail("networks.create_subnet", Unavailable("no answer"))
    with pytest.raises(Unavailable):
        place.service.create(*place.demo, "blue", ["10.1.0.0/24"])
    assert place.names(place.demo) == []


def test_the_second_subnet_that_fails_leaves_no_network_either(place: Place) -> None:
    place.service.create(*place.demo, "first", ["10.1.0.0/24"])

    calls = place.world.calls["networks.create_subnet"]
    seen = place.world.enter

    def enter(name: str, *, reads: bool) -> None:
        if name == "networks.create_subnet" and place.world.calls[name] == calls + 1:
            place.world.fail(name, Unavailable("no answer"))
        seen(name, reads=reads)

    place.world.enter = enter  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        place.service.create(*place.demo, "blue", ["10.2.0.0/24", "10.3.0.0/24"])
    assert place.names(place.demo) == ["first"]
    assert len(place.world.fabric.subnets) == 5 + 1


def test_what_cannot_be_undone_is_said(place: Place) -> None:
    place.world.fail("networks.create_subnet", Unavailable("no answer"))
    place.world.fail("networks.delete", Unavailable("no answer again"))
    with pytest.raises(UpstreamError, match="left behind") as failure:
        place.service.create(*place.demo, "blue", ["10.1.0.0/24"])
    network = place.service.get(*place.demo, "blue").network
    assert failure.value.next == f"steelyard network delete {network.id}"
    place.service.delete(*place.demo, network.id)
    assert place.names(place.demo) == []


def test_a_network_in_use_stays_until_the_server_is_gone(place: Place) -> None:
    place.world.add_node("bm-1")
    flavor = place.clouds.own.flavors.create(FlavorSpec("f", "bm.small"))
    tenant = place.clouds.on_behalf_of(place.demo[1])
    image = tenant.images.create(
        ImageSpec("i", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1), io.BytesIO(b"x")
    )
    blue = place.service.create(*place.demo, "blue", ["10.1.0.0/24"]).network
    server = tenant.compute.create(ServerSpec("web", flavor.id, image.id, (blue.id,)))
    place.world.settle()
    for who in (place.demo, place.admin):
        with pytest.raises(Refused, match="server web") as refusal:
            place.service.delete(*who, "blue")
        assert refusal.value.next == "steelyard server delete web --wait"
    tenant.compute.delete(server.id)
    place.world.settle()
    place.service.delete(*place.demo, "blue")
    assert place.names(place.demo) == []


def test_a_shared_network_is_seen_but_not_deleted(place: Place) -> None:
    shared = place.world.add_network("public", project="other", cidr="10.9.0.0/24")
    place.world.fabric.networks[shared.id] = replace(place.world.fabric.networks[shared.id], shared=True)
    assert place.names(place.demo) == ["public"]
    with pytest.raises(Forbidden):
        place.service.delete(*place.demo, "public")


def test_a_system_scoped_administrator_is_told_to_take_a_project(place: Place) -> None:
    token = place.world.token(project=None, roles={"admin"}, system=True)
    with pytest.raises(Forbidden) as refusal:
        place.service.create(place.clouds.identity.validate(token), token, "blue", ["10.1.0.0/24"])
    assert refusal.value.code == "no_project"


def test_a_name_puts_no_server_on_another_tenants_network(place: Place) -> None:
    """An administrator sees all networks, and reaches another tenant's by its id only."""
    theirs = place.service.create(*place.demo, "blue", ["10.1.0.0/24"]).network
    with pytest.raises(NotFound):
        place.service.attachable(*place.admin, ["blue"])
    assert [each.id for each in place.service.attachable(*place.admin, [theirs.id])] == [theirs.id]
    own = place.service.create(*place.admin, "blue", ["10.2.0.0/24"]).network
    assert [each.id for each in place.service.attachable(*place.admin, ["blue"])] == [own.id]


def test_an_administrator_deletes_anothers_network_by_id_only(place: Place) -> None:
    theirs = place.service.create(*place.demo, "blue", ["10.1.0.0/24"]).network
    with pytest.raises(Refused) as caught:
        place.service.delete(*place.admin, "blue")
    assert (caught.value.code, caught.value.next) == ("another_project", f"steelyard network delete {theirs.id}")
    assert place.names(place.demo) == ["blue"]
    place.service.delete(*place.admin, theirs.id)
    assert place.names(place.demo) == []
