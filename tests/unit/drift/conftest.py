"""A world with a deployed server and a free one, and drift over it, with the drifts that tests make by hand."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.drift.model import Drift
from steelyard.drift.plan import Plan
from steelyard.drift.service import DriftService
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.mending import Mending
from steelyard.nouns import Actor, FlavorSpec, ImageSpec, Instance, Leftover, NetworkPort, Node, NodePort, ServerSpec
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.wiring import Steelyard, assemble


class Bench:
    """The world, and Steelyard over it."""

    def __init__(self, home: Path, store: Store) -> None:
        self.home = home
        self.store = store
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.reader = FakeSwitchReader(source=self.world.switch_ports)
        self.seconds = 0.0
        for name in ("bm-1", "bm-2"):
            node = self.world.add_node(name)
            notes = {"class_given": False, "serial": name}
            self.world.nodes[node.id] = replace(
                node, extra={"steelyard": notes}, traits=frozenset({"HW_ARCH_X86_64", "CUSTOM_VENDOR_ACME"}),
                properties={**node.properties, "vendor": "Acme"},
            )  # fmt: skip
        self._deploy()
        self.built = self.assemble()

    def assemble(self, *, repeat_steps: bool = False, fail_step: str | None = None) -> Steelyard:
        links = [port.link for port in self.world.node_ports.values()]
        settings = Settings(home=self.home)
        readers = SwitchReaders({link.switch_id: self.reader for link in links if link})
        self.operations = FakeOperations(repeat_steps=repeat_steps, fail_step=fail_step)
        built = assemble(
            settings, clouds=self.clouds, store=self.store, operations=self.operations, switches=readers,
            prober=FakeBmcProber(),
        )  # fmt: skip
        mending = Mending(
            clouds=self.clouds, store=self.store, switches=readers, settings=settings, clock=lambda: self.seconds,
            sleep=self._pass,
        )  # fmt: skip
        built.fleet_check.mending = mending
        built.drift.acting._mending = mending
        built.drift._sleep = lambda _: None
        built.drift._clock = built.fleet_check._clock = lambda: self.world.now
        built.observer.fresh = 0.0
        self.built = built
        return built

    def _pass(self, seconds: float) -> None:
        self.seconds += seconds

    def _deploy(self) -> None:
        network = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        cloud = self.clouds.on_behalf_of(self.world.token(project="demo"))
        image = cloud.images.create(
            ImageSpec("i", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1), io.BytesIO(b"x")
        )
        flavor = self.clouds.own.flavors.create(FlavorSpec("f", "CUSTOM_BM_SMALL"))
        cloud.compute.create(ServerSpec("web", flavor.id, image.id, (network.id,)))
        self.world.settle()

    @property
    def drift(self) -> DriftService:
        return self.built.drift

    @property
    def admin(self) -> Actor:
        return self.clouds.identity.validate(self.world.token(project="admin", roles={"admin"}, user="ada"))

    @property
    def instance(self) -> Instance:
        [instance] = self.world.instances.values()
        return instance

    @property
    def used(self) -> Node:
        return self.world.nodes[self.instance.node_id or ""]

    @property
    def free(self) -> Node:
        [node] = [node for node in self.world.nodes.values() if node.id != self.instance.node_id]
        return node

    @property
    def port(self) -> NetworkPort:
        [port] = [port for port in self.world.fabric.ports.values() if port.device_id == self.instance.id]
        return port

    @property
    def nic(self) -> NodePort:
        return next(nic for nic in self.world.node_ports.values() if nic.mac == self.port.mac)

    def vlan(self, nic: NodePort) -> int | None:
        assert nic.link is not None
        return self.world.fabric.switches.vlan(nic.link)

    def found(self) -> dict[str, Drift]:
        """By kind."""
        return {each.kind: each for each in self.drift.report().drifts}

    def plan(self) -> Plan:
        return self.drift.plan(self.admin)

    # Drifts by hand

    def orphan_an_allocation(self) -> str:
        consumer = str(uuid.uuid4())
        self.world.allocate(consumer, self.free.id)
        return consumer

    def stray_port(self) -> NetworkPort:
        return self.world.fabric.add_port(
            self.world.role_networks["cleaning"], now=self.world.now, mac="fa:16:3e:00:00:01", project_id="p",
            device_id="", device_owner="", name="stray", vnic_type="normal",
        )  # fmt: skip

    def move_a_vlan(self) -> None:
        assert self.nic.link is not None
        self.world.tamper_switch(self.nic.link, 999)

    def free_nic(self) -> NodePort:
        return next(nic for nic in self.world.node_ports.values() if nic.node_id == self.free.id)

    def put_a_vlan(self) -> None:
        nic = self.free_nic()
        assert nic.link is not None
        self.world.tamper_switch(nic.link, 998)

    def delete_a_binding(self) -> None:
        self.world.fabric.unbind(self.port)

    def take_a_trait(self) -> None:
        self.world.nodes[self.free.id] = replace(self.free, traits=frozenset({"HW_ARCH_X86_64", "CUSTOM_MINE"}))
        self.world.provider_traits.pop(self.free.id, None)

    def change_a_provider(self) -> None:
        self.world.provider_traits[self.used.id] = frozenset({"CUSTOM_WRONG"})

    def claim_for_nobody(self) -> None:
        self.world.nodes[self.free.id] = replace(self.free, instance_id=str(uuid.uuid4()))

    def leave_a_vif(self) -> str:
        """As a Nova leaves it that was killed before it asked for the deployment; the port is deleted."""
        vif_id = str(uuid.uuid4())
        self.world.put_vif(self.free_nic().id, vif_id)
        return vif_id

    def leave_in_the_controller(self) -> Leftover:
        leftover = Leftover("instance-ip", str(uuid.uuid4()), "10.1.0.9", "no port has the address")
        self.world.leftovers.append(leftover)
        return leftover

    def attach_a_stranger(self) -> NetworkPort:
        """A port of a server that is elsewhere, bound to a NIC of the free node."""
        red = self.world.add_network("red", project="other")
        nic = self.free_nic()
        port = self.world.fabric.add_port(
            red.id, now=self.world.now, mac=nic.mac, project_id="q", device_id=self.instance.id,
            device_owner="compute:nova",
        )  # fmt: skip
        self.world.fabric.bind(port, self.free.id, nic)
        return self.world.fabric.ports[port.id]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    yield Bench(tmp_path, store)
    store.close()
