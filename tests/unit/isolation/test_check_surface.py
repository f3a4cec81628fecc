"""The check of the fleet over REST and as it is typed: who may ask, what is answered, the exit codes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from steelyard import main
from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation import check_commands
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.wiring import assemble, create_app

CHECK = "/v1/isolation/check"


class Site:
    def __init__(self, home: Path) -> None:
        self.world = FakeWorld()
        for number in (1, 2):
            self.world.add_node(f"bm-{number}")
        links = [port.link for port in self.world.node_ports.values()]
        reader = FakeSwitchReader(source=self.world.switch_ports)
        settings = Settings(home=home)
        self.store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
        built = assemble(
            settings, clouds=FakeClouds(self.world), store=self.store, operations=FakeOperations(),
            switches=SwitchReaders({link.switch_id: reader for link in links if link}), prober=FakeBmcProber(),
        )  # fmt: skip
        built.fleet_check._sleep = lambda _: built.observer.forget()
        self.observer = built.observer
        self.reconcilers = {status.name for status in built.reconcilers.all()}
        self.client = TestClient(create_app(built), raise_server_exceptions=False)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As the command line's client."""
        self.observer.forget()
        headers = {"X-Auth-Token": self.world.token(project="admin", roles={"admin"})}
        with contextlib.redirect_stdout(io.StringIO()):  # the server's log lines, which are another process's
            answer = self.client.get(path, params={k: v for k, v in (params or {}).items() if v}, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def tamper(self) -> None:
        nic = next(iter(self.world.node_ports.values()))
        assert nic.link is not None
        self.world.tamper_switch(nic.link, 999)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)
    monkeypatch.setattr(check_commands, "connect", lambda: made)
    with made.client:
        yield made
    made.store.close()


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(["isolation", "check", *words])
    return int(end.value.code or 0)


def test_strangers_and_tenants_may_not_ask(site: Site) -> None:
    assert site.client.get(CHECK).status_code == 401
    for roles in ({"member"}, {"reader"}, {"service"}):
        answer = site.client.get(CHECK, headers={"X-Auth-Token": site.world.token(roles=roles)})
        assert answer.status_code == 403, roles


def test_the_reconciler_is_there(site: Site) -> None:
    assert "isolation.compare" in site.reconcilers


def test_all_agree(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr().out
    assert said == (
        "4 NICs of 2 nodes, 2 switches read: 4 agree, 0 differ, 0 unverified, 0 changing.\n"
    )  # fmt: skip


def test_one_differs(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.tamper()
    assert run() == 7
    printed = capsys.readouterr()
    assert "DIFFER" in printed.out
    assert "3 agree, 1 differ" in printed.out
    assert "the switch carries VLAN 999" in printed.err
    assert "steelyard isolation show bm-1" in printed.err
    assert run("-f", "json") == 7
    found = json.loads(capsys.readouterr().out)
    [wrong] = found["attachments"]
    assert (wrong["node"], wrong["trouble"], wrong["severity"], wrong["dealing"]) == (
        "bm-1", "switch_differs", "critical", "report"
    )  # fmt: skip
    assert (found["agrees"], found["left_out"]) == (False, 0)


def test_some_nodes(site: Site) -> None:
    site.tamper()
    assert run("--node", "bm-2") == 0
    assert run("--node", "bm-2", "--node", "bm-1") == 7
    headers = {"X-Auth-Token": site.world.token(project="admin", roles={"admin"})}
    assert site.client.get(CHECK, params={"node": "bm-404"}, headers=headers).status_code == 404
