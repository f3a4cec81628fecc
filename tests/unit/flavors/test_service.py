from __future__ import annotations

from dataclasses import replace

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Duplicate, Invalid, NotFound, Refused, Unavailable
from steelyard.flavors.model import Capacity
from steelyard.flavors.service import FlavorService
from steelyard.nouns import Actor, Flavor, ImageSpec, ServerSpec


class Place:
    """A world with two pools, its service, and a tenant."""

    def __init__(self) -> None:
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.service = FlavorService(clouds=self.clouds)
        for number in range(3):
            self.world.add_node(f"s{number}", resource_class="bm.small")
        self.large = self.world.add_node("l0", resource_class="bm.large", traits=frozenset({"CUSTOM_GPU"}))
        self.world.add_node("l1", resource_class="bm.large")
        self.world.nodes[self.large.id] = replace(
            self.large, properties={"cpus": 64, "memory_mb": 262144, "local_gb": 900}
        )
        self.token = self.world.token(project="demo")
        self.tenant = self.clouds.identity.validate(self.token)

    def listed(self) -> dict[str, Capacity | None]:
        return {c.flavor.name: c.capacity for c in self.service.all(self.tenant, self.token)}


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_flavor_is_made_of_its_pool(place: Place) -> None:
    made = place.service.create("gpu", "bm.large", traits=["CUSTOM_GPU"])
    assert made.flavor.resource_class == "CUSTOM_BM_LARGE"
    assert (made.flavor.vcpus, made.flavor.ram_mib, made.flavor.disk_gib) == (64, 262144, 900)
    assert made.capacity == Capacity(total=1, free=1, deployed=0, other=0)
    assert place.listed() == {"gpu": Capacity(1, 1, 0, 0)}


def test_capacity_follows_what_happens_to_the_nodes(place: Place) -> None:
    made = place.service.create("small", "bm.small")
    nodes = [node for node in place.world.nodes.values() if node.resource_class == "bm.small"]
    place.world.set_state(nodes[0].id, "clean failed", maintenance=True, error="disk")
    tenant = place.clouds.on_behalf_of(place.token)
    network = place.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
    image = place.clouds.own.images.create(_image(), _data())
    place.world.images[image.id] = replace(image, visibility="public")
    tenant.compute.create(ServerSpec("one", made.flavor.id, image.id, (network.id,)))
    place.world.settle()
    assert place.listed() == {"small": Capacity(total=3, free=1, deployed=1, other=1)}


def test_the_nodes_are_listed_once_and_each_demand_is_asked_once(place: Place) -> None:
    for number in range(5):
        place.service.create(f"small-{number}", "bm.small")
    place.service.create("large", "bm.large")
    place.world.calls.clear()
    assert len(place.listed()) == 6
    assert place.world.calls["nodes.all"] == 1
    assert place.world.calls["placement.free"] == 2


def test_a_flavor_of_virtual_machines_has_no_capacity(place: Place) -> None:
    place.world.flavors["vm"] = Flavor("vm", "m1.small", 1, 2048, 20, None, frozenset())
    place.world.calls.clear()
    assert place.listed() == {"m1.small": None}
    assert place.world.calls["nodes.all"] == 0


def test_a_flavor_that_nobody_can_serve_is_refused_unless_meant(place: Place) -> None:
    with pytest.raises(Refused) as refusal:
        place.service.create("huge", "bm.huge")
    assert refusal.value.code == "no_node_can_serve"
    assert place.world.flavors == {}
    made = place.service.create("huge", "bm.huge", allow_empty=True)
    assert made.capacity == Capacity(0, 0, 0, 0)


def test_bad_input_makes_nothing(place: Place) -> None:
    place.service.create("small", "bm.small")
    with pytest.raises(Duplicate):
        place.service.create("small", "bm.large")
    with pytest.raises(Invalid):
        place.service.create("bad\nname", "bm.small")
    with pytest.raises(Invalid):
        place.service.create("x", "bm.small", traits=["nonsense"])
    with pytest.raises(Invalid):
        place.service.create("x", "bm.large", vcpus=65)
    assert list(place.listed()) == ["small"]


def test_a_flavor_is_found_and_deleted_by_id_or_name(place: Place) -> None:
    made = place.service.create("small", "bm.small").flavor
    for reference in (made.id, "small"):
        assert place.service.get(place.tenant, place.token, reference).flavor == made
    place.service.delete("small")
    assert place.listed() == {}
    with pytest.raises(NotFound):
        place.service.delete("small")


def test_pools_are_counted(place: Place) -> None:
    found = {pool.name: pool for pool in place.service.pools()}
    assert found["bm.small"].capacity == Capacity(3, 3, 0, 0)
    assert found["bm.large"].traits == {"CUSTOM_GPU": 1}
    assert found["bm.large"].resource_class == "CUSTOM_BM_LARGE"


def test_a_silent_placement_is_an_error_and_not_zero(place: Place) -> None:
    place.service.create("small", "bm.small")
    place.world.fail("placement.free", Unavailable("no answer"))
    with pytest.raises(Unavailable):
        place.listed()


def test_an_administrator_sees_all(place: Place) -> None:
    place.service.create("small", "bm.small")
    token = place.world.token(project="admin", roles={"admin"})
    actor: Actor = place.clouds.identity.validate(token)
    assert [c.flavor.name for c in place.service.all(actor, token)] == ["small"]


def _image() -> ImageSpec:
    import hashlib

    return ImageSpec("i", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1)


def _data() -> object:
    import io

    return io.BytesIO(b"x")
