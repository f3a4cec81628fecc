"""A world with one node that is deployed on the network blue, readers for its switches, and the room over it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.fake.gate import DRIVER
from steelyard.clouds.observing import Observer
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.flips import By, Flips
from steelyard.isolation.segments import Segments
from steelyard.isolation.service import IsolationService
from steelyard.isolation.work import reconcilers
from steelyard.nouns import FlavorSpec, ImageSpec, Instance, NetworkPort, Node, NodePort, ServerSpec, SwitchPort
from steelyard.operations.reconciling import Report
from steelyard.settings import Settings
from steelyard.store import Store

BY = By("test", "because")


class Bench:
    """The world, the room, and what is true of the one server."""

    def __init__(self, home: Path, store: Store, **settings: Any):
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.store = store
        self.reader = FakeSwitchReader(source=self.world.switch_ports)
        self.node_id = self.world.add_node("bm-1").id
        self.world.nodes[self.node_id] = replace(self.node, driver=DRIVER, power_interface=DRIVER)
        links = [port.link for port in self.world.node_ports.values()]
        self.readers = SwitchReaders({link.switch_id: self.reader for link in links if link})
        self.seconds = 0.0
        self.signals: list[str] = []
        self._due: list[tuple[float, Callable[[], None]]] = []
        self.settings = Settings(home=home, **settings)
        self.segments = Segments(clouds=self.clouds, store=store, settings=self.settings)
        self.flips = self.new_flips(self.readers)
        self.service = IsolationService(
            clouds=self.clouds, switches=self.readers, settings=self.settings, store=store, flips=self.flips,
            observer=Observer(self.clouds, fresh=0.0), segments=self.segments,
        )  # fmt: skip
        self.world.power_gate = self.service.power_gate
        self.reconciler, _, self.segments_reconciler = reconcilers(self.service)

    def new_flips(self, readers: SwitchReaders) -> Flips:
        return Flips(
            clouds=self.clouds, store=self.store, switches=readers, settings=self.settings, clock=lambda: self.seconds,
            sleep=self.sleep, segments=self.segments,
        )  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for due in [due for due in self._due if due[0] <= self.seconds]:
            self._due.remove(due)
            due[1]()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """When somebody has waited for so long, this happens."""
        self._due.append((self.seconds + seconds, do))

    def read_by(self, source: Callable[[], Iterable[SwitchPort]]) -> None:
        """From now on this is what the switches show."""
        self.reader = FakeSwitchReader(source=source)
        self.readers = SwitchReaders(dict.fromkeys(self.readers.switch_ids, self.reader))

    def run(self) -> Report:
        return self.reconciler.run()

    def deploy(self) -> None:
        network = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        cloud = self.clouds.on_behalf_of(self.world.token(project="demo"))
        image = cloud.images.create(
            ImageSpec("i", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1), io.BytesIO(b"x")
        )
        flavor = self.clouds.own.flavors.create(FlavorSpec("f", "CUSTOM_BM_SMALL"))
        cloud.compute.create(ServerSpec("web", flavor.id, image.id, (network.id,)))

    @property
    def node(self) -> Node:
        return self.world.nodes[self.node_id]

    @property
    def instance(self) -> Instance:
        [instance] = self.world.instances.values()
        return instance

    @property
    def port(self) -> NetworkPort:
        """The tenant's."""
        [port] = [p for p in self.world.fabric.ports.values() if p.device_id == self.instance.id]
        return port

    @property
    def own(self) -> list[NetworkPort]:
        """Steelyard's own on the quarantine network."""
        return [p for p in self.world.fabric.ports.values() if p.name == "steelyard-quarantine"]

    @property
    def nic(self) -> NodePort:
        return next(nic for nic in self.world.node_ports.values() if nic.mac == self.port.mac)

    @property
    def vlan(self) -> int | None:
        """What the switch carries for the tenant's NIC."""
        assert self.nic.link is not None
        return self.world.fabric.switches.vlan(self.nic.link)

    def segment(self, name: str) -> int | None:
        return next(n.segmentation_id for n in self.world.fabric.networks.values() if n.name == name)

    @property
    def marked(self) -> bool:
        return "steelyard_parked" in self.node.extra

    def power(self, state: str) -> None:
        """The server's power changes at its BMC, and the services have noticed."""
        self.world.nodes[self.node_id] = replace(self.node, power_state=state)
        status = "ACTIVE" if state == "on" else "SHUTOFF"
        self.world.instances[self.instance.id] = replace(self.instance, status=status, power_state=state)

    def quarantined(self) -> bool:
        return (
            self.vlan == self.segment("quarantine")
            and self.port.host_id is None
            and len(self.own) == 1
            and self.own[0].status == "ACTIVE"
        )

    def on_tenant(self) -> bool:
        return self.vlan == self.segment("blue") and self.port.host_id == self.node_id and self.own == []

    def events(self) -> list[str]:
        return [event.kind for event in self.store.events.of(f"node:{self.node_id}") if "network" in event.kind]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    yield Bench(tmp_path, store)
    store.close()


@pytest.fixture
def deployed(bench: Bench) -> Bench:
    bench.deploy()
    bench.world.settle()
    assert bench.on_tenant()
    return bench
