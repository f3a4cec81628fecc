"""The check of a fleet's NICs at 10,000 attachments, and drift over 1,000 nodes; for docs/benchmarks.md.

    .venvs/steelyard/bin/python benchmarks/isolation.py

The fleet is a fake cloud's and the switches are in memory: what is measured is Steelyard's own CPU for reading the
bulk lists of the ports, comparing, and writing findings, not the time that the services and the switches take.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.drift.service import DriftService
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.checking import FleetCheck
from steelyard.lifecycle.leaking import LeakService
from steelyard.nouns import Instance, NetworkPort, NodePort, SwitchLink, SwitchPort
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store

PORTS_PER_SWITCH = 48
WANTED = 5.0
"""Seconds of CPU."""
DRIFT_WANTED = 10.0
"""Seconds, with the three between its two looks."""


class Switches:
    """Readers of many switches in memory, each of which lists its ports as a real one does."""

    def __init__(self) -> None:
        self.listed: dict[str, list[SwitchPort]] = {}

    def ports(self, switch_id: str) -> list[SwitchPort]:
        return self.listed[switch_id]


def build(world: FakeWorld, size: int, differing: int) -> Switches:
    """Servers with two NICs each, every second one deployed on one of 500 tenants' networks; some switch ports carry
    something else than they should."""
    networks = [world.add_network(f"tenant-{number}", project=f"project-{number % 40}") for number in range(500)]
    switches = Switches()
    vlans: dict[tuple[str, str], int | None] = {}
    for number in range(size // 2):
        node = world.add_node(f"bm-{number:05d}", nics=0)
        instance_id = f"50000000-0000-4000-8000-{number:012d}"
        if number % 2:
            changes = {"provision_state": "active", "instance_id": instance_id, "power_state": "on"}
            world.nodes[node.id] = replace(node, **changes)
            world.instances[instance_id] = Instance(
                instance_id,
                f"web-{number}",
                "ACTIVE",
                None,
                "on",
                f"p{number % 40}",
                "u",
                "f",
                "i",
                node.id,
                (),
                world.now,
            )
        for which in (0, 1):
            place = number * 2 + which
            link = SwitchLink(f"02:00:00:00:{place // PORTS_PER_SWITCH >> 8:02x}:{place // PORTS_PER_SWITCH & 255:02x}",
                              f"Ethernet{place % PORTS_PER_SWITCH}", f"leaf{place // PORTS_PER_SWITCH}")  # fmt: skip
            mac = f"52:54:{place >> 24 & 255:02x}:{place >> 16 & 255:02x}:{place >> 8 & 255:02x}:{place & 255:02x}"
            nic = world_nic(world, node.id, mac, link, pxe=which == 0)
            vlans[link.switch_id, link.port_id] = None
            if number % 2 and which == 0:
                network = networks[number % len(networks)]
                port = NetworkPort(
                    f"60000000-0000-4000-8000-{place:012d}", "", network.id, network.project_id, mac, (), instance_id,
                    "compute:nova", node.id, "baremetal", "ACTIVE", link, world.now,
                )  # fmt: skip
                world.fabric.ports[port.id] = port
                vlans[link.switch_id, link.port_id] = network.segmentation_id
            if differing and place % (size // differing) == 0:
                vlans[link.switch_id, link.port_id] = 3999
            assert nic.link == link
    for (switch, port), vlan in vlans.items():
        switches.listed.setdefault(switch, []).append(SwitchPort(switch, switch, port, vlan))
    return switches


def world_nic(world: FakeWorld, node_id: str, mac: str, link: SwitchLink, *, pxe: bool) -> NodePort:
    nic = NodePort(f"70000000-0000-4000-8000-{mac.replace(':', '')}", node_id, mac, pxe, "physnet1", link)
    world.node_ports[nic.id] = nic
    return nic


def cpu(function: Callable[[], object]) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before


def drift(folder: Path, nodes: int) -> tuple[str, str, str]:
    """One report over all systems, as whoever asks waits for it: with what differs on one switch port in fifty."""
    world = FakeWorld()
    switches = build(world, nodes * 2, nodes // 25)
    for node_id, node in list(world.nodes.items()):
        if node.instance_id is not None:
            world.allocate(node.instance_id, node_id)
    for number, node in enumerate(list(world.nodes.values())):
        if node.instance_id is None and number % 50 == 0:
            world.allocate(f"90000000-0000-4000-8000-{number:012d}", node.id)
    store = Store.open(f"sqlite:///{folder}/steelyard.sqlite", key_file=folder / "keys")
    clouds, settings = FakeClouds(world), Settings(home=folder)
    observer = Observer(clouds)
    service = DriftService(
        clouds=clouds, store=store, operations=FakeOperations(), settings=settings, observer=observer,
        leaks=LeakService(clouds=clouds, store=store, observer=observer),
        fleet_check=FleetCheck(
            clouds=clouds, switches=SwitchReaders(dict.fromkeys(switches.listed, switches)), settings=settings,
            store=store, observer=observer,
        ),
    )  # fmt: skip
    began = time.monotonic()
    found = service.report().drifts
    took = time.monotonic() - began
    store.close()
    kinds = sorted({each.kind for each in found})
    assert kinds == ["allocation_without_server", "switch_differs"], kinds
    what = f"`drift` over {nodes} nodes, {len(found)} found, elapsed with the 3 s between its two looks"
    return what, f"{took:.1f} s", f"at most {DRIFT_WANTED:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="attachments")
    parser.add_argument("--nodes", type=int, default=1_000, help="of drift")
    chosen = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as scratch:
        for differing in (0, chosen.size // 100):
            world = FakeWorld()
            switches = build(world, chosen.size, differing)
            folder = Path(scratch, str(differing))
            folder.mkdir()
            store = Store.open(f"sqlite:///{folder}/steelyard.sqlite", key_file=folder / "keys")
            clouds = FakeClouds(world)
            check = FleetCheck(
                clouds=clouds, switches=SwitchReaders(dict.fromkeys(switches.listed, switches)),
                settings=Settings(home=folder), store=store, observer=Observer(clouds, fresh=0.0),
                sleep=lambda _: None,
            )  # fmt: skip
            took = cpu(check.reconcile)
            totals = check.check().totals
            assert totals["attachments"] == chosen.size, totals
            what = f"`isolation.compare` over {chosen.size} attachments, {totals['differ']} differ, CPU"
            rows.append((what, f"{took:.2f} s", f"at most {WANTED:.0f} s"))
            store.close()
        folder = Path(scratch, "drift")
        folder.mkdir()
        rows.append(drift(folder, chosen.nodes))
    print("| what | measured | wanted |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
