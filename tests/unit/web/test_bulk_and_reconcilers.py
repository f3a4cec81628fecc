"""Bulk operations, pause and resume, and reconcilers, over REST and from the command line's side of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from steelyard.errors import Refused, Unauthenticated
from steelyard.operations.bulk import BulkAction, BulkContext
from steelyard.operations.model import Done, Operation, OperationKind, Step
from steelyard.operations.reconciling import Reconciler, Report

from .conftest import Site


@pytest.fixture
def expired() -> list[bool]:
    return [False]


@pytest.fixture
def actions(site: Site, expired: list[bool]) -> None:
    operations = site.built.operations
    operations.register(OperationKind("test.child", [Step("one", lambda _: Done())]))

    def start(item: Mapping[str, Any], ctx: BulkContext) -> Operation:
        if expired[0]:
            raise Unauthenticated("The token has expired.")
        assert ctx.token()
        if item.get("refuse"):
            raise Refused("it is deployed", code="node_deployed", next="steelyard server list")
        return operations.start("test.child", dict(item), ctx.actor, key=ctx.key)

    site.built.bulk.register(
        BulkAction("test.tenant", "For a test.", start, needs_token=True),
        BulkAction("test.admin", "For a test.", start, administrators=True, needs_token=True),
    )


def post(site: Site, path: str, headers: dict[str, str], **body: Any) -> Any:
    return site.client.post(path, headers=headers, json=body)


@pytest.mark.usefixtures("actions")
class TestBulk:
    def test_a_whole_life(self, site: Site) -> None:
        headers = site.member
        answer = post(
            site, "/v1/bulk", headers, action="test.tenant", reason="spring",
            items=[{"name": "a"}, {"name": "b", "refuse": True}, {"name": "c"}],
        )  # fmt: skip
        assert answer.status_code == 202
        shown = answer.json()["operation"]
        assert (shown["kind"], shown["phase"], shown["reason"]) == ("bulk", "failed", "spring")
        assert (shown["result"]["succeeded"], shown["result"]["failed"]) == (2, 1)
        assert shown["error"]["next"] == f"steelyard operation items {shown['id']} --phase failed"
        items = site.client.get(f"/v1/operations/{shown['id']}/items", headers=headers).json()["items"]
        assert [(each["name"], each["phase"]) for each in items] == [
            ("a", "succeeded"), ("b", "failed"), ("c", "succeeded"),
        ]  # fmt: skip
        assert items[1]["error"]["next"] == "steelyard server list"
        children = site.client.get(f"/v1/operations?parent={shown['id']}", headers=headers).json()["operations"]
        assert {child["parent_id"] for child in children} == {shown["id"]}
        assert len(children) == 2

    def test_pages_and_phases_of_items(self, site: Site) -> None:
        headers = site.member
        body = {"action": "test.tenant", "items": [{"name": f"n{n}", "refuse": n % 2 == 0} for n in range(7)]}
        operation = post(site, "/v1/bulk", headers, **body).json()["operation"]["id"]
        seen: list[str] = []
        url = f"/v1/operations/{operation}/items?limit=2&phase=failed"
        while url:
            page = site.client.get(url, headers=headers).json()
            seen += [each["name"] for each in page["items"]]
            url = page["next"]
        assert seen == ["n0", "n2", "n4", "n6"]
        assert site.client.get(f"/v1/operations/{operation}/items?marker=x", headers=headers).status_code == 400
        assert site.client.get(f"/v1/operations/{operation}/items", headers=site.headers("member", project="x")).json()[
            "code"
        ] == "not_found"  # fmt: skip

    def test_the_same_key_twice(self, site: Site) -> None:
        headers = {**site.member, "Idempotency-Key": "k"}
        body = {"action": "test.tenant", "items": [{"name": "a"}]}
        first, again = (post(site, "/v1/bulk", headers, **body).json()["operation"]["id"] for _ in range(2))
        assert first == again
        other = post(site, "/v1/bulk", headers, action="test.tenant", items=[{"name": "b"}])
        assert (other.status_code, other.json()["code"]) == (409, "key_reused")

    def test_who_may_what(self, site: Site) -> None:
        body = {"action": "test.admin", "items": [{"name": "a"}]}
        assert post(site, "/v1/bulk", site.member, **body).status_code == 403
        assert post(site, "/v1/bulk", site.reader, **body).status_code == 403
        operation = post(site, "/v1/bulk", site.admin, **body).json()["operation"]
        assert operation["kind"] == "bulk.admin"
        for headers in (site.member, site.headers("member", project="admin")):
            assert site.client.get(f"/v1/operations/{operation['id']}", headers=headers).status_code == 404
            assert site.client.get(f"/v1/operations/{operation['id']}/items", headers=headers).status_code == 404
        names = [each["name"] for each in site.client.get("/v1/bulk/actions", headers=site.member).json()["actions"]]
        assert "test.tenant" in names
        assert "test.admin" not in names

    @pytest.mark.parametrize(
        "body",
        [
            {"action": "test.tenant", "items": []},
            {"action": "test.tenant", "items": ["a"]},
            {"action": "test.tenant"},
            {"action": "test.tenant", "items": [{}], "concurrency": 0},
            {"action": "test.tenant", "items": [{}], "wave": 0},
            {"action": "test.tenant", "items": [{}], "max_failures": -1},
            {"action": "test.tenant", "items": [{}], "wave_pause": "soon"},
            {"action": "test.tenant", "items": [{}], "colour": "red"},
        ],
    )
    def test_bad_input(self, site: Site, body: dict[str, Any]) -> None:
        answer = post(site, "/v1/bulk", site.member, **body)
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
        assert site.client.get("/v1/operations", headers=site.admin).json()["operations"] == []

    def test_an_unknown_action(self, site: Site) -> None:
        answer = post(site, "/v1/bulk", site.member, action="no.such", items=[{}])
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_action")

    def test_a_token_that_runs_out_pauses_it_until_the_same_user_brings_another(
        self, site: Site, expired: list[bool]
    ) -> None:
        expired[0] = True
        headers = site.member
        operation = post(site, "/v1/bulk", headers, action="test.tenant", items=[{"name": "a"}]).json()["operation"]
        assert operation["paused_at"]
        assert f"steelyard operation resume {operation['id']}" in operation["waiting_for"]
        path = f"/v1/operations/{operation['id']}"
        paused = site.client.get("/v1/operations?paused=true", headers=headers).json()["operations"]
        assert [each["id"] for each in paused] == [operation["id"]]
        expired[0] = False
        assert post(site, f"{path}/resume", site.reader).status_code == 403
        assert post(site, f"{path}/resume", site.headers("member", project="x")).status_code == 404
        resumed = post(site, f"{path}/resume", headers, reason="a fresh token")
        assert resumed.status_code == 202
        assert resumed.json()["operation"]["phase"] == "succeeded"
        again = post(site, f"{path}/resume", headers)
        assert (again.status_code, again.json()["code"]) == (409, "operation_ended")

    def test_only_bulk_operations_have_items_and_children(self, site: Site) -> None:
        operation = post(site, "/v1/bulk", site.member, action="test.tenant", items=[{"name": "a"}]).json()["operation"]
        (item,) = site.client.get(f"/v1/operations/{operation['id']}/items", headers=site.member).json()["items"]
        child = f"/v1/operations/{item['operation_id']}"
        assert site.client.get(f"{child}/items", headers=site.member).json()["code"] == "not_bulk"
        assert post(site, f"{child}/cancel", site.member, children=True).json()["code"] == "not_bulk"

    def test_the_server_is_for_administrators_to_know(self, site: Site) -> None:
        operation = post(site, "/v1/bulk", site.member, action="test.tenant", items=[{"name": "a"}]).json()["operation"]
        assert operation["replica"] is None
        shown = site.client.get(f"/v1/operations/{operation['id']}", headers=site.admin).json()["operation"]
        assert shown["replica"] == "steelyard"
        (listed, *_) = site.client.get("/v1/operations", headers=site.admin).json()["operations"]
        assert listed["replica"] == "steelyard"


class TestReconcilers:
    @pytest.fixture(autouse=True)
    def _registered(self, site: Site) -> None:
        site.built.reconcilers.register(
            Reconciler("test.counts", "Counts.", lambda: Report(3, 1, "one more", {"n": 1}), period=60)
        )

    def test_list_and_show(self, site: Site) -> None:
        site.built.reconcilers.run_now("test.counts")
        listed = site.client.get("/v1/reconcilers", headers=site.admin).json()["reconcilers"]
        shown = site.client.get("/v1/reconcilers/test.counts", headers=site.admin).json()["reconciler"]
        assert shown in listed
        assert (shown["runs"], shown["failures"], shown["last_error"]) == (1, 0, None)
        assert shown["last_report"] == {"seen": 3, "changed": 1, "detail": "one more", "data": {"n": 1}}
        assert shown["seconds"] is not None

    def test_run(self, site: Site) -> None:
        answer = post(site, "/v1/reconcilers/test.counts/run", site.admin)
        assert answer.status_code == 202
        assert answer.json()["reconciler"]["name"] == "test.counts"
        assert site.built.reconcilers._workers["test.counts"].signalled.is_set()

    def test_for_administrators(self, site: Site) -> None:
        for path in ("/v1/reconcilers", "/v1/reconcilers/test.counts"):
            assert site.client.get(path, headers=site.member).status_code == 403
        assert post(site, "/v1/reconcilers/test.counts/run", site.member).status_code == 403

    def test_unknown(self, site: Site) -> None:
        answer = site.client.get("/v1/reconcilers/no.such", headers=site.admin)
        assert (answer.status_code, answer.json()["next"]) == (404, "steelyard reconciler list")
        assert post(site, "/v1/reconcilers/no.such/run", site.admin).status_code == 404
