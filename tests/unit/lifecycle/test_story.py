"""A server's whole life through the REST API, all rooms over fakes: found, onboarded, deployed, released, deleted."""

from __future__ import annotations

import hashlib
import io
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.hardware.redfish.fake import FakeBmc, FakeBmcProber
from steelyard.hardware.redfish.port import SystemIdentity
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.nouns import FlavorSpec, ImageSpec
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.wiring import assemble, create_app

PASSWORD = "canary-calvin"


class Site:
    """The whole server over fakes, with one server in the rack."""

    def __init__(self, home: Path):
        self.world = FakeWorld()
        clouds = self.clouds = FakeClouds(self.world)
        self.machine = self.world.add_hardware("https://10.0.0.1:443")
        identity = SystemIdentity(
            path="/redfish/v1/Systems/1", serial=self.machine.serial, vendor="Acme", asset_tag="bm-001", cpus=16,
            memory_mib=65536, macs=tuple(nic.mac for nic in self.machine.nics), power_state="off",
        )  # fmt: skip
        prober = FakeBmcProber({(ipaddress.ip_address("10.0.0.1"), 443): FakeBmc("root", PASSWORD, (identity,))})
        reader = FakeSwitchReader(source=self.world.switch_ports)
        settings = Settings(home=home)
        self.store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
        links = [nic.link for nic in self.machine.nics if nic.link is not None]
        built = assemble(
            settings, clouds=clouds, store=self.store, operations=FakeOperations(on_wait=self.go_on), prober=prober,
            switches=SwitchReaders({link.switch_id: reader for link in links}),
        )  # fmt: skip
        self.client = TestClient(create_app(built), raise_server_exceptions=False)
        self.admin = {"x-auth-token": self.world.token(project="admin", roles={"admin"}, user="admin")}
        self.tenant = {"x-auth-token": self.world.token(project="demo")}
        self.reader_only = {"x-auth-token": self.world.token(project="demo", roles={"reader"}, user="looker")}
        self.stranger = {"x-auth-token": self.world.token(project="other")}
        self.world.add_network("blue", project="demo", cidr="10.1.0.0/24")
        cloud = clouds.on_behalf_of(self.tenant["x-auth-token"])
        cloud.images.create(
            ImageSpec("debian", "raw", "sha256:" + hashlib.sha256(b"x").hexdigest(), 1), io.BytesIO(b"x")
        )
        clouds.own.flavors.create(FlavorSpec("metal", "CUSTOM_BM_SMALL"))
        self.seen: list[str] = []

    def go_on(self, seconds: float) -> None:
        self.world.tick()

    def ask(self, method: str, path: str, who: dict[str, str], status: int, body: Any = None) -> Any:
        answer = self.client.request(method, f"/v1{path}", headers=who, json=body)
        assert answer.status_code == status, answer.text
        self.seen.append(answer.text)
        return answer.json() if answer.content else None

    def onboarded(self) -> None:
        self.ask(
            "POST", "/discoveries", self.admin, 202,
            {"targets": ["10.0.0.0/30"], "credentials": [{"username": "root", "password": PASSWORD}]},
        )  # fmt: skip
        answer = self.ask("POST", "/nodes/onboard", self.admin, 202, {"all": True})
        assert [each["phase"] for each in answer["operations"]] == ["succeeded"], answer

    def deployed(self) -> str:
        body = {"name": "web", "flavor": "metal", "image": "debian", "networks": ["blue"]}
        answer = self.ask("POST", "/servers", self.tenant, 202, body)
        assert answer["operation"]["phase"] == "succeeded", answer
        return str(answer["server"]["id"])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.store.close()


def test_the_whole_story(site: Site) -> None:
    site.onboarded()
    (candidate,) = site.ask("GET", "/candidates?state=onboarded", site.admin, 200)["candidates"]
    assert (candidate["name"], len(candidate["links"])) == ("bm-001", 2)
    (node,) = site.ask("GET", "/nodes?state=available&pool=bm-small", site.admin, 200)["nodes"]
    assert (node["name"], node["phase"]) == ("bm-001", "available")
    server_id = site.deployed()
    shown = site.ask("GET", "/servers/web", site.tenant, 200)["server"]
    assert (shown["phase"], shown["addresses"], shown["node"]) == ("active", ["10.1.0.2"], None)
    isolation = site.ask("GET", "/nodes/bm-001/isolation", site.admin, 200)["isolation"]
    assert (isolation["agrees"], isolation["phase"]) == (True, "active")
    problem = site.ask("DELETE", "/nodes/bm-001", site.admin, 409)
    assert problem["code"] == "node_deployed"
    assert problem["next"] == f"steelyard server delete {server_id} --wait"
    site.ask("POST", "/servers/web/power", site.tenant, 202, {"action": "off"})
    site.world.settle()
    assert site.ask("GET", "/servers/web", site.tenant, 200)["server"]["phase"] == "powered-off"
    assert site.ask("DELETE", "/nodes/bm-001", site.admin, 409)["code"] == "node_deployed"
    released = site.ask("DELETE", f"/servers/{server_id}?reason=done", site.admin, 202)["operation"]
    assert (released["kind"], released["phase"], released["reason"]) == ("servers.reclaim", "succeeded", "done")
    assert site.ask("GET", "/nodes/bm-001", site.admin, 200)["node"]["phase"] == "available"
    deleted = site.ask("DELETE", "/nodes/bm-001?reason=sold", site.admin, 202)["operation"]
    assert deleted["phase"] == "succeeded"
    site.ask("GET", "/nodes/bm-001", site.admin, 404)
    assert site.ask("GET", "/candidates/bm-001", site.admin, 200)["candidate"]["state"] == "found"
    site.ask("DELETE", "/candidates/bm-001", site.admin, 204)
    assert not any(PASSWORD in text for text in site.seen)


def test_tenants_and_strangers_see_no_more_than_their_own(site: Site) -> None:
    site.onboarded()
    site.deployed()
    for who in (site.tenant, site.reader_only, site.stranger):
        for path in ("/nodes", "/nodes/bm-001", "/nodes/bm-001/isolation", "/candidates", "/candidates/bm-001"):
            assert site.ask("GET", path, who, 403)["code"] == "forbidden"
        site.ask("DELETE", "/nodes/bm-001", who, 403)
        site.ask("POST", "/nodes/onboard", who, 403, {"all": True})
        site.ask("POST", "/discoveries", who, 403, {"targets": ["10.0.0.1"], "credentials": []})
        site.ask("GET", "/servers?all_projects=true", who, 403)
    assert site.ask("GET", "/servers", site.stranger, 200)["servers"] == []
    site.ask("GET", "/servers/web", site.stranger, 404)
    site.ask("POST", "/servers/web/power", site.stranger, 404, {"action": "off"})
    site.ask("DELETE", "/servers/web", site.stranger, 404)
    assert [row["name"] for row in site.ask("GET", "/servers", site.reader_only, 200)["servers"]] == ["web"]
    site.ask("POST", "/servers/web/power", site.reader_only, 403, {"action": "off"})
    site.ask("DELETE", "/servers/web", site.reader_only, 403)
    tenants_view = site.ask("GET", "/servers/web", site.tenant, 200)
    (node,) = site.world.nodes.values()
    for hidden in (node.id, "10.0.0.1", "bm-001", site.machine.serial, site.machine.nics[0].mac):
        assert hidden not in str(tenants_view)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/discoveries", {"targets": ["10.0.0.1"], "credentials": [{"username": "a", "password": "b"}], "prot": 1}),
        ("/discoveries", {"targets": ["10.0.0.1"], "credentials": [{"username": "a", "pasword": PASSWORD}]}),
        ("/discoveries", {"targets": ["10.0.0.1"], "credentials": [{"username": "a", "password": {"x": PASSWORD}}]}),
        ("/discoveries", {"targets": "10.0.0.1", "credentials": [{"username": "a", "password": PASSWORD}]}),
        ("/discoveries", {"targets": ["10.0.0.1"], "credentials": [{"username": "a", "password": "b"}], "port": 0}),
        ("/discoveries", {"targets": [], "credentials": []}),
        ("/nodes/onboard", {"candidates": "all"}),
        ("/nodes/onboard", {"all": True, "class": "x"}),
        ("/servers", {"name": "x", "flavor": "f", "image": "i", "networks": []}),
        ("/servers", {"name": "x", "flavor": "f", "image": "i", "networks": ["n"], "node": "bm-001"}),
        ("/servers/web/power", {"action": "explode"}),
    ],
)
def test_bodies_that_make_no_sense_are_refused_and_quote_no_secret(site: Site, path: str, body: Any) -> None:
    problem = site.ask("POST", path, site.admin, 422, body)
    assert problem["code"] == "malformed"
    assert problem["errors"]
    assert PASSWORD not in site.seen[-1]


def test_lists_are_paged(site: Site) -> None:
    for number in range(5):
        site.world.add_node(f"node-{number}")
    first = site.ask("GET", "/nodes?limit=2", site.admin, 200)
    assert [node["name"] for node in first["nodes"]] == ["node-0", "node-1"]
    second = site.ask("GET", first["next"].removeprefix("/v1"), site.admin, 200)
    assert [node["name"] for node in second["nodes"]] == ["node-2", "node-3"]
