"""What the systems do not agree on is found, with evidence, severity, age and what would mend it; agreement is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from steelyard.attention.model import URGENCY, Severity
from steelyard.drift.model import (
    SEVERITY,
    BindPort,
    ClearInstance,
    DeleteAllocation,
    DeletePort,
    DetachPort,
    DetachVif,
    EmptySwitchPort,
    ForgetSecret,
    RemoveLeftover,
    SetNodeTraits,
    SetProviderTraits,
    order,
)
from steelyard.errors import Unavailable
from steelyard.nouns import SwitchLink

if TYPE_CHECKING:
    from .conftest import Bench


def test_a_cloud_that_agrees_has_no_drift(bench: Bench) -> None:
    report = bench.drift.report()
    assert report.drifts == []
    assert (report.compared["nodes"], report.compared["servers"], report.compared["switches"]) == (2, 1, 2)


def test_no_moment_of_a_life_is_drift(bench: Bench) -> None:
    bench.clouds.own.compute.delete(bench.instance.id)
    for _ in range(30):
        assert bench.drift.report().drifts == []
        bench.world.tick()


def test_one_list_of_each_kind_for_a_look(bench: Bench) -> None:
    bench.built.observer.fresh = 60.0
    bench.world.calls.clear()
    bench.drift.report()
    lists = {name: number for name, number in bench.world.calls.items() if name.endswith(".all")}
    assert set(lists.values()) == {1}, lists


def test_an_orphaned_allocation(bench: Bench) -> None:
    consumer = bench.orphan_an_allocation()
    found = bench.found()["allocation_without_server"]
    assert found.action == DeleteAllocation(consumer_id=consumer, node_id=bench.free.id)
    assert (found.severity, found.name) == (Severity.MAJOR, bench.free.name)
    assert found.evidence["placement"]["consumer"] == consumer


def test_a_stray_port(bench: Bench) -> None:
    stray = bench.stray_port()
    found = bench.found()["port_without_owner"]
    assert found.action == DeletePort(port_id=stray.id)
    assert "cleaning network" in found.reason
    assert stray.addresses[0].address in found.reason


def test_a_tenants_reserved_port_is_told_of_late_and_never_deleted(bench: Bench) -> None:
    bench.world.fabric.add_port(
        bench.port.network_id, now=bench.world.now, mac="fa:16:3e:00:00:09", project_id="p", device_id="",
        device_owner="", vnic_type="normal",
    )  # fmt: skip
    assert bench.found() == {}
    bench.world.now += timedelta(hours=25)
    found = bench.found()["port_without_owner"]
    assert (found.action, found.severity) == (None, Severity.MINOR)


def test_a_port_of_nobody_on_a_nic(bench: Bench) -> None:
    nic = bench.free_nic()
    port = bench.world.fabric.add_port(
        bench.port.network_id, now=bench.world.now, mac=nic.mac, project_id="p", device_id="", device_owner=""
    )
    bench.world.fabric.bind(port, bench.free.id, nic)
    found = bench.found()
    assert set(found) == {"port_without_owner"}, "told once, not of the NIC too"
    assert (found["port_without_owner"].severity, found["port_without_owner"].action) == (
        Severity.CRITICAL, DeletePort(port_id=port.id)
    )  # fmt: skip


def test_a_moved_vlan(bench: Bench) -> None:
    bench.move_a_vlan()
    found = bench.found()["switch_differs"]
    assert found.action == BindPort(port_id=bench.port.id, node_id=bench.used.id, mac=bench.nic.mac)
    assert found.severity is Severity.CRITICAL
    assert "999" in found.evidence["switch"]["carries"]
    assert "blue" in found.evidence["neutron"]["has"]
    assert found.evidence["ironic"]["state"] == "active"


def test_a_vlan_where_none_may_be(bench: Bench) -> None:
    bench.put_a_vlan()
    assert bench.found()["switch_differs"].action == EmptySwitchPort(node_id=bench.free.id, mac=bench.free_nic().mac)


def test_a_deleted_binding(bench: Bench) -> None:
    bench.delete_a_binding()
    found = bench.found()
    assert set(found) == {"controller_differs"}
    assert found["controller_differs"].action == BindPort(
        port_id=bench.port.id, node_id=bench.used.id, mac=bench.nic.mac
    )


def test_a_deleted_port(bench: Bench) -> None:
    address = bench.port.addresses[0].address
    bench.world.fabric.remove_port(bench.port.id)
    found = bench.found()["server_without_port"]
    assert (found.action, found.severity) == (None, Severity.MAJOR)
    assert address in found.reason


def test_an_address_that_no_port_has(bench: Bench) -> None:
    bench.world.instances[bench.instance.id] = replace(
        bench.instance, addresses=(*bench.instance.addresses, "10.1.0.250")
    )
    found = bench.found()["address_of_nobody"]
    assert "10.1.0.250" in found.reason


def test_a_strangers_port(bench: Bench) -> None:
    port = bench.attach_a_stranger()
    found = bench.found()
    assert found["port_on_foreign_nic"].action == DetachPort(
        port_id=port.id, node_id=bench.free.id, mac=port.mac
    )  # fmt: skip
    assert "foreign_attachment" not in found, "told once"


def test_a_binding_to_a_node_that_is_gone(bench: Bench) -> None:
    node = bench.used
    del bench.world.nodes[node.id]
    found = bench.found()
    assert found["port_on_foreign_nic"].severity is Severity.CRITICAL
    assert "server_without_node" in found


def test_a_node_that_is_claimed_for_nobody(bench: Bench) -> None:
    bench.claim_for_nobody()
    found = bench.found()["node_without_server"]
    assert found.action == ClearInstance(node_id=bench.free.id, instance_id=bench.free.instance_id or "")


def test_a_vif_of_a_server_that_is_gone(bench: Bench) -> None:
    vif_id = bench.leave_a_vif()
    found = bench.found()
    assert set(found) == {"vif_without_server"}
    left = found["vif_without_server"]
    assert left.action == DetachVif(node_id=bench.free.id, vif_id=vif_id)
    assert (left.name, left.next) == (
        bench.free.name, f"openstack baremetal node vif detach {bench.free.id} {vif_id}"
    )  # fmt: skip


def test_a_vif_whose_port_is_elsewhere_is_left_to_a_person(bench: Bench) -> None:
    bench.world.put_vif(bench.free_nic().id, bench.port.id)
    left = bench.found()["vif_without_server"]
    assert (left.action, left.next) == (None, f"openstack baremetal node manage {bench.free.id}")
    assert bench.used.id in left.reason


def test_a_trait_that_was_taken_away(bench: Bench) -> None:
    bench.take_a_trait()
    found = bench.found()
    assert set(found) == {"trait_missing"}
    assert found["trait_missing"].action == SetNodeTraits(node_id=bench.free.id, add=["CUSTOM_VENDOR_ACME"])


def test_a_trait_that_an_operator_gave_is_no_drift(bench: Bench) -> None:
    bench.world.nodes[bench.free.id] = replace(bench.free, traits=bench.free.traits | {"CUSTOM_GOLD"})
    assert bench.found() == {}


def test_traits_of_a_provider(bench: Bench) -> None:
    bench.change_a_provider()
    found = bench.found()["provider_traits_differ"]
    assert found.action == SetProviderTraits(node_id=bench.used.id, traits=sorted(bench.used.traits))
    assert "lacks HW_ARCH_X86_64" in found.reason
    assert "has CUSTOM_WRONG" in found.reason


def test_a_provider_of_another_class(bench: Bench) -> None:
    bench.world.held_back.add(bench.free.id)
    bench.world.provider_classes[bench.free.id] = "CUSTOM_OTHER"
    assert "provider_class_differs" not in bench.found(), "Nova has some time to follow"
    bench.world.now += timedelta(minutes=11)
    found = bench.found()["provider_class_differs"]
    assert (found.action, "CUSTOM_OTHER" in found.reason) == (None, True)


def test_a_vlan_on_a_port_where_no_nic_is_known(bench: Bench) -> None:
    assert bench.nic.link is not None
    unknown = SwitchLink(bench.nic.link.switch_id, "Ethernet40", bench.nic.link.switch_name)
    bench.world.tamper_switch(unknown, 3000)
    assert bench.found() == {}, "no network of ours"
    blue = bench.world.fabric.networks[bench.port.network_id]
    bench.world.tamper_switch(unknown, blue.segmentation_id)
    found = bench.found()["vlan_on_unknown_port"]
    assert (found.name, found.action) == (f"{unknown.switch_name} Ethernet40", None)
    inspection = bench.world.fabric.networks[bench.world.role_networks["inspection"]]
    bench.world.tamper_switch(unknown, inspection.segmentation_id)
    assert bench.found() == {}, "servers that are no nodes yet"


def test_a_secret_that_nothing_names(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lifecycle.leaking", "drift.acting"):
        monkeypatch.setattr(f"steelyard.{module}.OLD", timedelta(hours=-1))
    secret = bench.store.secrets.put({"password": "canary"})
    found = bench.found()["secret_without_use"]
    assert found.action == ForgetSecret(secret_id=secret)
    assert "canary" not in repr(found)
    [step] = bench.plan().steps
    assert "canary" not in step.model_dump_json()


def test_what_is_so_only_once_is_none(bench: Bench) -> None:
    consumer = bench.orphan_an_allocation()
    bench.drift._sleep = lambda _: bench.clouds.own.placement.delete_allocation(consumer)
    assert bench.found() == {}


def test_the_worst_comes_first_and_the_older_before_the_younger(bench: Bench) -> None:
    bench.take_a_trait()
    bench.drift.reconcile()
    bench.stray_port()
    bench.move_a_vlan()
    bench.orphan_an_allocation()
    drifts = bench.drift.report().drifts
    assert [each.kind for each in drifts[:2]] == ["switch_differs", "allocation_without_server"]
    assert [URGENCY[each.severity] for each in drifts] == sorted(URGENCY[each.severity] for each in drifts)
    old, young = (replace(drifts[0], since=bench.world.now + timedelta(days=days)) for days in (0, 1))
    assert sorted([young, old], key=order) == [old, young]


def test_age_is_counted_from_when_the_reconciler_first_saw_it(bench: Bench) -> None:
    bench.orphan_an_allocation()
    bench.drift.reconcile()
    [opened] = bench.store.findings.all()
    assert (opened.finding.kind, opened.source) == ("drift.allocation_without_server", "drift.compare")
    bench.drift.reconcile()
    assert bench.found()["allocation_without_server"].since == opened.since
    bench.world.allocations = {k: v for k, v in bench.world.allocations.items() if k == bench.instance.id}
    bench.drift.reconcile()
    assert bench.store.findings.all() == []


def test_isolations_findings_are_not_kept_twice(bench: Bench) -> None:
    bench.move_a_vlan()
    bench.drift.reconcile()
    assert bench.store.findings.all() == []
    bench.built.fleet_check._sleep = lambda _: None
    bench.built.fleet_check.reconcile()
    [opened] = bench.store.findings.all()
    assert bench.found()["switch_differs"].since == opened.since


def test_a_switch_that_cannot_be_read_is_said(bench: Bench) -> None:
    bench.reader.fail("no answer")
    report = bench.drift.report()
    assert (report.drifts, report.unverified, len(report.unread)) == ([], 4, 2)


def test_without_a_service_there_is_no_answer(bench: Bench) -> None:
    for name in ("placement.traits", "compute.all", "nodes.all", "attachments.all"):
        bench.world.fail(name, Unavailable("away"))
        with pytest.raises(Unavailable):
            bench.drift.report()


def test_leaks_is_the_same_check(bench: Bench) -> None:
    """`leaks` shows the part of drift that was left behind."""
    bench.orphan_an_allocation()
    leaks = bench.built.leaks
    leaks._sleep = lambda _: None
    assert {leak.kind for leak in leaks.check().leaks} == set(bench.found())


def test_every_kind_has_a_severity(bench: Bench) -> None:
    makers = (
        bench.stray_port, bench.move_a_vlan, bench.take_a_trait, bench.change_a_provider, bench.claim_for_nobody,
        bench.attach_a_stranger, bench.leave_a_vif,
    )  # fmt: skip
    for make in makers:
        make()
    drifts = bench.drift.report().drifts
    assert len(drifts) >= len(makers)
    for each in drifts:
        assert each.kind in SEVERITY or each.kind == "switch_differs"
        assert each.reason
        assert each.evidence
        assert each.next.startswith(("steelyard ", "openstack "))


def test_an_object_of_the_controller_that_nothing_uses(bench: Bench) -> None:
    leftover = bench.leave_in_the_controller()
    found = bench.found()["controller_leftover"]
    assert (found.severity, found.subject) == (Severity.MINOR, f"instance-ip:{leftover.id}")
    assert found.action == RemoveLeftover(kind="instance-ip", object_id=leftover.id)
    assert leftover.reason in found.reason
