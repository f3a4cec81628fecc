from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.ipam import check_routes, reservation_routes
from steelyard.ipam.checking import IpamCheck
from steelyard.ipam.reservations import ReservationService
from steelyard.ipam.routes import router
from steelyard.ipam.service import IpamService
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.web.app import build_app


class Place:
    def __init__(self, folder: Path) -> None:
        self.world = FakeWorld()
        clouds = FakeClouds(self.world)
        settings = Settings(home=folder)
        self.store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
        ipam = IpamService(clouds=clouds, store=self.store)
        self.check = IpamCheck(clouds=clouds, store=self.store, settings=settings, sleep=lambda _: None)
        routers = [
            router(ipam),
            reservation_routes.router(ReservationService(ipam=ipam, store=self.store)),
            check_routes.router(self.check),
        ]
        app = build_app(routers, validate=clouds.identity.validate, checks={}, settings=settings)
        self.client = TestClient(app)
        self.admin = self.headers("admin", "admin")
        self.demo = self.headers("demo", "reader")
        self.member = self.headers("demo", "member")
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
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


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
        (
            "10.1.0.0/24",
            {"total": 254, "allocated": 12, "reserved": 0, "brownfield": 0, "gateway": 1, "service": 0, "free": 241},
        )
    ]
    assert place.client.get("/v1/ipam/subnets", headers=place.headers("other", "member")).json()["subnets"] == []


def test_what_cannot_be_is_refused(place: Place) -> None:
    assert place.client.get("/v1/ipam/subnets").status_code == 401
    missing = place.client.get("/v1/ipam/subnets/cleaning/addresses", headers=place.demo)
    assert (missing.status_code, missing.json()["next"]) == (404, "steelyard ipam subnets")
    odd = place.client.get("/v1/ipam/subnets/blue/addresses?state=odd", headers=place.demo)
    assert (odd.status_code, odd.json()["code"]) == (422, "malformed")


def test_what_is_free_is_listed_when_asked_for(place: Place) -> None:
    rows = place.client.get("/v1/ipam/subnets/blue/addresses?free=true", headers=place.demo).json()["addresses"]
    assert [(row["address"], row["last"]) for row in rows if row["state"] == "free"] == [("10.1.0.14", "10.1.0.254")]
    networks = place.client.get("/v1/ipam/networks", headers=place.demo).json()["networks"]
    assert [(row["network_name"], row["version"], row["utilisation"]["free"]) for row in networks] == [("blue", 4, 241)]


def test_addresses_are_kept_and_released(place: Place) -> None:
    base = "/v1/ipam/subnets/10.1.0.0%2F24"
    body = {"addresses": ["10.1.0.20-10.1.0.21"], "note": "lb"}
    kept = place.client.post(f"{base}/reservations", json=body, headers=place.member)
    assert (kept.status_code, [row["changed"] for row in kept.json()["addresses"]]) == (201, [True, True])
    again = place.client.post(f"{base}/reservations", json=body, headers=place.member)
    assert [row["changed"] for row in again.json()["addresses"]] == [False, False]
    taken = [
        place.client.post(
            f"{base}/allocations", json={"note": "x"}, headers={**place.member, "Idempotency-Key": "k"}
        ).json()["addresses"][0]["address"]
        for _ in range(2)
    ]
    assert taken == ["10.1.0.14", "10.1.0.14"]
    gone = place.client.post(f"{base}/releases", json={"addresses": ["10.1.0.20", "10.1.0.99"]}, headers=place.member)
    assert [row["changed"] for row in gone.json()["addresses"]] == [True, False]
    refused = place.client.post(f"{base}/releases", json={"addresses": ["10.1.0.2"]}, headers=place.member)
    assert (refused.status_code, refused.json()["code"]) == (409, "address_in_use")
    assert refused.json()["next"].startswith("steelyard ")


def test_readers_and_other_tenants_keep_nothing(place: Place) -> None:
    bodies = {
        "reservations": {"addresses": ["10.1.0.20"], "note": "x"}, "allocations": {"note": "x"},
        "releases": {"addresses": ["10.1.0.20"]}, "imports": {"rows": [{"address": "10.1.0.20", "note": "x"}]},
    }  # fmt: skip
    for path, body in bodies.items():
        url = f"/v1/ipam/subnets/blue/{path}"
        assert place.client.post(url, json=body).status_code == 401
        assert place.client.post(url, json=body, headers=place.demo).status_code == 403
        assert place.client.post(url, json=body, headers=place.headers("other", "member")).status_code == 404
        odd = place.client.post(url, json={**body, "odd": 1}, headers=place.member)
        assert odd.status_code == 422
    assert place.client.get("/v1/ipam/check", headers=place.member).status_code == 403
    assert len(place.world.fabric.ports) == 12


def test_a_file_of_reservations(place: Place) -> None:
    url = "/v1/ipam/subnets/blue/imports"
    rows = [{"address": "10.1.0.20-10.1.0.29", "note": "lb"}, {"address": "10.1.0.2", "note": "taken"}]
    bad = place.client.post(url, json={"rows": rows}, headers=place.member).json()
    assert (bad["applied"], bad["errors"], [row["outcome"] for row in bad["rows"]]) == (False, 1, ["new", "error"])
    assert bad["rows"][1]["error"]["code"] == "address_in_use"
    dry = place.client.post(url, json={"rows": rows[:1], "dry_run": True}, headers=place.member).json()
    assert (dry["applied"], dry["rows"][0]["new"]) == (False, 10)
    done = place.client.post(url, json={"rows": rows[:1]}, headers=place.member).json()
    assert (done["applied"], done["rows"][0]["new"]) == (True, 10)


def test_the_list_as_a_file_runs_no_formula(place: Place) -> None:
    body = {"addresses": ["10.1.0.20"], "note": "=HYPERLINK(1)"}
    place.client.post("/v1/ipam/subnets/blue/reservations", json=body, headers=place.member)
    answer = place.client.get("/v1/ipam/subnets/blue/export?free=true", headers=place.demo)
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.text.split("\r\n")
    assert lines[0].startswith("address,last,addresses,state,owner,name,mac,")
    assert next(line for line in lines if line.startswith("10.1.0.20,")).startswith(
        "10.1.0.20,,1,reserved,by hand,'=HYPERLINK(1),"
    )
    assert any(line.startswith("10.1.0.21,10.1.0.254,234,free,nobody,") for line in lines)
    assert "bm-1" not in answer.text
    assert "bm-1" in place.client.get("/v1/ipam/subnets/blue/export", headers=place.admin).text


def test_history_over_rest(place: Place) -> None:
    place.check.remember()
    url = "/v1/ipam/subnets/blue/history?address=10.1.0.2"
    (row,) = place.client.get(url, headers=place.demo).json()["history"]
    assert (row["owner"], row["until"], row["node_name"]) == ("bare metal", None, None)
    assert place.client.get(f"{url}&at=2025-12-31T00:00:00Z", headers=place.demo).json()["history"] == []
    spanned = place.client.get(f"{url}&at=2025-12-31T00:00:00&to=2026-01-02T00:00:00", headers=place.demo)
    assert len(spanned.json()["history"]) == 1
    assert place.client.get(f"{url}&at=0001-01-01T00:00:00%2B14:00", headers=place.demo).status_code == 400
    assert place.client.get("/v1/ipam/subnets/blue/history?address=x", headers=place.demo).status_code == 400


def test_a_check_over_rest(place: Place) -> None:
    answer = place.client.get("/v1/ipam/check", headers=place.admin).json()
    assert (answer["agrees"], answer["totals"]["addresses"]) == (False, 12)
    assert {row["kind"] for row in answer["conflicts"]} == {"port_left_behind"}, "the node is not in use"
    elsewhere = place.client.get("/v1/ipam/check?subnet=cleaning", headers=place.admin).json()
    assert (elsewhere["agrees"], elsewhere["conflicts"]) == (True, [])
    port = next(iter(place.world.fabric.ports.values()))
    place.world.fabric.add_port(
        place.blue.id, now=place.world.now, mac=port.mac, project_id=port.project_id, device_id=port.device_id or "",
        device_owner="baremetal:none",
    )  # fmt: skip
    answer = place.client.get("/v1/ipam/check?subnet=blue", headers=place.admin).json()
    assert [row["kind"] for row in answer["conflicts"]] == ["mac_twice"] + ["port_left_behind"] * 13
