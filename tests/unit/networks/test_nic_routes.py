"""The doors of /v1/servers/{server}/nics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from steelyard.networks.nic_routes import router
from steelyard.web.app import build_app

if TYPE_CHECKING:
    from .conftest import Bench

ROUTES = [
    ("GET", "/nics", None), ("POST", "/nics", {"network": "red"}), ("DELETE", "/nics/blue", None),
    ("POST", "/nics/blue/move", {"network": "red"}), ("POST", "/nics/blue/sub-interfaces", {"network": "red"}),
    ("DELETE", "/nics/blue/sub-interfaces/red", None),
]  # fmt: skip


@pytest.fixture
def client(bench: Bench) -> TestClient:
    service = bench.build()
    app = build_app([router(service)], validate=bench.clouds.identity.validate, checks={}, settings=bench.settings)
    return TestClient(app)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_strangers_other_tenants_and_readers(
    bench: Bench, client: TestClient, method: str, path: str, body: dict[str, str] | None
) -> None:
    url = f"/v1/servers/{bench.instance.id}{path}"
    assert client.request(method, url, json=body).status_code == 401
    other = {"x-auth-token": bench.other_token}
    assert client.request(method, url, json=body, headers=other).status_code == 404
    reader = {"x-auth-token": bench.world.token(project="demo", roles={"reader"})}
    assert client.request(method, url, json=body, headers=reader).status_code == (200 if method == "GET" else 403)
    assert bench.on() == ["blue"]


def test_a_tenant_sees_no_switch_and_an_administrator_does(bench: Bench, client: TestClient) -> None:
    url = f"/v1/servers/{bench.instance.id}/nics"
    [mine] = client.get(url, headers={"x-auth-token": bench.token}).json()["nics"]
    assert (mine["network"], mine["links"]) == ("blue", None)
    [theirs] = client.get(url, headers={"x-auth-token": bench.admin_token}).json()["nics"]
    assert theirs["links"] == [{"switch": "leaf1", "port": "Ethernet1"}]


def test_from_beginning_to_end(bench: Bench, client: TestClient) -> None:
    who = {"x-auth-token": bench.token}
    url = "/v1/servers/web/nics"
    made = client.post(url, json={"network": "red"}, headers=who)
    assert (made.status_code, made.json()["operation"]["phase"]) == (202, "succeeded")
    assert [nic["network"] for nic in client.get(url, headers=who).json()["nics"]] == ["blue", "red"]
    assert client.post(f"{url}/red/sub-interfaces", json={"network": "green"}, headers=who).status_code == 202
    [sub] = client.get(url, headers=who).json()["nics"][1]["sub_interfaces"]
    assert (sub["network"], sub["vlan"]) == ("green", bench.network("green").segmentation_id)
    assert client.delete(f"{url}/red/sub-interfaces/green", headers=who).status_code == 202
    assert client.delete(f"{url}/red", headers=who).status_code == 202
    refused = client.post(url, json={"network": "red", "unknown": 1}, headers=who)
    assert refused.status_code == 422
    assert client.delete(f"{url}/red", headers=who).json()["code"] == "nic_not_found"
