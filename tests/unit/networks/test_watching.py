"""A security group that a stock client set on a server's NIC is found, as long as nothing enforces it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from steelyard.clouds.observing import Observer
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


def test_nothing_is_found_where_the_controller_enforces_them(bench: Bench) -> None:
    bench.build()
    put(bench, bench.world.add_security_group("web-only", bench.instance.project_id).id)
    watch(bench).reconcile()
    assert len(bench.store.findings.all()) == 1
    bench.world.enforces_groups = True
    watch(bench).reconcile()
    assert bench.store.findings.all() == []
