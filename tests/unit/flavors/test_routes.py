from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.flavors.routes import router
from steelyard.flavors.service import FlavorService
from steelyard.settings import Settings
from steelyard.web.app import build_app


class Place:
    def __init__(self) -> None:
        self.world = FakeWorld()
        clouds = FakeClouds(self.world)
        self.node = self.world.add_node("bm-secret-name", traits=frozenset({"CUSTOM_GPU"}))
        app = build_app(
            [router(FlavorService(clouds=clouds))], validate=clouds.identity.validate, checks={}, settings=Settings()
        )
        self.client = TestClient(app)
        self.admin = self.headers("admin", "admin")
        self.demo = self.headers("demo", "member")

    def headers(self, project: str, role: str) -> dict[str, str]:
        return {"x-auth-token": self.world.token(project=project, roles={role})}

    def create(self, who: dict[str, str], **body: Any) -> httpx.Response:
        answer: httpx.Response = self.client.post("/v1/flavors", json=body, headers=who)
        return answer


@pytest.fixture
def place() -> Place:
    return Place()


def test_an_administrator_creates_what_a_tenant_then_sees_counted(place: Place) -> None:
    made = place.create(place.admin, name="metal", pool="bm.small", traits=["CUSTOM_GPU"])
    assert made.status_code == 201
    listed = place.client.get("/v1/flavors", headers=place.demo)
    assert listed.json()["flavors"] == [made.json()["flavor"]]
    assert made.json()["flavor"]["capacity"] == {"total": 1, "free": 1, "deployed": 0, "other": 0}
    assert made.json()["flavor"]["traits"] == ["CUSTOM_GPU"]
    assert place.client.get("/v1/flavors/metal", headers=place.demo).json() == made.json()
    for answer in (listed, place.client.get("/v1/flavors/metal", headers=place.demo)):
        assert "bm-secret-name" not in answer.text
        assert place.node.id not in answer.text
    assert place.client.delete("/v1/flavors/metal", headers=place.admin).status_code == 204
    assert place.client.get("/v1/flavors/metal", headers=place.demo).status_code == 404


def test_pools_and_changes_are_the_administrators(place: Place) -> None:
    for answer in (
        place.client.get("/v1/pools", headers=place.demo),
        place.create(place.demo, name="metal", pool="bm.small"),
        place.client.delete("/v1/flavors/x", headers=place.demo),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert place.client.get("/v1/pools", headers=place.admin).json()["pools"] == [
        {
            "name": "bm.small",
            "resource_class": "CUSTOM_BM_SMALL",
            "traits": {"CUSTOM_GPU": 1},
            "capacity": {"total": 1, "free": 1, "deployed": 0, "other": 0},
        }
    ]
    assert place.client.get("/v1/flavors").status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "x", "pool": "bm.huge"}, 409, "no_node_can_serve"),
        ({"name": "x", "pool": "bm.small", "traits": ["CUSTOM_NONE"]}, 409, "no_node_can_serve"),
        ({"name": "x", "pool": "bm.small", "traits": ["none"]}, 400, "invalid_trait"),
        ({"name": " ", "pool": "bm.small"}, 400, "invalid_name"),
        ({"name": "x"}, 422, "malformed"),
        ({"name": "x", "pool": "bm.small", "vcpus": 0}, 422, "malformed"),
        ({"name": "x", "pool": "bm.small", "vcpu": 4}, 422, "malformed"),
        ({"name": "x", "pool": ["bm.small"]}, 422, "malformed"),
    ],
)
def test_bad_input_is_refused(place: Place, body: dict[str, Any], status: int, code: str) -> None:
    answer = place.create(place.admin, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert place.world.flavors == {}


def test_flavors_are_paged(place: Place) -> None:
    for number in range(5):
        place.create(place.admin, name=f"metal-{number}", pool="bm.small")
    seen: list[str] = []
    url: str | None = "/v1/flavors?limit=2"
    while url:
        page = place.client.get(url, headers=place.demo).json()
        seen += [row["name"] for row in page["flavors"]]
        url = page["next"]
    assert seen == [f"metal-{number}" for number in range(5)]
