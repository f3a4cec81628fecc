"""Servers and their operations: they succeed; repeating a step changes nothing; failing leaves a way on."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound, Refused, Unavailable, UpstreamError
from steelyard.lifecycle.model import Phase, Power, quarantine, unoffered_note
from steelyard.lifecycle.patience import REFUSED_WITHIN, for_tenants, patient_step
from steelyard.lifecycle.service import LifecycleService, Server
from steelyard.lifecycle.work import ASK_AGAIN, ERROR_LOOKS, SCHEDULING_LOOKS, kinds
from steelyard.operations.journal import new_operation
from steelyard.operations.model import Done, Failed, Operation, OperationKind, Outcome, Retry, StepContext
from steelyard.operations.model import Phase as End

if TYPE_CHECKING:
    from .conftest import Bench

ANY_REPEAT = pytest.mark.parametrize("repeat", [False, True], ids=["once", "each step twice"])


def create(bench: Bench, service: LifecycleService, name: str = "web", **changes: Any) -> tuple[Server, Operation]:
    wanted: dict[str, Any] = {"flavor": "metal-small", "image": "debian", "networks": ["blue"], **changes}
    return service.create(bench.tenant, bench.token, name, **wanted)


class TestCreate:
    @ANY_REPEAT
    def test_succeeds(self, bench: Bench, repeat: bool) -> None:
        service = bench.service(repeat_steps=repeat)
        _, operation = create(bench, service)
        assert operation.phase is End.SUCCEEDED, operation.error
        server = service.server(bench.tenant, bench.token, "web")
        assert (server.phase, server.image_name, server.node_name) == (Phase.ACTIVE, "debian", None)
        assert operation.result["addresses"] == list(server.instance.addresses) != []
        assert len(bench.world.instances) == 1

    def test_a_tenant_is_told_of_no_node(self, bench: Bench) -> None:
        service = bench.service()
        _, operation = create(bench, service)
        (node,) = [n for n in bench.world.nodes.values() if n.instance_id]
        assert node.id not in repr(operation)
        assert (node.name or "") not in repr(operation)
        assert service.server(bench.admin, bench.admin_token, operation.params["server_id"]).node_name == node.name

    def test_a_deployment_that_fails_says_why_and_keeps_the_evidence(self, bench: Bench) -> None:
        for node_id in bench.world.nodes:
            bench.world.break_node(node_id, "deploy", "disk too small")
        _, operation = create(bench, bench.service())
        assert operation.error is not None
        assert operation.error.code == "deploy_failed"
        assert "disk too small" in operation.error.detail
        assert operation.error.next == f"steelyard server delete {operation.params['server_id']} --wait"
        assert len(bench.world.instances) == 1

    def test_one_that_nova_has_lost_is_not_waited_for_to_the_end(self, bench: Bench) -> None:
        """Nova was killed between its API's yes and its scheduler's work: the server stays as it is."""
        service = bench.service()
        create(bench, service)
        server = service.server(bench.tenant, bench.token, "web").instance
        lost = replace(server, status="BUILD", task_state="scheduling", node_id=None)
        (deploy,) = (step for kind in kinds(service) if kind.name == "servers.create" for step in kind.steps)

        def look(attempt: int) -> Outcome:
            return deploy.do(
                StepContext(
                    operation_id="o", kind="servers.create", step=deploy.name, params={"server_id": server.id},
                    results={}, actor=bench.tenant, reason=None, attempt=attempt,
                )
            )  # fmt: skip

        bench.world.instances[server.id] = lost
        assert isinstance(look(SCHEDULING_LOOKS), Retry)
        failed = look(SCHEDULING_LOOKS + 1)
        assert isinstance(failed, Failed)
        assert (failed.code, failed.next) == ("server_lost", f"steelyard server delete {server.id} --wait")
        bench.world.instances[server.id] = replace(lost, task_state="networking", node_id=server.node_id)
        assert isinstance(look(SCHEDULING_LOOKS + 1), Retry), "a node that is slow is no server that is lost"

    def test_services_that_are_away_or_fail_for_a_moment_are_waited_for(self, bench: Bench) -> None:
        service = bench.service()
        bench.world.fail("compute.get", Unavailable("away"), times=2)
        bench.world.fail("nodes.get", UpstreamError("HTTP 500"), times=2)
        _, operation = create(bench, service)
        assert operation.phase is End.SUCCEEDED, operation.error

    @pytest.mark.parametrize(
        ("changes", "error", "code"),
        [
            ({"flavor": "gold"}, NotFound, "flavor_not_found"),
            ({"image": "nope"}, NotFound, "image_not_found"),
            ({"networks": ["nope"]}, NotFound, "network_not_found"),
            ({"networks": []}, Invalid, "no_network"),
            ({"networks": ["provisioning"]}, NotFound, "network_not_found"),
            ({"flavor": "metal-huge"}, Refused, "no_free_node"),
            ({"networks": ["blue"] * 3}, Refused, "not_enough_nics"),
            ({"name": "a\x1b[31mb"}, Invalid, "invalid_name"),
            ({"user_data": "x" * 70_000}, Invalid, "user_data_too_large"),
        ],
    )
    def test_refused_before_anything_starts(
        self, bench: Bench, changes: dict[str, Any], error: type[Exception], code: str
    ) -> None:
        with pytest.raises(error) as caught:
            create(bench, bench.service(), **changes)
        assert getattr(caught.value, "code", None) == code
        assert not bench.world.instances

    def test_an_administrator_cannot_use_the_operators_networks_either(self, bench: Bench) -> None:
        with pytest.raises(Forbidden):
            bench.service().create(
                bench.admin, bench.admin_token, "x", flavor="metal-small", image="debian", networks=["cleaning"]
            )

    def test_an_image_that_is_not_active(self, bench: Bench) -> None:
        (image,) = bench.world.images.values()
        bench.world.images[image.id] = replace(image, status="queued")
        with pytest.raises(Refused) as caught:
            create(bench, bench.service())
        assert caught.value.code == "image_not_active"

    def test_a_network_without_subnet(self, bench: Bench) -> None:
        bench.world.add_network("bare", project="demo")
        with pytest.raises(Refused) as caught:
            create(bench, bench.service(), networks=["bare"])
        assert caught.value.code == "network_without_subnet"

    def test_a_name_once(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        with pytest.raises(Duplicate):
            create(bench, service)

    def test_without_a_project(self, bench: Bench) -> None:
        token = bench.world.token(project=None, roles={"admin"}, system=True)
        with pytest.raises(Invalid) as caught:
            bench.service().create(
                bench.clouds.identity.validate(token), token, "x", flavor="f", image="i", networks=["n"]
            )
        assert caught.value.code == "no_project"


class TestOthers:
    def test_another_project_sees_nothing(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        token = bench.world.token(project="other")
        other = bench.clouds.identity.validate(token)
        assert service.servers(other, token) == []
        for act in (
            lambda: service.server(other, token, "web"),
            lambda: service.power(other, token, "web", Power.OFF),
            lambda: service.delete(other, token, "web"),
        ):
            with pytest.raises(NotFound):
                act()
        with pytest.raises(Forbidden):
            service.servers(other, token, all_projects=True)
        assert len(service.servers(bench.admin, bench.admin_token, all_projects=True)) == 1
        assert service.servers(bench.admin, bench.admin_token) == []


class TestPower:
    @ANY_REPEAT
    def test_off_and_on(self, bench: Bench, repeat: bool) -> None:
        service = bench.service(repeat_steps=repeat)
        create(bench, service)
        for action, wanted in (
            (Power.OFF, Phase.POWERED_OFF),
            (Power.OFF, Phase.POWERED_OFF),
            (Power.ON, Phase.ACTIVE),
        ):
            _, operation = service.power(bench.tenant, bench.token, "web", action)
            assert operation.phase is End.SUCCEEDED, operation.error
            bench.world.settle()
            assert service.server(bench.tenant, bench.token, "web").phase is wanted

    @pytest.mark.parametrize(
        ("task", "power"), [("powering-off", "off"), (None, "on"), (None, None)], ids=["busy", "still on", "unknown"]
    )
    def test_it_is_not_over_before_a_look_at_the_server_shows_it(
        self, bench: Bench, task: str | None, power: str | None
    ) -> None:
        """Nova shows SHUTOFF, but its task or its power is not there yet."""
        service = bench.service()
        create(bench, service)
        (instance,) = bench.world.instances.values()
        powered, _ = (step for kind in kinds(service) if kind.name == "servers.power" for step in kind.steps)
        context = StepContext(
            operation_id="op", kind="servers.power", step=powered.name, results={}, actor=bench.tenant, reason=None,
            params={"server_id": instance.id, "action": "off"}, attempt=1,
        )  # fmt: skip
        half = replace(instance, status="SHUTOFF", task_state=task, power_state=power)
        bench.world.instances[instance.id] = half
        outcome = powered.do(context)
        assert isinstance(outcome, Retry)
        assert "wanted off" in outcome.waiting_for
        bench.world.instances[instance.id] = replace(half, task_state=None, power_state="off")
        assert powered.do(context) == Done({"status": "SHUTOFF", "power": "off"})

    def test_the_same_key_asks_nova_once(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        _, first = service.power(bench.tenant, bench.token, "web", Power.REBOOT, key="k")
        _, second = service.power(bench.tenant, bench.token, "web", Power.REBOOT, key="k")
        assert (first.id, bench.world.calls["compute.power"]) == (second.id, 1)
        with pytest.raises(Conflict) as caught:
            service.power(bench.tenant, bench.token, "web", Power.OFF, key="k")
        assert caught.value.code == "key_reused"


class TestTheSameRequestAgain:
    def test_the_same_key_is_the_same_server(self, bench: Bench) -> None:
        service = bench.service()
        server, operation = create(bench, service, key="k")
        again, same = create(bench, service, key="k")
        assert (again.instance.id, same.id) == (server.instance.id, operation.id)
        assert len(bench.world.instances) == 1
        with pytest.raises(Conflict) as caught:
            create(bench, service, key="k", networks=["blue", "blue"])
        assert caught.value.code == "key_reused"

    @pytest.mark.parametrize("key", ["k", None])
    def test_at_the_same_instant(self, bench: Bench, key: str | None) -> None:
        """With a key both get the one server; without one the second is told that the name is taken."""
        service = bench.service()
        ids: list[str] = []
        refused: list[str] = []

        def ask() -> None:
            try:
                ids.append(create(bench, service, key=key)[0].instance.id)
            except Duplicate as error:
                refused.append(error.code)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(bench.world.instances) == 1
        assert (len(ids), len(set(ids)), refused) == ((4, 1, []) if key else (1, 1, ["duplicate_name"] * 3))


class TestDelete:
    @ANY_REPEAT
    def test_a_tenant_waits_until_it_is_gone(self, bench: Bench, repeat: bool) -> None:
        service = bench.service(repeat_steps=repeat)
        create(bench, service)
        _, operation = service.delete(bench.tenant, bench.token, "web")
        assert (operation.kind, operation.phase) == ("servers.delete", End.SUCCEEDED)
        assert service.servers(bench.tenant, bench.token) == []

    @ANY_REPEAT
    def test_an_administrator_waits_until_the_node_is_available(self, bench: Bench, repeat: bool) -> None:
        service = bench.service(repeat_steps=repeat)
        create(bench, service)
        instance_id = service.server(bench.tenant, bench.token, "web").instance.id
        _, operation = service.delete(bench.admin, bench.admin_token, instance_id)
        assert (operation.kind, operation.phase) == ("servers.reclaim", End.SUCCEEDED)
        assert {node.provision_state for node in bench.world.nodes.values()} == {"available"}

    def test_a_failed_clean_is_told_with_what_to_do(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        (node,) = [n for n in bench.world.nodes.values() if n.instance_id]
        bench.world.break_node(node.id, "clean", "erase failed")
        _, operation = service.delete(bench.admin, bench.admin_token, node.instance_id or "")
        assert operation.error is not None
        assert operation.error.code == "clean_failed"
        assert "erase failed" in operation.error.detail
        assert operation.error.next == f"steelyard node release {node.name} --wait"
        assert quarantine(bench.world.nodes[node.id]) == "its cleaning failed (clean failed): erase failed"
        assert bench.world.nodes[node.id].maintenance

    def test_a_node_that_was_only_claimed_is_free_again(self, bench: Bench) -> None:
        """Nova was killed between its claim and the deployment, and forgets the server without a word to Ironic."""
        service = bench.service()
        create(bench, service)
        server = service.server(bench.tenant, bench.token, "web").instance
        (node,) = [n for n in bench.world.nodes.values() if n.instance_id]
        bench.world.nodes[node.id] = replace(node, provision_state="available")
        del bench.world.instances[server.id]
        assert any(nic.vif_id for nic in bench.world.node_ports.values()), "its NIC is not free, either"
        (gone,) = (step for kind in kinds(service) if kind.name == "servers.delete" for step in kind.steps)
        context = StepContext(
            operation_id="claimed", kind="servers.delete", step=gone.name, params={"server_id": server.id},
            results={}, actor=bench.tenant, reason=None, attempt=1,
        )  # fmt: skip
        assert isinstance(gone.do(context), Done)
        assert bench.world.nodes[node.id].instance_id is None
        assert [nic.vif_id for nic in bench.world.node_ports.values() if nic.vif_id] == []

    @pytest.mark.parametrize(("told", "vouched"), [(None, True), (True, True), (False, False)])
    def test_one_that_stood_still_vouches_for_no_clean_that_ironic_was_told_to_pass_over(
        self, bench: Bench, told: bool | None, vouched: bool
    ) -> None:
        """Paused in a clean and resumed when another tenant has come and gone: it sees a node that is available."""
        service = bench.service()
        node = next(iter(bench.world.nodes.values()))
        bench.world.nodes[node.id] = replace(node, automated_clean=told)
        (clean,) = (
            s for kind in kinds(service) if kind.name == "servers.reclaim" for s in kind.steps if "clean" in s.name
        )
        context = StepContext(
            operation_id="paused", kind="servers.reclaim", step=clean.name,
            params={"node_id": node.id, "server_id": "gone"}, results={"clean_seen_at": "2030-01-01T00:00:00+00:00"},
            actor=bench.tenant, reason=None, attempt=1,
        )  # fmt: skip
        assert isinstance(clean.do(context), Done)
        assert (bench.store.tenancies.newest_clean(node.id) is not None) is vouched

    def test_an_interrupted_deployment_may_be_in_error_for_a_while(self, bench: Bench) -> None:
        """Nova ends a build that it is to delete with an error first; only one that stays is the end."""
        service = bench.service()
        create(bench, service)
        server = service.server(bench.tenant, bench.token, "web").instance
        in_error = replace(server, status="ERROR", task_state=None, fault="Build aborted")
        (gone,) = (step for kind in kinds(service) if kind.name == "servers.delete" for step in kind.steps)

        def look(operation_id: str, attempt: int) -> Outcome:
            return gone.do(
                StepContext(
                    operation_id=operation_id, kind="servers.delete", step=gone.name, params={"server_id": server.id},
                    results={}, actor=bench.tenant, reason=None, attempt=attempt,
                )
            )  # fmt: skip

        bench.world.instances[server.id] = in_error
        for attempt in range(5, 5 + ERROR_LOOKS):
            assert isinstance(look("stays", attempt), Retry)
            bench.world.instances[server.id] = in_error  # also after Nova was asked again
        assert bench.world.calls["compute.delete"] == ERROR_LOOKS // ASK_AGAIN
        failed = look("stays", 5 + ERROR_LOOKS)
        assert isinstance(failed, Failed)
        assert failed.code == "delete_failed"
        assert "Build aborted" in failed.reason
        assert failed.next == f"steelyard server delete {server.id} --wait"

        assert isinstance(look("passes", 1), Retry)
        del bench.world.instances[server.id]
        assert isinstance(look("passes", 2), Retry)  # Nova forgot it without asking Ironic, which still holds the node
        (node,) = [n for n in bench.world.nodes.values() if n.instance_id == server.id]
        assert node.provision_state == "deleting"
        bench.world.settle()
        assert isinstance(look("passes", 3), Done)
        assert bench.world.nodes[node.id].provision_state == "available"


class TestDeleteNode:
    @ANY_REPEAT
    def test_succeeds_and_is_recorded(self, bench: Bench, repeat: bool) -> None:
        service = bench.service(repeat_steps=repeat)
        node = next(iter(bench.world.nodes.values()))
        operation = service.delete_node(bench.admin, node.name or "", reason="sold")
        assert operation.phase is End.SUCCEEDED, operation.error
        assert node.id not in bench.world.nodes
        (event,) = bench.store.events.of(f"node:{node.id}")
        assert (event.kind, event.actor, event.reason) == ("node.deleted", "admin", "sold")

    @pytest.mark.parametrize("step", ["withdraw", "delete", "record"])
    def test_failing_after_each_step_leaves_a_way_on(self, bench: Bench, step: str) -> None:
        node = next(iter(bench.world.nodes.values()))
        operation = bench.service(fail_step=step).delete_node(bench.admin, node.id)
        assert operation.phase is End.FAILED
        bench.world.settle()
        if step == "withdraw":
            assert bench.world.nodes[node.id].provision_state == "manageable"
            assert bench.service().delete_node(bench.admin, node.id).phase is End.SUCCEEDED
        assert node.id not in bench.world.nodes

    def test_a_deployed_one_is_refused(self, bench: Bench) -> None:
        service = bench.service()
        create(bench, service)
        (node,) = [n for n in bench.world.nodes.values() if n.instance_id]
        with pytest.raises(Refused) as caught:
            service.delete_node(bench.admin, node.id)
        assert caught.value.code == "node_deployed"
        assert caught.value.next == f"steelyard server delete {node.instance_id} --wait"

    @pytest.mark.parametrize("state", ["inspect failed", "clean failed"])
    @ANY_REPEAT
    def test_one_that_failed_before_it_was_ever_offered(self, bench: Bench, state: str, repeat: bool) -> None:
        node = bench.world.add_node("broken", state="manageable")
        node = bench.world.set_state(node.id, state, maintenance=state == "clean failed", error="the disk is dead")
        notes = {"candidate_id": "c1", **unoffered_note(node)}
        bench.world.nodes[node.id] = replace(node, extra={"steelyard": notes})
        operation = bench.service(repeat_steps=repeat).delete_node(bench.admin, "broken")
        assert operation.phase is End.SUCCEEDED, operation.error
        assert node.id not in bench.world.nodes

    def test_what_is_known_of_its_cables_outlives_it(self, bench: Bench) -> None:
        node = next(iter(bench.world.nodes.values()))
        links = {port.mac: port.link for port in bench.world.node_ports.values() if port.node_id == node.id}
        assert bench.service().delete_node(bench.admin, node.id).phase is End.SUCCEEDED
        assert bench.store.cables.of(links) == links != {}

    def test_one_that_is_being_onboarded_names_the_operation_to_cancel(self, bench: Bench) -> None:
        operations = bench.operations()
        operations.register(OperationKind("nodes.onboard", steps=[]))
        service = bench.over(operations)
        running = new_operation(
            operations.kinds["nodes.onboard"], {}, bench.admin, None, None, "candidate:c1", None, operations.clock.now()
        )
        operations.journal.create(running)
        node = bench.world.add_node("new", state="manageable")
        bench.world.nodes[node.id] = replace(node, extra={"steelyard": {"candidate_id": "c1"}})
        bench.world.set_state(node.id, "inspect wait")
        with pytest.raises(Refused) as caught:
            service.delete_node(bench.admin, "new")
        assert caught.value.next == f"steelyard operation cancel {running.id}"

    def test_a_tenant_who_comes_in_between_wins(self, bench: Bench) -> None:
        """Nova claims the node after it was checked and before it was withdrawn."""
        node = next(iter(bench.world.nodes.values()))
        operations = bench.operations()
        service = bench.over(operations)
        kind = operations.kinds["nodes.delete"]
        first = kind.steps[0]

        def claimed_first(ctx: StepContext) -> Outcome:
            bench.world.nodes[node.id] = replace(bench.world.nodes[node.id], instance_id="somebody's")
            return first.do(ctx)

        operations.kinds["nodes.delete"] = replace(kind, steps=[replace(first, do=claimed_first), *kind.steps[1:]])
        operation = service.delete_node(bench.admin, node.id)
        assert operation.error is not None
        assert operation.error.code == "node_deployed"
        assert bench.world.nodes[node.id].provision_state == "available"

    def test_unknown(self, bench: Bench) -> None:
        with pytest.raises(NotFound):
            bench.service().delete_node(bench.admin, "bm-404")


class TestWords:
    @pytest.mark.parametrize("error", [Conflict("node n-1 is locked"), UpstreamError("no answer about node n-1")])
    def test_what_the_services_say_while_a_tenant_waits_is_not_the_tenants(
        self, bench: Bench, error: Conflict | UpstreamError
    ) -> None:
        """Ironic's refusals name its nodes; an administrator's operation tells them."""
        service = bench.service()
        create(bench, service)
        (instance,) = bench.world.instances.values()
        tenants = [kind for kind in kinds(service) if not kind.administrators]
        assert {"servers.create", "servers.delete", "servers.power", "servers.rebuild"} <= {
            kind.name for kind in tenants
        }
        for kind in tenants:
            for step in kind.steps:
                bench.world.fail("compute.get", error)
                params = {"server_id": instance.id, "action": "off", "image_id": "i"}
                outcome = step.do(
                    StepContext(
                        operation_id="o", kind=kind.name, step=step.name, params=params, results={},
                        actor=bench.tenant, reason=None, attempt=1,
                    )
                )  # fmt: skip
                assert isinstance(outcome, Retry), (kind.name, step.name, outcome)
                assert outcome.waiting_for
                assert "n-1" not in outcome.waiting_for, (kind.name, step.name)

    @pytest.mark.parametrize(
        "error", [Invalid("no VIF on node n-1"), NotFound("no node n-1"), Refused("not on n-1", next="node show n-1")]
    )
    def test_why_a_service_refuses_a_tenants_step_is_not_the_tenants(
        self, bench: Bench, error: Invalid | NotFound | Refused
    ) -> None:
        def refuse(_: StepContext) -> Outcome:
            raise error

        outcome = patient_step("a", refuse, tell=for_tenants).do(
            StepContext(
                operation_id="o", kind="k", step="a", params={}, results={}, actor=bench.tenant, reason=None, attempt=1
            )
        )
        assert outcome == Failed(REFUSED_WITHIN, code=error.code)
