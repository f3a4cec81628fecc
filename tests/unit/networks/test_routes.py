from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.networks.routes import router
from steelyard.networks.service import NetworkService
from steelyard.settings import Settings
from steelyard.web.app import build_app


class Place:
    def __init__(self) -> None:
        self.world = FakeWorld()
        clouds = FakeClouds(self.world)
        settings = Settings()
        service = NetworkService(clouds=clouds, settings=settings)
        app = build_app([router(service)], validate=clouds.identity.validate, checks={}, settings=settings)
        self.client = TestClient(app)
        self.admin = self.headers("admin", "admin")
        self.demo = self.headers("demo", "member")

    def headers(self, project: str, role: str) -> dict[str, str]:
        return {"x-auth-token": self.world.token(project=project, roles={role})}

    def create(self, who: dict[str, str], **body: Any) -> httpx.Response:
        answer: httpx.Response = self.client.post("/v1/networks", json=body, headers=who)
        return answer


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_tenants_network_from_beginning_to_end(place: Place) -> None:
    made = place.create(place.demo, name="blue", subnets=["10.1.0.0/24"], dns_servers=["9.9.9.9"])
    assert made.status_code == 201
    network = made.json()["network"]
    assert network["role"] == "tenant"
    assert network["subnets"][0]["gateway"] == "10.1.0.1"
    assert network["segmentation_id"] is None
    assert [row["name"] for row in place.client.get("/v1/networks", headers=place.demo).json()["networks"]] == ["blue"]
    assert place.client.get("/v1/networks", headers=place.headers("other", "member")).json()["networks"] == []
    assert place.client.delete("/v1/networks/blue", headers=place.demo).status_code == 204
    assert place.client.get(f"/v1/networks/{network['id']}", headers=place.demo).status_code == 404


def test_an_administrator_sees_roles_and_vlans(place: Place) -> None:
    rows = place.client.get("/v1/networks", headers=place.admin).json()["networks"]
    assert {row["name"]: (row["role"], row["segmentation_id"]) for row in rows} == {
        "provisioning": ("provisioning", 2001),
        "cleaning": ("cleaning", 2002),
        "inspection": ("inspection", 2003),
        "quarantine": ("quarantine", 2004),
        "rescue": ("rescue", 2005),
    }
    refused = place.client.delete("/v1/networks/cleaning", headers=place.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "operator_network")


def test_an_operators_network_is_not_there_for_a_tenant(place: Place) -> None:
    for reference in ("cleaning", place.world.role_networks["cleaning"], "no-such-network"):
        for method in ("GET", "DELETE"):
            answer = place.client.request(method, f"/v1/networks/{reference}", headers=place.demo)
            assert (answer.status_code, answer.json()["code"]) == (404, "network_not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "blue", "subnets": ["10.1.0.5/24"]}, 400, "invalid_cidr"),
        ({"name": "blue", "subnets": ["10.1.0.0/24", "10.1.0.0/16"]}, 400, "overlapping_subnets"),
        ({"name": "blue", "subnets": ["10.1.0.0/24"], "gateways": ["10.2.0.1"]}, 400, "invalid_gateway"),
        ({"name": "cleaning", "subnets": ["10.1.0.0/24"]}, 400, "reserved_name"),
        ({"name": "blue"}, 422, "malformed"),
        ({"name": "blue", "subnets": []}, 422, "malformed"),
        ({"name": "blue", "subnets": "10.1.0.0/24"}, 422, "malformed"),
        ({"name": "blue", "subnets": ["10.1.0.0/24"], "shared": True}, 422, "malformed"),
    ],
)
def test_bad_input_is_refused_and_makes_nothing(place: Place, body: dict[str, Any], status: int, code: str) -> None:
    answer = place.create(place.demo, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert place.client.get("/v1/networks", headers=place.demo).json()["networks"] == []


def test_who_may_what(place: Place) -> None:
    reader = place.headers("demo", "reader")
    assert place.create(reader, name="blue", subnets=["10.1.0.0/24"]).status_code == 403
    assert place.client.delete("/v1/networks/x", headers=reader).status_code == 403
    assert place.client.get("/v1/networks", headers=reader).status_code == 200
    assert place.client.get("/v1/networks").status_code == 401


def test_a_second_network_of_the_name_is_refused(place: Place) -> None:
    place.create(place.demo, name="blue", subnets=["10.1.0.0/24"])
    answer = place.create(place.demo, name="blue", subnets=["10.2.0.0/24"])
    assert (answer.status_code, answer.json()["code"]) == (409, "duplicate_name")


def test_a_name_may_hold_a_slash(place: Place) -> None:
    place.create(place.demo, name="a/b", subnets=["10.1.0.0/24"])
    assert place.client.get("/v1/networks/a%2Fb", headers=place.demo).json()["network"]["name"] == "a/b"


def test_a_network_of_both_versions_with_pools_and_routes(place: Place) -> None:
    made = place.create(
        place.demo, name="blue", subnets=["10.1.0.0/24", "fd00:1::/64"],
        pools=[{"first": "10.1.0.100", "last": "10.1.0.110"}],
        host_routes=[{"destination": "10.9.0.0/16", "next_hop": "10.1.0.2"}],
    )  # fmt: skip
    assert made.status_code == 201
    four, six = made.json()["network"]["subnets"]
    assert four["pools"] == [{"first": "10.1.0.100", "last": "10.1.0.110"}]
    assert four["host_routes"] == [{"destination": "10.9.0.0/16", "next_hop": "10.1.0.2"}]
    assert (six["cidr"], six["gateway"], six["host_routes"]) == ("fd00:1::/64", "fd00:1::1", [])
    shown = place.client.get("/v1/networks/blue", headers=place.demo).json()["network"]
    assert shown == made.json()["network"]
    refused = place.create(place.demo, name="red", subnets=["10.2.0.0/24"], pools=[{"first": "10.2.0.1", "last": "x"}])
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_pool")
