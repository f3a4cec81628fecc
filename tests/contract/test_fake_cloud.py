"""What the fake cloud does beyond the ports' contracts: time, networks and switches, failures."""

from __future__ import annotations

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.fake.machines import NETWORK_ROLE, STARTS, WORK
from steelyard.clouds.ports import Cloud
from steelyard.errors import Conflict, Unauthenticated, Unavailable
from steelyard.nouns import FlavorSpec, Image, Instance, Node, ServerSpec

VLAN = {"provisioning": 2001, "cleaning": 2002, "inspection": 2003, "quarantine": 2004, "rescue": 2005}


class Scene:
    """A world with one node, a flavor, an image and a tenant's network."""

    def __init__(self, *, auto: bool = False):
        self.world = FakeWorld(auto=auto)
        self.node = self.world.add_node("bm-001")
        self.clouds = FakeClouds(self.world)
        self.token = self.world.token()
        self.tenant: Cloud = self.clouds.on_behalf_of(self.token)
        self.network = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        self.flavor = self.clouds.own.flavors.create(FlavorSpec("small", "bm.small"))
        image = Image("i1", "debian", "active", 1, "raw", None, "public", None, None)
        self.world.images[image.id] = image

    def create(self, name: str = "s1") -> Instance:
        return self.tenant.compute.create(ServerSpec(name, self.flavor.id, "i1", (self.network.id,)))

    def now(self) -> Node:
        return self.world.nodes[self.node.id]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_whole_life_and_the_vlan_of_every_phase(scene: Scene) -> None:
    instance = scene.create()
    seen: list[tuple[str, set[int]]] = []
    for _ in range(8):
        scene.world.tick()
        seen.append((scene.now().provision_state, scene.world.vlan_of(scene.node.id)))
    tenant_vlan = scene.network.segmentation_id
    assert ("wait call-back", {2001}) in seen
    assert seen[-1] == ("active", {tenant_vlan})
    running = scene.tenant.compute.get(instance.id)
    assert (running.status, running.addresses, running.node_id) == ("ACTIVE", ("10.1.0.2",), None)
    assert scene.clouds.own.compute.get(instance.id).node_id == scene.node.id
    assert scene.tenant.nodes.all() == []
    assert scene.clouds.own.placement.free("bm.small") == frozenset()
    scene.tenant.compute.delete(instance.id)
    scene.world.tick()
    assert (scene.now().provision_state, scene.world.vlan_of(scene.node.id)) == ("cleaning", {2002})
    scene.world.settle()
    assert (scene.now().provision_state, scene.world.vlan_of(scene.node.id)) == ("available", set())
    assert scene.tenant.compute.all() == []
    assert scene.clouds.own.attachments.all() == []
    assert scene.clouds.own.placement.free("bm.small") == {scene.node.id}


def lives_of(scene: Scene) -> list[tuple[str, frozenset[int]]]:
    """The states through which the node goes until it rests, with its VLANs in each."""
    seen: list[tuple[str, frozenset[int]]] = []
    for _ in range(20):
        scene.world.tick()
        seen.append((scene.now().provision_state, frozenset(scene.world.vlan_of(scene.node.id))))
    return seen


def test_a_rebuild_keeps_node_ports_and_addresses(scene: Scene) -> None:
    instance = scene.create()
    scene.world.settle()
    before, ports = scene.tenant.compute.get(instance.id), scene.tenant.attachments.all()
    image = Image("i2", "debian-next", "active", 1, "raw", None, "public", None, None)
    scene.world.images[image.id] = image
    scene.tenant.compute.rebuild(instance.id, "i2")
    assert scene.tenant.compute.get(instance.id).status == "REBUILD"
    with pytest.raises(Conflict):
        scene.tenant.compute.rescue(instance.id)
    assert ("wait call-back", frozenset({2001})) in lives_of(scene)
    after = scene.tenant.compute.get(instance.id)
    assert (after.status, after.image_id, after.addresses) == ("ACTIVE", "i2", before.addresses)
    assert [port.id for port in scene.tenant.attachments.all()] == [port.id for port in ports]
    assert scene.now().instance_id == instance.id


def test_the_rescue_network_while_the_ramdisk_boots_and_the_tenants_once_it_runs(scene: Scene) -> None:
    instance = scene.create()
    scene.world.settle()
    tenants = frozenset({scene.network.segmentation_id or 0})
    scene.tenant.compute.rescue(instance.id, password="a-password-1")
    seen = lives_of(scene)
    assert ("rescue wait", frozenset({2005})) in seen
    assert seen[-1] == ("rescue", tenants)
    assert scene.tenant.compute.get(instance.id).status == "RESCUE"
    with pytest.raises(Conflict):
        scene.tenant.compute.power(instance.id, "off")
    scene.tenant.compute.rescue(instance.id, leave=True)
    assert lives_of(scene)[-1] == ("active", tenants)
    assert scene.tenant.compute.get(instance.id).status == "ACTIVE"


def test_a_rescue_that_fails_leaves_the_instance_in_error(scene: Scene) -> None:
    instance = scene.create()
    scene.world.settle()
    scene.world.break_node(scene.node.id, "rescue", "no agent")
    scene.tenant.compute.rescue(instance.id)
    scene.world.settle()
    found = scene.tenant.compute.get(instance.id)
    assert (found.status, found.fault, scene.now().provision_state) == ("ERROR", "no agent", "rescue failed")
    scene.tenant.compute.delete(instance.id)
    scene.world.settle()
    assert scene.now().provision_state == "available"


def test_power_and_status_follow_each_other(scene: Scene) -> None:
    instance = scene.create()
    scene.world.settle()
    scene.tenant.compute.power(instance.id, "off")
    assert (scene.now().power_state, scene.tenant.compute.get(instance.id).status) == ("off", "SHUTOFF")
    with pytest.raises(Conflict):
        scene.tenant.compute.power(instance.id, "off")
    scene.clouds.own.provisioning.power(scene.node.id, "on")
    scene.world.tick()
    assert scene.tenant.compute.get(instance.id).status == "ACTIVE"


def test_a_node_serves_one_instance(scene: Scene) -> None:
    first, second = scene.create("one"), scene.create("two")
    scene.world.settle()
    states = {scene.tenant.compute.get(i.id).status for i in (first, second)}
    assert states == {"ACTIVE", "ERROR"}
    assert len([n for n in scene.world.nodes.values() if n.instance_id]) == 1


def test_a_lessee_sees_its_node_while_it_is_leased(scene: Scene) -> None:
    scene.world.lessees = True
    instance = scene.create()
    scene.world.settle()
    assert [node.id for node in scene.tenant.nodes.all()] == [scene.node.id]
    scene.tenant.compute.delete(instance.id)
    scene.world.settle()
    assert scene.tenant.nodes.all() == []


def test_a_failed_deploy_leaves_an_error_and_a_cleaned_node(scene: Scene) -> None:
    scene.world.break_node(scene.node.id, "deploy", "disk 2 does not answer")
    instance = scene.create()
    scene.world.settle()
    assert "disk 2" in (scene.tenant.compute.get(instance.id).fault or "")
    assert scene.now().provision_state == "available"
    assert scene.world.vlan_of(scene.node.id) == set()


def test_a_failed_clean_is_maintenance_and_never_offered(scene: Scene) -> None:
    instance = scene.create()
    scene.world.settle()
    scene.world.break_node(scene.node.id, "clean", "unerasable")
    scene.tenant.compute.delete(instance.id)
    scene.world.settle()
    node = scene.now()
    assert (node.provision_state, node.maintenance, node.last_error) == ("clean failed", True, "unerasable")
    assert scene.clouds.own.placement.free("bm.small") == frozenset()


def test_a_new_machine_is_inspected(scene: Scene) -> None:
    from steelyard.nouns import NodeSpec

    machine = scene.world.add_hardware("https://192.0.2.50")
    own = scene.clouds.own
    node = own.nodes.create(NodeSpec("new", "redfish", {"redfish_address": "https://192.0.2.50"}))
    own.provisioning.request(node.id, "manage")
    scene.world.settle()
    own.provisioning.request(node.id, "inspect")
    scene.world.tick()
    assert own.nodes.get(node.id).provision_state == "inspect wait"
    scene.world.settle()
    assert own.nodes.get(node.id).properties["memory_mb"] == machine.memory_mib
    found = own.nodes.inspection(node.id)
    assert [nic["mac_address"] for nic in found.inventory["interfaces"]] == [nic.mac for nic in machine.nics]
    assert found.plugin_data["parsed_lldp"]["eth0"]["switch_port_id"] == machine.nics[0].link.port_id  # type: ignore[union-attr]
    assert [port.mac for port in own.node_ports.all() if port.node_id == node.id] == [machine.nics[0].mac]


def test_a_jammed_or_tampered_switch_disagrees_with_the_controller(scene: Scene) -> None:
    link = next(p.link for p in scene.world.node_ports.values() if p.node_id == scene.node.id and p.pxe_enabled)
    assert link is not None
    scene.world.jam_switch_port(link)
    scene.create()
    scene.world.settle()
    assert scene.world.vlan_of(scene.node.id) == set()
    (port,) = [p for p in scene.clouds.own.attachments.all() if p.link == link]
    assert port.status == "ACTIVE"
    scene.world.tamper_switch(link, 666)
    assert 666 in {p.untagged_vlan for p in scene.world.switch_ports()}


def test_failures_are_injected_and_calls_are_counted(scene: Scene) -> None:
    scene.world.fail("nodes.get", Unavailable("down"), times=2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            scene.clouds.own.nodes.get(scene.node.id)
    assert scene.clouds.own.nodes.get(scene.node.id).id == scene.node.id
    assert scene.world.calls["nodes.get"] == 3


def test_in_maintenance_an_agents_work_pauses(scene: Scene) -> None:
    scene.create()
    while scene.now().provision_state != "wait call-back":
        scene.world.tick()
    scene.clouds.own.nodes.set_maintenance(scene.node.id, "a fan is changed")
    scene.world.tick(10)
    assert scene.now().provision_state == "wait call-back"
    scene.clouds.own.nodes.set_maintenance(scene.node.id, None)
    scene.world.settle()
    assert scene.now().provision_state == "active"


@pytest.mark.parametrize("state", ["cleaning", "clean wait"])
def test_where_the_operator_has_it_so_maintenance_aborts_a_clean(scene: Scene, state: str) -> None:
    scene.world.provisioning_in_maintenance = False
    scene.world.set_state(scene.node.id, "manageable")
    scene.clouds.own.nodes.set_maintenance(scene.node.id, "a fan is changed")
    with pytest.raises(Conflict):
        scene.clouds.own.provisioning.request(scene.node.id, "provide")
    scene.clouds.own.nodes.set_maintenance(scene.node.id, None)
    scene.clouds.own.provisioning.request(scene.node.id, "provide")
    while scene.now().provision_state != state:
        scene.world.tick()
    scene.clouds.own.nodes.set_maintenance(scene.node.id, "a fan is changed")
    scene.world.tick()
    assert scene.now().provision_state == "clean failed"
    assert scene.now().maintenance_reason == "a fan is changed"


def test_a_hung_node_stays_and_a_locked_one_refuses(scene: Scene) -> None:
    scene.world.hang_node(scene.node.id)
    scene.create()
    scene.world.tick(10)
    assert scene.now().provision_state == "deploying"
    scene.world.release_node(scene.node.id)
    scene.world.lock_node(scene.node.id)
    with pytest.raises(Conflict):
        scene.clouds.own.nodes.set_maintenance(scene.node.id, "x")


def test_reads_move_an_automatic_world() -> None:
    scene = Scene(auto=True)
    instance = scene.create()
    for _ in range(10):
        if scene.tenant.compute.get(instance.id).status == "ACTIVE":
            return
    raise AssertionError("never became active")


def test_tokens_end(scene: Scene) -> None:
    token = scene.world.token(expires_in=5)
    scene.world.tick(6)
    with pytest.raises(Unauthenticated):
        scene.clouds.on_behalf_of(token).compute.all()
    scene.world.revoke(scene.token)
    with pytest.raises(Unauthenticated):
        scene.tenant.compute.all()


def test_the_table_of_states_is_closed() -> None:
    """Every state that a verb or a step leads to is a resting state or leads on, and fails to one at rest."""
    resting = {state for state, _ in STARTS}
    for state, _ in STARTS.values():
        assert state in resting or state in WORK
    for work in WORK.values():
        assert work.failed in resting
        assert work.next is None or work.next in resting | WORK.keys()
    assert set(NETWORK_ROLE) <= resting | WORK.keys()
