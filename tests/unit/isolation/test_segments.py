"""Each node in transition is alone on its network: leases, the conductor's way through them, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from steelyard.attention.model import Finding
from steelyard.clouds.fake.gate import DRIVER, NETWORK_INTERFACE
from steelyard.clouds.observing import Observer
from steelyard.errors import Conflict, Refused, Unavailable
from steelyard.isolation import segment_work
from steelyard.isolation.checking import FleetCheck
from steelyard.isolation.flips import By
from steelyard.isolation.model import Verdict
from steelyard.isolation.policy import Role, Trouble
from steelyard.isolation.segments import Segments, in_pool
from steelyard.isolation.verifying import Flip, NicWanted
from steelyard.nouns import Network, NetworkPort, Node, NodePort
from steelyard.store import Store

from .conftest import Bench

BY = By("conductor", "Ironic")
NAMED = ("segment-*",)


class Pool:
    """A bench with two nodes, and a pool."""

    def __init__(self, home: Path, store: Store, number: int, **settings: Any):
        self.bench = Bench(home, store, segments=NAMED, **settings)
        self.world = self.bench.world
        self.networks = self.world.add_segments(number)
        self.second_id = self.world.add_node("bm-2").id
        for id in (self.bench.node_id, self.second_id):
            self.world.nodes[id] = replace(
                self.world.nodes[id], driver=DRIVER, power_interface=DRIVER, network_interface=NETWORK_INTERFACE
            )
        self.first_id = self.bench.node_id
        self.world.segment_gate = self.gate

    @property
    def segments(self) -> Segments:
        return self.bench.service.segments

    def gate(self, node_id: str, role: str) -> str | None:
        """What the conductor is told."""
        network = self.bench.service.segment(node_id, Role(role)).network
        return None if network is None else network.id

    def lease(self, node_id: str, role: Role = Role.CLEANING) -> str:
        network = self.bench.service.segment(node_id, role).network
        assert network is not None
        return network.name

    def nic(self, node_id: str) -> NodePort:
        return min((p for p in self.world.node_ports.values() if p.node_id == node_id), key=lambda nic: nic.mac)

    def put(self, node_id: str, network_id: str) -> NetworkPort:
        """Ironic makes a port there and binds it."""
        nic, fabric = self.nic(node_id), self.world.fabric
        port = fabric.add_port(
            network_id, now=self.world.now, mac=nic.mac, project_id=None, device_id=node_id,
            device_owner="baremetal:none",
        )  # fmt: skip
        fabric.bind(port, node_id, nic)
        return fabric.ports[port.id]

    def joined(self, node_id: str, network_id: str, role: str = "cleaning") -> Flip:
        port = self.put(node_id, network_id)
        return Flip(role, True, (NicWanted(self.nic(node_id).mac, port.id, network_id),))  # type: ignore[arg-type]

    def left(self, node_id: str, role: str = "cleaning") -> Flip:
        for port in [p for p in self.world.fabric.ports.values() if p.device_id == node_id]:
            self.world.fabric.remove_port(port.id)
        return Flip(role, False, (NicWanted(self.nic(node_id).mac),))  # type: ignore[arg-type]

    def verify(self, node_id: str, flip: Flip) -> None:
        verifier = self.bench.service._verifier
        verifier._sleep, verifier._clock = self.bench.sleep, lambda: self.bench.seconds
        verifier.verify(node_id, flip, BY)

    def holders(self) -> dict[str, str]:
        """Names of the nodes by names of their segments."""
        names = {node.id: str(node.name) for node in self.world.nodes.values()}
        return {use.network.name: names[use.node_id] for use in self.segments.uses() if use.node_id in names}

    def findings(self) -> list[Finding]:
        return [each.finding for each in self.bench.store.findings.by(segment_work.SEGMENTS)]

    def reconcile(self, times: int = 2) -> int:
        return sum(self.bench.segments_reconciler.run().changed for _ in range(times))

    def check(self) -> FleetCheck:
        return FleetCheck(
            clouds=self.bench.clouds, switches=self.bench.readers, settings=self.bench.settings,
            store=self.bench.store, observer=Observer(self.bench.clouds, fresh=0.0), sleep=lambda _: None,
            clock=lambda: self.world.now,
        )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    yield opened
    opened.close()


@pytest.fixture
def pool(tmp_path: Path, store: Store) -> Pool:
    return Pool(tmp_path, store, 4)


@pytest.fixture
def of_one(tmp_path: Path, store: Store) -> Pool:
    return Pool(tmp_path, store, 1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for nodes that may still put something on their segment."""
    monkeypatch.setattr(segment_work, "COMING", timedelta(0))


class TestPool:
    def network(self, **changes: Any) -> Network:
        known: dict[str, Any] = {
            "id": "n1", "name": "segment-001", "project_id": "operator", "shared": False, "status": "ACTIVE",
            "segmentation_id": 2101, "network_type": "vlan", "physical_network": "physnet1",
        }  # fmt: skip
        return Network(**{**known, **changes})

    @pytest.mark.parametrize(
        ("changes", "named", "inside"),
        [
            ({}, ["segment-*"], True),
            ({}, ["segment-001"], True),
            ({"name": "Segment-001"}, ["segment-*"], False),
            ({"project_id": "tenant"}, ["segment-*"], False),
            ({"project_id": None}, ["segment-*"], False),
            ({"project_id": "tenant"}, ["n1"], True),
            ({"shared": True}, ["segment-*", "n1"], False),
            ({}, [], False),
        ],
    )
    def test_what_is_in_it(self, changes: dict[str, Any], named: list[str], inside: bool) -> None:
        assert in_pool(self.network(**changes), named, "operator") is inside

    def test_without_its_project_no_name_counts(self) -> None:
        assert not in_pool(self.network(project_id=None), ["segment-*"], None)

    def test_a_tenants_look_alike_and_the_operators_other_networks_are_none(self, tmp_path: Path, store: Store) -> None:
        pool = Pool(tmp_path, store, 1)
        pool.world.add_network("segment-999", project="demo")
        every = list(pool.world.fabric.networks.values())
        assert [each.name for each in pool.segments.pool(every)] == ["segment-001"]
        greedy = Segments(
            clouds=pool.bench.clouds, store=store,
            settings=pool.bench.settings.model_copy(update={"segments": ("*",)}),
        )  # fmt: skip
        assert [each.name for each in greedy.pool(every)] == ["segment-001"]


class TestLeasing:
    def test_two_nodes_never_get_the_same(self, pool: Pool) -> None:
        one, two = pool.lease(pool.first_id), pool.lease(pool.second_id)
        assert one != two
        assert pool.lease(pool.first_id, Role.RESCUE) == one, "it is the node's, whatever it is for"
        assert pool.holders() == {one: "bm-1", two: "bm-2"}
        kinds = [(e.kind, e.data["network"]) for e in pool.bench.store.events.of(f"node:{pool.first_id}")]
        assert kinds == [("segment.leased", one)], "told of once"

    def test_where_none_is_free_the_conductor_is_told_to_wait(self, of_one: Pool) -> None:
        of_one.lease(of_one.first_id)
        with pytest.raises(Conflict) as caught:
            of_one.lease(of_one.second_id)
        assert caught.value.code == "segments_exhausted"
        assert "Node bm-2 waits for a segment of its own (cleaning network): 1 of 1 are leased" in caught.value.detail
        assert caught.value.next == "steelyard isolation segments"
        of_one.reconcile(1)
        [finding] = of_one.findings()
        assert (finding.kind, finding.name) == ("isolation.segments_exhausted", "bm-2")
        assert finding.evidence["leased_to"] == ["bm-1"]

    def test_sharing_is_allowed_only_where_the_operator_says_so(self, tmp_path: Path, store: Store) -> None:
        pool = Pool(tmp_path, store, 1, segment_sharing=True)
        pool.lease(pool.first_id)
        given = pool.bench.service.segment(pool.second_id, Role.CLEANING)
        assert (given.network, given.shared) == (None, True)
        assert store.segments.waiting() == []
        shared = pool.world.role_networks["cleaning"]
        pool.verify(pool.second_id, pool.joined(pool.second_id, shared))

    def test_a_pool_that_names_nothing_lets_nobody_pass(self, tmp_path: Path, store: Store) -> None:
        pool = Pool(tmp_path, store, 0)
        with pytest.raises(Conflict, match="there is no network that STEELYARD_SEGMENTS names"):
            pool.lease(pool.first_id)

    def test_without_a_pool_nothing_is_asked_of_the_cloud(self, bench: Bench) -> None:
        bench.world.calls.clear()
        assert bench.service.segment("whoever", Role.CLEANING).network is None
        assert sum(bench.world.calls.values()) == 0

    def test_one_on_which_somebody_else_has_a_port_is_passed_over(self, pool: Pool) -> None:
        first = pool.networks[0]
        pool.world.fabric.add_port(
            first.id, now=pool.world.now, mac="52:54:00:99:99:99", project_id="p", device_id="stranger",
            device_owner="compute:nova",
        )  # fmt: skip
        assert pool.lease(pool.first_id) != first.name
        assert first.name not in pool.holders()
        pool.reconcile(1)
        [finding] = pool.findings()
        assert (finding.kind, finding.name) == ("isolation.segment_occupied", first.name)

    def test_what_could_not_be_looked_at_is_not_leased(self, pool: Pool) -> None:
        pool.world.fail("attachments.all", Unavailable("the controller is away"))
        with pytest.raises(Unavailable):
            pool.lease(pool.first_id)
        assert pool.holders() == {}
        pool.lease(pool.first_id)

    def test_one_that_was_deleted_in_the_controller_is_replaced(self, pool: Pool) -> None:
        name = pool.lease(pool.first_id)
        gone = next(each for each in pool.networks if each.name == name)
        del pool.world.fabric.networks[gone.id]
        pool.segments._networks_at = float("-inf")
        assert pool.lease(pool.first_id) != name


class TestVerified:
    def test_the_way_of_a_node_from_lease_to_return(self, pool: Pool) -> None:
        network_id = pool.gate(pool.first_id, "cleaning")
        assert network_id is not None
        pool.verify(pool.first_id, pool.joined(pool.first_id, network_id))
        pool.verify(pool.first_id, pool.left(pool.first_id))
        assert pool.holders() == {}
        kinds = [event.kind for event in pool.bench.store.events.of(f"node:{pool.first_id}")]
        assert kinds[::-1] == ["segment.leased", "network.flipped", "network.flipped", "segment.returned"]

    @pytest.mark.parametrize("leased", [True, False])
    def test_a_node_on_another_network_than_its_own_is_refused(self, pool: Pool, leased: bool) -> None:
        if leased:
            pool.lease(pool.first_id)
        shared = pool.world.role_networks["cleaning"]
        with pytest.raises(Refused, match="has put it on network cleaning, and") as caught:
            pool.verify(pool.first_id, pool.joined(pool.first_id, shared))
        assert ("its segment is segment-001" in caught.value.detail) is leased

    def test_on_the_segment_of_another_node_too(self, pool: Pool) -> None:
        pool.lease(pool.first_id)
        network_id = pool.gate(pool.second_id, "cleaning")
        assert network_id is not None
        with pytest.raises(Refused, match="has put it on network segment-002, and its segment is segment-001"):
            pool.verify(pool.first_id, pool.joined(pool.first_id, network_id))

    def test_a_tenants_port_on_a_segment_is_refused(self, pool: Pool) -> None:
        flip = pool.joined(pool.first_id, pool.networks[3].id, "tenant")
        with pytest.raises(Refused, match="a tenant's port on segment segment-004, which is no tenant's"):
            pool.verify(pool.first_id, flip)

    def test_a_switch_that_carries_it_for_somebody_else_too_is_refused(self, pool: Pool) -> None:
        network_id = pool.gate(pool.first_id, "cleaning")
        assert network_id is not None
        link = pool.nic(pool.second_id).link
        assert link is not None
        pool.world.tamper_switch(link, pool.world.fabric.networks[network_id].segmentation_id)
        with pytest.raises(Refused, match=f"which is this node's alone, on leaf1 {link.port_id}"):
            pool.verify(pool.first_id, pool.joined(pool.first_id, network_id))

    def test_it_is_not_given_back_while_a_port_is_left_there(self, pool: Pool) -> None:
        network_id = pool.gate(pool.first_id, "cleaning")
        assert network_id is not None
        left = pool.put(pool.first_id, network_id)
        flip = Flip("cleaning", False, (NicWanted(pool.nic(pool.first_id).mac, left.id),))
        pool.verify(pool.first_id, flip)
        assert list(pool.holders().values()) == ["bm-1"]

    def test_it_is_not_given_back_while_a_switch_carries_it(self, pool: Pool) -> None:
        network_id = pool.gate(pool.first_id, "cleaning")
        assert network_id is not None
        astray = pool.nic(pool.second_id).link
        assert astray is not None
        pool.world.tamper_switch(astray, pool.world.fabric.networks[network_id].segmentation_id)
        pool.verify(pool.first_id, pool.left(pool.first_id))
        assert list(pool.holders().values()) == ["bm-1"], "the next node would meet whoever is there"
        assert pool.reconcile() == 0
        [finding] = pool.findings()
        assert finding.kind == "isolation.segment_not_empty"
        assert f"leaf1 {astray.port_id}" in finding.reason
        pool.world.tamper_switch(astray, None)
        assert pool.reconcile() == 1
        assert (pool.holders(), pool.findings()) == ({}, [])


class TestReturning:
    """Leases of dead operations come back; those that somebody needs do not."""

    def test_of_a_node_that_is_gone(self, pool: Pool) -> None:
        pool.lease(pool.first_id)
        del pool.world.nodes[pool.first_id]
        assert pool.reconcile(1) == 0, "once is not enough"
        assert pool.reconcile(1) == 1
        assert pool.holders() == {}

    def test_of_a_node_that_is_at_rest(self, pool: Pool) -> None:
        pool.lease(pool.first_id)
        assert pool.reconcile() == 1

    def test_not_while_its_node_is_between_two_phases(self, pool: Pool) -> None:
        pool.lease(pool.first_id)
        pool.world.nodes[pool.first_id] = replace(pool.world.nodes[pool.first_id], provision_state="cleaning")
        assert pool.reconcile(4) == 0

    def test_not_while_something_is_there(self, pool: Pool) -> None:
        network_id = pool.gate(pool.first_id, "cleaning")
        assert network_id is not None
        port = pool.put(pool.first_id, network_id)
        assert pool.reconcile(4) == 0
        pool.world.fabric.remove_port(port.id)
        assert pool.reconcile() == 1

    def test_not_one_that_was_given_to_the_node_anew(self, pool: Pool) -> None:
        pool.lease(pool.first_id)
        pool.reconcile(1)
        pool.lease(pool.first_id)
        assert pool.reconcile(1) == 0

    def test_not_so_soon_that_nothing_can_be_there_yet(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(segment_work, "COMING", timedelta(minutes=1))
        pool.lease(pool.first_id)
        assert pool.reconcile(4) == 0

    def test_not_while_a_switch_cannot_be_read(self, pool: Pool) -> None:
        pool.lease(pool.first_id)
        pool.bench.reader.fail()
        assert pool.reconcile(4) == 0
        assert [finding.kind for finding in pool.findings()] == ["isolation.segment_not_empty"]
        pool.bench.reader.recover()
        assert pool.reconcile(1) == 1

    def test_a_pool_that_was_taken_away_runs_dry(self, pool: Pool) -> None:
        pool.lease(pool.first_id)
        pool.segments._named = ()
        assert pool.reconcile() == 1
        assert pool.reconcile() == 0


class TestConductor:
    """The fake conductor takes the same way."""

    def vlan(self, pool: Pool, node_id: str) -> set[int]:
        return pool.world.vlan_of(node_id)

    def clean(self, pool: Pool, node_id: str) -> None:
        pool.world.set_state(node_id, "manageable")
        pool.bench.clouds.own.provisioning.request(node_id, "provide")

    def test_two_that_are_cleaned_at_once_are_apart_all_the_time(self, pool: Pool) -> None:
        for id in (pool.first_id, pool.second_id):
            self.clean(pool, id)
        shared = pool.world.fabric.networks[pool.world.role_networks["cleaning"]].segmentation_id
        seen = 0
        while pool.world.tick():
            one, two = (self.vlan(pool, id) for id in (pool.first_id, pool.second_id))
            assert not one & two
            assert shared not in one | two
            seen += bool(one and two)
        assert seen
        assert {node.provision_state for node in pool.world.nodes.values()} == {"available"}

    def test_with_one_segment_the_second_waits_and_then_goes_on(self, of_one: Pool) -> None:
        self.clean(of_one, of_one.first_id)
        self.clean(of_one, of_one.second_id)
        of_one.world.settle()
        states = [of_one.world.nodes[id].provision_state for id in (of_one.first_id, of_one.second_id)]
        assert states == ["available", "cleaning"]
        assert self.vlan(of_one, of_one.second_id) == set(), "it is on no network while it waits"
        [nic, _] = of_one.bench.service.show("bm-2").nics
        assert (nic.verdict, nic.intended.network) == (Verdict.CHANGING, "a segment of its own, not leased yet")
        of_one.reconcile()
        of_one.world.settle()
        assert of_one.world.nodes[of_one.second_id].provision_state == "available"


class TestViews:
    def test_the_nodes_own_segment_is_what_is_intended(self, pool: Pool) -> None:
        pool.world.set_state(pool.first_id, "manageable")
        pool.bench.clouds.own.provisioning.request(pool.first_id, "provide")
        shown = pool.bench.service.show("bm-1")
        assert shown.agrees
        boots = next(nic for nic in shown.nics if nic.role is Role.CLEANING)
        assert boots.intended.network == boots.controller.network == "segment-001"
        assert pool.check().check().agrees

    def test_a_node_with_ironics_own_interface_is_on_the_shared_network(self, pool: Pool) -> None:
        pool.world.nodes[pool.first_id] = replace(pool.world.nodes[pool.first_id], network_interface="neutron")
        pool.world.set_state(pool.first_id, "manageable")
        pool.bench.clouds.own.provisioning.request(pool.first_id, "provide")
        shown = pool.bench.service.show("bm-1")
        assert shown.agrees
        assert {nic.intended.network for nic in shown.nics} == {"cleaning", None}

    @pytest.mark.parametrize("by", ["controller", "switch"])
    def test_a_node_on_the_segment_of_another_differs_at_once(self, pool: Pool, by: str) -> None:
        network_id = pool.gate(pool.first_id, "cleaning")
        assert network_id is not None
        pool.put(pool.first_id, network_id)
        pool.world.nodes[pool.second_id] = replace(pool.world.nodes[pool.second_id], provision_state="cleaning")
        link = pool.nic(pool.second_id).link
        assert link is not None
        if by == "controller":
            pool.put(pool.second_id, network_id)
        else:
            pool.world.tamper_switch(link, pool.world.fabric.networks[network_id].segmentation_id)
        wrong = [each for each in pool.check().check().attachments if each.differs and each.node.label == "bm-2"]
        assert [(each.nic.verdict, each.nic.trouble) for each in wrong] == [(Verdict.DIFFER, Trouble.FOREIGN)]
        assert "which another server has to itself" in str(wrong[0].nic.why)
        assert pool.bench.service.show("bm-2").nics[0].verdict is Verdict.DIFFER


class TestQuarantine:
    """A server that is off is alone as well."""

    @pytest.fixture
    def off(self, pool: Pool) -> Pool:
        pool.bench.deploy()
        pool.world.settle()
        [node_id] = [node.id for node in pool.world.nodes.values() if node.instance_id]
        pool.bench.node_id = node_id
        assert pool.bench.on_tenant()
        for lease in pool.bench.store.segments.leased():
            pool.bench.store.segments.give_back(lease.network_id, lease.node_id)
        return pool

    def test_it_goes_to_a_segment_of_its_own_and_gives_it_back(self, off: Pool) -> None:
        bench = off.bench
        bench.power("off")
        bench.run()
        [(name, _)] = off.holders().items()
        assert bench.vlan == bench.segment(name)
        assert bench.service.show(bench.node_id).agrees
        assert off.reconcile(3) == 0
        assert bench.run().changed == 0, "it is where it must be"
        bench.clouds.own.provisioning.power(bench.node_id, "on")
        assert bench.on_tenant()
        assert off.holders() == {}

    def test_where_none_is_left_for_it_it_is_on_no_network(self, off: Pool) -> None:
        bench = off.bench
        for number in range(3):  # a quarter is kept for those who work
            bench.store.segments.take(f"node-{number}", "cleaning", pool=[n.id for n in off.networks], actor="x")
        bench.power("off")
        bench.run()
        assert bench.marked
        assert (bench.vlan, bench.own, bench.port.host_id) == (None, [], None)
        shown = bench.service.show(bench.node_id)
        assert shown.agrees
        assert bench.run().changed == 0
        assert bench.store.segments.waiting() == [], "it needs none"
        bench.clouds.own.provisioning.power(bench.node_id, "on")
        assert bench.on_tenant()

    def test_one_that_was_parked_before_there_was_a_pool_is_moved(self, off: Pool) -> None:
        bench = off.bench
        off.segments._named = ()
        bench.power("off")
        bench.run()
        assert bench.quarantined()
        off.segments._named = NAMED
        bench.run()
        [(name, _)] = off.holders().items()
        assert bench.vlan == bench.segment(name)
        assert len(bench.own) == 1
        assert bench.service.show(bench.node_id).agrees

    def test_a_rescue_takes_over_its_segment(self, off: Pool) -> None:
        off.bench.power("off")
        off.bench.run()
        [(name, _)] = off.holders().items()
        assert off.lease(off.bench.node_id, Role.RESCUE) == name
        assert [use.role for use in off.segments.uses() if use.node_id] == ["rescue"]


def test_a_node_is_known_by_what_is_bound_to_it_and_what_it_owns(pool: Pool) -> None:
    node: Node = pool.world.nodes[pool.first_id]
    port = pool.put(pool.first_id, pool.networks[0].id)
    from steelyard.isolation.segments import is_of

    assert is_of(port, node)
    assert not is_of(replace(port, device_id=pool.second_id, host_id=pool.second_id), node)
    assert not is_of(replace(port, device_id=None, host_id=None), node)
