"""Segments over REST and as they are typed: who may ask, what conductors are told, what operators see."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from steelyard import main
from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation import segment_commands
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.wiring import assemble, create_app

SEGMENTS = "/v1/isolation/segments"
BODY = {"role": "cleaning"}


@dataclass
class Site:
    world: FakeWorld
    store: Store
    client: TestClient
    reconcilers: set[str]

    def headers(self, *roles: str, project: str = "demo") -> dict[str, str]:
        return {"X-Auth-Token": self.world.token(project=project, roles=set(roles))}

    @property
    def admin(self) -> dict[str, str]:
        return self.headers("admin", project="admin")

    def ask(self, node: str, body: dict[str, Any] = BODY, headers: dict[str, str] | None = None) -> Any:
        headers = self.headers("service", project="service") if headers is None else headers
        return self.client.post(f"/v1/nodes/{node}/segment", json=body, headers=headers)

    def get(self, path: str) -> Any:
        """As the command line's client."""
        with contextlib.redirect_stdout(io.StringIO()):  # the server's log lines, which are another process's
            answer = self.client.get(path, headers=self.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    world = FakeWorld()
    world.add_segments(1)
    for number in (1, 2):
        world.add_node(f"bm-{number}")
    settings = Settings(home=tmp_path, segments=("segment-*",))
    store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
    built = assemble(
        settings, clouds=FakeClouds(world), store=store, operations=FakeOperations(), switches=SwitchReaders(),
        prober=FakeBmcProber(),
    )  # fmt: skip
    names = {status.name for status in built.reconcilers.all()}
    with TestClient(create_app(built), raise_server_exceptions=False) as client:
        made = Site(world, store, client, names)
        monkeypatch.setattr(segment_commands, "connect", lambda: made)
        yield made
    store.close()


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(["isolation", "segments", *words])
    return int(end.value.code or 0)


def test_a_conductor_is_told_which_network_and_then_to_wait(site: Site) -> None:
    said = site.ask("bm-1").json()
    network = next(each for each in site.world.fabric.networks.values() if each.name == "segment-001")
    assert said == {"network_id": network.id, "network": "segment-001", "shared": False}
    assert site.ask("bm-1", {"role": "servicing"}).json() == said, "again is harmless"
    refused = site.ask("bm-2")
    assert (refused.status_code, refused.json()["code"]) == (409, "segments_exhausted")
    assert refused.json()["next"] == "steelyard isolation segments"
    assert site.ask("bm-404").status_code == 404


def test_nobody_else_may_ask(site: Site) -> None:
    assert site.client.post("/v1/nodes/bm-1/segment", json=BODY).status_code == 401
    assert site.client.get(SEGMENTS).status_code == 401
    for role in ("member", "reader"):
        assert site.ask("bm-1", headers=site.headers(role)).status_code == 403
    for role in ("member", "reader", "service"):
        assert site.client.get(SEGMENTS, headers=site.headers(role)).status_code == 403
    assert site.ask("bm-1", headers=site.admin).status_code == 200


@pytest.mark.parametrize("body", [{}, {"role": "tenant"}, {"role": "quarantine"}, {**BODY, "force": True}, []])
def test_anything_else_is_refused_before_anybody_is_asked(site: Site, body: Any) -> None:
    site.world.calls.clear()
    assert site.ask("bm-1", body, site.admin).status_code == 422
    assert site.world.calls["nodes.get"] == 0


def test_operators_see_who_has_which_and_who_waits(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 segments, 1 free, 0 nodes wait."
    site.ask("bm-1")
    site.ask("bm-2")
    capsys.readouterr()
    assert run() == 0
    printed = capsys.readouterr()
    assert "segment-001" in printed.out
    assert "bm-1" in printed.out
    assert "bm-2 waits since" in printed.err
    capsys.readouterr()
    assert run("-f", "json") == 0
    found = json.loads(capsys.readouterr().out)
    [segment] = found["segments"]
    assert (segment["network"], segment["vlan"], segment["node"], segment["role"]) == (
        "segment-001", 2101, "bm-1", "cleaning"
    )  # fmt: skip
    assert segment["in_pool"] is True
    assert [(wait["node"], wait["role"]) for wait in found["waiting"]] == [("bm-2", "cleaning")]


def test_prometheus_sees_how_many(site: Site, tmp_path: Path) -> None:
    site.ask("bm-1")
    site.ask("bm-2")
    token = Settings(home=tmp_path).resolved_metrics_token().read_text().strip()
    text = site.client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text
    assert 'steelyard_segments{state="leased"} 1.0' in text
    assert 'steelyard_segments{state="free"} 0.0' in text
    assert "steelyard_segments_waiting 1.0" in text


def test_the_reconciler_is_there(site: Site) -> None:
    assert "isolation.segments" in site.reconcilers
