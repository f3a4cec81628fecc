"""What happens to tenants' servers is told on their timelines, whoever did it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.errors import Unavailable
from steelyard.lifecycle.watching import ASKED, NAME, Watch
from steelyard.nouns import FlavorSpec, Image, ServerSpec
from steelyard.store import Event, Store


@pytest.fixture
def world() -> FakeWorld:
    world = FakeWorld()
    world.add_node("bm-1")
    world.add_network("blue", project="demo", cidr="10.1.0.0/24")
    world.images["i"] = Image("i", "debian", "active", 5, "raw", None, "public", None, None)
    return world


@pytest.fixture
def clouds(world: FakeWorld) -> FakeClouds:
    clouds = FakeClouds(world)
    clouds.own.flavors.create(FlavorSpec("metal", "bm.small"))
    return clouds


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/s.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("new_postgresql")()
    store = Store.open(url, key_file=tmp_path / "keys")
    yield store
    store.close()


@pytest.fixture
def watch(world: FakeWorld, clouds: FakeClouds, store: Store) -> Watch:
    return Watch(clouds, store, Observer(clouds, fresh=-1), clock=lambda: world.now)


def create(world: FakeWorld, clouds: FakeClouds, name: str = "web") -> str:
    tenant = clouds.on_behalf_of(world.token(project="demo"))
    network = next(n for n in tenant.networks.all() if n.name == "blue")
    return tenant.compute.create(ServerSpec(name, tenant.flavors.all()[0].id, "i", (network.id,))).id


def lines(store: Store, server: str) -> list[Event]:
    return list(reversed(store.events.of(f"server:{server}")))


def test_a_life_by_other_clients_is_told(world: FakeWorld, clouds: FakeClouds, store: Store, watch: Watch) -> None:
    watch.run()
    server = create(world, clouds)
    watch.run()
    world.settle()
    watch.run()
    tenant = clouds.on_behalf_of(world.token(project="demo"))
    tenant.compute.power(server, "off")
    watch.run()
    tenant.compute.delete(server)
    world.settle()
    report = watch.run()
    assert (report.seen, report.changed) == (0, 1)
    told = lines(store, server)
    assert [(event.kind, event.detail) for event in told] == [
        ("server.appeared", "server web was created"),
        ("server.status", "build → active"),
        ("server.placed", "a server of iron was found for it"),
        ("server.status", "active → shutoff"),
        ("server.gone", "server web was deleted"),
    ]
    assert {event.actor for event in told} == {"outside"}
    assert "bm-1" not in "".join(event.detail for event in told)
    user = clouds.identity.validate(world.token(project="demo")).user_id
    assert told[0].data["user_id"] == user
    assert (told[3].data["action"], told[3].data["user_id"]) == ("stop", user)
    assert (told[4].data["action"], told[4].data["user_id"]) == ("delete", user)
    assert told[4].request_id == told[4].data["request_id"]


def test_what_was_there_before_is_no_news(world: FakeWorld, clouds: FakeClouds, store: Store, watch: Watch) -> None:
    server = create(world, clouds)
    watch.run()
    watch.run()
    assert lines(store, server) == []


def test_nothing_changed_costs_one_call(world: FakeWorld, clouds: FakeClouds, watch: Watch) -> None:
    create(world, clouds)
    watch.run()
    world.calls.clear()
    assert watch.run().changed == 0
    assert world.calls == {"compute.all": 1}


def test_nova_is_asked_of_a_few_only(world: FakeWorld, clouds: FakeClouds, store: Store, watch: Watch) -> None:
    servers = [create(world, clouds, f"web-{number}") for number in range(ASKED + 5)]
    watch.run()
    for server in servers:
        world.instances[server] = replace(world.instances[server], status="ERROR")
    world.calls.clear()
    watch.run()
    assert world.calls["compute.history"] == ASKED
    assert all(len(lines(store, server)) == 1 for server in servers)


def test_without_its_memory_nova_is_no_obstacle(
    world: FakeWorld, clouds: FakeClouds, store: Store, watch: Watch
) -> None:
    server = create(world, clouds)
    watch.run()
    world.instances[server] = replace(world.instances[server], status="ERROR", locked=True, name="other")
    world.fail("compute.history", Unavailable("Nova is away"))
    watch.run()
    assert [event.detail for event in lines(store, server)] == [
        "build → error", "locked", "web is called other now",
    ]  # fmt: skip


def test_without_nova_nothing_is_gone(world: FakeWorld, clouds: FakeClouds, store: Store, watch: Watch) -> None:
    server = create(world, clouds)
    watch.run()
    world.fail("compute.all", Unavailable("Nova is away"))
    with pytest.raises(Unavailable):
        watch.run()
    watch.run()
    assert lines(store, server) == []


def test_its_place_among_the_reconcilers(watch: Watch) -> None:
    assert watch.reconciler().name == NAME
