"""The fake conductor with Steelyard's network interface, and what may go wrong in the fake controller and switches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.fake.conductor import Answer, Asked
from steelyard.clouds.fake.fabric import BindingFault
from steelyard.clouds.fake.switches import Cause, Disturbance
from steelyard.errors import Conflict, Refused, SteelyardError, Unavailable
from steelyard.nouns import AttachmentSpec, FlavorSpec, Image, NetworkPort, Node, ServerSpec, SwitchLink

Words = tuple[str, bool]


class Gate:
    """Answers for Steelyard, and remembers what it was asked and what was so then."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world
        self.asked: list[Words] = []
        self.power: list[str | None] = []
        self.answers: Callable[[Asked], SteelyardError | bool] = lambda asked: True

    def __call__(self, node_id: str, asked: Asked) -> Answer:
        self.asked.append((asked.role, asked.joined))
        self.power.append(self._world.nodes[node_id].power_state)

        def answer() -> bool:
            said = self.answers(asked)
            if isinstance(said, SteelyardError):
                raise said
            return said

        return answer


class Scene:
    """One free node with Steelyard's network interface, and a tenant who may deploy."""

    def __init__(self) -> None:
        self.world = FakeWorld()
        self.node_id = self.world.add_node("bm-1", nics=1).id
        self.world.nodes[self.node_id] = replace(self.node, network_interface="steelyard")
        self.gate = Gate(self.world)
        self.world.flip_gate = self.gate
        self.clouds = FakeClouds(self.world)
        self.network = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        self.flavor = self.clouds.own.flavors.create(FlavorSpec("small", "bm.small"))
        self.world.images["i1"] = Image("i1", "debian", "active", 1, "raw", None, "public", None, None)
        self.tenant = self.clouds.on_behalf_of(self.world.token(project="demo"))

    def create(self) -> str:
        return self.tenant.compute.create(ServerSpec("s1", self.flavor.id, "i1", (self.network.id,))).id

    @property
    def node(self) -> Node:
        return self.world.nodes[self.node_id]

    @property
    def link(self) -> SwitchLink:
        [link] = [nic.link for nic in self.world.node_ports.values() if nic.link is not None]
        return link

    def bind(self, network_id: str | None = None, name: str = "p") -> NetworkPort:
        """A port of Steelyard's own on the node's NIC."""
        wanted = network_id or self.world.role_networks["quarantine"]
        spec = AttachmentSpec(name, wanted, self.node_id, "52:54:00:00:01:01", self.link, "baremetal:none")
        return self.clouds.own.attachments.create(spec)


@pytest.fixture
def scene() -> Scene:
    return Scene()


class TestMoves:
    def test_every_change_of_a_servers_life_is_asked_about_while_it_is_off(self, scene: Scene) -> None:
        server = scene.create()
        scene.world.settle()
        assert scene.node.provision_state == "active"
        assert scene.gate.asked == [("provisioning", True), ("provisioning", False), ("tenant", True)]
        assert (scene.node.power_state, scene.world.vlan_of(scene.node_id)) == ("on", {scene.network.segmentation_id})
        scene.gate.asked.clear()
        scene.tenant.compute.delete(server)
        scene.world.settle()
        assert scene.node.provision_state == "available"
        assert scene.gate.asked == [("tenant", False), ("cleaning", True), ("cleaning", False)]
        assert scene.world.vlan_of(scene.node_id) == set()
        assert set(scene.gate.power) == {"off"}

    def test_a_rescue_system_runs_on_while_it_gets_its_tenants_network(self, scene: Scene) -> None:
        server = scene.create()
        scene.world.settle()
        scene.gate.asked.clear()
        scene.gate.power.clear()
        scene.tenant.compute.rescue(server)
        scene.world.settle()
        assert scene.node.provision_state == "rescue"
        assert scene.gate.asked == [("tenant", False), ("rescue", True), ("rescue", False), ("tenant", True)]
        assert scene.gate.power == ["off", "off", "on", "on"]

    def test_nothing_goes_on_before_the_answer_and_the_node_is_locked(self, scene: Scene) -> None:
        scene.gate.answers = lambda asked: False
        scene.create()
        for _ in range(10):
            scene.world.tick()
        assert (scene.node.provision_state, scene.node.power_state) == ("deploying", "off")
        assert scene.gate.asked == [("provisioning", True)]
        with pytest.raises(Conflict, match="locked"):
            scene.clouds.own.provisioning.power(scene.node_id, "on")
        scene.gate.answers = lambda asked: True
        scene.world.settle()
        assert scene.node.provision_state == "active"

    @pytest.mark.parametrize("role", ["provisioning", "tenant"])
    def test_a_refusal_fails_the_deployment_and_what_was_joined_is_left(self, scene: Scene, role: str) -> None:
        refused = Refused("the switch carries no VLAN")
        scene.gate.answers = lambda asked: refused if (asked.role, asked.joined) == (role, True) else True
        scene.create()
        while scene.node.provision_state != "deploy failed":
            assert scene.world.tick()
        assert scene.node.last_error is not None
        assert scene.node.last_error.endswith(f"join its {role} network: the switch carries no VLAN")
        assert (scene.node.power_state, scene.world.vlan_of(scene.node_id)) == ("off", set())

    def test_what_cannot_be_cleaned_verifiably_is_in_maintenance(self, scene: Scene) -> None:
        server = scene.create()
        scene.world.settle()
        scene.gate.answers = lambda asked: True if asked.role != "cleaning" else Refused("the switch cannot be read")
        scene.tenant.compute.delete(server)
        scene.world.settle()
        assert (scene.node.provision_state, scene.node.maintenance) == ("clean failed", True)

    def test_one_that_is_let_on_no_network_is_not_put_on_it_first(self, scene: Scene) -> None:
        def segment(node_id: str, role: str) -> str | None:
            raise Refused("it is on its way into quarantine")

        scene.world.segment_gate = segment
        scene.create()
        while scene.node.provision_state != "deploy failed":
            assert scene.world.tick()
        assert (scene.node.last_error or "").endswith("join its provisioning network: it is on its way into quarantine")
        assert scene.world.fabric.switches.log == []

    def test_a_failed_clean_leaves_its_network_whatever_steelyard_says_of_that(self, scene: Scene) -> None:
        server = scene.create()
        scene.world.settle()
        scene.world.break_node(scene.node_id, "clean", "disk 2 does not answer")
        scene.gate.answers = lambda asked: Refused("no") if (asked.role, asked.joined) == ("cleaning", False) else True
        scene.tenant.compute.delete(server)
        scene.world.settle()
        assert (scene.node.provision_state, scene.node.last_error) == ("clean failed", "disk 2 does not answer")
        assert scene.world.fabric.own_ports(scene.node) == []

    def test_where_nobody_answers_it_asks_again_for_a_minute(self, scene: Scene) -> None:
        scene.gate.answers = lambda asked: Unavailable("Steelyard cannot be reached")
        scene.create()
        while scene.node.provision_state in {"available", "deploying"}:
            scene.world.tick()
        assert scene.node.provision_state == "deploy failed"
        assert 55 <= len(scene.gate.asked) <= 61, "once a second"
        assert scene.world.vlan_of(scene.node_id) == set()

    def test_one_who_comes_back_in_time_is_heard(self, scene: Scene) -> None:
        scene.gate.answers = lambda asked: Unavailable("Steelyard cannot be reached")
        scene.create()
        for _ in range(30):
            scene.world.tick()
        scene.gate.answers = lambda asked: True
        scene.world.settle()
        assert scene.node.provision_state == "active"

    @pytest.mark.parametrize("marked", [True, False])
    def test_ports_in_quarantine_go_before_any_change(self, scene: Scene, marked: bool) -> None:
        server = scene.create()
        scene.world.settle()
        if marked:
            scene.clouds.own.nodes.update(scene.node_id, {"/extra/steelyard_parked": {"nics": []}})
        port = scene.bind(name="steelyard-quarantine")
        asked: list[bool] = []

        def network_gate(node_id: str) -> Answer:
            asked.append(port.id in scene.world.fabric.ports)
            return lambda: True

        scene.world.network_gate = network_gate
        left: list[bool] = []
        scene.gate.answers = lambda _: not left.append(port.id in scene.world.fabric.ports)
        scene.tenant.compute.delete(server)
        scene.world.settle()
        assert scene.node.provision_state == "available"
        assert asked == ([True, False, False] if marked else []), "before each change"
        assert set(left) == {False}

    def test_with_ironics_own_interface_nobody_is_asked(self, scene: Scene) -> None:
        scene.world.nodes[scene.node_id] = replace(scene.node, network_interface="neutron")
        scene.create()
        scene.world.settle()
        assert scene.node.provision_state == "active"
        assert scene.gate.asked == []


class TestDisturbances:
    def test_a_write_gets_lost(self, scene: Scene) -> None:
        scene.world.fabric.switches.disturb(Disturbance.LOST)
        assert scene.bind().status == "ACTIVE"
        assert scene.world.fabric.switches.vlan(scene.link) is None
        assert scene.world.fabric.went_wrong == 1

    def test_only_the_one_that_is_meant(self, scene: Scene) -> None:
        scene.world.fabric.switches.disturb(Disturbance.LOST, skip=1)
        port = scene.bind()
        assert scene.world.fabric.switches.vlan(scene.link) == 2004
        scene.clouds.own.attachments.delete(port.id)
        assert scene.world.fabric.switches.vlan(scene.link) == 2004

    def test_a_write_comes_late_and_undoes_what_came_after_it(self, scene: Scene) -> None:
        switches = scene.world.fabric.switches
        switches.disturb(Disturbance.LATE, seconds=20.0)
        port = scene.bind()
        scene.clouds.own.attachments.delete(port.id)
        assert switches.vlan(scene.link) is None
        assert switches.awaits
        scene.world.now += timedelta(seconds=20)
        assert switches.vlan(scene.link) == 2004
        assert not switches.awaits
        assert [change.cause for change in switches.log] == [Cause.LATE]

    def test_a_write_goes_to_another_port(self, scene: Scene) -> None:
        other = replace(scene.link, port_id="Ethernet9")
        scene.world.fabric.switches.disturb(Disturbance.WRONG_PORT, to=other)
        scene.bind()
        assert scene.world.fabric.switches.vlan(scene.link) is None
        assert scene.world.fabric.switches.vlan(other) == 2004
        assert [change.cause for change in scene.world.fabric.switches.log] == [Cause.STRAY]

    def test_a_port_can_be_seen_as_it_was(self, scene: Scene) -> None:
        before = scene.world.now
        scene.world.now += timedelta(seconds=10)
        scene.bind()

        def shown(as_of: object) -> int | None:
            ports = scene.world.fabric.switches.ports(as_of=as_of)  # type: ignore[arg-type]
            return next(port.untagged_vlan for port in ports if port.port_id == scene.link.port_id)

        assert (shown(before), shown(scene.world.now), shown(None)) == (None, 2004, 2004)

    def test_a_controller_that_lies(self, scene: Scene) -> None:
        scene.world.fabric.fail_binding(BindingFault.LIES)
        assert scene.bind().status == "ACTIVE"
        assert scene.world.fabric.switches.vlan(scene.link) is None

    def test_a_binding_that_fails_and_is_made_again(self, scene: Scene) -> None:
        scene.world.fabric.fail_binding(BindingFault.FAILS)
        port = scene.bind()
        assert (port.status, scene.world.fabric.switches.vlan(scene.link)) == ("DOWN", None)
        again = scene.bind()
        assert (again.id, again.status) == (port.id, "ACTIVE")
        assert scene.world.fabric.switches.vlan(scene.link) == 2004
