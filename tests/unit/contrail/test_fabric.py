"""The fabric manager: port groups in the config become VLANs on the simulated switches, sooner or later."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from steelyard.embedded.contrail.database import Database
from steelyard.embedded.contrail.fabric import FabricManager, Switches
from steelyard.embedded.contrail.frame import FAULT_KINDS, OPERATIONS
from steelyard.embedded.contrail.hardware import seed
from steelyard.embedded.contrail.port_config import PortConfig, wanted
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.schema import TYPES
from steelyard.embedded.contrail.service import rules
from steelyard.embedded.contrail.standalone import StandaloneController
from steelyard.embedded.contrail.visibility import INTERNAL
from steelyard.embedded.rack.faults import Faults
from steelyard.embedded.rack.standalone import RAMDISK_VLANS, StandaloneRack

from .conftest import Scene
from .requests import VMI, Requests, eventually

ROOT = "default-global-system-config"
DISCOVERY = RAMDISK_VLANS["inspection"]


def test_the_rack_is_in_the_config(scene: Scene) -> None:
    routers = {each["fq_name"][-1] for each in scene.ok("GET", "/physical-routers")["physical-routers"]}
    assert routers == {"leaf1", "leaf2"}
    interfaces = scene.ok("GET", "/physical-interfaces?count=true")["physical-interfaces"]["count"]
    assert interfaces == sum(len(switch.ports) for switch in scene.rack.rack.switches)
    router = scene.ok("GET", "/physical-routers?detail=true")["physical-routers"][0]["physical-router"]
    assert router["fabric_refs"][0]["to"] == [ROOT, "default-fabric"]
    service_node = scene.show("virtual-router", router["virtual_router_refs"][0]["uuid"])
    assert service_node["virtual_router_type"] == "tor-service-node"


def test_a_bound_interface_is_on_its_switch_port_and_an_unbound_one_is_not(scene: Scene) -> None:
    network = scene.network()
    assert scene.port("leaf1/Ethernet1") == (DISCOVERY, [])  # nobody has touched it yet
    interface = scene.interface(network, "leaf1/Ethernet1")
    eventually(lambda: scene.port("leaf1/Ethernet1") == (scene.number(network), []))
    scene.bind(interface)
    eventually(lambda: scene.port("leaf1/Ethernet1") == (None, []))
    assert scene.port("leaf2/Ethernet1") == (DISCOVERY, [])


def test_a_deleted_interface_leaves_the_port(scene: Scene) -> None:
    network = scene.network()
    interface = scene.interface(network, "leaf1/Ethernet2")
    eventually(lambda: scene.port("leaf1/Ethernet2") == (scene.number(network), []))
    scene.ok("DELETE", f"/{VMI}/{interface}")
    eventually(lambda: scene.port("leaf1/Ethernet2") == (None, []))


def test_the_vlan_is_that_of_the_interface_else_that_of_the_provider_else_the_networks_number(scene: Scene) -> None:
    provider = {"segmentation_id": 2345, "physical_network": "physnet1"}
    scene.interface(scene.network(), "leaf1/Ethernet3", vlan=77)
    scene.interface(scene.network(provider_properties=provider), "leaf2/Ethernet3")
    eventually(lambda: scene.port("leaf1/Ethernet3") == (77, []))
    eventually(lambda: scene.port("leaf2/Ethernet3") == (2345, []))


def test_networks_have_numbers_of_their_own(scene: Scene) -> None:
    taken = scene.number(scene.network())
    assert scene.number(scene.network()) != taken
    used = scene.network(provider_properties={"segmentation_id": taken + 2, "physical_network": "physnet1"})
    assert scene.number(scene.network()) not in (taken, taken + 2, scene.number(used))


def test_tagged_interfaces_are_beside_the_untagged_one(scene: Scene) -> None:
    network = scene.network()
    untagged = scene.interface(network, "leaf1/Ethernet4", vlan=11)
    tagged = scene.interface(network, "leaf1/Ethernet4", tag=100)
    eventually(lambda: scene.port("leaf1/Ethernet4") == (11, [100]))
    scene.ok("DELETE", f"/{VMI}/{untagged}")
    eventually(lambda: scene.port("leaf1/Ethernet4") == (None, [100]))
    scene.ok("DELETE", f"/{VMI}/{tagged}")
    eventually(lambda: scene.port("leaf1/Ethernet4") == (None, []))


def test_a_bond_is_on_both_leaves(scene: Scene) -> None:
    interface = scene.interface(scene.network(), "leaf1/Ethernet5", "leaf2/Ethernet5", vlan=12)
    eventually(lambda: scene.port("leaf1/Ethernet5") == scene.port("leaf2/Ethernet5") == (12, []))
    scene.bind(interface, "leaf1/Ethernet5", vlan=12)
    eventually(lambda: scene.port("leaf2/Ethernet5") == (None, []))
    assert scene.port("leaf1/Ethernet5") == (12, [])


@pytest.mark.parametrize("knows", [True, False])
def test_members_of_a_bond_are_aggregated_on_switches_that_can(tmp_path: Path, knows: bool) -> None:
    class Switch(BaseHTTPRequestHandler):
        changes: ClassVar[list[dict[str, Any]]] = []

        def _answer(self) -> None:
            content = json.dumps({"port_id": "Ethernet1", **({"lag": None} if knows else {})}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = _answer

        def do_PATCH(self) -> None:
            self.changes.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer()

        def log_message(self, *_: Any) -> None:
            pass

    async def write(url: str) -> None:
        switches = Switches(url, token, {})
        await switches.write("leaf1", "Ethernet1", PortConfig(5, (6,), lacp=True), PortConfig(None, (7,)))
        await switches.write("leaf1", "Ethernet1", PortConfig(5), PortConfig(5, (6,), lacp=True))
        await switches.close()

    token = tmp_path / "token"
    token.write_text("secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Switch) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asyncio.run(write(f"http://127.0.0.1:{server.server_address[1]}"))
        server.shutdown()
    first, second = ({"lag": "lacp"}, {"lag": None}) if knows else ({}, {})
    assert Switch.changes == [
        {"untagged_vlan": 5, "enabled": True, "filters": [], "add_tagged": [6], "remove_tagged": [7], **first},
        {"untagged_vlan": 5, "enabled": True, "filters": [], "remove_tagged": [6], **second},
    ]


def test_a_port_group_of_two_says_lacp_unless_it_is_off(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.sqlite")
    resources = Resources(database, rules())
    seed(resources)
    _group_with_tag(resources, 30)
    (group,) = database.of_type("virtual-port-group")
    assert not wanted(database)[("leaf1", "Ethernet1")].lacp
    second = resources.create(INTERNAL, TYPES["physical-interface"], {"fq_name": [ROOT, "leaf1", "Ethernet2"]})
    resources.add_ref(INTERNAL, TYPES["virtual-port-group"], group.uuid, second)
    assert wanted(database)[("leaf1", "Ethernet1")] == wanted(database)[("leaf1", "Ethernet2")]
    assert wanted(database)[("leaf1", "Ethernet1")] == PortConfig(None, (30,), lacp=True)
    off = {"virtual_port_group_lacp_enabled": False}
    resources.update(INTERNAL, TYPES["virtual-port-group"], group.uuid, off)
    assert not wanted(database)[("leaf1", "Ethernet1")].lacp
    database.close()


def test_trap_1_is_seen_on_the_switch(scene: Scene) -> None:
    """Two interfaces on one port without a VLAN: the port is in both networks."""
    provisioning, tenant = scene.network(), scene.network()
    scene.interface(provisioning, "leaf1/Ethernet6")
    scene.interface(tenant, "leaf1/Ethernet6")
    eventually(lambda: scene.port("leaf1/Ethernet6") == (scene.number(tenant), [scene.number(provisioning)]))


def test_a_switch_that_refuses_is_asked_again(scene: Scene) -> None:
    scene.fault(target="leaf1/Ethernet7", kind="refuse", match="push")
    scene.interface(scene.network(), "leaf1/Ethernet7", vlan=13)
    pending = lambda: scene.controller.control("GET", "/fabric")["pending"]  # noqa: E731
    eventually(lambda: pending().get("leaf1/Ethernet7", {}).get("attempts", 0) > 1)
    assert scene.port("leaf1/Ethernet7") == (DISCOVERY, [])
    scene.controller.control("DELETE", "/faults")
    eventually(lambda: scene.port("leaf1/Ethernet7") == (13, []))
    scene.settled()


def test_a_switch_with_a_fault_of_its_own_is_asked_again(scene: Scene) -> None:
    scene.rack.call("switch", "POST", "/faults", {"target": "leaf1/Ethernet8", "kind": "garbage", "times": 2})
    scene.interface(scene.network(), "leaf1/Ethernet8", vlan=14)
    eventually(lambda: scene.port("leaf1/Ethernet8") == (14, []))


class _Deaf(Switches):
    """Switches that do what they are told; some of their answers are lost."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", Path("/dev/null"), {"leaf1": ("Ethernet1",)})
        self.carried: tuple[int | None, tuple[int, ...]] = (None, ())
        self.lost = 0

    async def write(self, switch: str, port: str, config: PortConfig, before: PortConfig) -> None:
        tagged = (set(self.carried[1]) | set(config.tagged)) - (set(before.tagged) - set(config.tagged))
        self.carried = (config.untagged, tuple(sorted(tagged)))
        if self.lost:
            self.lost -= 1
            raise OSError("no answer")


def test_a_change_of_mind_while_a_write_is_in_doubt_ends_as_the_config_says(tmp_path: Path) -> None:
    """The write was done although it was not answered: the port is written again, not believed untouched."""

    async def play() -> None:
        database = Database(tmp_path / "state.sqlite")
        resources = Resources(database, rules())
        seed(resources)
        switches = _Deaf()
        fabric = FabricManager(database, switches, Faults(OPERATIONS, FAULT_KINDS), push_seconds=0.0)
        manager = asyncio.create_task(fabric.run())
        group = _group_with_tag(resources, 30)
        await _until(lambda: switches.carried == (None, (30,)) and not fabric.state()["pending"])

        switches.lost = 1
        _set_tag(resources, group, 31)
        await _until(lambda: switches.lost == 0)
        assert switches.carried == (None, (31,))
        _set_tag(resources, group, 30)
        await _until(lambda: not fabric.state()["pending"])
        assert switches.carried == (None, (30,))
        manager.cancel()
        database.close()

    asyncio.run(play())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def _group_with_tag(resources: Resources, tag: int) -> str:
    """A port group on leaf1/Ethernet1 with one tagged interface; the interface."""

    def make(type: str, fq_name: list[str], **body: Any) -> str:
        return resources.create(INTERNAL, TYPES[type], {"fq_name": fq_name, **body}).uuid

    project = ["default-domain", "default-project"]
    make("physical-router", [ROOT, "leaf1"])
    make("physical-interface", [ROOT, "leaf1", "Ethernet1"])
    make("virtual-network", [*project, "n"])
    profile = json.dumps({"local_link_information": [{"switch_info": "leaf1", "port_id": "Ethernet1"}]})
    pairs = [{"key": "vnic_type", "value": "baremetal"}, {"key": "profile", "value": profile}]
    return make(
        VMI, [*project, "i"], parent_type="project", virtual_network_refs=[{"to": [*project, "n"]}],
        virtual_machine_interface_bindings={"key_value_pair": pairs},
        virtual_machine_interface_properties={"sub_interface_vlan_tag": tag},
    )  # fmt: skip


def _set_tag(resources: Resources, interface: str, tag: int) -> None:
    properties = {"virtual_machine_interface_properties": {"sub_interface_vlan_tag": tag}}
    resources.update(INTERNAL, TYPES[VMI], interface, properties)


def test_a_controller_that_lies_says_nothing_of_it(scene: Scene) -> None:
    scene.fault(target="leaf1/Ethernet10", kind="not_applied", match="push", times=1)
    interface = scene.interface(scene.network(), "leaf1/Ethernet10", vlan=17)
    scene.settled()
    believed = scene.controller.control("GET", "/fabric")["believed"]["leaf1/Ethernet10"]
    assert believed == {"untagged": 17, "tagged": [], "lacp": False, "filters": []}
    assert scene.port("leaf1/Ethernet10") == (DISCOVERY, [])
    assert scene.show(VMI, interface)["virtual_port_group_back_refs"]  # in the config all is well


def test_a_late_write_comes_later(scene: Scene) -> None:
    scene.fault(target="leaf1/Ethernet11", kind="late", match="push", seconds=0.5, times=1)
    scene.interface(scene.network(), "leaf1/Ethernet11", vlan=18)
    scene.settled()
    assert scene.port("leaf1/Ethernet11") == (DISCOVERY, [])
    eventually(lambda: scene.port("leaf1/Ethernet11") == (18, []))


@pytest.mark.parametrize(
    ("kind", "port", "carried"),
    [("wrong_port", "the last of leaf2", (19, [])), ("wrong_vlan", "leaf2/Ethernet12", (20, []))],
)
def test_a_write_to_the_wrong_place(scene: Scene, kind: str, port: str, carried: tuple[int, list[int]]) -> None:
    if port == "the last of leaf2":
        [leaf2] = [switch for switch in scene.rack.rack.switches if switch.name == "leaf2"]
        port = f"leaf2/{leaf2.ports[-1]}"
    scene.fault(target="leaf2/Ethernet12", kind=kind, match="push", times=1)
    interface = scene.interface(scene.network(), "leaf2/Ethernet12", vlan=19)
    eventually(lambda: scene.port(port) == carried)
    scene.ok("DELETE", f"/{VMI}/{interface}")
    scene.settled()


def test_a_port_group_on_a_router_that_is_not_of_the_rack_is_left_alone(scene: Scene) -> None:
    scene.create("physical-router", [ROOT, "elsewhere"], parent_type="global-system-config")
    scene.create("physical-interface", [ROOT, "elsewhere", "Ethernet1"], parent_type="physical-router")
    scene.interface(scene.network(), "elsewhere/Ethernet1", vlan=21)
    scene.settled()


def test_what_was_asked_for_right_before_a_crash_is_written_after_it(tmp_path: Path) -> None:
    with StandaloneRack.make(tmp_path / "rack", nodes=2).running("switch") as rack:
        controller = StandaloneController.make(tmp_path / "contrail", rack=rack.home, push_seconds=60.0)
        with controller.running():
            requests = Requests(controller)
            requests.interface(requests.network(), "leaf1/Ethernet1", vlan=22)
            controller.kill()
            assert rack.port("leaf1/Ethernet1")["untagged_vlan"] == DISCOVERY
            controller.push_seconds = 0.0
            controller.start()
            eventually(lambda: rack.port("leaf1/Ethernet1")["untagged_vlan"] == 22)


def test_a_switch_that_was_away_is_written_when_it_is_back(tmp_path: Path) -> None:
    with StandaloneRack.make(tmp_path / "rack", nodes=2).running("switch") as rack:
        controller = StandaloneController.make(tmp_path / "contrail", rack=rack.home)
        with controller.running():
            requests = Requests(controller)
            rack.stop("switch")
            requests.interface(requests.network(), "leaf1/Ethernet1", vlan=23)
            eventually(lambda: bool(controller.control("GET", "/fabric")["pending"]["leaf1/Ethernet1"]["problem"]))
            rack.start("switch")
            eventually(lambda: rack.port("leaf1/Ethernet1")["untagged_vlan"] == 23)
