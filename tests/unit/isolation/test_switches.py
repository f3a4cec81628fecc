"""The switches themselves: who may see them, what is told of one that cannot be read, and what a port's oddities do to
a verdict and to a proof."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from steelyard import main
from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Refused
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import ConfiguredSwitch, SwitchReaders
from steelyard.isolation import commands
from steelyard.isolation.model import Verdict
from steelyard.isolation.proof import Proof, Wanted
from steelyard.nouns import PortMode, SwitchPort
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.wiring import assemble, create_app

if TYPE_CHECKING:
    from .conftest import Bench

SWITCHES = "/v1/isolation/switches"
LEAF, SPINE = "02:00:5e:00:00:01", "02:00:5e:00:00:02"


def leaf_ports() -> list[SwitchPort]:
    trunk = SwitchPort(LEAF, "leaf1", "Ethernet10", None, frozenset({5, 6, 7, 20}), mode=PortMode.TRUNK, lag="Po1")
    routed = SwitchPort(LEAF, "leaf1", "Ethernet2", None, mode=PortMode.ROUTED, enabled=False, extra="routed")
    return [trunk, routed]


@dataclass
class Site:
    world: FakeWorld
    client: TestClient
    leaf: FakeSwitchReader
    spine: FakeSwitchReader

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
    leaf, spine = FakeSwitchReader(leaf_ports()), FakeSwitchReader([SwitchPort(SPINE, "spine1", "Ethernet1", 9)])
    configured = {LEAF: ConfiguredSwitch(LEAF, "leaf1", "eos"), SPINE: ConfiguredSwitch(SPINE, "spine1", "junos")}
    built = assemble(
        settings, clouds=FakeClouds(world), store=store, operations=FakeOperations(), prober=FakeBmcProber(),
        switches=SwitchReaders({LEAF: leaf, SPINE: spine}, configured=configured),
    )  # fmt: skip
    with TestClient(create_app(built), raise_server_exceptions=False) as client:
        yield Site(world, client, leaf, spine)
    store.close()


@pytest.mark.parametrize("path", [SWITCHES, f"{SWITCHES}/leaf1", f"{SWITCHES}/nope"])
def test_administrators_only(site: Site, path: str) -> None:
    assert site.client.get(path).status_code == 401
    for role in ("member", "reader", "service"):
        assert site.client.get(path, headers=site.headers(role)).status_code == 403


def test_every_switch_is_tried_and_one_that_fails_does_not_hide_the_other(site: Site) -> None:
    site.spine.fail("it refuses the login of reader")
    answer = site.client.get(SWITCHES, headers=site.admin)
    assert answer.status_code == 200, answer.text
    leaf, spine = answer.json()["switches"]
    assert leaf.pop("seconds") >= 0
    assert leaf == {
        "name": "leaf1", "chassis_id": LEAF, "type": "eos", "reachable": True, "ports": 2, "error": None,
    }  # fmt: skip
    assert (spine["name"], spine["type"], spine["reachable"], spine["ports"]) == ("spine1", "junos", False, None)
    assert "it refuses the login of reader" in spine["error"]


def test_switches_are_tried_side_by_side(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=30.0)

    def ports(switch_id: str) -> list[SwitchPort]:
        both.wait()  # raises, unless the other one is being read at the same time
        return leaf_ports()

    for reader in (site.leaf, site.spine):
        monkeypatch.setattr(reader, "ports", ports)
    found = site.client.get(SWITCHES, headers=site.admin).json()["switches"]
    assert [switch["reachable"] for switch in found] == [True, True]


@pytest.mark.parametrize("reference", ["leaf1", LEAF, LEAF.upper()])
def test_one_switch_has_its_ports_in_order(site: Site, reference: str) -> None:
    answer = site.client.get(f"{SWITCHES}/{reference}", headers=site.admin)
    assert answer.status_code == 200, answer.text
    assert answer.json()["switch"]["port_list"] == [
        {"port": "Ethernet2", "mode": "routed", "untagged_vlan": None, "parked_vlan": None,
         "tagged_vlans": "", "enabled": False, "lag": None, "extra": "routed"},
        {"port": "Ethernet10", "mode": "trunk", "untagged_vlan": None, "parked_vlan": None,
         "tagged_vlans": "5-7, 20", "enabled": True, "lag": "Po1", "extra": None},
    ]  # fmt: skip


def test_one_that_cannot_be_read_says_so_and_has_no_ports(site: Site) -> None:
    site.leaf.fail("no answer within 10 s")
    switch = site.client.get(f"{SWITCHES}/leaf1", headers=site.admin).json()["switch"]
    assert (switch["reachable"], switch["ports"], switch["port_list"]) == (False, None, [])
    assert "no answer within 10 s" in switch["error"]


def test_no_such_switch(site: Site) -> None:
    answer = site.client.get(f"{SWITCHES}/nope", headers=site.admin)
    assert (answer.status_code, answer.json()["code"]) == (404, "switch_not_found")
    assert answer.json()["next"] == "steelyard isolation switches"


# The commands


class Server:
    """The client, answered by the application in this process."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def path(self, *parts: str) -> str:
        return "/".join(parts)

    def get(self, path: str) -> dict[str, Any]:
        answer = self.site.client.get(path, headers=self.site.admin)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def typed(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(commands, "connect", lambda: Server(site))
    return site


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(["isolation", *words])
    code = end.value.code
    return code if isinstance(code, int) else int(code is not None)


def test_the_commands_end_with_0_when_all_can_be_read(typed: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("switches") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("leaf1", "eos", "spine1", "junos", "yes"))
    assert run("switch", "show", "leaf1") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("Ethernet10", "5-7, 20", "Po1", "routed"))


def test_the_commands_end_with_1_when_one_cannot_be_read(typed: Site, capsys: pytest.CaptureFixture[str]) -> None:
    typed.leaf.fail("its host key is not the one in /etc/known")
    assert run("switches") == 1
    shown = capsys.readouterr().out
    assert "NO" in shown
    assert "host key" in shown
    assert run("switch", "show", "leaf1") == 1
    capsys.readouterr()
    assert run("switches", "-f", "json") == 1
    shown = capsys.readouterr().out
    # The server is in this process, and its log is on standard output, too.
    assert [switch["reachable"] for switch in json.loads(shown[shown.index("[\n") :])] == [False, True]


# What a port's oddities do


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": "802.1Q tunnel", "mode": PortMode.TUNNEL}, "carries more than intended: 802.1Q tunnel"),
        ({"tagged_vlans": frozenset(range(1, 4095))}, "also tagged 1-4094"),
        ({"tagged_vlans": frozenset({7}), "extra": "routed"}, "also tagged 7, routed"),
    ],
)
def test_a_port_that_does_more_than_it_should_never_agrees(bench: Bench, change: dict[str, Any], said: str) -> None:
    bench.deploy()
    bench.world.settle()
    bench.reader._source = lambda: [replace(port, **change) for port in bench.world.switch_ports()]
    found = bench.service.show("bm-1")
    assert not found.agrees
    assert {nic.verdict for nic in found.nics} == {Verdict.DIFFER}
    assert all(said in (nic.why or "") for nic in found.nics)


def test_a_member_of_a_lag_in_access_mode_agrees(bench: Bench) -> None:
    bench.deploy()
    bench.world.settle()
    plain = {"mode": PortMode.ACCESS, "lag": "Port-Channel7"}
    bench.reader._source = lambda: [replace(port, **plain) for port in bench.world.switch_ports()]
    assert bench.service.show("bm-1").agrees


def test_the_proof_of_a_flip_does_not_pass_a_port_that_does_more(bench: Bench) -> None:
    bench.deploy()
    bench.world.settle()
    nic, port = bench.nic, bench.port
    assert nic.link is not None
    [network] = [each for each in bench.clouds.own.networks.all() if each.id == port.network_id]
    wanted = [Wanted(link=nic.link, port_id=port.id, mac=nic.mac, network=network)]
    proof = Proof(clouds=bench.clouds, switches=bench.readers, clock=lambda: bench.seconds, sleep=bench.sleep)
    assert proof.prove(bench.node, wanted) == []
    bench.reader._source = lambda: [replace(each, extra="802.1Q tunnel") for each in bench.world.switch_ports()]
    with pytest.raises(Refused, match=r"carries VLAN \d+ \(802.1Q tunnel\)"):
        proof.prove(bench.node, wanted)
