"""The reader of Open vSwitch on a real one: every way in which a port of it can carry VLANs, and what is refused."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from steelyard.errors import Invalid, Unavailable
from steelyard.hardware.switches import SwitchReaders, open_switches
from steelyard.nouns import PortMode, SwitchPort

from .open_vswitch import BRIDGE, OpenVSwitch, open_vswitch

EVERY = frozenset(range(1, 4095))


@pytest.fixture(scope="module")
def switch() -> Iterator[OpenVSwitch]:
    with open_vswitch("srv1") as switch:
        yield switch


def readers(switch: OpenVSwitch, folder: Path, **changes: Any) -> SwitchReaders:
    file = folder / "switches.yaml"
    fields = {name: value for name, value in switch.entry(**changes).items() if value is not None}
    file.write_text(yaml.safe_dump({"switches": [fields]}))
    return open_switches(file)


def read(switch: OpenVSwitch, folder: Path) -> dict[str, SwitchPort]:
    return {port.port_id: port for port in readers(switch, folder).ports(switch.mac)}


@pytest.mark.parametrize(
    ("settings", "mode", "untagged", "tagged", "extra"),
    [
        (["tag=101"], PortMode.ACCESS, 101, frozenset(), None),
        (["tag=101", "vlan_mode=access"], PortMode.ACCESS, 101, frozenset(), None),
        (["vlan_mode=access"], PortMode.ACCESS, None, frozenset(), "in no VLAN (VLAN 0)"),
        ([], PortMode.TRUNK, None, EVERY, "untagged in VLAN 0"),
        (["trunks=[7,9]"], PortMode.TRUNK, None, frozenset({7, 9}), None),
        (["trunks=[0,7]"], PortMode.TRUNK, None, frozenset({7}), "untagged in VLAN 0"),
        (["vlan_mode=trunk", "tag=5", "trunks=7"], PortMode.TRUNK, None, frozenset({7}), None),
        (["vlan_mode=native-untagged", "tag=5", "trunks=7"], PortMode.TRUNK, 5, frozenset({7}), None),
        (["vlan_mode=native-untagged", "tag=5"], PortMode.TRUNK, 5, EVERY - {5}, None),
        (["vlan_mode=native-tagged", "tag=5", "trunks=7"], PortMode.TRUNK, None, frozenset({5, 7}),
         "takes untagged frames into VLAN 5"),
        (["vlan_mode=dot1q-tunnel", "tag=8"], PortMode.TUNNEL, 8, frozenset(), "802.1Q tunnel"),
    ],
)  # fmt: skip
def test_each_vlan_mode_is_told_as_it_is(
    switch: OpenVSwitch, tmp_path: Path, settings: list[str], mode: PortMode, untagged: int | None,
    tagged: frozenset[int], extra: str | None,
) -> None:  # fmt: skip
    switch("set", "port", "srv1", "tag=[]", "trunks=[]", "vlan_mode=[]")
    if settings:
        switch("set", "port", "srv1", *settings)
    port = read(switch, tmp_path)["srv1"]
    assert (port.mode, port.untagged_vlan, port.tagged_vlans, port.extra) == (mode, untagged, tagged, extra)


def test_members_of_a_bond_carry_what_the_bond_carries(switch: OpenVSwitch, tmp_path: Path) -> None:
    switch("add-bond", BRIDGE, "bond0", "slave0", "slave1", "tag=44", "--", "set", "interface", "slave0", "type=dummy",
           "--", "set", "interface", "slave1", "type=dummy")  # fmt: skip
    try:
        ports = read(switch, tmp_path)
        assert [(ports[name].untagged_vlan, ports[name].lag) for name in ("bond0", "slave0", "slave1")] == [
            (44, None), (44, "bond0"), (44, "bond0"),
        ]  # fmt: skip
    finally:
        switch("del-port", BRIDGE, "bond0")


def test_a_port_without_a_device_says_so(switch: OpenVSwitch, tmp_path: Path) -> None:
    switch("--no-wait", "add-port", BRIDGE, "nodev", "tag=3", "--", "set", "interface", "nodev", "type=patch")
    try:
        switch("wait-until", "interface", "nodev", "ofport=-1")
        port = read(switch, tmp_path)["nodev"]
        assert (port.untagged_vlan, port.enabled) == (3, False)
        assert port.extra
        assert port.extra.startswith("the interface")
    finally:
        switch("del-port", BRIDGE, "nodev")


def test_ports_of_another_bridge_are_not_read(switch: OpenVSwitch, tmp_path: Path) -> None:
    switch("add-br", "other", "--", "set", "bridge", "other", "datapath_type=dummy")
    try:
        assert "other" not in read(switch, tmp_path)
    finally:
        switch("del-br", "other")


def why(switch: OpenVSwitch, folder: Path, **changes: Any) -> str:
    with pytest.raises(Unavailable) as caught:
        entry = switch.entry(**changes)
        readers(switch, folder, **changes).ports(entry["chassis_id"])
    assert caught.value.code == "switch_unreadable"
    return caught.value.detail


def test_an_unknown_bridge_is_unreadable(switch: OpenVSwitch, tmp_path: Path) -> None:
    assert "it has no bridge nope" in why(switch, tmp_path, bridge="nope")


def test_another_switch_is_noticed(switch: OpenVSwitch, tmp_path: Path) -> None:
    assert "another switch" in why(switch, tmp_path, chassis_id="02:00:5e:00:00:99")
    assert "another switch" in why(switch, tmp_path, system_mac="02:00:5e:00:00:99")


def test_a_configuration_that_is_not_in_force_is_unreadable(tmp_path: Path) -> None:
    with open_vswitch("srv1") as stopped:
        stopped.stop("vswitchd")
        stopped("--no-wait", "set", "port", "srv1", "tag=66", "--", "set", "Open_vSwitch", ".", "next_cfg=1000")
        assert "not in force" in why(stopped, tmp_path)


def test_no_database_is_unreadable(switch: OpenVSwitch, tmp_path: Path) -> None:
    assert "ended with status 1" in why(switch, tmp_path, address=f"unix:{tmp_path}/nothing.sock")


def test_a_database_that_hangs_is_given_up(switch: OpenVSwitch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        assert "ovs-vsctl" in why(switch, tmp_path, address=address, timeout=1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bridge": None}, "`bridge` must be text"),
        ({"bridge": "--help"}, "`bridge` is not"),
        ({"address": "/run/db.sock"}, "`address` is not"),
        ({"username": "x"}, "unknown fields username"),
        ({"key_file": "/k"}, "belong together"),
    ],
)
def test_a_wrong_entry_stops_the_start(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    unstarted = OpenVSwitch(tmp_path, mac="02:00:5e:00:00:01")
    with pytest.raises(Invalid) as caught:
        readers(unstarted, tmp_path, **changes)
    assert told in caught.value.detail


def test_a_machine_without_the_tool_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ovs-vsctl is not installed here" in why(OpenVSwitch(tmp_path, mac="02:00:5e:00:00:01"), tmp_path)
