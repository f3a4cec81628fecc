"""A fake cloud, a fake rack of BMCs before it, and the service over both."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from steelyard.clouds.fake import FakeClouds, FakeHardware, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.discovery.service import DiscoveryService
from steelyard.discovery.work import kinds
from steelyard.hardware.redfish.fake import FakeBmc, FakeBmcProber
from steelyard.hardware.redfish.port import SystemIdentity
from steelyard.nouns import Actor
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store

PORT = 8443
CREDENTIALS = [{"username": "root", "password": "calvin"}]


@dataclass
class Bench:
    """Everything that a test of this room touches."""

    world: FakeWorld
    prober: FakeBmcProber
    store: Store
    settings: Settings
    admin: Actor
    observer: Observer

    def go_on(self, seconds: float) -> None:
        self.world.tick()

    def service(self, *, repeat_steps: bool = False, fail_step: str | None = None) -> DiscoveryService:
        """The service over fake operations; waiting lets the world go on."""
        return self.over(self.operations(repeat_steps=repeat_steps, fail_step=fail_step))

    def operations(self, *, repeat_steps: bool = False, fail_step: str | None = None) -> FakeOperations:
        return FakeOperations(on_wait=self.go_on, repeat_steps=repeat_steps, fail_step=fail_step)

    def over(self, operations: FakeOperations) -> DiscoveryService:
        """The service over these operations."""
        service = DiscoveryService(
            clouds=FakeClouds(self.world), store=self.store, operations=operations, prober=self.prober,
            settings=self.settings, observer=self.observer,
        )  # fmt: skip
        operations.register(*kinds(service))
        return service

    def add_server(self, number: int, *, serial: str | None = None) -> FakeHardware:
        """A server with its BMC at 10.0.0.<number>."""
        address = ipaddress.ip_address(f"10.0.0.{number}")
        machine = self.world.add_hardware(f"https://{address}:{PORT}")
        identity = SystemIdentity(
            path="/redfish/v1/Systems/1", uuid=f"00000000-0000-4000-8000-{number:012}", serial=serial or machine.serial,
            vendor=machine.vendor, model=machine.product, hostname=f"bm-{number:03}", power_state="off",
            cpus=machine.cpus, memory_mib=machine.memory_mib, macs=tuple(nic.mac for nic in machine.nics),
        )  # fmt: skip
        self.prober.bmcs[address, PORT] = FakeBmc("root", "calvin", (identity,))
        return machine


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    admin = Actor("u1", "admin", None, None, frozenset({"admin"}), system=True)
    world = FakeWorld()
    observer = Observer(FakeClouds(world), clock=lambda: world.now.timestamp())
    yield Bench(world, FakeBmcProber(), store, Settings(home=tmp_path), admin, observer)
    store.close()
