"""A security group that a stock client set on a server's NIC is found, as long as nothing enforces it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from steelyard.clouds.observing import Observer
from steelyard.networks.sub_interfaces import TagWatch, is_leaving
from steelyard.networks.watching import NOT_ENFORCED, GroupWatch

if TYPE_CHECKING:
    from .conftest import Bench


def watch(bench: Bench) -> GroupWatch:
    return GroupWatch(clouds=bench.clouds, store=bench.store, observer=Observer(bench.clouds, fresh=0.0))


def put(bench: Bench, *groups: str) -> None:
    port = bench.ports[0]
    bench.world.fabric.ports[port.id] = replace(port, security_groups=groups)


def test_a_group_beside_the_default_one_is_found_and_closed_when_it_goes(bench: Bench) -> None:
    bench.build()
    project = bench.instance.project_id
    default = bench.world.default_group(project)
    group = bench.world.add_security_group("web-only", project)
    assert default is not None
    put(bench, default.id)
    assert watch(bench).reconcile().changed == 0
    put(bench, default.id, group.id)
    watch(bench).reconcile()
    [found] = bench.store.findings.all()
    assert (found.finding.kind, found.finding.name) == (NOT_ENFORCED, "web")
    assert found.finding.next == f"openstack port unset --security-group web-only {bench.ports[0].id}"
    assert found.finding.evidence["groups"] == ["web-only"]
    put(bench, default.id)
    watch(bench).reconcile()
    assert bench.store.findings.all() == []


def test_a_server_that_leaves_loses_its_sub_interfaces_and_no_other(bench: Bench) -> None:
    bench.build()
    tags = TagWatch(clouds=bench.clouds, observer=Observer(bench.clouds, fresh=0.0))
    red = bench.network("red").id
    bench.clouds.own.sub_interfaces.add(bench.ports[0].id, network_id=red, name="web-red")
    assert tags.reconcile().changed == 0
    instance = bench.instance
    bench.world.instances[instance.id] = replace(instance, status="ERROR")
    assert tags.reconcile().changed == 0, "it is still on its node"
    bench.world.nodes[bench.node_id] = replace(bench.world.nodes[bench.node_id], instance_id=None)
    assert tags.reconcile().changed == 1
    assert [port for port in bench.world.fabric.ports.values() if port.network_id == red] == []
    assert [port for port in bench.world.fabric.ports.values() if port.subports] == []


@pytest.mark.parametrize(("owner", "removed"), [("compute:nova", 1), ("baremetal:none", 0), ("network:appliance", 0)])
def test_of_a_device_that_nova_does_not_list_only_a_servers_go(bench: Bench, owner: str, removed: int) -> None:
    bench.build()
    port = bench.ports[0]
    bench.clouds.own.sub_interfaces.add(port.id, network_id=bench.network("red").id, name="of-somebody")
    changed = replace(bench.world.fabric.ports[port.id], device_id="a-device", device_owner=owner)
    bench.world.fabric.ports[port.id] = changed
    assert TagWatch(clouds=bench.clouds, observer=Observer(bench.clouds, fresh=0.0)).reconcile().changed == removed
    assert bool(bench.world.fabric.ports[port.id].subports) is not bool(removed)


def test_a_release_takes_them_off_first(bench: Bench) -> None:
    bench.build()
    bench.clouds.own.sub_interfaces.add(bench.ports[0].id, network_id=bench.network("red").id, name="web-red")
    bench.lifecycle.delete(bench.actor, bench.token, "web")
    bench.world.settle()
    assert [port for port in bench.world.fabric.ports.values() if port.network_id == bench.network("red").id] == []
    assert bench.agrees()


def test_nothing_is_found_where_the_controller_enforces_them(bench: Bench) -> None:
    bench.build()
    put(bench, bench.world.add_security_group("web-only", bench.instance.project_id).id)
    watch(bench).reconcile()
    assert len(bench.store.findings.all()) == 1
    bench.world.fabric.enforces_groups = True
    watch(bench).reconcile()
    assert bench.store.findings.all() == []


@pytest.mark.parametrize(
    ("changes", "on_node", "leaves"),
    [
        ({}, True, False), ({"task_state": "deleting"}, True, True), ({"status": "DELETED"}, False, True),
        ({"status": "ERROR"}, True, False), ({"status": "ERROR"}, False, True), ({"status": "SHUTOFF"}, True, False),
    ],
)  # fmt: skip
def test_who_leaves(bench: Bench, changes: dict[str, str], on_node: bool, leaves: bool) -> None:
    bench.build()
    assert is_leaving(replace(bench.instance, **changes), on_node=on_node) is leaves  # type: ignore[arg-type]
    assert is_leaving(None, on_node=on_node)
