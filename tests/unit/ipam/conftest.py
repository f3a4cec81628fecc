"""A tenant with a server and a network, on a fake cloud; and the services of addresses over it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.ipam.checking import IpamCheck
from steelyard.ipam.reservations import ReservationService
from steelyard.ipam.service import IpamService
from steelyard.nouns import Actor, Flavor, FlavorSpec, ImageSpec, Instance, NetworkPort, ServerSpec, Subnet
from steelyard.settings import Settings
from steelyard.store import Store


class Place:
    """A tenant with a deployed server and a reserved port; another tenant with nothing but a network."""

    def __init__(self, folder: Path) -> None:
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.clock = 0.0
        settings = Settings(home=folder)
        self.store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
        self.service = IpamService(clouds=self.clouds, store=self.store, clock=lambda: self.clock)
        self.reservations = ReservationService(ipam=self.service, store=self.store)
        self.check = IpamCheck(
            clouds=self.clouds, store=self.store, settings=settings, observer=Observer(self.clouds, fresh=-1),
            sleep=self._between_looks, clock=lambda: self.world.now,
        )  # fmt: skip
        self.between_looks: Callable[[], None] = lambda: None
        self.demo = self.who("demo", "member")
        self.other = self.who("other", "reader")
        self.admin = self.who("admin", "admin")
        self.node = self.world.add_node("bm-1")
        self.blue = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        self.world.add_network("green", project="other", cidr="10.1.0.0/24")
        self.flavor = self.clouds.own.flavors.create(FlavorSpec("f", "bm.small"))
        self.small = Flavor("vm", "vm.small", 1, 512, 1, None, frozenset())
        self.world.flavors[self.small.id] = self.small
        tenant = self.clouds.on_behalf_of(self.demo[1])
        spec = ImageSpec("i", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1)
        self.image = tenant.images.create(spec, io.BytesIO(b"x"))
        tenant.compute.create(ServerSpec("web", self.flavor.id, self.image.id, (self.blue.id,)))
        self.world.settle()
        self.world.fabric.add_port(
            self.blue.id, now=self.world.now, mac="fa:16:3e:00:00:09", project_id=self.demo[0].project_id,
            device_id="", device_owner="", name="kept", vnic_type="normal",
        )  # fmt: skip

    def who(self, project: str, role: str) -> tuple[Actor, str]:
        token = self.world.token(project=project, roles={role})
        return self.clouds.identity.validate(token), token

    def add_machine(self, name: str, *, physical: bool = False) -> Instance:
        """A server, virtual or physical, of the project demo on its network; not built yet."""
        flavor = self.flavor if physical else self.small
        tenant = self.clouds.on_behalf_of(self.demo[1])
        return tenant.compute.create(ServerSpec(name, flavor.id, self.image.id, (self.blue.id,)))

    @property
    def subnet(self) -> Subnet:
        """The tenant's."""
        return self.world.fabric.subnets[self.blue.subnet_ids[0]]

    def addresses(self) -> dict[str, NetworkPort]:
        """Who has what on it, for the controller."""
        ports = self.world.fabric.ports.values()
        return {fixed.address: port for port in ports for fixed in port.addresses if fixed.subnet_id == self.subnet.id}

    def _between_looks(self, seconds: float) -> None:
        self.between_looks()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()
