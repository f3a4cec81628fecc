"""A fake cloud with two free nodes, an image, a flavor and a network, and the service over it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.mending import Mending
from steelyard.lifecycle.service import LifecycleService
from steelyard.lifecycle.work import kinds
from steelyard.nouns import Actor, FlavorSpec, ImageSpec
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store


@dataclass
class Bench:
    """Everything that a test of this room touches."""

    world: FakeWorld
    clouds: FakeClouds
    store: Store
    settings: Settings
    token: str
    """A member's of project demo."""
    admin_token: str

    @property
    def tenant(self) -> Actor:
        return self.clouds.identity.validate(self.token)

    @property
    def admin(self) -> Actor:
        return self.clouds.identity.validate(self.admin_token)

    def go_on(self, seconds: float) -> None:
        self.world.tick()

    def operations(self, *, repeat_steps: bool = False, fail_step: str | None = None) -> FakeOperations:
        return FakeOperations(on_wait=self.go_on, repeat_steps=repeat_steps, fail_step=fail_step)

    def over(self, operations: FakeOperations) -> LifecycleService:
        """The service over these operations."""
        service = LifecycleService(
            clouds=self.clouds, store=self.store, operations=operations, settings=self.settings, mending=self.mending()
        )  # fmt: skip
        operations.register(*kinds(service))
        return service

    def mending(self) -> Mending:
        """It reads the world's switches, and has all the time there is at once."""
        reader = FakeSwitchReader(source=self.world.switch_ports)
        links = [nic.link for nic in self.world.node_ports.values() if nic.link is not None]
        seconds = iter(range(100_000))
        return Mending(
            clouds=self.clouds, store=self.store, settings=self.settings, clock=lambda: float(next(seconds)),
            switches=SwitchReaders({link.switch_id: reader for link in links}), sleep=lambda _: None,
        )  # fmt: skip

    def service(self, *, repeat_steps: bool = False, fail_step: str | None = None) -> LifecycleService:
        return self.over(self.operations(repeat_steps=repeat_steps, fail_step=fail_step))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    world = FakeWorld()
    clouds = FakeClouds(world)
    for number in (1, 2):
        world.add_node(f"bm-{number}", resource_class="bm-small")
    world.add_network("blue", project="demo", cidr="10.1.0.0/24")
    token, admin_token = world.token(project="demo"), world.token(project="admin", roles={"admin"}, user="admin")
    data = b"image" * 1000
    clouds.on_behalf_of(token).images.create(
        ImageSpec("debian", "raw", "sha256:" + hashlib.sha256(data).hexdigest(), len(data)), io.BytesIO(data)
    )
    clouds.own.flavors.create(FlavorSpec("metal-small", "CUSTOM_BM_SMALL"))
    clouds.own.flavors.create(FlavorSpec("metal-huge", "CUSTOM_BM_HUGE"))
    yield Bench(world, clouds, store, Settings(home=tmp_path), token, admin_token)
    store.close()
