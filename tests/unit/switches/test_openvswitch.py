"""What `ovs-vsctl` prints, where a real one would not print it; that is in tests/contract/test_openvswitch.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from steelyard.hardware.switches.openvswitch import parse
from steelyard.hardware.switches.outputs import ReadPort, Unreadable
from steelyard.nouns import PortMode

NOTHING: list[Any] = ["set", []]


def table(headings: list[str], *rows: list[Any]) -> str:
    return json.dumps({"data": list(rows), "headings": headings})


def uuid(name: str) -> list[str]:
    return ["uuid", name]


SWITCH = ["cur_cfg", "next_cfg"]
BRIDGE = ["name", "ports", "datapath_id"]
PORT = ["_uuid", "name", "tag", "trunks", "vlan_mode", "interfaces"]
INTERFACE = ["_uuid", "name", "admin_state", "mac_in_use", "ofport", "error"]
HEALTHY = {
    "switch": table(SWITCH, [2, 2]),
    "bridge": table(BRIDGE, ["br", ["set", [uuid("p1")]], "000002005e000001"]),
    "port": table(PORT, [uuid("p1"), "srv1", 44, NOTHING, NOTHING, uuid("i1")]),
    "interface": table(INTERFACE, [uuid("i1"), "srv1", "up", "02:00:5e:00:00:02", 1, NOTHING]),
}


def printed(**changes: str) -> str:
    return "\n".join({**HEALTHY, **changes}.values()) + "\n"


def test_a_healthy_one() -> None:
    reading = parse(printed(), "br")
    assert reading.ports == (ReadPort("srv1", PortMode.ACCESS, 44),)
    assert reading.macs == {"02:00:5e:00:00:01", "02:00:5e:00:00:02"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"switch": table(SWITCH, [1, 2])}, "not in force"),
        ({"switch": table(SWITCH)}, "which configuration"),
        ({"switch": table(SWITCH, ["1", "2"])}, "which configuration"),
        ({"bridge": table(BRIDGE, ["other", NOTHING, NOTHING])}, "no bridge br"),
        ({"bridge": table(BRIDGE, ["br", ["set", [uuid("p1"), uuid("p2")]], NOTHING])}, "ports that are not there"),
        ({"bridge": table(BRIDGE, ["br", "p1", NOTHING])}, "reference"),
        ({"port": table(PORT)}, "ports that are not there"),
        ({"port": table(PORT, [uuid("p1"), "srv1", 4095, NOTHING, NOTHING, uuid("i1")])}, "no VLAN"),
        ({"port": table(PORT, [uuid("p1"), "srv1", NOTHING, ["set", [5, 9999]], NOTHING, uuid("i1")])}, "no VLAN"),
        ({"port": table(PORT, [uuid("p1"), "srv1", 44, NOTHING, NOTHING, uuid("i9")])}, "interface that is not there"),
        ({"port": table(PORT, [uuid("p1"), "srv1", 44, NOTHING, NOTHING, NOTHING])}, "has no interface"),
        ({"port": table(PORT, [uuid("p1"), "", 44, NOTHING, NOTHING, uuid("i1")])}, "no name"),
        ({"port": table(PORT, [uuid("p1"), "srv1"])}, "columns"),
        ({"port": "{}"}, "not a list"),
        ({"interface": "ovs-vsctl: Interface: unknown table"}, "no JSON"),
    ],
)
def test_what_no_healthy_one_prints(changes: dict[str, str], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        parse(printed(**changes), "br")


@pytest.mark.parametrize("text", ["", "\n\n", HEALTHY["switch"], printed() + HEALTHY["switch"]])
def test_another_number_of_tables(text: str) -> None:
    with pytest.raises(Unreadable, match="tables, not 4"):
        parse(text, "br")


def test_a_mode_that_nobody_knows_is_told() -> None:
    port = table(PORT, [uuid("p1"), "srv1", 44, NOTHING, "quantum", uuid("i1")])
    assert parse(printed(port=port), "br").ports == (ReadPort("srv1", PortMode.OTHER, extra="mode quantum"),)
