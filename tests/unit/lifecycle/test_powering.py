"""A change of power and its networks: it succeeds; repeating a step changes nothing; failing leaves it safe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from steelyard.clouds.fake.gate import DRIVER
from steelyard.errors import Conflict, Refused, Unavailable
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.flips import Flips
from steelyard.isolation.model import PowerOffPolicy
from steelyard.lifecycle.model import Power
from steelyard.lifecycle.service import LifecycleService
from steelyard.lifecycle.work import kinds
from steelyard.nouns import NetworkPort, Node, NodePort
from steelyard.operations.model import Operation
from steelyard.operations.model import Phase as End

if TYPE_CHECKING:
    from .conftest import Bench

ANY_REPEAT = pytest.mark.parametrize("repeat", [False, True], ids=["once", "each step twice"])


@dataclass
class Site:
    """A tenant's server that runs, on a node with Steelyard's interfaces, and switches that can be read."""

    bench: Bench
    flips: Flips
    service: LifecycleService

    def power(self, action: Power) -> Operation:
        return self.service.power(self.bench.tenant, self.bench.token, "web", action)[1]

    def over(self, *, repeat_steps: bool = False, fail_step: str | None = None) -> Site:
        """The same with other operations."""
        operations = self.bench.operations(repeat_steps=repeat_steps, fail_step=fail_step)
        service = LifecycleService(
            clouds=self.bench.clouds, store=self.bench.store, operations=operations, settings=self.bench.settings,
            flips=self.flips,
        )  # fmt: skip
        operations.register(*kinds(service))
        return replace(self, service=service)

    @property
    def node(self) -> Node:
        return next(node for node in self.bench.world.nodes.values() if node.instance_id)

    @property
    def port(self) -> NetworkPort:
        return next(p for p in self.bench.world.fabric.ports.values() if p.device_id == self.node.instance_id)

    @property
    def nic(self) -> NodePort:
        return next(nic for nic in self.bench.world.node_ports.values() if nic.mac == self.port.mac)

    def on(self, network: str) -> bool:
        assert self.nic.link is not None
        wanted = next(n for n in self.bench.world.fabric.networks.values() if n.name == network)
        return self.bench.world.fabric.switches.vlan(self.nic.link) == wanted.segmentation_id


@pytest.fixture
def site(bench: Bench) -> Site:
    for node in list(bench.world.nodes.values()):
        bench.world.nodes[node.id] = replace(node, driver=DRIVER, power_interface=DRIVER)
    reader = FakeSwitchReader(source=bench.world.switch_ports)
    seconds = [0.0]

    def sleep(wanted: float) -> None:
        seconds[0] += wanted

    flips = Flips(
        clouds=bench.clouds, store=bench.store, settings=bench.settings, clock=lambda: seconds[0], sleep=sleep,
        switches=SwitchReaders({port.switch_id: reader for port in bench.world.switch_ports()}),
    )  # fmt: skip
    made = Site(bench, flips, bench.service()).over()
    made.service.create(
        bench.tenant, bench.token, "web", flavor="metal-small", image="debian", networks=["blue"]
    )  # fmt: skip
    assert made.on("blue")
    return made


@ANY_REPEAT
def test_off_and_on_succeed_and_the_networks_follow(site: Site, repeat: bool) -> None:
    site = site.over(repeat_steps=repeat)
    off = site.power(Power.OFF)
    assert off.phase is End.SUCCEEDED, off.error
    assert off.result["networks"] == "quarantine"
    assert site.on("quarantine")
    seen: list[str | None] = []
    site.bench.world.power_gate = lambda node_id: seen.append(site.node.power_state)
    on = site.power(Power.ON)
    assert on.phase is End.SUCCEEDED, on.error
    assert seen == ["off"]
    assert site.on("blue")
    assert site.bench.store.flips.open_nodes() == set()
    assert site.node.id not in repr((off, on))
    assert site.nic.mac not in repr((off, on))


@pytest.mark.parametrize(
    ("step", "action"),
    [
        ("wait for the power state", Power.OFF),
        ("networks follow", Power.OFF),
        ("wait for the power state", Power.ON),
        ("networks follow", Power.ON),
    ],
)
def test_failing_at_a_step_leaves_it_safe_and_it_can_be_asked_again(site: Site, step: str, action: Power) -> None:
    site.bench.world.power_gate = lambda node_id: None
    if action is Power.ON:
        site.power(Power.OFF)
    failed = site.over(fail_step=step).power(action)
    assert failed.phase is End.FAILED
    running = site.node.power_state == "on"
    assert running is (action is Power.ON)
    assert site.on("blue") or not running
    again = site.power(action)
    assert again.phase is End.SUCCEEDED, again.error
    assert site.on("blue" if running else "quarantine")


def test_keep(site: Site) -> None:
    project = site.bench.tenant.project_id
    assert project is not None
    site.bench.store.policies.set(project, PowerOffPolicy.KEEP, actor="root")
    off = site.power(Power.OFF)
    assert off.result["networks"] == "keep"
    assert site.on("blue")


def test_power_on_is_refused_when_the_networks_cannot_be_made_ready(site: Site) -> None:
    site.power(Power.OFF)
    assert site.nic.link is not None
    site.bench.world.jam_switch_port(site.nic.link)
    with pytest.raises(Refused) as caught:
        site.power(Power.ON)
    assert caught.value.code == "network_not_ready"
    assert (site.node.name or "") not in caught.value.detail
    assert site.nic.link.port_id not in caught.value.detail
    assert site.node.power_state == "off"
    with pytest.raises(Refused) as caught:
        site.service.power(site.bench.admin, site.bench.admin_token, site.node.instance_id or "", Power.ON)
    assert "the switch carries" in caught.value.detail, "an administrator reads why"
    site.bench.world.free_switch_port(site.nic.link)
    site.bench.world.power_gate = lambda node_id: None
    assert site.power(Power.ON).phase is End.SUCCEEDED


def test_while_another_flip_runs_it_may_be_asked_again_later(site: Site) -> None:
    site.power(Power.OFF)
    site.bench.store.flips.take(site.node.id, "somebody", seconds=600)
    with pytest.raises(Conflict) as caught:
        site.power(Power.ON)
    assert caught.value.code == "flip_running"
    assert (site.node.name or "") not in caught.value.detail


def test_a_power_on_that_nova_does_not_take_is_not_held_open(site: Site) -> None:
    site.power(Power.OFF)
    site.bench.world.fail("compute.power", Unavailable("away"))
    with pytest.raises(Unavailable):
        site.power(Power.ON)
    assert site.bench.store.flips.open_nodes() == set()
    assert site.node.power_state == "off"


def test_off_waits_for_a_node_that_ironic_works_on(site: Site) -> None:
    site.bench.world.fail("nodes.update", Conflict("locked"), times=2)
    off = site.power(Power.OFF)
    assert off.phase is End.SUCCEEDED, off.error
    assert site.on("quarantine")
