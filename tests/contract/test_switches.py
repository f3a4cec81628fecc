"""One suite for every SwitchReader: the fake in memory, the reader of the simulated switches on a real process, those
by SSH on a real SSH server that plays each operating system, and that of Open vSwitch on a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from steelyard.embedded.rack.standalone import StandaloneRack
from steelyard.errors import Invalid, NotFound, Unavailable
from steelyard.hardware.switches import SwitchReader, SwitchReaders, open_switches
from steelyard.hardware.switches.fake import FakeSwitchReader
from steelyard.hardware.switches.port import ConfiguredSwitch
from steelyard.nouns import SwitchPort

from .open_vswitch import BRIDGE, OpenVSwitch, open_vswitch
from .ssh_switch import ssh_switch
from .switch_personas import Port, personas

BY_SSH = ("cumulus", "eos", "junos", "nxos", "sonic")


@dataclass
class Stage:
    """A reader, a switch with two ports to play with, and what a test may do to them."""

    reader: SwitchReader
    switch_id: str
    switch_name: str
    set_port: Callable[[str, int | None, frozenset[int], bool], None]
    break_switch: Callable[[], None]
    first: str = "Ethernet1"
    second: str = "Ethernet2"
    others: tuple[str, ...] = ()
    """Ports that the switch has beside the two."""


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
    others = ("Ethernet3", "Ethernet4")  # spare ones, to which a cable may be moved
    return Stage(readers, switch.chassis_mac, switch.name, set_port, break_switch, others=others)


def ssh_stage(kind: str, folder: Path, stack: ExitStack) -> Stage:
    persona = personas()[kind]
    switch = stack.enter_context(ssh_switch(persona, folder))

    def set_port(port: str, untagged: int | None, tagged: frozenset[int], enabled: bool) -> None:
        persona.ports[port] = Port(untagged, tagged, enabled)

    def break_switch() -> None:
        switch.intercept = lambda command: persona.refusal

    file = folder / "switches.yaml"
    file.write_text(yaml.safe_dump({"switches": [switch.entry()]}))
    return Stage(open_switches(file), persona.mac, "leaf1", set_port, break_switch, persona.first, persona.second)


def openvswitch_stage(switch: OpenVSwitch, folder: Path) -> Stage:
    file = folder / "switches.yaml"
    file.write_text(yaml.safe_dump({"switches": [switch.entry()]}))
    return Stage(open_switches(file), switch.mac, "leaf1", switch.set_port, switch.stop, "srv1", "srv2", (BRIDGE,))


@pytest.fixture(params=["fake", "simulated", "openvswitch", *BY_SSH])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    kind = request.param
    with ExitStack() as stack:
        if kind == "fake":
            yield fake_stage()
        elif kind == "simulated":
            yield simulated_stage(request.getfixturevalue("switch_process"))
        elif kind == "openvswitch":
            yield openvswitch_stage(stack.enter_context(open_vswitch("srv1", "srv2")), tmp_path)
        else:
            yield ssh_stage(kind, tmp_path, stack)


def port(stage: Stage, name: str) -> SwitchPort:
    return next(port for port in stage.reader.ports(stage.switch_id) if port.port_id == name)


def test_a_read_has_every_port_of_that_switch_and_its_identity(stage: Stage) -> None:
    ports = stage.reader.ports(stage.switch_id)
    assert sorted(port.port_id for port in ports) == sorted([stage.first, stage.second, *stage.others])
    assert {(port.switch_id, port.switch_name) for port in ports} == {(stage.switch_id, stage.switch_name)}


def test_a_read_shows_what_is_there_now(stage: Stage) -> None:
    stage.set_port(stage.first, 101, frozenset({200, 300}), True)
    stage.set_port(stage.second, None, frozenset(), False)
    first, second = port(stage, stage.first), port(stage, stage.second)
    assert (first.untagged_vlan, first.tagged_vlans, first.enabled) == (101, frozenset({200, 300}), True)
    assert (second.untagged_vlan, second.tagged_vlans, second.enabled) == (None, frozenset(), False)
    stage.set_port(stage.first, 102, frozenset(), True)
    assert port(stage, stage.first).untagged_vlan == 102


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
    before = len(stage.reader.ports(stage.switch_id))
    fault = {"target": stage.switch_name, "kind": kind, "match": "read", "times": 1}
    switch_process.call("switch", "POST", "/faults", fault)
    with pytest.raises(Unavailable):
        stage.reader.ports(stage.switch_id)
    assert len(stage.reader.ports(stage.switch_id)) == before, "it recovers by itself"


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


def test_a_port_in_the_vlan_of_idle_ports_carries_nothing() -> None:
    """Only where that VLAN is all that it carries, and only on the switch that keeps its idle ports there."""
    mac, other = "02:00:5e:00:00:0a", "02:00:5e:00:00:0b"

    def port(switch: str, name: str, untagged: int | None, *tagged: int) -> SwitchPort:
        return SwitchPort(switch, "leaf", name, untagged, frozenset(tagged))

    given = [port(mac, "e1", 1), port(mac, "e2", 1, 5), port(mac, "e3", 7), port(mac, "e4", None), port(other, "e1", 1)]
    reader = FakeSwitchReader(given)
    readers = SwitchReaders(
        {mac: reader, other: reader},
        configured={
            mac: ConfiguredSwitch(mac, "leaf1", "eos", idle_vlan=1),
            other: ConfiguredSwitch(other, "leaf2", "eos"),
        },
    )
    assert readers.ports(mac) == [replace(given[0], untagged_vlan=None, parked_vlan=1), *given[1:4]]
    assert readers.ports(other) == [given[4]]


@pytest.mark.parametrize("vlan", [1, 4094])
def test_the_vlan_of_idle_ports_is_in_the_switches_file(tmp_path: Path, vlan: int) -> None:
    file = tmp_path / "switches.yaml"
    file.write_text(
        f"switches: [{{name: a, chassis_id: '02:00:00:00:00:01', type: simulated, address: 'http://x', "
        f"token_file: /t, idle_vlan: {vlan}}}]"
    )
    assert [switch.idle_vlan for switch in open_switches(file).switches] == [vlan]


@pytest.mark.parametrize(
    "text",
    [
        "",
        *(
            "switches: [{name: a, chassis_id: '02:00:00:00:00:01', type: simulated, address: 'http://x', "
            f"token_file: /t, idle_vlan: {vlan}}}]"
            for vlan in ("0", "4095", "true", "'1'", "1.0")
        ),
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
