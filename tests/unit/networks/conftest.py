"""A fake cloud with one server on the network blue, its switches' readers, and the NIC service over it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.mending import Mending
from steelyard.isolation.service import IsolationService
from steelyard.lifecycle.service import LifecycleService
from steelyard.lifecycle.work import kinds as lifecycle_kinds
from steelyard.networks import attach_work, cabling_work
from steelyard.networks.attaching import NicService
from steelyard.networks.cabling import CablingService
from steelyard.networks.service import NetworkService
from steelyard.nouns import Actor, FlavorSpec, ImageSpec, Instance, Network, NetworkPort, NodePort, SwitchLink
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store


class Bench:
    """The world and the rooms over it."""

    def __init__(self, home: Path, store: Store) -> None:
        self.world = FakeWorld(auto=True)
        self.clouds = FakeClouds(self.world)
        self.store = store
        self.settings = Settings(home=home)
        self.node_id = ""
        self.token = self.world.token(project="demo")
        self.admin_token = self.world.token(project="admin", roles={"admin"}, user="admin")
        self.other_token = self.world.token(project="other")

    def build(self, *, bond: bool = False, nics: int = 2, deploy: bool = True, **operations: Any) -> NicService:
        """The server web on blue, and the service whose operations behave so."""
        node = self.world.add_node("bm-1", resource_class="bm-small", nics=nics)
        self.node_id = node.id
        if bond:
            self.world.add_bond(node)
        for number, name in enumerate(("blue", "red", "green"), 1):
            self.world.add_network(name, project="demo", cidr=f"10.{number}.0.0/24")
        self.world.add_network("bare", project="demo")
        self.world.add_network("theirs", project="other", cidr="10.9.0.0/24")
        data = b"image"
        self.clouds.on_behalf_of(self.token).images.create(
            ImageSpec("debian", "raw", "sha256:" + hashlib.sha256(data).hexdigest(), len(data)), io.BytesIO(data)
        )
        self.clouds.own.flavors.create(FlavorSpec("metal", "CUSTOM_BM_SMALL"))
        links = [port.link for port in self.world.node_ports.values() if port.link]
        self.reader = FakeSwitchReader(source=self.world.switch_ports)
        self.readers = SwitchReaders({link.switch_id: self.reader for link in links})
        self.operations = FakeOperations(on_wait=lambda _: self.world.tick(), **operations)
        isolation = IsolationService(
            clouds=self.clouds, switches=self.readers, settings=self.settings, store=self.store
        )
        self.isolation = isolation
        self.lifecycle = LifecycleService(
            clouds=self.clouds, store=self.store, operations=self.operations, settings=self.settings
        )
        self.operations.register(*lifecycle_kinds(self.lifecycle))
        self.operations.register(
            *attach_work.kinds(self.clouds, self.store, self.settings, self.readers, isolation.show)
        )
        self.seconds = 0.0
        mending = Mending(
            clouds=self.clouds, store=self.store, switches=self.readers, settings=self.settings,
            clock=lambda: self.seconds, sleep=self.sleep,
        )  # fmt: skip
        self.operations.register(*cabling_work.kinds(self.clouds, self.store, self.readers, mending))
        self.cabling = CablingService(
            clouds=self.clouds, operations=self.operations, store=self.store, nodes=self.lifecycle.nodes,
            switches=self.readers,
        )  # fmt: skip
        if deploy:
            self.deploy()
        return NicService(
            clouds=self.clouds, operations=self.operations, store=self.store,
            networks=NetworkService(clouds=self.clouds, settings=self.settings), find=self.lifecycle.server,
        )  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def deploy(self) -> None:
        self.lifecycle.create(self.actor, self.token, "web", flavor="metal", image="debian", networks=["blue"])
        self.world.settle()

    @property
    def admin(self) -> Actor:
        return self.clouds.identity.validate(self.admin_token)

    @property
    def actor(self) -> Actor:
        return self.clouds.identity.validate(self.token)

    @property
    def instance(self) -> Instance:
        [instance] = self.world.instances.values()
        return instance

    def network(self, name: str) -> Network:
        return next(network for network in self.world.fabric.networks.values() if network.name == name)

    @property
    def ports(self) -> list[NetworkPort]:
        return [port for port in self.world.fabric.ports.values() if port.device_id == self.instance.id]

    def on(self) -> list[str]:
        """Names of the networks that the server is on."""
        return sorted(self.world.fabric.networks[port.network_id].name for port in self.ports)

    @property
    def nics(self) -> list[NodePort]:
        return sorted(self.world.node_ports.values(), key=lambda nic: nic.mac)

    @property
    def links(self) -> list[SwitchLink]:
        return [nic.link for nic in self.nics if nic.link is not None]

    def vlans(self) -> list[int | None]:
        return [self.world.fabric.switches.vlan(link) for link in self.links]

    def agrees(self) -> bool:
        return self.isolation.show("bm-1").agrees

    def told(self, subject: str) -> list[str]:
        """What its timeline tells of networks, the oldest first."""
        found = sorted(self.store.events.of(subject), key=lambda event: event.id)
        return [event.kind for event in found if event.kind.startswith("network.")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    yield Bench(tmp_path, store)
    store.close()
