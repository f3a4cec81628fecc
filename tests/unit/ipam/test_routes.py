from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.ipam.routes import router
from steelyard.ipam.service import IpamService
from steelyard.settings import Settings
from steelyard.web.app import build_app


class Place:
    def __init__(self) -> None:
        self.world = FakeWorld()
        clouds = FakeClouds(self.world)
        settings = Settings()
        app = build_app(
            [router(IpamService(clouds=clouds))], validate=clouds.identity.validate, checks={}, settings=settings
        )
        self.client = TestClient(app)
        self.admin = self.headers("admin", "admin")
        self.demo = self.headers("demo", "reader")
        self.blue = self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        node = self.world.add_node("bm-1")
        for number in range(12):
            self.world.fabric.add_port(
                self.blue.id, now=self.world.now, mac=f"fa:16:3e:00:00:{number:02x}",
                project_id=self.world.project("demo"), device_id=node.id, device_owner="baremetal:none",
            )  # fmt: skip

    def headers(self, project: str, role: str) -> dict[str, str]:
        return {"x-auth-token": self.world.token(project=project, roles={role})}


@pytest.fixture
def place() -> Place:
    return Place()


def test_addresses_are_paged_in_the_order_of_numbers(place: Place) -> None:
    seen: list[str] = []
    url: str | None = "/v1/ipam/subnets/blue/addresses?limit=5"
    while url:
        page = place.client.get(url, headers=place.demo).json()
        seen += [row["address"] for row in page["addresses"]]
        assert page["subnet"]["utilisation"]["allocated"] == 12
        url = page["next"]
    assert seen == [f"10.1.0.{number}" for number in range(1, 14)]


def test_only_an_administrator_sees_nodes(place: Place) -> None:
    path = "/v1/ipam/subnets/blue/addresses?state=allocated"
    mine = place.client.get(path, headers=place.demo).json()["addresses"]
    theirs = place.client.get(path, headers=place.admin).json()["addresses"]
    assert {row["owner"] for row in mine + theirs} == {"bare metal"}
    assert {row["node_name"] for row in mine} == {None}
    assert {row["node_id"] for row in mine} == {None}
    assert {row["node_name"] for row in theirs} == {"bm-1"}


def test_a_subnet_is_asked_for_by_cidr_too(place: Place) -> None:
    answer = place.client.get("/v1/ipam/subnets/10.1.0.0%2F24/addresses", headers=place.demo)
    assert answer.json()["subnet"]["network_name"] == "blue"


def test_subnets_are_listed_with_their_use(place: Place) -> None:
    rows = place.client.get("/v1/ipam/subnets", headers=place.demo).json()["subnets"]
    assert [(row["cidr"], row["utilisation"]) for row in rows] == [
        ("10.1.0.0/24", {"total": 254, "allocated": 12, "reserved": 0, "gateway": 1, "service": 0, "free": 241})
    ]
    assert place.client.get("/v1/ipam/subnets", headers=place.headers("other", "member")).json()["subnets"] == []


def test_what_cannot_be_is_refused(place: Place) -> None:
    assert place.client.get("/v1/ipam/subnets").status_code == 401
    missing = place.client.get("/v1/ipam/subnets/cleaning/addresses", headers=place.demo)
    assert (missing.status_code, missing.json()["next"]) == (404, "steelyard ipam subnets")
    odd = place.client.get("/v1/ipam/subnets/blue/addresses?state=free", headers=place.demo)
    assert (odd.status_code, odd.json()["code"]) == (422, "malformed")
