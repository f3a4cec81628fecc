"""What an administrator does while working in a tenant's project is still not the tenant's to see."""

from __future__ import annotations

import pytest

from .conftest import Site

TENANTS_KINDS = {
    "bulk",
    "images.fetch",
    "servers.attach",
    "servers.create",
    "servers.delete",
    "servers.detach",
    "servers.move",
    "servers.power",
    "servers.rebuild",
    "servers.rescue",
    "servers.tag",
    "servers.unrescue",
    "servers.untag",
}


@pytest.fixture
def sweep(site: Site) -> str:
    """A sweep by somebody who has the admin role in the tenant's own project."""
    body = {"targets": ["192.0.2.7"], "credentials": [{"username": "u", "password": "p"}]}
    answer = site.client.post("/v1/discoveries", json=body, headers=site.headers("admin", project="demo"))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["operation"]["id"])


def test_members_do_not_see_it(site: Site, sweep: str) -> None:
    for headers in (site.member, site.reader):
        assert site.client.get("/v1/operations", headers=headers).json()["operations"] == []
        assert site.client.get(f"/v1/operations/{sweep}", headers=headers).status_code == 404
        assert site.client.get(f"/v1/operations?marker={sweep}", headers=headers).status_code == 400
    assert site.client.get(f"/v1/operations/{sweep}", headers=site.admin).status_code == 200


def test_members_cannot_cancel_it(site: Site, sweep: str) -> None:
    answer = site.client.post(f"/v1/operations/{sweep}/cancel", json={}, headers=site.member)
    assert answer.status_code == 404


def test_every_kind_is_one_or_the_other(site: Site) -> None:
    kinds = site.built.operations.kinds  # type: ignore[attr-defined]
    assert {name for name, kind in kinds.items() if not kind.administrators} == TENANTS_KINDS


def test_a_reason_has_an_end(site: Site, sweep: str) -> None:
    url = f"/v1/operations/{sweep}/cancel"
    assert site.client.post(url, json={"reason": "x" * 1001}, headers=site.admin).status_code == 422


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/v1"])
def test_strangers_cannot_make_the_server_read(site: Site, path: str) -> None:
    assert site.client.post(path, content=b"[]" * 1000).status_code == 413
