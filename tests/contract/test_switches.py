"""One suite for every SwitchReader: the fake in memory, and the reader of the simulated switches on a real process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from steelyard.embedded.rack.standalone import StandaloneRack
from steelyard.errors import Invalid, NotFound, Unavailable
from steelyard.hardware.switches import SwitchReader, SwitchReaders, open_switches
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.nouns import SwitchPort


@dataclass
class Stage:
    """A reader, a switch with two ports to play with, and what a test may do to them."""

    reader: SwitchReader
    switch_id: str
    switch_name: str
    set_port: Callable[[str, int | None, frozenset[int], bool], None]
    break_switch: Callable[[], None]


@pytest.fixture(scope="module")
def switch_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneRack]:
    with StandaloneRack.make(tmp_path_factory.mktemp("rack"), nodes=2).running("switch") as rack:
        yield rack


def fake_stage() -> Stage:
    switch_id, name = "02:00:5e:00:00:01", "leaf1"
    reader = FakeSwitchReader(SwitchPort(switch_id, name, f"Ethernet{number}", None) for number in (1, 2))

    def set_port(port: str, untagged: int | None, tagged: frozenset[int], enabled: bool) -> None:
        reader.put(SwitchPort(switch_id, name, port, untagged, tagged, enabled))

    return Stage(reader, switch_id, name, set_port, reader.fail)


def simulated_stage(rack: StandaloneRack) -> Stage:
    switch = rack.rack.switches[0]

    def set_port(port: str, untagged: int | None, tagged: frozenset[int], enabled: bool) -> None:
        path = f"/switches/{switch.name}/ports/{port}"
        now = rack.call("switch", "GET", path)["tagged_vlans"]
        change = {"untagged_vlan": untagged, "enabled": enabled, "add_tagged": sorted(tagged), "remove_tagged": now}
        rack.call("switch", "PATCH", path, change)

    def break_switch() -> None:
        rack.call("switch", "POST", "/faults", {"target": switch.name, "kind": "drop", "match": "read"})

    rack.call("switch", "DELETE", "/faults")
    readers = open_switches(rack.home / "rack" / "switches.yaml")
    return Stage(readers, switch.chassis_mac, switch.name, set_port, break_switch)


@pytest.fixture(params=["fake", "simulated"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return fake_stage() if request.param == "fake" else simulated_stage(request.getfixturevalue("switch_process"))


def port(stage: Stage, name: str) -> SwitchPort:
    return next(port for port in stage.reader.ports(stage.switch_id) if port.port_id == name)


def test_a_read_has_every_port_of_that_switch_and_its_identity(stage: Stage) -> None:
    ports = stage.reader.ports(stage.switch_id)
    assert {port.port_id for port in ports} == {"Ethernet1", "Ethernet2"}
    assert {(port.switch_id, port.switch_name) for port in ports} == {(stage.switch_id, stage.switch_name)}


def test_a_read_shows_what_is_there_now(stage: Stage) -> None:
    stage.set_port("Ethernet1", 101, frozenset({200, 300}), True)
    stage.set_port("Ethernet2", None, frozenset(), False)
    first, second = port(stage, "Ethernet1"), port(stage, "Ethernet2")
    assert (first.untagged_vlan, first.tagged_vlans, first.enabled) == (101, frozenset({200, 300}), True)
    assert (second.untagged_vlan, second.tagged_vlans, second.enabled) == (None, frozenset(), False)
    stage.set_port("Ethernet1", 102, frozenset(), True)
    assert port(stage, "Ethernet1").untagged_vlan == 102


def test_a_switch_that_is_not_known_is_not_found(stage: Stage) -> None:
    with pytest.raises(NotFound):
        stage.reader.ports("02:00:00:00:00:99")


def test_what_cannot_be_read_is_unavailable_and_never_empty(stage: Stage) -> None:
    stage.break_switch()
    with pytest.raises(Unavailable) as caught:
        stage.reader.ports(stage.switch_id)
    assert caught.value.code == "switch_unreadable"


# The simulated switch's reader alone


@pytest.mark.parametrize("kind", ["garbage", "refuse", "drop", "hang"])
def test_a_hostile_answer_is_unavailable(switch_process: StandaloneRack, kind: str) -> None:
    stage = simulated_stage(switch_process)
    fault = {"target": stage.switch_name, "kind": kind, "match": "read", "times": 1}
    switch_process.call("switch", "POST", "/faults", fault)
    with pytest.raises(Unavailable):
        stage.reader.ports(stage.switch_id)
    assert len(stage.reader.ports(stage.switch_id)) == 2, "it recovers by itself"


def test_a_wrong_answer_of_a_switch_is_reported_as_it_is(switch_process: StandaloneRack) -> None:
    stage = simulated_stage(switch_process)
    stage.set_port("Ethernet1", 150, frozenset(), True)
    fault = {"target": f"{stage.switch_name}/Ethernet1", "kind": "wrong_answer", "match": "read", "times": 1}
    switch_process.call("switch", "POST", "/faults", fault)
    assert port(stage, "Ethernet1").untagged_vlan == 151


def test_another_switch_at_the_address_is_noticed(switch_process: StandaloneRack, tmp_path: Path) -> None:
    document = yaml.safe_load((switch_process.home / "rack" / "switches.yaml").read_text())
    document["switches"][0]["chassis_id"] = "02:00:00:00:00:77"
    file = tmp_path / "switches.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(Unavailable, match="another switch"):
        open_switches(file).ports("02:00:00:00:00:77")


def test_a_wrong_or_missing_token_is_unavailable_and_is_not_shown(
    switch_process: StandaloneRack, tmp_path: Path
) -> None:
    document = yaml.safe_load((switch_process.home / "rack" / "switches.yaml").read_text())
    token = tmp_path / "token"
    document["switches"][0]["token_file"] = str(token)
    file = tmp_path / "switches.yaml"
    file.write_text(yaml.safe_dump(document))
    readers, switch_id = open_switches(file), document["switches"][0]["chassis_id"]
    with pytest.raises(Unavailable, match="token"):
        readers.ports(switch_id)
    token.write_text("not-the-token-at-all")
    with pytest.raises(Unavailable, match="401") as caught:
        readers.ports(switch_id)
    assert "not-the-token" not in str(caught.value)


def test_no_file_means_no_switch_and_that_is_said() -> None:
    readers = open_switches(None)
    assert readers.switch_ids == ()
    with pytest.raises(NotFound) as caught:
        readers.ports("02:00:00:00:00:01")
    assert "STEELYARD_SWITCHES" in str(caught.value.next)


def test_chassis_ids_are_found_in_either_case() -> None:
    reader = FakeSwitchReader([SwitchPort("02:00:5e:00:00:0a", "leaf1", "Ethernet1", None)])
    assert SwitchReaders({"02:00:5E:00:00:0A": reader}).ports("02:00:5E:00:00:0a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "]",
        "switches: x",
        "switches: [1]",
        "switches: [{name: a}]",
        "switches: [{name: a, chassis_id: '02:00:00:00:00:01', type: cisco, address: 'http://x', token_file: /t}]",
        "switches: [{name: a, chassis_id: '02:00:00:00:00:01', type: simulated, address: 'ftp://x', token_file: /t}]",
        "switches: [{name: a, chassis_id: '02:00:00:00:00:01', password: x}]",
        "switches: [{name: a, chassis_id: 2, type: simulated, address: 'http://x', token_file: /t}]",
    ],
)
def test_a_switches_file_that_is_not_one_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "switches.yaml"
    file.write_text(text)
    with pytest.raises(Invalid) as caught:
        open_switches(file)
    assert caught.value.code == "switches_file"
