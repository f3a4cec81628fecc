"""What was left behind is found, in all services; what is in use, or on its way, is not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Unavailable
from steelyard.isolation.parking import MARK, PORT_NAME
from steelyard.lifecycle.leaking import LeakService
from steelyard.lifecycle.leaks import Leak, Seen, UnnamedSecret, leaks, unexplained
from steelyard.nouns import AllocationRecord, FlavorSpec, Image, Instance, NetworkPort, Node, ServerSpec, SwitchLink
from steelyard.store import Store

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
NODE_ID, OTHER_ID, SERVER = str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4())
LINK = SwitchLink("02:00:5e:00:53:aa", "Ethernet1", "leaf1")


def node(id: str = NODE_ID, **changes: Any) -> Node:
    return replace(FakeWorld().add_node(f"bm-{id[:4]}"), id=id, **changes)


def used(**changes: Any) -> Node:
    return node(**{"provision_state": "active", "instance_id": SERVER, **changes})


def server(**changes: Any) -> Instance:
    made = Instance(SERVER, "web", "ACTIVE", None, "on", "p", "u", "f", "i", NODE_ID, (), T0)
    return replace(made, **changes)


def port(owner: str, device: str, **changes: Any) -> NetworkPort:
    made = NetworkPort("p1", "", "n1", "p", "52:54:00:00:00:01", (), device, owner, None, "baremetal", "DOWN", None)
    return replace(made, **changes)


def kinds(seen: Seen) -> list[str]:
    return [leak.kind for leak in leaks(seen)]


def look(
    nodes: list[Node] | None = None, instances: list[Instance] | None = None, ports: list[NetworkPort] | None = None,
    allocations: list[AllocationRecord] | None = None, secrets: list[UnnamedSecret] | None = None,
) -> list[str]:  # fmt: skip
    return kinds(Seen(nodes or [], [], instances or [], ports or [], allocations or [], secrets or []))


def test_what_belongs_together_is_no_leak() -> None:
    tenant = port("compute:nova", SERVER, host_id=NODE_ID, link=LINK, status="ACTIVE")
    held = AllocationRecord(NODE_ID, SERVER, {"CUSTOM_BM": 1})
    assert look([used()], [server()], [tenant, port("network:dhcp", "dhcp1"), port("", "")], [held]) == []


def test_nodes_and_servers_that_do_not_know_each_other() -> None:
    assert look([used()]) == ["node_without_server"]
    assert look([used()], [server(status="DELETED")]) == ["node_without_server"]
    assert look([used(extra={"steelyard": {"adopted": True}})]) == []
    assert look([node()], [server()]) == ["server_without_node"]
    assert look([], [server()]) == ["server_without_node"]
    assert look([], [server(node_id="compute-07")]) == [], "a virtual machine"
    for on_its_way in (server(status="BUILD"), server(status="ERROR"), server(task_state="deleting")):
        assert look([node()], [on_its_way]) == []


@pytest.mark.parametrize("owner", ["compute:nova", "compute:az-1"])
def test_a_port_of_a_server_that_is_gone(owner: str) -> None:
    assert look([node()], [], [port(owner, SERVER)]) == ["port_without_server"]


def test_ports_that_ironic_left() -> None:
    left = port("baremetal:none", NODE_ID)
    for state in ("available", "active", "manageable", "clean failed"):
        assert look([node(provision_state=state)], [], [left]) == ["port_left_behind"], state
    for state in ("cleaning", "clean wait", "deploying", "wait call-back", "rescue wait", "deploy failed"):
        assert look([node(provision_state=state)], [], [left]) == [], state
    assert look([], [], [left]) == ["port_left_behind"]


def test_ironics_ports_of_a_deployment_carry_the_servers_id() -> None:
    """They are no leak while it is deployed, and are one afterwards."""
    ironics = port("baremetal:none", SERVER)
    assert look([used(provision_state="wait call-back")], [server(status="BUILD", node_id=None)], [ironics]) == []
    assert look([used()], [server()], [ironics]) == ["port_left_behind"]
    assert look([node()], [], [ironics]) == ["port_left_behind"]


def test_our_own_port_in_quarantine() -> None:
    ours = port("baremetal:none", NODE_ID, name=PORT_NAME)
    assert look([used(power_state="off")], [server()], [ours]) == []
    assert look([node(extra={MARK: {"nics": []}})], [], [ours]) == []
    assert look([node()], [], [ours]) == ["port_left_behind"]
    assert look([], [], [ours]) == ["port_left_behind"]


def test_ports_that_are_bound_where_they_do_not_belong() -> None:
    bound = port("compute:nova", SERVER, host_id=OTHER_ID, link=LINK)
    assert look([used()], [server()], [bound]) == ["port_on_foreign_nic"]
    assert look([used(), node(OTHER_ID)], [server()], [bound]) == ["port_on_foreign_nic"]
    world = FakeWorld()
    world.add_node("bm-1")
    nic = replace(next(iter(world.node_ports.values())), node_id=OTHER_ID, mac="52:54:00:00:00:01")
    seen = Seen([used(), node(OTHER_ID)], [nic], [server()], [replace(bound, host_id=NODE_ID)])
    assert kinds(seen) == ["port_on_foreign_nic"]


def test_allocations_of_nobody() -> None:
    held = AllocationRecord(NODE_ID, SERVER, {"CUSTOM_BM": 1})
    assert look([node()], [], [], [held]) == ["allocation_without_server"]
    assert look([node(), used(id=OTHER_ID)], [server(node_id=OTHER_ID)], [], [held]) == ["allocation_on_other_node"]
    assert look([node()], [server(status="ERROR", node_id=None)], [], [held]) == ["allocation_of_failed_server"]
    assert look([node()], [server(status="BUILD", node_id=None)], [], [held]) == []


def test_who_must_be_asked_about_in_placement() -> None:
    free, busy, odd = node("a" * 8), used(), node("b" * 8)
    assert unexplained([free, busy, odd], [server()], {free.id}) == [odd.id]
    assert unexplained([used()], [], set()) == [NODE_ID]
    assert unexplained([], [server()], set()) == [NODE_ID]


def test_every_leak_says_what_to_do_and_has_a_key() -> None:
    held = AllocationRecord(NODE_ID, SERVER, {"CUSTOM_BM": 1})
    seen = Seen(
        [node(instance_id="gone")], [], [], [port("compute:nova", SERVER)], [held], [UnnamedSecret("s1", "a token")]
    )
    found = leaks(seen)
    assert len({leak.key for leak in found}) == len(found) == 4
    assert all(leak.next.startswith(("steelyard ", "openstack ")) and leak.reason for leak in found)


# The service


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/s.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("new_postgresql")()
    store = Store.open(url, key_file=tmp_path / "keys")
    yield store
    store.close()


@pytest.fixture
def world() -> FakeWorld:
    world = FakeWorld()
    for number in (1, 2):
        world.add_node(f"bm-{number}")
    world.add_network("blue", project="demo", cidr="10.1.0.0/24")
    world.images["i"] = Image("i", "debian", "active", 5, "raw", None, "public", None, None)
    return world


def check(world: FakeWorld, store: Store, **options: Any) -> list[Leak]:
    return LeakService(clouds=FakeClouds(world), store=store, sleep=lambda _: None).check(**options).leaks


def test_a_whole_life_leaves_nothing_at_any_moment(world: FakeWorld, store: Store) -> None:
    clouds = FakeClouds(world)
    clouds.own.flavors.create(FlavorSpec("metal", "bm.small"))
    tenant = clouds.on_behalf_of(world.token(project="demo"))
    network = next(n for n in tenant.networks.all() if n.name == "blue")
    created = tenant.compute.create(ServerSpec("web", tenant.flavors.all()[0].id, "i", (network.id,)))
    for _ in range(12):
        world.tick()
        assert check(world, store) == []
    tenant.compute.delete(created.id)
    for _ in range(12):
        world.tick()
        assert check(world, store) == []
    assert check(world, store, thorough=True) == []


def test_what_is_only_going_away_is_no_leak(world: FakeWorld, store: Store) -> None:
    clouds = FakeClouds(world)
    gone = str(uuid.uuid4())
    world.allocate(gone, next(iter(world.nodes)))
    service = LeakService(clouds=clouds, store=store, sleep=lambda _: world.allocations.clear())
    assert service.check().leaks == []
    world.allocate(gone, next(iter(world.nodes)))
    (leak,) = check(world, store)
    assert (leak.kind, leak.name) == ("allocation_without_server", "bm-1")
    assert leak.next == f"openstack resource provider allocation delete {gone}"
    clouds.own.placement.delete_allocation(gone)
    assert check(world, store) == []


def test_thorough_asks_about_all(world: FakeWorld, store: Store) -> None:
    world.allocate(str(uuid.uuid4()), next(iter(world.nodes)))
    assert [leak.kind for leak in check(world, store, thorough=True)] == ["allocation_without_server"]


def test_without_one_service_there_is_no_answer(world: FakeWorld, store: Store) -> None:
    world.fail("compute.all", Unavailable("Nova is away"))
    with pytest.raises(Unavailable):
        check(world, store)


def test_secrets_that_nothing_refers_to(world: FakeWorld, store: Store) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert store.leftovers.secrets(before=soon) == [], "the chain's key is in use"
    kept = store.secrets.put({"username": "root", "password": "canary"})
    assert store.leftovers.secrets(before=datetime.now(UTC) - timedelta(minutes=10)) == [], "it is young"
    assert store.leftovers.secrets(before=soon) == [UnnamedSecret(kept, "BMC credentials")]
    former = store.secrets.put({"key": "00"})
    assert former not in {secret.id for secret in store.leftovers.secrets(before=soon)}, "a former key of the chain"


def test_secrets_are_forgotten_once_and_recorded(
    world: FakeWorld, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steelyard.lifecycle.leaking.OLD", timedelta(hours=-1))
    clouds = FakeClouds(world)
    service = LeakService(clouds=clouds, store=store, sleep=lambda _: None)
    actor = clouds.identity.validate(world.token(project="admin", roles={"admin"}, user="ada"))
    store.secrets.put({"token": "canary"})
    assert [leak.kind for leak in service.check().leaks] == ["secret_without_use"]
    assert service.forget_secrets(actor) == 1
    assert service.forget_secrets(actor) == 0
    (event,) = store.events.of("store:secrets")
    assert (event.actor, event.kind) == ("ada", "secrets.forgotten")
    assert "canary" not in repr(event)
    assert service.check().leaks == []
