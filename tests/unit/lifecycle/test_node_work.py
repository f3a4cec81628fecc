"""Operations on nodes: they succeed; repeating a step changes nothing; failing at each step leaves the node safe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.clouds.observing import Observer
from steelyard.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from steelyard.lifecycle.guarding import Guard
from steelyard.lifecycle.model import Phase, offered, phase, quarantine, releasing
from steelyard.lifecycle.nodes import NodeLifecycle
from steelyard.lifecycle.quarantine import Quarantine
from steelyard.nouns import AttachmentSpec, Node, SwitchLink
from steelyard.operations.model import Operation
from steelyard.operations.model import Phase as End

from .test_work import create

if TYPE_CHECKING:
    from .conftest import Bench

ANY_REPEAT = pytest.mark.parametrize("repeat", [False, True], ids=["once", "each step twice"])
SAFE = frozenset(
    {"manageable", "clean failed", "inspect failed", "cleaning", "clean wait", "inspecting", "inspect wait"}
)
"""States in which Ironic offers a node to nobody."""


def first(bench: Bench) -> Node:
    return next(iter(bench.world.nodes.values()))


def now(bench: Bench, node: Node) -> Node:
    return bench.world.nodes[node.id]


def is_safe(node: Node) -> bool:
    """Offered to nobody, or clean: these nodes were clean when the test began and no tenant has had them."""
    return not offered(node)


def kinds_of(bench: Bench, node: Node) -> list[str]:
    return [event.kind for event in bench.store.events.of(f"node:{node.id}")][::-1]


def quarantined(bench: Bench, state: str = "available") -> Node:
    """A node of which Steelyard found that it must not be offered."""
    node = Quarantine(bench.clouds, bench.store).put(first(bench), "not proven clean", by="steelyard")
    if state != "available":
        bench.world.set_state(node.id, state, maintenance=True)
    return node


def never_onboarded(bench: Bench) -> tuple[Node, SwitchLink]:
    """In quarantine, and the switch port of one of its NICs."""
    node = quarantined(bench, "inspect failed")
    bench.clouds.own.nodes.update(node.id, {"/extra/steelyard/candidate_id": "c1"})
    link = next(nic.link for nic in bench.world.node_ports.values() if nic.node_id == node.id)
    assert link is not None
    return node, link


class TestRelease:
    @ANY_REPEAT
    @pytest.mark.parametrize(
        "state", ["available", "manageable", "clean failed", "deploy failed", "error", "clean wait", "inspect failed"]
    )
    def test_it_is_cleaned_recorded_and_available(self, bench: Bench, state: str, repeat: bool) -> None:
        node = quarantined(bench, state)
        operation = bench.service(repeat_steps=repeat).nodes.release(bench.admin, "bm-1", reason="looked at it")
        assert operation.phase is End.SUCCEEDED, operation.error
        after = now(bench, node)
        assert (after.provision_state, after.maintenance, quarantine(after)) == ("available", False, None)
        record = bench.store.tenancies.newest_clean(node.id)
        assert record is not None
        assert record.operation_id == operation.id
        assert record.stay == (after.provision_updated_at or datetime.now(UTC)).isoformat()
        released = bench.store.events.of(f"node:{node.id}")[0]
        assert (released.kind, released.actor, released.reason) == ("node.released", "admin", "looked at it")
        bench.world.tick()
        assert node.id in bench.clouds.own.placement.free("CUSTOM_BM_SMALL")

    @pytest.mark.parametrize("step", ["prepare", "clean", "record"])
    def test_failing_at_each_step_it_stays_in_quarantine(self, bench: Bench, step: str) -> None:
        node = quarantined(bench)
        operation = bench.service(fail_step=step).nodes.release(bench.admin, node.id)
        assert operation.phase is End.FAILED
        bench.world.settle()
        after = now(bench, node)
        if step == "record":  # it had been cleaned and let out before the step failed
            assert bench.store.tenancies.newest_clean(node.id) is not None
            return
        assert phase(after) is Phase.QUARANTINED
        assert (after.maintenance, releasing(after)) == (True, None)
        assert bench.service().nodes.release(bench.admin, node.id).phase is End.SUCCEEDED

    def test_a_clean_that_fails_leaves_it_in_quarantine_with_the_reason(self, bench: Bench) -> None:
        node = quarantined(bench)
        bench.world.break_node(node.id, "clean", "the disk is dead")
        operation = bench.service().nodes.release(bench.admin, node.id)
        assert operation.error is not None
        assert "the disk is dead" in operation.error.detail
        assert operation.error.next == "steelyard node release bm-1 --wait"
        after = now(bench, node)
        assert phase(after) is Phase.QUARANTINED
        assert after.maintenance
        assert bench.store.tenancies.newest_clean(node.id) is None
        assert bench.service().nodes.release(bench.admin, node.id).phase is End.SUCCEEDED

    def test_it_is_never_offered_before_it_is_clean(self, bench: Bench) -> None:
        node = quarantined(bench)
        seen: list[str] = []

        def watch(seconds: float) -> None:
            bench.world.tick()
            each = now(bench, node)
            if node.id in bench.clouds.own.placement.free("CUSTOM_BM_SMALL"):
                seen.append(each.provision_state)
                assert "clean wait" in states
            states.append(each.provision_state)

        states: list[str] = []
        operations = bench.operations()
        operations.clock._on_wait = watch
        assert bench.over(operations).nodes.release(bench.admin, node.id).phase is End.SUCCEEDED

    def test_a_node_with_a_tenants_server_is_refused(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        (node,) = [each for each in bench.world.nodes.values() if each.instance_id]
        Quarantine(bench.clouds, bench.store).put(node, "a stranger's frame", by="steelyard")
        with pytest.raises(Refused) as caught:
            service.nodes.release(bench.admin, node.id)
        assert caught.value.next == f"steelyard server delete {node.instance_id} --wait"
        assert now(bench, node).provision_state == "active"

    def test_told_not_to_clean_it_is_not_released(self, bench: Bench) -> None:
        node = quarantined(bench)
        bench.clouds.own.nodes.update(node.id, {"/automated_clean": False})
        operation = bench.service().nodes.release(bench.admin, node.id)
        assert operation.error is not None
        assert operation.error.code == "automated_clean_off"
        assert phase(now(bench, node)) is Phase.QUARANTINED

    def test_one_that_was_never_onboarded_just_loses_its_mark(self, bench: Bench) -> None:
        node = quarantined(bench, "inspect failed")
        bench.clouds.own.nodes.update(node.id, {"/extra/steelyard/candidate_id": "c1"})
        assert bench.service().nodes.release(bench.admin, node.id).phase is End.SUCCEEDED
        assert phase(now(bench, node)) is Phase.MANAGEABLE
        with pytest.raises(Refused) as caught:
            bench.service().nodes.clean(bench.admin, node.id)
        assert caught.value.next == "steelyard node onboard c1"

    @ANY_REPEAT
    def test_one_that_was_never_onboarded_leaves_nothing_on_its_switch_ports(self, bench: Bench, repeat: bool) -> None:
        """Its onboarding failed as its networks could not be verified, and the controller's last write got lost."""
        node, link = never_onboarded(bench)
        bench.world.fabric.switches.tamper(link, 2003)
        operation = bench.service(repeat_steps=repeat).nodes.release(bench.admin, node.id)
        assert operation.phase is End.SUCCEEDED, operation.error
        assert bench.world.fabric.switches.vlan(link) is None
        assert bench.world.fabric.ports == {}
        assert phase(now(bench, node)) is Phase.MANAGEABLE

    def test_emptying_its_switch_ports_is_taken_up_again(self, bench: Bench) -> None:
        node, link = never_onboarded(bench)
        bench.world.fabric.switches.tamper(link, 2003)
        bench.world.fail("attachments.delete", Unavailable("away"))
        operation = bench.service().nodes.release(bench.admin, node.id)
        assert operation.phase is End.SUCCEEDED, operation.error
        assert bench.world.fabric.switches.vlan(link) is None
        assert bench.world.fabric.ports == {}

    def test_one_that_was_never_onboarded_stays_in_quarantine_while_its_switch_ports_carry_something(
        self, bench: Bench
    ) -> None:
        node, link = never_onboarded(bench)
        bench.world.fabric.switches.tamper(link, 2003)
        bench.world.fabric.switches.jam(link)
        operation = bench.service().nodes.release(bench.admin, node.id)
        assert operation.error is not None
        assert operation.error.code == "flip_failed"
        assert "the switch carries VLAN 2003" in operation.error.detail
        assert phase(now(bench, node)) is Phase.QUARANTINED

    def test_one_that_was_never_onboarded_stays_in_quarantine_while_the_controller_has_a_port_on_it(
        self, bench: Bench
    ) -> None:
        node, link = never_onboarded(bench)
        network = bench.world.add_network("left", project="demo", cidr="10.2.0.0/24")
        nic = next(nic for nic in bench.world.node_ports.values() if nic.link == link)
        spec = AttachmentSpec(
            name="left", network_id=network.id, node_id=node.id, mac=nic.mac, link=link, device_owner="baremetal:none"
        )
        bench.world.set_state(node.id, "manageable", maintenance=True)  # Ironic takes nothing off any more
        bench.clouds.own.attachments.create(spec)
        operation = bench.service().nodes.release(bench.admin, node.id)
        assert operation.error is not None
        assert (operation.error.code, operation.error.next) == ("still_bound", f"steelyard isolation show {node.label}")
        assert phase(now(bench, node)) is Phase.QUARANTINED


class TestClean:
    @ANY_REPEAT
    @pytest.mark.parametrize("state", ["available", "manageable"])
    def test_succeeds(self, bench: Bench, state: str, repeat: bool) -> None:
        node = bench.world.set_state(first(bench).id, state)
        operation = bench.service(repeat_steps=repeat).nodes.clean(bench.admin, node.id, reason="to be sure")
        assert operation.phase is End.SUCCEEDED, operation.error
        assert now(bench, node).provision_state == "available"
        assert bench.store.tenancies.newest_clean(node.id) is not None
        assert kinds_of(bench, node) == ["node.cleaned"]

    @pytest.mark.parametrize("step", ["withdraw", "clean", "record"])
    def test_failing_at_each_step_it_is_safe(self, bench: Bench, step: str) -> None:
        node = first(bench)
        assert bench.service(fail_step=step).nodes.clean(bench.admin, node.id).phase is End.FAILED
        bench.world.settle()
        assert is_safe(now(bench, node)) or bench.store.tenancies.newest_clean(node.id) is not None

    def test_a_failed_one_is_quarantined(self, bench: Bench) -> None:
        node = first(bench)
        bench.world.break_node(node.id, "clean", "dead")
        assert bench.service().nodes.clean(bench.admin, node.id).phase is End.FAILED
        assert quarantine(now(bench, node)) == "its cleaning failed (clean failed): dead"

    def test_a_tenant_who_comes_in_between_keeps_it(self, bench: Bench) -> None:
        """Nova claims the node after it was checked: it is not cleaned, and not quarantined."""
        operations = bench.operations()
        service = bench.over(operations)
        kind = operations.kinds["nodes.clean"]
        withdraw = kind.steps[0]
        node = first(bench)

        def claimed(ctx: Any) -> Any:
            bench.world.nodes[node.id] = replace(now(bench, node), instance_id="somebody's")
            return withdraw.do(ctx)

        operations.kinds["nodes.clean"] = replace(kind, steps=[replace(withdraw, do=claimed), *kind.steps[1:]])
        operation = service.nodes.clean(bench.admin, node.id)
        assert operation.phase is End.FAILED
        assert (now(bench, node).provision_state, now(bench, node).maintenance) == ("available", False)
        assert quarantine(now(bench, node)) is None


class TestInspect:
    @ANY_REPEAT
    @pytest.mark.parametrize("state", ["available", "manageable"])
    def test_succeeds_and_it_is_where_it_was(self, bench: Bench, state: str, repeat: bool) -> None:
        node = bench.world.set_state(first(bench).id, state)
        operation = bench.service(repeat_steps=repeat).nodes.inspect(bench.admin, node.id)
        assert operation.phase is End.SUCCEEDED, operation.error
        assert now(bench, node).provision_state == state
        assert bench.clouds.own.nodes.inspection(node.id).inventory["interfaces"]
        assert kinds_of(bench, node) == ["node.inspected"]

    @pytest.mark.parametrize("step", ["withdraw", "inspect", "clean", "record"])
    def test_failing_at_each_step_it_is_safe(self, bench: Bench, step: str) -> None:
        node = first(bench)
        assert bench.service(fail_step=step).nodes.inspect(bench.admin, node.id).phase is End.FAILED
        bench.world.settle()
        assert is_safe(now(bench, node)) or bench.store.tenancies.newest_clean(node.id) is not None

    def test_a_failed_one_says_what_to_do(self, bench: Bench) -> None:
        node = first(bench)
        bench.world.break_node(node.id, "inspect", "no agent")
        operation = bench.service().nodes.inspect(bench.admin, node.id)
        assert operation.error is not None
        assert operation.error.next == "steelyard node release bm-1 --wait"
        assert bench.service().nodes.release(bench.admin, node.id).phase is End.SUCCEEDED


def guard_looks(bench: Bench) -> None:
    Guard(bench.clouds, bench.store, Observer(bench.clouds, fresh=-1), clock=lambda: bench.world.now).run()


class TestMaintenance:
    @ANY_REPEAT
    def test_on_and_off(self, bench: Bench, repeat: bool) -> None:
        nodes = bench.service(repeat_steps=repeat).nodes
        node = first(bench)
        guard_looks(bench)
        until = datetime(2030, 1, 1, tzinfo=UTC)
        on = nodes.maintenance(bench.admin, "bm-1", on=True, reason="fan swap", until=until)
        assert on.phase is End.SUCCEEDED, on.error
        held = now(bench, node)
        assert held.maintenance_reason == "fan swap (by admin, until 2030-01-01T00:00:00+00:00)"
        note = held.notes["maintenance"]
        assert (note["by"], note["reason"], note["until"]) == ("admin", "fan swap", until.isoformat())
        assert node.id not in bench.clouds.own.placement.free("CUSTOM_BM_SMALL")
        off = nodes.maintenance(bench.admin, "bm-1", on=False)
        assert off.phase is End.SUCCEEDED, off.error
        assert (now(bench, node).maintenance, "maintenance" in now(bench, node).notes) == (False, False)
        said = [kind for kind in kinds_of(bench, node) if kind.startswith("node.maintenance")]
        assert said == ["node.maintenance_on", "node.maintenance_off"]

    @ANY_REPEAT
    def test_the_end_of_a_maintenance_lets_no_node_into_the_offer_uncleaned(self, bench: Bench, repeat: bool) -> None:
        """It is being released, and somebody told Ironic to pass over the clean that comes next."""
        node = first(bench)
        bench.world.set_state(node.id, "deleting", maintenance=True)
        bench.world.nodes[node.id] = replace(
            now(bench, node), automated_clean=False, target_provision_state="available"
        )
        operation = bench.service(repeat_steps=repeat).nodes.maintenance(bench.admin, "bm-1", on=False)
        assert operation.phase is End.SUCCEEDED, operation.error
        assert (now(bench, node).maintenance, now(bench, node).automated_clean) == (False, True)

    def test_one_that_is_not_proven_clean_does_not_come_into_the_offer_by_it(self, bench: Bench) -> None:
        """Somebody had Ironic not clean it while it was in maintenance, and the guard has not looked since."""
        nodes, node = bench.service().nodes, first(bench)
        guard_looks(bench)
        assert nodes.maintenance(bench.admin, "bm-1", on=True, reason="fan swap").phase is End.SUCCEEDED
        bench.world.now += timedelta(hours=1)
        bench.world.nodes[node.id] = replace(now(bench, node), provision_updated_at=bench.world.now)
        waited = nodes.maintenance(bench.admin, "bm-1", on=False)
        assert waited.phase is End.FAILED, "nobody has judged it"
        assert not offered(now(bench, node))
        guard_looks(bench)
        assert nodes.maintenance(bench.admin, "bm-1", on=False).phase is End.SUCCEEDED
        assert "quarantine" in now(bench, node).notes
        assert not offered(now(bench, node))

    def test_failing_at_its_step_and_again(self, bench: Bench) -> None:
        node = first(bench)
        bench.world.fail("placement.hold_back", NotFound("gone"))
        failed = bench.service().nodes.maintenance(bench.admin, "bm-1", on=True, reason="fan swap")
        assert failed.phase is End.FAILED
        assert not offered(now(bench, node))
        again = bench.service().nodes.maintenance(bench.admin, "bm-1", on=True, reason="fan swap")
        assert again.phase is End.SUCCEEDED

    @pytest.mark.parametrize("reason", [None, "", " ", "x"])
    def test_it_needs_a_reason(self, bench: Bench, reason: str | None) -> None:
        with pytest.raises(Invalid):
            bench.service().nodes.maintenance(bench.admin, "bm-1", on=True, reason=reason)
        assert not first(bench).maintenance

    def test_a_time_without_a_zone_is_refused(self, bench: Bench) -> None:
        with pytest.raises(Invalid):
            bench.service().nodes.maintenance(
                bench.admin, "bm-1", on=True, reason="fan swap", until=datetime(2030, 1, 1)
            )  # fmt: skip

    def test_ending_it_does_not_end_a_quarantine(self, bench: Bench) -> None:
        node = quarantined(bench)
        nodes = bench.service().nodes
        assert nodes.maintenance(bench.admin, "bm-1", on=True, reason="looking at it").phase is End.SUCCEEDED
        assert nodes.maintenance(bench.admin, "bm-1", on=False).phase is End.SUCCEEDED
        after = now(bench, node)
        assert (after.maintenance, phase(after)) == (True, Phase.QUARANTINED)

    def test_a_tenants_server_keeps_running(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        (node,) = [each for each in bench.world.nodes.values() if each.instance_id]
        assert service.nodes.maintenance(bench.admin, node.id, on=True, reason="fan swap").phase is End.SUCCEEDED
        assert phase(now(bench, node)) is Phase.ACTIVE


class TestRetire:
    @ANY_REPEAT
    def test_retire_delete_or_unretire(self, bench: Bench, repeat: bool) -> None:
        nodes = bench.service(repeat_steps=repeat).nodes
        node = first(bench)
        operation = nodes.retire(bench.admin, "bm-1", reason="end of lease")
        assert operation.phase is End.SUCCEEDED, operation.error
        assert phase(now(bench, node)) is Phase.RETIRED
        assert not offered(now(bench, node))
        back = nodes.unretire(bench.admin, "bm-1")
        assert back.phase is End.SUCCEEDED, back.error
        assert now(bench, node).provision_state == "available"
        assert bench.store.tenancies.newest_clean(node.id) is not None
        assert kinds_of(bench, node) == ["node.retired", "node.unretired"]
        assert nodes.retire(bench.admin, "bm-1").phase is End.SUCCEEDED
        assert nodes.delete(bench.admin, "bm-1").phase is End.SUCCEEDED
        assert node.id not in bench.world.nodes

    @pytest.mark.parametrize("step", ["withdraw", "flag", "record"])
    def test_failing_at_each_step_it_is_offered_to_nobody_or_as_before(self, bench: Bench, step: str) -> None:
        node = first(bench)
        assert bench.service(fail_step=step).nodes.retire(bench.admin, "bm-1").phase is End.FAILED
        assert is_safe(now(bench, node))
        assert bench.service().nodes.retire(bench.admin, "bm-1").phase is End.SUCCEEDED
        assert phase(now(bench, node)) is Phase.RETIRED

    @pytest.mark.parametrize("step", ["flag", "clean", "record"])
    def test_failing_at_each_step_of_unretire(self, bench: Bench, step: str) -> None:
        node = first(bench)
        assert bench.service().nodes.retire(bench.admin, "bm-1").phase is End.SUCCEEDED
        assert bench.service(fail_step=step).nodes.unretire(bench.admin, "bm-1").phase is End.FAILED
        after = now(bench, node)
        assert is_safe(after) or bench.store.tenancies.newest_clean(node.id) is not None

    def test_a_deployed_one_stays_until_its_release_and_is_cleaned_then(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        (node,) = [each for each in bench.world.nodes.values() if each.instance_id]
        assert service.nodes.retire(bench.admin, node.id, reason="end of lease").phase is End.SUCCEEDED
        assert phase(now(bench, node)) is Phase.ACTIVE
        _, operation = service.delete(bench.admin, bench.admin_token, node.instance_id or "")
        assert operation.phase is End.SUCCEEDED, operation.error
        assert phase(now(bench, node)) is Phase.RETIRED
        assert service.nodes.delete(bench.admin, node.id).phase is End.SUCCEEDED

    def test_what_is_not_retired_is_not_unretired(self, bench: Bench) -> None:
        with pytest.raises(Refused) as caught:
            bench.service().nodes.unretire(bench.admin, "bm-1")
        assert caught.value.code == "not_retired"


ACTS: dict[str, Callable[[NodeLifecycle, Any, str | None], Operation]] = {
    "release": lambda nodes, admin, key: nodes.release(admin, "bm-1", key=key),
    "clean": lambda nodes, admin, key: nodes.clean(admin, "bm-1", key=key),
    "inspect": lambda nodes, admin, key: nodes.inspect(admin, "bm-1", key=key),
    "retire": lambda nodes, admin, key: nodes.retire(admin, "bm-1", key=key),
    "maintenance": lambda nodes, admin, key: nodes.maintenance(admin, "bm-1", on=True, reason="why", key=key),
    "delete": lambda nodes, admin, key: nodes.delete(admin, "bm-1", key=key),
    "remove": lambda nodes, admin, key: nodes.remove(admin, "bm-1", reason="burnt out", key=key),
}


@pytest.mark.parametrize("name", ACTS)
def test_the_same_key_does_it_once(bench: Bench, name: str) -> None:
    if name == "release":
        quarantined(bench)
    nodes = bench.service().nodes
    once = ACTS[name](nodes, bench.admin, "k")
    assert once.phase is End.SUCCEEDED, once.error
    assert ACTS[name](nodes, bench.admin, "k").id == once.id


@pytest.mark.parametrize("name", [each for each in ACTS if each not in ("release",)])
def test_one_that_is_being_onboarded_is_left_to_that(bench: Bench, name: str) -> None:
    from steelyard.operations.journal import new_operation
    from steelyard.operations.model import OperationKind

    operations = bench.operations()
    operations.register(OperationKind("nodes.onboard", steps=[]))
    service = bench.over(operations)
    running = new_operation(
        operations.kinds["nodes.onboard"], {}, bench.admin, None, None, "candidate:c1", None, operations.clock.now()
    )
    operations.journal.create(running)
    node = bench.world.set_state(first(bench).id, "manageable")
    bench.world.nodes[node.id] = replace(node, extra={"steelyard": {"candidate_id": "c1", "offered": "x"}})
    if name == "remove":
        assert ACTS[name](service.nodes, bench.admin, None).phase is End.SUCCEEDED
        return
    with pytest.raises((Refused, Conflict)) as caught:
        ACTS[name](service.nodes, bench.admin, None)
    assert caught.value.next == f"steelyard operation cancel {running.id}"
