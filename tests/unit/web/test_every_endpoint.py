"""What holds for every endpoint of every room, by going through the API's own description of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from steelyard.errors import Unavailable

from .conftest import Site

CANARY = "canary-6f2f1c"
ADMINISTRATORS_ONLY = (
    "/v1/nodes", "/v1/candidates", "/v1/discoveries", "/v1/pools",
    "/v1/attention", "/v1/audit", "/v1/webhooks", "/v1/reconcilers",
)  # fmt: skip


def endpoints(site: Site) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in site.client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/v1"):
                yield method.upper(), re.sub(r"\{[^}]+\}", "00000000-0000-0000-0000-000000000000", path), operation


def check_problem(response: Any, status: int | None = None) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert {"type", "title", "status", "code", "detail", "next", "request_id"} <= body.keys()
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]
    if status is not None:
        assert response.status_code == status, response.text
    return body


def test_there_are_endpoints_of_every_room(site: Site) -> None:
    rooms = {path.split("/")[2] for _, path, _ in endpoints(site)}
    assert rooms >= {
        "images", "flavors", "networks", "ipam", "discoveries", "candidates", "nodes", "servers", "operations",
    }  # fmt: skip


def test_anonymous(site: Site) -> None:
    for method, path, _ in endpoints(site):
        body = check_problem(site.client.request(method, path), 401)
        assert body["next"], (method, path)


@pytest.mark.parametrize("token", ["nonsense", "x" * 20_000, "gAAAA bbb", "a\tb"])
def test_a_token_that_is_none(site: Site, token: str) -> None:
    for method, path, _ in endpoints(site):
        check_problem(site.client.request(method, path, headers={"X-Auth-Token": token}), 401)


def test_an_expired_token(site: Site) -> None:
    token = site.world.token(project="demo", roles={"member"}, expires_in=1)
    site.world.tick(3600)
    for method, path, _ in endpoints(site):
        body = check_problem(site.client.request(method, path, headers={"X-Auth-Token": token}), 401)
        assert body["next"]


def test_a_revoked_token(site: Site) -> None:
    token = site.token("admin")
    site.world.revoke(token)
    for method, path, _ in endpoints(site):
        check_problem(site.client.request(method, path, headers={"X-Auth-Token": token}), 401)


def test_a_role_that_means_nothing(site: Site) -> None:
    headers = site.headers("barista")
    for method, path, _ in endpoints(site):
        check_problem(site.client.request(method, path, headers=headers), 403)


def test_nothing_is_changed_by_a_reader(site: Site) -> None:
    for method, path, _ in endpoints(site):
        if method == "GET":
            continue
        response = site.client.request(method, path, headers=site.reader, json={} if method == "POST" else None)
        assert response.status_code in (403, 404, 405, 422), (method, path, response.text)
        if response.status_code == 422:
            assert method == "POST", "a body's shape may be told before the right to send it"


def test_what_is_for_administrators_only(site: Site) -> None:
    for method, path, _ in endpoints(site):
        if path.startswith(ADMINISTRATORS_ONLY) and method in ("GET", "DELETE"):
            assert check_problem(site.client.request(method, path, headers=site.member), 403)["code"] == "forbidden"


def test_a_body_of_50_megabytes(site: Site) -> None:
    big = b'{"name": "' + b"x" * (50 << 20) + b'"}'
    for method, path, _ in endpoints(site):
        if method in ("POST", "PUT", "PATCH"):
            check_problem(site.client.request(method, path, headers=site.admin, content=big), 413)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"unknown_field": 1}',
        b'{"name": {"a": 1}, "targets": 5, "url": [], "candidates": "x"}',
        b'{"name": NaN}',
        b"[" * 100_000,
        b'{"a":' * 30_000,
        b'{"name": "\\ud800", "targets": ["\\ud800"]}',
        b'{"name": "' + b"A" * 900_000 + b'"}',
    ],
    ids=[
        "empty", "half", "list", "null", "text", "no UTF-8", "unknown field", "wrong types", "NaN", "deep list",
        "deep object", "half a surrogate", "a long name",
    ],
)  # fmt: skip
def test_a_body_that_makes_no_sense(site: Site, body: bytes) -> None:
    headers = {**site.admin, "Content-Type": "application/json"}
    for method, path, _ in endpoints(site):
        if method in ("POST", "PUT", "PATCH"):
            response = site.client.request(method, path, headers=headers, content=body)
            assert response.status_code in (400, 404, 422), (method, path, response.text[:500])
            check_problem(response)


def test_nothing_of_a_body_is_quoted_back(site: Site) -> None:
    for method, path, _ in endpoints(site):
        if method in ("POST", "PUT", "PATCH"):
            response = site.client.request(
                method,
                path,
                headers=site.admin,
                json={"password": CANARY, "credentials": [{"username": "a", "passwort": CANARY}], "targets": CANARY},
            )
            assert response.status_code in (400, 404, 422)
            assert CANARY not in response.text, (method, path)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=1e3", "limit=", "marker=none"]
)
def test_paging_that_makes_no_sense(site: Site, query: str) -> None:
    for method, path, operation in endpoints(site):
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        if method == "GET" and {"limit", "marker"} <= names:
            response = site.client.get(f"{path}?{query}", headers=site.admin)
            assert response.status_code in (400, 404, 422), (path, response.text)
            check_problem(response)


def test_ids_that_make_no_sense(site: Site) -> None:
    for method, path, operation in endpoints(site):
        incomplete = any(each["in"] == "query" and each["required"] for each in operation.get("parameters", ()))
        if "00000000-" in path and method in ("GET", "DELETE"):
            for bad in ("..%2f..%2fetc", "%00", "a" * 3000, "é", "-1", "%20", "'; DROP TABLE nodes; --"):
                response = site.client.request(method, path.replace("00000000-0000-0000-0000-000000000000", bad), headers=site.admin)  # fmt: skip  # noqa: E501
                expected = (422,) if bad == "%00" or incomplete else (400, 404, 405, 409)
                assert response.status_code in expected, (method, path, bad, response.text[:300])
                check_problem(response)


def test_keystone_is_down(site: Site) -> None:
    headers = site.admin
    site.world.fail("identity.validate", Unavailable("Keystone does not answer.", internal=CANARY), times=10_000)
    for method, path, _ in endpoints(site):
        response = site.client.request(method, path, headers=headers)
        check_problem(response, 503)
        assert response.headers["retry-after"]
        assert CANARY not in response.text


def test_the_description_speaks_of_problems_and_tokens(site: Site) -> None:
    document = site.client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["X-Auth-Token"]["in"] == "header"
    for method, path, operation in endpoints(site):
        assert operation["security"] == [{"X-Auth-Token": []}], (method, path)
        assert "422" not in operation["responses"]
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
        assert {"summary", "description"} <= operation.keys(), (method, path)
    assert "HTTPValidationError" not in document["components"]["schemas"]
