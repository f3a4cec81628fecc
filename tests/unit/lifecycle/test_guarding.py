"""The guard over a fake cloud: what is noticed, what is taken away, what is protected, and what is told."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.errors import Conflict, Unavailable
from steelyard.lifecycle.guard import PROTECTION, FoundAvailable, is_ours
from steelyard.lifecycle.guarding import NAME, Guard
from steelyard.lifecycle.model import offered, quarantine
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.lifecycle.records import How
from steelyard.nouns import Actor, FlavorSpec, Image, Node, ServerSpec
from steelyard.operations.journal import NewOperation
from steelyard.operations.reconciling import Report
from steelyard.store import Store

ADMIN = Actor("u-admin", "ada", "p-admin", "admin", frozenset({"admin"}))


@dataclass
class Bench:
    """A fake cloud, a guard over it, and a tenant."""

    world: FakeWorld
    clouds: FakeClouds
    store: Store
    policy: FoundAvailable = FoundAvailable.FINDING
    again: list[tuple[str, str]] = field(default_factory=list)
    cleans_again: bool = False

    def guard(self) -> Guard:
        """A new one each time, as after a restart: what it knows is in the database."""
        return Guard(
            self.clouds, self.store, Observer(self.clouds, fresh=-1), policy=self.policy, clock=lambda: self.world.now,
            clean_again=(lambda node, key: self.again.append((node.id, key))) if self.cleans_again else None,
        )  # fmt: skip

    def run(self) -> Report:
        return self.guard().run()

    def watch(self, steps: int = 12) -> None:
        """Let the world go on, with a look after each step."""
        for _ in range(steps):
            self.world.tick()
            self.run()

    def node(self, node: Node) -> Node:
        return self.clouds.own.nodes.get(node.id)

    def kinds(self, node: Node) -> set[str]:
        return {o.finding.kind.removeprefix("lifecycle.") for o in self.store.findings.of(f"node:{node.id}")}

    def told(self, node: Node) -> list[tuple[str, str]]:
        """Kind and actor of the node's events, the oldest first, without those of findings."""
        events = reversed(self.store.events.of(f"node:{node.id}"))
        return [(event.kind, event.actor) for event in events if not event.kind.startswith("finding.")]

    def ask(self, node: Node, verb: str) -> None:
        self.clouds.own.provisioning.request(node.id, verb)  # type: ignore[arg-type]

    def deploy(self, name: str = "web") -> str:
        """A tenant's server, ACTIVE."""
        tenant = self.clouds.on_behalf_of(self.world.token(project="demo"))
        network = next(n for n in tenant.networks.all() if n.name == "blue")
        flavor = tenant.flavors.all()[0]
        image = next(iter(self.world.images.values()))
        instance = tenant.compute.create(ServerSpec(name, flavor.id, image.id, (network.id,)))
        self.world.settle()
        assert self.clouds.own.compute.get(instance.id).status == "ACTIVE"
        return instance.id

    def operation(self, subject: str, **params: str) -> str:
        """An operation of ours that has begun and not ended."""
        new = NewOperation(
            id=str(uuid.uuid4()), kind="nodes.test", params=params, actor=ADMIN, reason=None, key=None,
            subject=subject, exclusive=False, request_id=None, step_names=["s"], created_at=self.world.now,
            project_id=None,
        )  # fmt: skip
        return self.store.operations.create(new)[0].id


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 's.sqlite'}"
    made: str = request.getfixturevalue("new_postgresql")()
    return made


def benched(url: str, keys: Path) -> Iterator[Bench]:
    world = FakeWorld()
    clouds = FakeClouds(world)
    world.add_network("blue", project="demo", cidr="10.1.0.0/24")
    clouds.own.flavors.create(FlavorSpec("metal", "bm.small"))
    world.images["i"] = Image("i", "debian", "active", 5, "raw", None, "public", None, None)
    store = Store.open(url, key_file=keys)
    yield Bench(world, clouds, store)
    store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield from benched(f"sqlite:///{tmp_path / 's.sqlite'}", tmp_path / "keys")


@pytest.fixture
def both(url: str, tmp_path: Path) -> Iterator[Bench]:
    """The same on either database."""
    yield from benched(url, tmp_path / "keys")


def enrolled(bench: Bench, name: str = "bm-1", *, noting: bool = False) -> Node:
    """A node that was brought in under the guard's eyes and cleaned, and is proven so."""
    bench.run()
    node = bench.world.add_node(name, state="manageable")
    if noting:
        bench.clouds.own.nodes.update(node.id, {"/power_interface": "steelyard-redfish"})
    bench.run()
    bench.ask(node, "provide")
    bench.watch()
    assert offered(bench.node(node))
    return bench.node(node)


# The whole story


@pytest.mark.parametrize("noting", [False, True])
def test_a_life_in_good_order_is_never_interrupted(both: Bench, noting: bool) -> None:
    node = enrolled(both, noting=noting)
    for number in range(2):
        server = both.deploy(f"web-{number}")
        both.run()
        tenancy = both.store.tenancies.last_tenancy(node.id)
        assert tenancy is not None
        assert (tenancy.instance_id, tenancy.name, tenancy.until, tenancy.unproven) == (
            server, f"web-{number}", None, None,
        )  # fmt: skip
        assert tenancy.project_id == both.world.project("demo")
        both.clouds.own.compute.delete(server)
        both.watch()
        assert offered(both.node(node)), both.node(node)
        ended = both.store.tenancies.last_tenancy(node.id)
        assert ended is not None
        assert ended.until is not None
    assert both.kinds(node) == set()
    cleans = both.store.tenancies.cleans_of(node.id)
    assert [clean.how for clean in cleans] == [How.CONDUCTOR if noting else How.HISTORY] * 3
    kinds = {kind for kind, _ in both.told(node)}
    assert kinds >= {"node.state", "node.power", "node.taken", "node.freed"}
    assert {actor for _, actor in both.told(node)} == {"outside"}


@pytest.mark.parametrize("noting", [False, True])
def test_a_tenants_node_that_is_not_cleaned_is_taken_away(both: Bench, noting: bool) -> None:
    node = enrolled(both, noting=noting)
    server = both.deploy()
    both.run()
    both.clouds.own.nodes.update(node.id, {"/automated_clean": False})
    both.run()
    assert both.kinds(node) == {"cleaning_switched_off"}
    both.clouds.own.compute.delete(server)
    both.watch()
    taken = both.node(node)
    assert taken.provision_state == "available"
    assert not offered(taken)
    assert (taken.maintenance, quarantine(taken)) == (True, quarantine(taken))
    assert (taken.maintenance_reason or "").startswith("steelyard: not proven clean")
    assert both.clouds.own.placement.free("bm.small") == frozenset()
    assert both.kinds(node) >= {"not_proven_clean"}
    (found,) = [o.finding for o in both.store.findings.all() if o.finding.kind == "lifecycle.not_proven_clean"]
    assert found.next == "steelyard node release bm-1"
    assert ("node.quarantined", "steelyard") in both.told(node)


# How a node may slip through


@pytest.mark.parametrize("noting", [False, True])
def test_manage_and_provide_without_a_clean(bench: Bench, noting: bool) -> None:
    node = enrolled(bench, noting=noting)
    bench.world.now += timedelta(hours=1)
    bench.clouds.own.nodes.update(node.id, {"/automated_clean": False})
    bench.ask(node, "manage")
    bench.ask(node, "provide")
    bench.world.settle()
    bench.clouds.own.nodes.update(node.id, {"/automated_clean": None})
    bench.run()
    assert quarantine(bench.node(node))
    assert bench.kinds(node) == {"not_proven_clean"}


def test_a_clean_that_failed_and_was_pushed_through_by_hand(bench: Bench) -> None:
    node = enrolled(bench)
    bench.ask(node, "manage")
    bench.world.break_node(node.id, "clean", "disk sda is read-only")
    bench.ask(node, "provide")
    bench.world.settle()
    bench.run()
    assert bench.node(node).provision_state == "clean failed"
    assert bench.kinds(node) == {"clean_failed"}
    own = bench.clouds.own
    own.nodes.update(node.id, {"/automated_clean": False, "/extra/steelyard/quarantine": None})
    own.nodes.set_maintenance(node.id, None)
    bench.ask(node, "manage")
    bench.ask(node, "provide")
    bench.watch(4)
    assert bench.node(node).maintenance
    assert bench.kinds(node) >= {"not_proven_clean"}


def test_who_lifts_the_maintenance_gets_nothing(bench: Bench) -> None:
    node = enrolled(bench)
    Quarantine(bench.clouds, bench.store).put(node, "not proven clean: x", by="steelyard")
    bench.run()
    bench.clouds.own.nodes.set_maintenance(node.id, None)
    bench.run()
    assert bench.node(node).maintenance
    assert bench.kinds(node) == {"not_proven_clean"}


def test_a_node_that_came_while_nobody_looked_needs_a_proof(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-9")
    bench.run()
    assert quarantine(bench.node(node))


def test_a_clean_while_steelyard_was_down_is_proven_by_ironics_history(bench: Bench) -> None:
    node = enrolled(bench)
    server = bench.deploy()
    bench.run()
    bench.clouds.own.compute.delete(server)
    bench.world.settle()
    bench.world.now += timedelta(days=1)
    bench.run()
    assert offered(bench.node(node))
    assert bench.kinds(node) == set()


def no_flows(bench: Bench) -> None:
    """An Ironic that does not write cleans into its history (before 2025.2, or switched off)."""
    history = bench.world.history.of_nodes
    for node_id in history:
        history[node_id] = [e for e in history[node_id] if not e.kind.startswith("automated_cleaning")]


def test_without_such_a_history_what_was_seen_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run()
    node = bench.world.add_node("bm-1", state="manageable")
    bench.run()
    bench.ask(node, "provide")
    for _ in range(6):
        bench.world.tick()
        no_flows(bench)
        bench.run()
    assert offered(bench.node(node))
    record = bench.store.tenancies.newest_clean(node.id)
    assert record is not None
    assert (record.how, record.steps) == (How.STATES, ("erase_devices_metadata",))


def test_without_such_a_history_a_clean_that_nobody_saw_is_none(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1", state="manageable")
    bench.run()
    bench.ask(node, "provide")
    bench.world.settle()
    no_flows(bench)
    bench.run()
    assert quarantine(bench.node(node))


def test_after_a_long_gap_what_was_seen_does_not_count(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1", state="manageable")
    bench.ask(node, "provide")
    bench.world.tick()
    assert bench.node(node).provision_state == "clean wait"
    bench.run()
    bench.world.settle()
    no_flows(bench)
    bench.world.now += timedelta(hours=2)
    bench.run()
    assert quarantine(bench.node(node))


def test_a_history_that_cannot_be_read_is_asked_for_again(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1", state="manageable")
    bench.ask(node, "provide")
    bench.world.settle()
    bench.world.fail("provisioning.history", Unavailable("Ironic is away"))
    bench.run()
    assert offered(bench.node(node))
    bench.run()
    assert offered(bench.node(node))
    assert bench.told(node).count(("node.appeared", "outside")) == 1
    bench.world.fail("provisioning.history", Unavailable("Ironic is away"), times=99)
    bench.ask(node, "manage")
    bench.ask(node, "provide")
    bench.world.settle()
    bench.world.now += timedelta(minutes=5)
    bench.run()
    assert quarantine(bench.node(node)), "it is not waited for for ever"


# A fleet that was there before


@pytest.mark.parametrize("policy", FoundAvailable)
def test_a_fleet_that_was_there_before_steelyard(bench: Bench, policy: FoundAvailable) -> None:
    bench.policy = policy
    node = bench.world.add_node("bm-1")
    bench.run()
    bench.run()
    assert offered(bench.node(node)) is (policy is not FoundAvailable.QUARANTINE)
    assert (
        bench.kinds(node)
        == {
            FoundAvailable.FINDING: {"never_seen_clean"},
            FoundAvailable.TRUST: set(),
            FoundAvailable.QUARANTINE: {"not_proven_clean"},
        }[policy]
    )
    assert bench.told(node) == ([] if policy is not FoundAvailable.QUARANTINE else [("node.quarantined", "steelyard")])


def test_trust_lasts_one_stay(bench: Bench) -> None:
    bench.policy = FoundAvailable.TRUST
    node = bench.world.add_node("bm-1")
    bench.run()
    bench.clouds.own.nodes.update(node.id, {"/automated_clean": False})
    bench.ask(node, "manage")
    bench.ask(node, "provide")
    bench.watch(3)
    assert quarantine(bench.node(node))


# What the guard leaves alone, and what stops it


def test_an_operation_of_ours_gets_a_moment(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1")
    bench.operation(f"candidate:{uuid.uuid4()}", node_id=node.id)
    bench.run()
    assert offered(bench.node(node))
    bench.store.tenancies.watched(bench.node(node), operation_id="o", since=None)
    bench.world.now += timedelta(hours=1)
    bench.run()
    assert offered(bench.node(node))


def test_a_node_that_moved_on_is_judged_again_and_not_before(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1")
    stale = bench.node(node)
    bench.world.nodes[node.id] = replace(stale, instance_id=str(uuid.uuid4()), provision_state="deploying")
    guard = bench.guard()
    assert not guard._take_away(stale, "not proven clean: x")
    assert quarantine(bench.node(node)) is None


def test_a_release_that_ended_since_the_list_was_made_is_not_undone(bench: Bench) -> None:
    """The list has the mark of its release, which has ended by the time at which what is running is asked for."""
    bench.run()
    node = bench.world.add_node("bm-1")
    keeper = Quarantine(bench.clouds, bench.store)
    keeper.put(node, "a stranger's frame", by="steelyard")
    stale = keeper.open(bench.node(node), "its release")
    guard = bench.guard()
    keeper.lift(stale, by="ada")
    assert not guard._take_away(stale, "a stranger's frame")
    assert quarantine(bench.node(node)) is None
    assert not bench.node(node).maintenance


def test_a_locked_node_is_found_and_tried_again(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1")
    bench.world.lock_node(node.id)
    bench.run()
    assert bench.kinds(node) == {"not_proven_clean", "not_taken_away"}
    bench.world.release_node(node.id)
    bench.run()
    assert bench.kinds(node) == {"not_proven_clean"}
    assert bench.node(node).maintenance


def test_one_that_cannot_be_changed_does_not_save_the_others(bench: Bench) -> None:
    bench.run()
    nodes = [bench.world.add_node(f"bm-{number}") for number in range(3)]
    bench.world.lock_node(nodes[0].id)
    bench.run()
    assert [bench.node(node).maintenance for node in nodes] == [False, True, True]


def test_a_crash_between_mark_and_maintenance_is_made_good(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1")
    bench.world.fail("nodes.set_maintenance", Unavailable("Ironic is away"))
    bench.run()
    assert bench.kinds(node) == {"not_proven_clean", "not_taken_away"}
    bench.run()
    assert bench.node(node).maintenance


def test_without_nova_it_goes_on(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1")
    bench.world.fail("compute.all", Unavailable("Nova is away"))
    assert "Nova did not answer" in bench.run().detail
    assert quarantine(bench.node(node))


def test_without_ironic_nothing_is_closed(bench: Bench) -> None:
    bench.run()
    node = bench.world.add_node("bm-1")
    bench.run()
    bench.world.fail("nodes.all", Unavailable("Ironic is away"))
    with pytest.raises(Unavailable):
        bench.run()
    assert bench.kinds(node) == {"not_proven_clean"}


def test_what_was_taken_away_is_cleaned_again_where_that_is_wanted(bench: Bench) -> None:
    bench.cleans_again = True
    bench.run()
    node = bench.world.add_node("bm-1")
    bench.run()
    bench.run()
    bench.run()
    assert {node_id for node_id, _ in bench.again} == {node.id}
    assert len({key for _, key in bench.again}) == 1, "by one key, so that it is started once"
    Quarantine(bench.clouds, bench.store).put(other := bench.world.add_node("bm-2"), "an administrator's", by="ada")
    bench.run()
    assert other.id not in {node_id for node_id, _ in bench.again}


def test_nothing_changed_costs_no_call_and_no_line(bench: Bench) -> None:
    nodes = [bench.world.add_node(f"bm-{number}") for number in range(20)]
    for node in nodes[:10]:
        bench.world.nodes[node.id] = replace(bench.node(node), provision_state="active", instance_id=str(uuid.uuid4()))
    bench.run()
    bench.world.calls.clear()
    newest = bench.store.events.newest()
    report = bench.run()
    assert (report.seen, report.changed) == (20, 0)
    assert bench.world.calls == {"nodes.all": 1, "compute.all": 1}
    assert bench.store.events.newest() == newest


# Deployed nodes


def deployed_in_maintenance(bench: Bench) -> tuple[Node, str]:
    node = enrolled(bench)
    server = bench.deploy()
    bench.clouds.own.nodes.set_maintenance(node.id, "a fan is broken")
    bench.run()
    return node, server


def test_a_deployed_node_in_maintenance_cannot_be_deleted(bench: Bench) -> None:
    node, _ = deployed_in_maintenance(bench)
    assert bench.node(node).protected_reason == PROTECTION
    with pytest.raises(Conflict):
        bench.clouds.own.nodes.delete(node.id)
    bench.run()
    assert bench.told(node).count(("node.protected", "steelyard")) == 1
    bench.clouds.own.nodes.set_maintenance(node.id, None)
    bench.run()
    assert not bench.node(node).protected
    assert bench.told(node).count(("node.protected", "steelyard")) == 2


def test_somebody_elses_protection_stays(bench: Bench) -> None:
    node = enrolled(bench)
    bench.deploy()
    changes = {"/protected": True, "/protected_reason": "the queen's"}
    bench.clouds.own.nodes.update(node.id, changes)
    bench.clouds.own.nodes.set_maintenance(node.id, "a fan is broken")
    bench.run()
    bench.clouds.own.nodes.set_maintenance(node.id, None)
    bench.run()
    assert bench.node(node).protected
    assert not is_ours(bench.node(node))


def test_a_tenant_who_deletes_with_the_stock_client_gets_what_was_asked(bench: Bench) -> None:
    node, server = deployed_in_maintenance(bench)
    bench.clouds.on_behalf_of(bench.world.token(project="demo")).compute.delete(server)
    bench.world.settle()
    assert bench.clouds.own.compute.get(server).status == "ERROR"
    bench.run()
    assert not bench.node(node).protected
    bench.watch()
    assert server not in {i.id for i in bench.clouds.own.compute.all(all_projects=True)}
    assert not offered(bench.node(node)), "it is in maintenance, where Ironic cleans nothing"
    (event,) = [e for e in bench.store.events.of(f"server:{server}") if e.kind == "server.deletion_asked_again"]
    assert event.actor == "steelyard"


def test_an_error_that_is_no_deletion_is_not_made_one(bench: Bench) -> None:
    node, server = deployed_in_maintenance(bench)
    bench.world.instances[server] = replace(bench.world.instances[server], status="ERROR")
    bench.run()
    assert not bench.node(node).protected
    assert bench.clouds.own.compute.get(server).task_state is None


def test_a_deployed_node_that_was_removed_with_another_client_is_found(bench: Bench) -> None:
    node = enrolled(bench)
    server = bench.deploy()
    bench.run()
    bench.clouds.own.nodes.set_maintenance(node.id, "quick")
    bench.clouds.own.nodes.delete(node.id)
    bench.run()
    bench.run()
    assert bench.kinds(node) == {"removed_while_deployed"}
    assert ("node.removed", "outside") in bench.told(node)
    tenancy = bench.store.tenancies.last_tenancy(node.id)
    assert tenancy is not None
    assert tenancy.until is not None
    bench.clouds.own.compute.delete(server)
    bench.watch(3)
    assert bench.kinds(node) == set()


def test_our_own_removal_is_not_found(bench: Bench) -> None:
    node = enrolled(bench)
    bench.deploy()
    bench.run()
    bench.operation(f"node:{node.id}")
    bench.clouds.own.nodes.set_maintenance(node.id, "quick")
    bench.clouds.own.nodes.delete(node.id)
    bench.run()
    assert bench.kinds(node) == set()


# Timelines


def test_what_an_operation_of_ours_does_is_told_as_its_work(bench: Bench) -> None:
    node = enrolled(bench)
    operation = bench.operation(f"node:{node.id}")
    bench.ask(node, "manage")
    bench.run()
    event = bench.store.events.of(f"node:{node.id}", limit=1)[0]
    assert (event.kind, event.actor, event.operation_id) == ("node.state", "ada", operation)
    assert (event.detail, event.data) == ("available → manageable", {"from": "available", "to": "manageable"})


def test_what_works_on_a_tenants_server_sets_no_maintenance(bench: Bench) -> None:
    node = enrolled(bench)
    server = bench.deploy()
    bench.run()
    bench.operation(f"server:{server}")
    bench.clouds.own.provisioning.power(node.id, "off")
    bench.clouds.own.nodes.set_maintenance(node.id, "a fan is broken")
    bench.run()
    assert bench.told(node)[-2:] == [("node.power", "ada"), ("node.maintenance", "outside")]


def test_what_others_do_is_told_within_one_look(bench: Bench) -> None:
    node = enrolled(bench)
    own = bench.clouds.own

    def changes(act: Callable[[], object]) -> list[str]:
        before = bench.store.events.newest()
        act()
        bench.run()
        events = reversed(bench.store.events.of(f"node:{node.id}"))
        return [e.detail for e in events if e.id > before and e.actor == "outside" and e.kind.startswith("node.")]

    assert changes(lambda: own.nodes.set_maintenance(node.id, "fan")) == ["in maintenance: fan"]
    assert changes(lambda: own.nodes.set_maintenance(node.id, None)) == ["no more in maintenance"]
    assert changes(lambda: own.provisioning.power(node.id, "on")) == ["power off → on"]
    assert changes(lambda: own.provisioning.power(node.id, "off")) == ["power on → off"]
    assert changes(lambda: own.nodes.update(node.id, {"/name": "bm-x"})) == ["bm-1 is called bm-x now"]
    assert changes(lambda: bench.ask(node, "manage")) == ["available → manageable"]
    assert changes(lambda: own.nodes.update(node.id, {"/retired": True})) == ["retired"]
    assert changes(lambda: own.nodes.delete(node.id)) == ["node bm-x was removed"]
    assert changes(lambda: None) == []


def test_a_node_with_two_claims_in_a_row_is_not_found(bench: Bench) -> None:
    """Nova claimed it and gave it up before Ironic began: the disks are as they were."""
    node = enrolled(bench, noting=True)
    bench.world.nodes[node.id] = replace(bench.node(node), instance_id=str(uuid.uuid4()))
    bench.run()
    bench.world.now += timedelta(minutes=50)
    bench.world.nodes[node.id] = replace(bench.node(node), instance_id=None)
    bench.run()
    assert offered(bench.node(node))
    assert bench.store.tenancies.of(node.id) == []


def test_a_tenant_who_gets_a_node_that_was_not_cleaned_after_the_last_one(bench: Bench) -> None:
    node = enrolled(bench)
    first = bench.deploy("one")
    bench.run()
    bench.world.now += timedelta(minutes=30)
    bench.run()
    bench.clouds.own.nodes.update(node.id, {"/automated_clean": False})
    bench.clouds.own.compute.delete(first)
    bench.world.settle()
    bench.deploy("two")  # before the guard looks
    bench.run()
    assert "given_unproven" in bench.kinds(node)


def test_its_place_among_the_reconcilers(bench: Bench) -> None:
    reconciler = bench.guard().reconciler()
    assert reconciler.name == NAME
    assert reconciler.run().seen == 0
