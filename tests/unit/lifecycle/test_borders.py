"""Where one tenant, another tenant and the operator meet in this room."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from steelyard.errors import NotFound, Refused, SteelyardError
from steelyard.operations.model import Done, StepContext
from steelyard.operations.model import Phase as End

from .conftest import Bench


def tenants_server(bench: Bench) -> str:
    server, _ = bench.service().create(
        bench.tenant, bench.token, "web", flavor="metal-small", image="debian", networks=["blue"]
    )
    return server.instance.id


class TestServers:
    def test_an_administrator_reaches_anothers_server_by_id_and_never_by_name(self, bench: Bench) -> None:
        """`server delete web` in the administrator's own project must not release a tenant's server called web."""
        server_id = tenants_server(bench)
        service = bench.service()
        with pytest.raises(NotFound):
            service.delete(bench.admin, bench.admin_token, "web")
        with pytest.raises(NotFound):
            service.server(bench.admin, bench.admin_token, "web")
        assert service.server(bench.admin, bench.admin_token, server_id).instance.name == "web"

    @pytest.mark.parametrize("role", ["reader", "member"])
    def test_a_token_without_project_shows_no_tenants_servers(self, bench: Bench, role: str) -> None:
        tenants_server(bench)
        token = bench.world.token(roles={role}, system=True)
        try:
            seen = bench.service().servers(bench.clouds.identity.validate(token), token)
        except SteelyardError:
            seen = []
        assert seen == []


class TestLeavingTwice:
    def test_a_failed_deletion_opens_no_door_for_later(self, bench: Bench) -> None:
        """The deletion fails half-way; the node is offered again, used, and its cleaning fails."""
        node = next(iter(bench.world.nodes.values()))
        assert bench.service(fail_step="withdraw").delete_node(bench.admin, node.id).phase is End.FAILED
        assert bench.world.nodes[node.id].provision_state == "manageable"
        node = bench.world.nodes[node.id]
        notes = {**node.notes, "candidate_id": "c", "offered": "o"}
        bench.world.nodes[node.id] = replace(
            node,
            extra={"steelyard": notes},
            provision_updated_at=(node.provision_updated_at or bench.world.now) + timedelta(hours=2),
        )
        with pytest.raises(Refused) as caught:
            bench.service().delete_node(bench.admin, node.id)
        assert caught.value.code == "node_not_clean"

    def test_killed_between_ironics_yes_and_the_note(self, bench: Bench) -> None:
        """The step is repeated by the same operation, and goes on."""
        node = next(iter(bench.world.nodes.values()))
        operations = bench.operations()
        service = bench.over(operations)
        withdraw = operations.kinds["nodes.delete"].steps[0]
        ctx = StepContext("op", "nodes.delete", "withdraw", {"node_id": node.id}, {}, bench.admin, None, 1)
        update = bench.world.nodes
        assert isinstance(withdraw.do(ctx), Done)
        after = update[node.id]
        note = {"operation": "op", "since": "before"}  # as it was when the server was killed
        update[node.id] = replace(after, extra={"steelyard": {**after.notes, "offered": "o", "deleting": note}})
        assert isinstance(withdraw.do(ctx), Done)
        assert service.delete_node(bench.admin, node.id).phase is End.SUCCEEDED
