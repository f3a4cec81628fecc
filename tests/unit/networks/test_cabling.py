"""Bonds and cables of nodes: made, parted, moved; repeated, and failed at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from steelyard.errors import Invalid, NotFound, Refused
from steelyard.networks.cabling_routes import router
from steelyard.nouns import SwitchLink
from steelyard.operations.model import Operation, Phase
from steelyard.web.app import build_app

if TYPE_CHECKING:
    from .conftest import Bench

NEW = SwitchLink("02:00:5e:00:00:02", "Ethernet9", "leaf2")


def succeeded(operation: Operation) -> Operation:
    assert operation.phase is Phase.SUCCEEDED, operation.error
    return operation


def recable(bench: Bench, **more: str) -> Operation:
    asked = {"switch": "leaf2", "port": "Ethernet9", **more}
    return bench.cabling.recable(bench.admin, "bm-1", bench.nics[0].mac, **asked)  # type: ignore[arg-type]


def carried(bench: Bench, link: SwitchLink) -> int | None:
    return bench.world.fabric.switches.vlan(link)


class TestRecable:
    def test_the_network_follows_the_cable(self, bench: Bench) -> None:
        bench.build()
        old, vlan = bench.links[0], bench.network("blue").segmentation_id
        operation = succeeded(recable(bench, reason="new rack"))
        assert operation.result["proven"] is True
        assert bench.nics[0].link == NEW
        assert bench.ports[0].link == NEW
        assert (carried(bench, NEW), carried(bench, old)) == (vlan, None)
        assert not bench.world.nodes[bench.node_id].maintenance
        assert bench.agrees()
        assert bench.store.cables.of([bench.nics[0].mac]) == {bench.nics[0].mac: NEW}
        [event] = [e for e in bench.store.events.of(f"node:{bench.node_id}") if e.kind == "node.recabled"]
        assert (event.reason, event.actor, "leaf2 Ethernet9" in event.detail) == ("new rack", "admin", True)

    def test_a_node_on_no_network_is_recabled_and_deployed_there(self, bench: Bench) -> None:
        bench.build(deploy=False)
        succeeded(recable(bench))
        assert carried(bench, NEW) is None
        bench.deploy()
        assert carried(bench, NEW) == bench.network("blue").segmentation_id
        assert bench.agrees()

    def test_one_cable_of_a_bond(self, bench: Bench) -> None:
        bench.build(bond=True)
        second = bench.links[1]
        succeeded(recable(bench))
        assert set(bench.ports[0].links) == {NEW, second}
        assert carried(bench, NEW) == carried(bench, second) == bench.network("blue").segmentation_id
        assert bench.agrees()

    def test_a_sub_interface_comes_along(self, bench: Bench) -> None:
        bench.build()
        bench.clouds.own.sub_interfaces.add(bench.ports[0].id, network_id=bench.network("red").id, name="x")
        succeeded(recable(bench))
        assert bench.agrees()
        assert bench.isolation.show("bm-1").nics[0].controller.tagged == (bench.network("red").segmentation_id,)

    def test_a_network_that_the_controller_does_not_list_proves_nothing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That the switch carries nothing would be right then."""
        bench.build()
        networks = type(bench.clouds.own.networks)
        every = networks.all
        monkeypatch.setattr(networks, "all", lambda self: every(self) if bench.ports[0].link != NEW else [])
        operation = recable(bench)
        assert operation.error is not None
        assert (operation.error.code, "does not list it" in operation.error.detail) == ("not_proven", True)

    def test_repeating_each_step_changes_nothing(self, bench: Bench) -> None:
        bench.build(repeat_steps=True)
        succeeded(recable(bench))
        assert bench.ports[0].link == NEW
        assert bench.agrees()
        told = [e.kind for e in bench.store.events.of(f"node:{bench.node_id}") if e.kind == "node.recabled"]
        assert told == ["node.recabled"]

    @pytest.mark.parametrize(
        "step",
        ["hold the node", "write the cable down", "let the node go", "networks follow", "prove both switch ports"],
    )
    def test_a_failure_at_any_step_puts_it_back(self, bench: Bench, step: str) -> None:
        bench.build(fail_step=step)
        old = bench.links[0]
        assert recable(bench).phase is Phase.FAILED
        assert bench.nics[0].link == old
        assert bench.ports[0].link == old
        assert (carried(bench, old), carried(bench, NEW)) == (bench.network("blue").segmentation_id, None)
        assert not bench.world.nodes[bench.node_id].maintenance
        assert bench.agrees()

    def test_a_switch_port_that_does_not_obey_is_left(self, bench: Bench) -> None:
        bench.build()
        bench.world.fabric.switches.know(NEW)
        bench.world.jam_switch_port(NEW)
        operation = recable(bench)
        assert operation.error is not None
        assert operation.error.code == "flip_failed"
        assert bench.ports[0].link == bench.nics[0].link == bench.links[0]
        assert bench.agrees()

    def test_an_old_switch_port_that_keeps_the_network_is_no_success(self, bench: Bench) -> None:
        bench.build()
        bench.world.jam_switch_port(bench.links[0])
        operation = recable(bench)
        assert operation.error is not None
        assert "leaf1 Ethernet1" in operation.error.detail

    def test_what_cannot_be(self, bench: Bench) -> None:
        bench.build()
        first, second = bench.links
        with pytest.raises(Refused) as same:
            recable(bench, switch=first.switch_id.upper(), port=first.port_id)
        assert same.value.code == "same_port"
        with pytest.raises(Refused) as taken:
            recable(bench, switch="leaf2", port=second.port_id)
        assert taken.value.code == "port_taken"
        with pytest.raises(NotFound):
            recable(bench, switch="leaf7")
        with pytest.raises(NotFound):
            bench.cabling.recable(bench.admin, "bm-1", "52:54:00:00:00:99", switch="leaf2", port="Ethernet9")
        assert bench.agrees()

    def test_not_while_something_happens_to_it(self, bench: Bench) -> None:
        bench.build()
        bench.world.set_state(bench.node_id, "cleaning")
        with pytest.raises(Refused):
            recable(bench)

    def test_a_maintenance_of_somebody_else_stays(self, bench: Bench) -> None:
        bench.build()
        bench.clouds.own.nodes.set_maintenance(bench.node_id, "fans")
        succeeded(recable(bench))
        assert bench.world.nodes[bench.node_id].maintenance_reason == "fans"


class TestBonds:
    def test_made_deployed_and_parted(self, bench: Bench) -> None:
        bench.build(deploy=False)
        operation = succeeded(bench.cabling.bond(bench.admin, "bm-1"))
        [shown] = bench.cabling.bonds("bm-1")
        assert (shown.bond.id, shown.bond.name) == (operation.result["bond_id"], "bm-1-bond0")
        assert (shown.bond.mac, shown.bond.mode) == (bench.nics[0].mac, "802.3ad")
        assert [nic.mac for nic in shown.nics] == [nic.mac for nic in bench.nics]
        bench.deploy()
        assert bench.vlans() == [bench.network("blue").segmentation_id] * 2
        assert bench.agrees()
        with pytest.raises(Refused) as refusal:
            bench.cabling.unbond(bench.admin, "bm-1", "bm-1-bond0")
        assert refusal.value.next == f"steelyard server delete {bench.instance.id} --wait"
        bench.lifecycle.delete(bench.actor, bench.token, "web")
        bench.world.settle()
        succeeded(bench.cabling.unbond(bench.admin, "bm-1", "bm-1-bond0"))
        assert bench.cabling.bonds("bm-1") == []
        assert not bench.world.nodes[bench.node_id].maintenance

    @pytest.mark.parametrize("step", ["hold the node", "bond the NICs", "let the node go"])
    def test_a_failure_at_any_step_leaves_no_bond(self, bench: Bench, step: str) -> None:
        bench.build(deploy=False, fail_step=step)
        assert bench.cabling.bond(bench.admin, "bm-1").phase is Phase.FAILED
        assert bench.cabling.bonds("bm-1") == []
        assert [nic.bond_id for nic in bench.nics] == [None, None]
        assert not bench.world.nodes[bench.node_id].maintenance

    @pytest.mark.parametrize("step", ["hold the node", "part the NICs", "let the node go"])
    def test_a_failure_at_any_step_leaves_the_bond(self, bench: Bench, step: str) -> None:
        bench.build(deploy=False, bond=True, fail_step=step)
        assert bench.cabling.unbond(bench.admin, "bm-1", "bm-1-bond0").phase is Phase.FAILED
        [shown] = bench.cabling.bonds("bm-1")
        assert len(shown.nics) == 2
        assert not bench.world.nodes[bench.node_id].maintenance

    def test_repeating_each_step_changes_nothing(self, bench: Bench) -> None:
        bench.build(deploy=False, repeat_steps=True)
        succeeded(bench.cabling.bond(bench.admin, "bm-1", name="uplink"))
        assert [shown.bond.name for shown in bench.cabling.bonds("bm-1")] == ["uplink"]
        succeeded(bench.cabling.unbond(bench.admin, "bm-1", "uplink"))
        assert bench.cabling.bonds("bm-1") == []

    def test_what_cannot_be(self, bench: Bench) -> None:
        bench.build(deploy=False, nics=3)
        first, second, third = (nic.mac for nic in bench.nics)
        with pytest.raises(Invalid):
            bench.cabling.bond(bench.admin, "bm-1", nics=[first])
        with pytest.raises(Invalid):
            bench.cabling.bond(bench.admin, "bm-1", nics=[first, first.upper()])
        with pytest.raises(NotFound):
            bench.cabling.bond(bench.admin, "bm-1", nics=[first, "52:54:00:00:00:99"])
        with pytest.raises(Invalid):
            bench.cabling.bond(bench.admin, "bm-1", mode="magic")
        succeeded(bench.cabling.bond(bench.admin, "bm-1", nics=[second, first]))
        assert bench.cabling.bonds("bm-1")[0].bond.mac == second
        with pytest.raises(Refused) as refusal:
            bench.cabling.bond(bench.admin, "bm-1", nics=[second, third])
        assert refusal.value.code == "nic_in_bond"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/bonds", None), ("POST", "/bonds", {}), ("DELETE", "/bonds/x", None),
        ("POST", "/recable", {"nic": "x", "switch": "leaf2", "port": "y"}),
    ],
)  # fmt: skip
def test_administrators_only(bench: Bench, method: str, path: str, body: dict[str, str] | None) -> None:
    bench.build()
    app = build_app(
        [router(bench.cabling)], validate=bench.clouds.identity.validate, checks={}, settings=bench.settings
    )
    client, url = TestClient(app), f"/v1/nodes/bm-1{path}"
    assert client.request(method, url, json=body).status_code == 401
    assert client.request(method, url, json=body, headers={"x-auth-token": bench.token}).status_code == 403


def test_by_rest(bench: Bench) -> None:
    bench.build(deploy=False)
    app = build_app(
        [router(bench.cabling)], validate=bench.clouds.identity.validate, checks={}, settings=bench.settings
    )
    client, who = TestClient(app), {"x-auth-token": bench.admin_token}
    made = client.post("/v1/nodes/bm-1/bonds", json={}, headers=who)
    assert (made.status_code, made.json()["operation"]["phase"]) == (202, "succeeded")
    [bond] = client.get("/v1/nodes/bm-1/bonds", headers=who).json()["bonds"]
    assert [nic["switch"] for nic in bond["nics"]] == ["leaf1", "leaf2"]
    body = {"nic": bench.nics[0].mac, "switch": "leaf1", "port": "Ethernet40"}
    assert client.post("/v1/nodes/bm-1/recable", json=body, headers=who).json()["operation"]["phase"] == "succeeded"
    assert client.delete(f"/v1/nodes/bm-1/bonds/{bond['id']}", headers=who).status_code == 202
