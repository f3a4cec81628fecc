"""Rebuild, rescue, unrescue: they succeed; repeating a step changes nothing; failing leaves a way on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from steelyard.lifecycle.model import Phase
from steelyard.lifecycle.protection import Protection
from steelyard.lifecycle.renewal import Renewal
from steelyard.lifecycle.service import LifecycleService
from steelyard.nouns import ImageSpec, Instance, Node
from steelyard.operations.model import Operation
from steelyard.operations.model import Phase as End

from .test_work import create

if TYPE_CHECKING:
    from .conftest import Bench

ANY_REPEAT = pytest.mark.parametrize("repeat", [False, True], ids=["once", "each step twice"])
SECRET = "canary-in-the-rescue-password"
ACTS: dict[str, Callable[..., tuple[Any, Operation]]] = {
    "rebuild": Renewal.rebuild, "rescue": Renewal.rescue, "unrescue": Renewal.unrescue
}  # fmt: skip


def deployed(bench: Bench, service: LifecycleService) -> Node:
    create(bench, service)
    (node,) = [each for each in bench.world.nodes.values() if each.instance_id]
    return node


def phase_of(bench: Bench, service: LifecycleService) -> Phase:
    return service.server(bench.tenant, bench.token, "web").phase


def add_image(bench: Bench, name: str) -> str:
    data = name.encode()
    spec = ImageSpec(name, "raw", "sha256:" + hashlib.sha256(data).hexdigest(), len(data))
    return bench.clouds.on_behalf_of(bench.token).images.create(spec, io.BytesIO(data)).id


class TestRebuild:
    @ANY_REPEAT
    @pytest.mark.parametrize("image", [None, "another"])
    def test_succeeds_on_the_same_node(self, bench: Bench, image: str | None, repeat: bool) -> None:
        service = bench.service(repeat_steps=repeat)
        node = deployed(bench, service)
        another = add_image(bench, "another")
        before = service.server(bench.tenant, bench.token, "web")
        _, operation = service.renewal.rebuild(bench.tenant, bench.token, "web", image=image, reason="anew")
        assert (operation.kind, operation.phase) == ("servers.rebuild", End.SUCCEEDED), operation.error
        after = service.server(bench.tenant, bench.token, "web")
        assert (after.phase, after.instance.addresses) == (Phase.ACTIVE, before.instance.addresses)
        assert after.instance.image_id == (another if image else before.instance.image_id)
        assert bench.world.nodes[node.id].instance_id == after.instance.id
        assert node.id not in repr(operation)

    def test_a_protection_of_ours_does_not_hinder_it(self, bench: Bench) -> None:
        service = bench.service()
        node = deployed(bench, service)
        Protection(bench.clouds).put(node)
        assert service.renewal.rebuild(bench.tenant, bench.token, "web")[1].phase is End.SUCCEEDED

    @pytest.mark.parametrize(("image", "error"), [("nope", NotFound), ("broken", Refused)])
    def test_an_image_that_will_not_do(self, bench: Bench, image: str, error: type[Exception]) -> None:
        service = bench.service()
        deployed(bench, service)
        broken = add_image(bench, "broken")
        bench.world.images[broken] = replace(bench.world.images[broken], status="queued")
        with pytest.raises(error):
            service.renewal.rebuild(bench.tenant, bench.token, "web", image=image)
        assert bench.world.calls["compute.rebuild"] == 0

    def test_a_server_without_image_needs_one(self, bench: Bench) -> None:
        service = bench.service()
        deployed(bench, service)
        (instance,) = bench.world.instances.values()
        bench.world.instances[instance.id] = replace(instance, image_id=None)
        with pytest.raises(Invalid) as caught:
            service.renewal.rebuild(bench.tenant, bench.token, "web")
        assert caught.value.code == "no_image"


class TestRescue:
    @ANY_REPEAT
    def test_in_and_out(self, bench: Bench, repeat: bool) -> None:
        service = bench.service(repeat_steps=repeat)
        deployed(bench, service)
        _, operation = service.renewal.rescue(bench.tenant, bench.token, "web", password=SECRET)
        assert operation.phase is End.SUCCEEDED, operation.error
        assert phase_of(bench, service) is Phase.RESCUE
        _, back = service.renewal.unrescue(bench.tenant, bench.token, "web")
        assert back.phase is End.SUCCEEDED, back.error
        assert phase_of(bench, service) is Phase.ACTIVE
        everything = repr([operation, back, bench.store.events.of(f"server:{operation.params['server_id']}")])
        assert SECRET not in everything

    def test_where_the_hardware_has_no_rescue_nova_is_not_asked(self, bench: Bench) -> None:
        service = bench.service()
        node = deployed(bench, service)
        bench.world.nodes[node.id] = replace(bench.world.nodes[node.id], rescue_interface="no-rescue")
        with pytest.raises(Refused) as caught:
            service.renewal.rescue(bench.tenant, bench.token, "web", password=SECRET)
        assert caught.value.code == "no_rescue"
        assert node.id not in caught.value.detail
        assert bench.world.calls["compute.rescue"] == 0
        assert phase_of(bench, service) is Phase.ACTIVE

    def test_a_rescue_system_without_power_is_no_success(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        service = bench.service()
        node = deployed(bench, service)
        settled = bench.clouds.own.compute.get

        def powered_off_by_ironic(server_id: str) -> Instance:
            found = settled(server_id)
            if found.status == "RESCUE":
                bench.world.nodes[node.id] = replace(bench.world.nodes[node.id], power_state="off")
            return found

        monkeypatch.setattr(bench.clouds.own.compute, "get", powered_off_by_ironic)
        _, operation = service.renewal.rescue(bench.tenant, bench.token, "web", password=SECRET)
        assert operation.error is not None
        assert (operation.error.code, node.id in repr(operation)) == ("rescue_is_off", False)

    @pytest.mark.parametrize("password", ["", "short", "x" * 73, "tab\tin the middle", "new\nline in it"])
    def test_a_password_that_will_not_do(self, bench: Bench, password: str) -> None:
        service = bench.service()
        deployed(bench, service)
        with pytest.raises(Invalid) as caught:
            service.renewal.rescue(bench.tenant, bench.token, "web", password=password)
        assert not password or password not in caught.value.detail
        assert bench.world.calls["compute.rescue"] == 0

    def test_one_in_rescue_can_be_released(self, bench: Bench) -> None:
        service = bench.service()
        node = deployed(bench, service)
        service.renewal.rescue(bench.tenant, bench.token, "web", password=SECRET)
        assert service.delete(bench.tenant, bench.token, "web")[1].phase is End.SUCCEEDED
        bench.world.settle()
        assert bench.world.nodes[node.id].provision_state == "available"


@pytest.mark.parametrize(("name", "job"), [("rebuild", "deploy"), ("rescue", "rescue"), ("unrescue", "unrescue")])
class TestEach:
    def ready(self, bench: Bench, service: LifecycleService, name: str) -> Node:
        node = deployed(bench, service)
        if name == "unrescue":
            assert service.renewal.rescue(bench.tenant, bench.token, "web")[1].phase is End.SUCCEEDED
        return node

    def test_failing_it_says_why_and_the_server_can_be_released(self, bench: Bench, name: str, job: str) -> None:
        service = bench.service()
        node = self.ready(bench, service, name)
        bench.world.break_node(node.id, job, "the agent never called")
        _, operation = ACTS[name](service.renewal, bench.tenant, bench.token, "web")
        assert operation.error is not None
        assert operation.error.code == f"{name}_failed"
        assert "the agent never called" in operation.error.detail
        assert operation.error.next == f"steelyard server delete {operation.params['server_id']} --wait"
        assert phase_of(bench, service) is Phase.QUARANTINED
        assert service.delete(bench.tenant, bench.token, "web")[1].phase is End.SUCCEEDED
        bench.world.settle()
        assert bench.world.nodes[node.id].provision_state == "available"

    def test_failing_after_its_step_the_server_is_where_it_was_brought(self, bench: Bench, name: str, job: str) -> None:
        self.ready(bench, bench.service(), name)
        _, operation = ACTS[name](bench.service(fail_step=name).renewal, bench.tenant, bench.token, "web")
        assert operation.phase is End.FAILED
        bench.world.settle()
        assert phase_of(bench, bench.service()) is (Phase.RESCUE if name == "rescue" else Phase.ACTIVE)

    def test_the_same_key_asks_nova_once(self, bench: Bench, name: str, job: str) -> None:
        service = bench.service()
        self.ready(bench, service, name)
        before = bench.world.calls["compute.rebuild"] + bench.world.calls["compute.rescue"]
        _, first = ACTS[name](service.renewal, bench.tenant, bench.token, "web", key="k")
        _, second = ACTS[name](service.renewal, bench.tenant, bench.token, "web", key="k")
        assert first.id == second.id
        assert bench.world.calls["compute.rebuild"] + bench.world.calls["compute.rescue"] == before + 1
        with pytest.raises(Conflict) as caught:
            ACTS[name](service.renewal, bench.tenant, bench.token, "web", key="k", reason="another")
        assert caught.value.code == "key_reused"

    def test_a_service_that_is_away_for_a_moment_is_waited_for(self, bench: Bench, name: str, job: str) -> None:
        service = bench.service()
        self.ready(bench, service, name)
        act = ACTS[name]
        bench.world.fail("compute.get", Unavailable("away"), times=2)
        _, operation = act(service.renewal, bench.tenant, bench.token, "web")
        assert operation.phase is End.SUCCEEDED, operation.error

    def test_not_in_another_phase(self, bench: Bench, name: str, job: str) -> None:
        """A powered-off server's NICs may be in quarantine: it is powered on first."""
        service = bench.service()
        deployed(bench, service)
        (instance,) = bench.world.instances.values()
        bench.clouds.on_behalf_of(bench.token).compute.power(instance.id, "off")
        with pytest.raises(Refused) as caught:
            ACTS[name](service.renewal, bench.tenant, bench.token, "web")
        assert caught.value.code == "wrong_phase"
        assert caught.value.next == f"steelyard server power {instance.id} on --wait"

    def test_another_project_finds_nothing(self, bench: Bench, name: str, job: str) -> None:
        service = bench.service()
        deployed(bench, service)
        token = bench.world.token(project="other")
        with pytest.raises(NotFound):
            ACTS[name](service.renewal, bench.clouds.identity.validate(token), token, "web")
