from __future__ import annotations

from typing import Any

import pytest

from steelyard.nouns import Actor
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Step, StepContext

from .conftest import Site


def fail(_: StepContext) -> Outcome:
    return Failed("no", next="try", code="because")


@pytest.fixture
def kinds(site: Site) -> None:
    site.built.operations.register(
        OperationKind("test.works", [Step("one", lambda _: Done({"x": 1}))]),
        OperationKind("test.fails", [Step("one", lambda _: Done()), Step("two", fail)]),
    )


def start(site: Site, headers: dict[str, str], kind: str = "test.works", **options: Any) -> str:
    actor: Actor = site.built.clouds.identity.validate(headers["X-Auth-Token"])
    return site.built.operations.start(kind, {}, actor, **options).id


@pytest.mark.usefixtures("kinds")
class TestOperations:
    def test_show(self, site: Site) -> None:
        mine = start(site, site.member, "test.fails", subject="node:1", reason="because", request_id="req-1")
        shown = site.client.get(f"/v1/operations/{mine}", headers=site.member).json()["operation"]
        assert (shown["id"], shown["phase"], shown["subject"], shown["reason"]) == (mine, "failed", "node:1", "because")
        assert shown["error"] == {"detail": "no", "code": "because", "next": "try", "step": "two"}
        assert [(step["name"], step["phase"], step["error"]) for step in shown["steps"]] == [
            ("one", "succeeded", None),
            ("two", "failed", "no"),
        ]
        assert shown["seconds"] is not None
        assert shown["created_at"].endswith("Z")

    def test_a_tenant_sees_those_of_the_project_an_administrator_all(self, site: Site) -> None:
        mine, other = start(site, site.member), start(site, site.headers("member", project="other"))

        def listed(headers: dict[str, str]) -> set[str]:
            return {row["id"] for row in site.client.get("/v1/operations", headers=headers).json()["operations"]}

        assert listed(site.member) == listed(site.reader) == {mine}
        assert listed(site.headers("reader", project="other")) == {other}
        assert listed(site.admin) == {mine, other}
        assert listed({"X-Auth-Token": site.world.token(roles={"reader"}, system=True)}) == set()

    def test_those_of_others_do_not_exist(self, site: Site) -> None:
        other = start(site, site.headers("member", project="other"))
        unknown = site.client.get("/v1/operations/none", headers=site.member)
        hidden = site.client.get(f"/v1/operations/{other}", headers=site.member)
        assert unknown.status_code == hidden.status_code == 404
        assert hidden.json()["detail"] == unknown.json()["detail"].replace("none", other)
        assert site.client.post(f"/v1/operations/{other}/cancel", headers=site.member, json={}).status_code == 404
        marker = site.client.get(f"/v1/operations?marker={other}", headers=site.member)
        assert (marker.status_code, marker.json()["code"]) == (400, "unknown_marker")

    def test_pages(self, site: Site) -> None:
        headers = site.member
        ids = [start(site, headers) for _ in range(5)][::-1]
        seen: list[str] = []
        url = "/v1/operations?limit=2&kind=test.works"
        while url:
            page = site.client.get(url, headers=headers).json()
            seen += [row["id"] for row in page["operations"]]
            url = page["next"]
        assert seen == ids

    def test_filters(self, site: Site) -> None:
        headers = site.member
        start(site, headers)
        failed = start(site, headers, "test.fails", subject="node:9")
        for query in ("phase=failed", "subject=node:9", "kind=test.fails"):
            rows = site.client.get(f"/v1/operations?{query}", headers=headers).json()["operations"]
            assert [row["id"] for row in rows] == [failed], query
        assert site.client.get("/v1/operations?phase=odd", headers=headers).status_code == 422

    def test_cancel_what_has_ended(self, site: Site) -> None:
        mine = start(site, site.member)
        assert site.client.post(f"/v1/operations/{mine}/cancel", headers=site.reader, json={}).status_code == 403
        refused = site.client.post(f"/v1/operations/{mine}/cancel", headers=site.member, json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "operation_ended")
        assert site.client.post(f"/v1/operations/{mine}/cancel", headers=site.member, json={"x": 1}).status_code == 422
