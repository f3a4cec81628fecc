"""Each node in transition is alone on its network, by the switches' own log; who finds no segment waits for one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from openstack.connection import Connection

from .cloud_at_hand import EmbeddedCloud, until
from .local_cloud import LocalCloud
from .switch_history import history, met, shared
from .switch_history import segments as segment_vlans
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
SOON = 180.0
"""Seconds, on a slow machine."""


def segments(cloud: EmbeddedCloud) -> Json:
    return cloud.get("admin", "/v1/isolation/segments")


def leased(cloud: EmbeddedCloud) -> dict[str, str]:
    """Segments by the names of their nodes."""
    return {str(each["node"]): str(each["network"]) for each in segments(cloud)["segments"] if each["node"]}


def lease(cloud: EmbeddedCloud, node: str) -> Json:
    """As a conductor asks."""
    with cloud.rest(cloud.token("admin")) as rest:
        answer = rest.post(f"/v1/nodes/{node}/segment", json={"role": "cleaning"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def system(cloud: EmbeddedCloud) -> Connection:
    return cloud.connect("system")


@pytest.fixture
def two(cloud: EmbeddedCloud, system: Connection) -> Iterator[tuple[str, str]]:
    """The names of two nodes that are available, and are so again in the end."""
    cloud.pool_with(2)
    free = sorted(name for name, node in cloud.nodes().items() if node["phase"] == "available")
    yield free[0], free[1]
    for name in free[:2]:
        until(f"{name} is available", lambda name=name: state(system, name) == "available", seconds=SOON)


def state(system: Connection, node: str) -> str:
    return str(system.baremetal.get_node(node).provision_state)


def clean(system: Connection, *nodes: str) -> None:
    """By Ironic alone."""
    for node in nodes:
        system.baremetal.set_node_provision_state(node, "manage", wait=True, timeout=SOON)
    for node in nodes:
        system.baremetal.set_node_provision_state(node, "provide")


def test_servers_of_the_stock_client_are_deployed_and_cleaned_each_on_a_segment_of_its_own(
    cloud: EmbeddedCloud, things: Things, system: Connection, after: ExitStack
) -> None:
    image, network, flavor = things.image(), things.network("10.98.0.0/24"), things.flavor(free=2)
    since = cloud.rack.last_change()
    names = [unique("server"), unique("server")]
    for name in names:
        after.callback(cloud.openstack, "demo", "server", "delete", name)

    def create(name: str) -> None:
        cloud.openstack(
            "demo", "server", "create", name, "--flavor", flavor["name"], "--image", image["id"],
            "--network", network["id"], "--wait", within=300.0,
        ).ok()  # fmt: skip

    with ThreadPoolExecutor(2) as both:
        list(both.map(create, names))
    ids = [cloud.openstack("demo", "server", "show", name, "-f", "json").json["id"] for name in names]
    nodes = [next(iter(system.baremetal.nodes(instance_id=id))).name for id in ids]
    for node in nodes:
        assert cloud.steelyard("admin", "isolation", "show", node, "-f", "json").json["agrees"]
    cloud.openstack("demo", "server", "delete", *names, "--wait").ok()
    for node in nodes:
        until(f"{node} is clean", lambda node=node: state(system, node) == "available", seconds=SOON)

    log = history(cloud.rack, since)
    assert met(log, cloud.record) == []
    for node in nodes:
        assert len(log.visited(node, segment_vlans(cloud.record))) >= 1, "deployed and cleaned"
        assert not log.visited(node, shared(cloud.record)), "nobody was on a network that others may be on"
    until("all segments are free", lambda: not leased(cloud).keys() & set(nodes), seconds=30.0)
    assert cloud.steelyard("admin", "isolation", "check").code == 0


def test_who_finds_no_segment_waits_with_a_reason_and_goes_on(
    cloud: EmbeddedCloud, system: Connection, two: tuple[str, str], after: ExitStack
) -> None:
    admin = cloud.connect("admin")
    since = cloud.rack.last_change()
    every = sorted(str(each["network_id"]) for each in segments(cloud)["segments"])
    for network_id in every[1:]:  # one on which somebody else has a port is nobody's
        stray = admin.network.create_port(network_id=network_id, name="stray", device_owner="compute:stray")
        after.callback(admin.network.delete_port, stray, ignore_missing=True)
    clean(system, *two)
    waiting = until("one of them waits", lambda: [w["node"] for w in segments(cloud)["waiting"]], seconds=SOON)
    [second] = waiting
    assert second in two
    assert cloud.rack.vlan_of(second) is None, "it is on no network while it waits"
    assert state(system, second) == "cleaning"
    [first] = set(two) - {second}
    # Steelyard holds one for a moment while it looks who is on it.
    until("only the other one has a segment", lambda: list(leased(cloud)) == [first], seconds=10.0)

    def told() -> Json | None:
        found = cloud.steelyard("admin", "attention", "--severity", "minor", "-f", "json").json
        return next((each for each in found if "waits for a segment of its own" in str(each)), None)

    assert second in str(until("attention tells of it", told, seconds=60.0))
    for node in (first, second):
        until(f"{node} is clean", lambda node=node: state(system, node) == "available", seconds=SOON)
    log = history(cloud.rack, since)
    assert met(log, cloud.record) == []
    assert log.visited(first, segment_vlans(cloud.record)) == log.visited(second, segment_vlans(cloud.record))
    assert len(log.visited(first, segment_vlans(cloud.record))) == 1
    until("nobody is told of it any more", lambda: told() is None, seconds=60.0)


def test_a_server_that_is_killed_while_segments_are_leased(
    cloud: LocalCloud, system: Connection, two: tuple[str, str]
) -> None:
    working, dead = two
    lease(cloud, dead)  # by somebody who then does nothing with it
    clean(system, working)
    until("it is on its segment", lambda: cloud.rack.vlan_of(working) in cloud.segment_vlans, seconds=SOON)
    unit = cloud.services()["steelyard"]
    os.kill(unit["pid"], signal.SIGKILL)

    def back() -> bool:
        now = cloud.services()["steelyard"]
        return bool(now["state"] == "up" and now["pid"] != unit["pid"])

    until("Steelyard is back", back, seconds=SOON)
    assert dead in leased(cloud), "leases outlive the server"
    until("the clean goes on", lambda: state(system, working) == "available", seconds=SOON)
    assert cloud.rack.vlan_of(working) is None
    until("both have come back", lambda: leased(cloud) == {}, seconds=SOON, every=2.0)
    events = cloud.get("admin", "/v1/events", subject=f"node:{cloud.nodes()[dead]['id']}", limit=50)["events"]
    assert [e["kind"] for e in events if e["kind"].startswith("segment.")][:2] == ["segment.returned", "segment.leased"]
