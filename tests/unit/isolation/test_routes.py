"""REST of isolation: who may read and set policies, and who may ask at the gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.wiring import assemble, create_app

POLICIES = "/v1/isolation/policies"


@dataclass
class Site:
    world: FakeWorld
    store: Store
    client: TestClient

    def headers(self, *roles: str, project: str = "demo") -> dict[str, str]:
        return {"X-Auth-Token": self.world.token(project=project, roles=set(roles))}

    @property
    def admin(self) -> dict[str, str]:
        return self.headers("admin", project="admin")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    world = FakeWorld()
    settings = Settings(home=tmp_path)
    store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
    built = assemble(
        settings, clouds=FakeClouds(world), store=store, operations=FakeOperations(), switches=SwitchReaders(),
        prober=FakeBmcProber(),
    )  # fmt: skip
    with TestClient(create_app(built), raise_server_exceptions=False) as client:
        yield Site(world, store, client)
    store.close()


def test_an_administrator_sets_and_sees_all(site: Site) -> None:
    site.world.project("other")
    body = {"power_off": "keep", "reason": "wake-on-LAN"}
    project = site.world.project("demo")
    answer = site.client.put(f"{POLICIES}/demo", json=body, headers=site.admin)
    assert answer.status_code == 200, answer.text
    shown = {policy["project"]: policy for policy in site.client.get(POLICIES, headers=site.admin).json()["policies"]}
    assert shown["demo"] == {
        "project_id": project, "project": "demo", "power_off": "keep", "is_default": False, "actor": "admin",
        "reason": "wake-on-LAN",
    }  # fmt: skip
    assert (shown["other"]["power_off"], shown["other"]["is_default"]) == ("quarantine", True)
    [event] = site.store.events.of(f"project:{project}")
    assert (event.kind, event.actor, event.reason) == ("isolation.policy_set", "admin", "wake-on-LAN")
    site.client.put(f"{POLICIES}/{project}", json=body, headers=site.admin)
    assert len(site.store.events.of(f"project:{project}")) == 1, "no news, no event"


def test_a_tenant_sees_its_own_and_sets_nothing(site: Site) -> None:
    site.world.project("other")
    site.world.project("demo")
    site.client.put(f"{POLICIES}/demo", json={"power_off": "keep", "reason": "secret plans"}, headers=site.admin)
    [policy] = site.client.get(POLICIES, headers=site.headers("member")).json()["policies"]
    assert (policy["project"], policy["power_off"], policy["actor"], policy["reason"]) == ("demo", "keep", None, None)
    refused = site.client.put(f"{POLICIES}/demo", json={"power_off": "keep"}, headers=site.headers("member"))
    assert refused.status_code == 403


@pytest.mark.parametrize(
    "body", [{}, {"power_off": "sometimes"}, {"power_off": "keep", "more": 1}, {"power_off": None}]
)
def test_nonsense_is_refused(site: Site, body: dict[str, object]) -> None:
    site.world.project("demo")
    assert site.client.put(f"{POLICIES}/demo", json=body, headers=site.admin).status_code == 422


def test_no_such_project(site: Site) -> None:
    answer = site.client.put(f"{POLICIES}/nope", json={"power_off": "keep"}, headers=site.admin)
    assert (answer.status_code, answer.json()["code"]) == (404, "project_not_found")


@pytest.mark.parametrize("gate", ["power-gate", "network-gate"])
class TestGates:
    def test_services_and_administrators_may_ask(self, site: Site, gate: str) -> None:
        node = site.world.add_node("bm-1")
        for headers in (site.headers("service", project="service"), site.admin):
            answer = site.client.post(f"/v1/nodes/{node.id}/{gate}", json={}, headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"allowed": True})

    def test_nobody_else_may(self, site: Site, gate: str) -> None:
        site.world.add_node("bm-1")
        for roles in (("member",), ("reader",)):
            answer = site.client.post(f"/v1/nodes/bm-1/{gate}", json={}, headers=site.headers(*roles))
            assert answer.status_code == 403
        assert site.client.post(f"/v1/nodes/bm-1/{gate}", json={}).status_code == 401

    def test_a_service_may_nothing_else(self, site: Site, gate: str) -> None:
        for path in ("/v1/nodes", "/v1/servers", POLICIES):
            answer = site.client.get(path, headers=site.headers("service", project="service"))
            assert answer.status_code == 403, path

    def test_no_such_node(self, site: Site, gate: str) -> None:
        assert site.client.post(f"/v1/nodes/nope/{gate}", json={}, headers=site.admin).status_code == 404


class TestFlipGate:
    NIC = "52:54:00:00:01:01"
    BODY = {"role": "cleaning", "joined": False, "nics": [{"mac": NIC}]}  # noqa: RUF012

    def test_services_and_administrators_may_ask(self, site: Site) -> None:
        node = site.world.add_node("bm-1")
        for headers in (site.headers("service", project="service"), site.admin):
            answer = site.client.post(f"/v1/nodes/{node.id}/flip-gate", json=self.BODY, headers=headers)
            assert answer.status_code == 200, answer.text
            said = answer.json()
            assert said["verified"] is False, "no switch has a reader here"
            assert "No way to read switch" in said["unread"][0]

    def test_a_refusal_says_who_disagrees_and_what_to_do(self, site: Site) -> None:
        node = site.world.add_node("bm-1")
        nic = {"mac": self.NIC.upper(), "network_id": site.world.role_networks["cleaning"]}
        body = {"role": "cleaning", "joined": True, "nics": [nic]}
        answer = site.client.post(f"/v1/nodes/{node.id}/flip-gate", json=body, headers=site.admin)
        assert (answer.status_code, answer.json()["code"]) == (409, "flip_refused")
        assert answer.json()["detail"].endswith(f"the controller has no port for NIC {self.NIC}")
        assert answer.json()["next"] == "steelyard isolation show bm-1"

    def test_nobody_else_may(self, site: Site) -> None:
        site.world.add_node("bm-1")
        for roles in (("member",), ("reader",)):
            answer = site.client.post("/v1/nodes/bm-1/flip-gate", json=self.BODY, headers=site.headers(*roles))
            assert answer.status_code == 403
        assert site.client.post("/v1/nodes/bm-1/flip-gate", json=self.BODY).status_code == 401

    @pytest.mark.parametrize(
        "change",
        [
            {"role": "idle"}, {"joined": None}, {"nics": []}, {"nics": [{"mac": "nonsense"}]}, {"force": True},
            {"nics": [{"mac": NIC, "port_id": "../x"}]}, {"nics": [{"mac": NIC}] * 65},
        ],
    )  # fmt: skip
    def test_anything_else_is_refused_before_anybody_is_asked(self, site: Site, change: dict[str, object]) -> None:
        site.world.add_node("bm-1")
        site.world.calls.clear()
        answer = site.client.post("/v1/nodes/bm-1/flip-gate", json={**self.BODY, **change}, headers=site.admin)
        assert answer.status_code == 422
        assert site.world.calls["nodes.get"] == 0
        assert site.client.post("/v1/nodes/nope/flip-gate", json=self.BODY, headers=site.admin).status_code == 404
