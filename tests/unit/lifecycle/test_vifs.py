"""Ports of servers that are gone are taken off the NICs of nodes that nobody has, and no others."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.clouds.observing import Observer
from steelyard.errors import Conflict
from steelyard.lifecycle.leaking import LeakService
from steelyard.lifecycle.leaks import FREE
from steelyard.lifecycle.vifs import LeftVifs
from steelyard.nouns import Node

if TYPE_CHECKING:
    from .conftest import Bench


class Care:
    """The reconciler over a bench's world."""

    def __init__(self, bench: Bench) -> None:
        self.world = bench.world
        self.bench = bench
        self.node: Node = next(iter(bench.world.nodes.values()))
        self.told = 0
        self.vifs = LeftVifs(bench.clouds, bench.store, Observer(bench.clouds, fresh=0.0), changed=self._changed)

    def _changed(self) -> None:
        self.told += 1

    def leave(self, vif_id: str | None = None) -> str:
        vif_id = vif_id or str(uuid.uuid4())
        nic = next(nic for nic in self.world.node_ports.values() if nic.node_id == self.node.id)
        self.world.put_vif(nic.id, vif_id)
        return vif_id

    def kept(self) -> list[str]:
        return [nic.vif_id for nic in self.world.node_ports.values() if nic.vif_id is not None]

    def look(self, times: int = 2) -> int:
        return [self.vifs.run().changed for _ in range(times)][-1]

    def leaks(self) -> list[str]:
        service = LeakService(clouds=self.bench.clouds, store=self.bench.store, sleep=lambda _: None)
        return [leak.kind for leak in service.check().leaks]


@pytest.fixture
def care(bench: Bench) -> Care:
    return Care(bench)


def test_it_is_told_of_and_taken_off_at_the_second_look(care: Care) -> None:
    vif_id = care.leave()
    assert care.leaks() == ["vif_without_server"]
    assert care.look(1) == 0, "Nova may be about to take it off"
    assert care.kept() == [vif_id]
    assert care.look(1) == 1
    assert (care.kept(), care.leaks(), care.look()) == ([], [], 0)
    assert care.told == 1, "drift looks again, and its finding goes"
    (event,) = [
        event for event in care.bench.store.events.of(f"node:{care.node.id}") if event.kind == "node.vif_detached"
    ]
    assert vif_id in (event.detail or "")


def test_the_node_can_be_deployed_again(care: Care) -> None:
    bench = care.bench
    for nic in list(care.world.node_ports.values()):
        care.world.put_vif(nic.id, str(uuid.uuid4()))
    service = bench.service()

    def create(name: str) -> str:
        _, operation = service.create(
            bench.tenant, bench.token, name, flavor="metal-small", image="debian", networks=["blue"]
        )
        return operation.error.detail if operation.error is not None else "fine"

    assert "not enough free physical ports" in create("web-1")
    care.world.settle()
    assert care.look() > 0
    assert create("web-2") == "fine"


def test_a_bonds_is_taken_off_too(care: Care) -> None:
    bond = care.world.add_bond(care.node)
    care.world.put_vif(bond.id, str(uuid.uuid4()))
    assert care.leaks() == ["vif_without_server"]
    assert care.look() == 1
    assert care.world.bonds[bond.id].vif_id is None


def test_what_a_server_has_stays(care: Care) -> None:
    bench = care.bench
    bench.service().create(bench.tenant, bench.token, "web", flavor="metal-small", image="debian", networks=["blue"])
    kept = care.kept()
    assert len(kept) == 1
    assert (care.look(), care.kept(), care.leaks()) == (0, kept, [])
    for state in ("deploying", "wait call-back", "deploy failed", "deleting", "error", "rescue"):
        (node,) = [node for node in care.world.nodes.values() if node.instance_id]
        care.world.nodes[node.id] = replace(node, provision_state=state)
        assert (care.look(), care.kept()) == (0, kept), state


def test_a_node_that_is_claimed_for_a_server_is_not_free(care: Care) -> None:
    """Between Nova's claim and the deployment; and an adopted node, which Nova does not know."""
    vif_id = care.leave()
    bench = care.bench
    bench.service().create(bench.tenant, bench.token, "web", flavor="metal-small", image="debian", networks=["blue"])
    (server,) = care.world.instances
    care.world.nodes[care.node.id] = replace(care.world.nodes[care.node.id], instance_id=server)
    care.look()
    assert vif_id in care.kept()
    care.world.nodes[care.node.id] = replace(
        care.world.nodes[care.node.id], instance_id="adopted", extra={"steelyard": {"adopted": True}}
    )
    care.look()
    assert vif_id in care.kept()


def test_one_whose_port_is_on_another_node_is_left_to_a_person(care: Care) -> None:
    bench = care.bench
    bench.service().create(bench.tenant, bench.token, "web", flavor="metal-small", image="debian", networks=["blue"])
    (port,) = [port for port in care.world.fabric.ports.values() if port.device_owner == "compute:nova"]
    care.node = next(node for node in care.world.nodes.values() if node.id != port.host_id)
    care.leave(port.id)
    assert (care.look(), care.leaks()) == (0, ["vif_without_server"])
    assert care.world.fabric.ports[port.id].host_id == port.host_id, "Ironic would have unbound it there"


def test_a_node_that_is_locked_waits_for_the_next_look(care: Care) -> None:
    vif_id = care.leave()
    care.look(1)
    care.world.fail("node_ports.detach", Conflict("locked"))
    assert (care.look(1), care.kept()) == (0, [vif_id])
    assert (care.look(1), care.kept()) == (1, [])


@pytest.mark.parametrize("state", sorted(FREE))
def test_in_every_state_of_a_node_that_nobody_has(care: Care, state: str) -> None:
    care.world.nodes[care.node.id] = replace(care.node, provision_state=state)
    care.leave()
    assert care.look() == 1


def test_what_nova_claims_between_two_looks_is_left_alone(care: Care) -> None:
    vif_id = care.leave()
    care.look(1)
    care.vifs._observer.fresh = 60.0  # the list is from before the claim
    care.vifs._observer.nodes()
    care.world.nodes[care.node.id] = replace(care.node, instance_id="somebody's")
    asked = care.world.calls["nodes.get"]
    assert (care.look(1), care.kept()) == (0, [vif_id])
    assert care.world.calls["nodes.get"] == asked + 1
