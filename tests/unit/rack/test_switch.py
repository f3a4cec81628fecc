"""The simulated switches: what they keep, what they log, what they refuse."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from steelyard.embedded.rack.records import Records
from steelyard.embedded.rack.standalone import RAMDISK_VLANS, StandaloneRack
from steelyard.embedded.rack.switch.fabric import Fabric
from steelyard.errors import Conflict, Unavailable

from .redfish_client import QUICK


def change(rack: StandaloneRack, port: str, **wanted: Any) -> dict[str, Any]:
    switch, _, name = port.partition("/")
    return rack.call("switch", "PATCH", f"/switches/{switch}/ports/{name}", wanted)


def test_a_port_is_on_the_discovery_vlan_until_it_is_configured_and_never_again(rack: StandaloneRack) -> None:
    port = "leaf1/Ethernet1"
    assert rack.port(port)["untagged_vlan"] == RAMDISK_VLANS["inspection"]
    change(rack, port, untagged_vlan=101)
    change(rack, port, untagged_vlan=None, only_if_untagged=101)
    assert rack.port(port)["untagged_vlan"] is None


def test_unplugging_from_a_vlan_that_the_port_has_left_changes_nothing(rack: StandaloneRack) -> None:
    port = "leaf1/Ethernet2"
    change(rack, port, untagged_vlan=101)
    change(rack, port, untagged_vlan=102)
    change(rack, port, untagged_vlan=None, only_if_untagged=101)
    assert rack.port(port)["untagged_vlan"] == 102


def test_trunks(rack: StandaloneRack) -> None:
    port = "leaf1/Ethernet3"
    change(rack, port, untagged_vlan=101, add_tagged=[200, 201])
    change(rack, port, remove_tagged=[200])
    assert rack.port(port)["tagged_vlans"] == [201]


def test_every_change_is_in_the_log_with_its_time_and_nothing_else_is(rack: StandaloneRack) -> None:
    port = "leaf2/Ethernet4"
    start = rack.call("switch", "GET", "/log")["log"]
    mark = start[-1]["sequence"] if start else 0
    before = time.monotonic()
    change(rack, port, untagged_vlan=110)
    change(rack, port, untagged_vlan=110)
    change(rack, port, untagged_vlan=111)
    after = time.monotonic()
    log = rack.call("switch", "GET", f"/log?after={mark}")["log"]
    assert [(e["switch"], e["port"], e["after"]["untagged_vlan"]) for e in log] == [
        ("leaf2", "Ethernet4", 110),
        ("leaf2", "Ethernet4", 111),
    ]
    assert log[1]["before"] == log[0]["after"], "the log proves where the port was at every instant"
    assert before <= log[0]["monotonic"] <= log[1]["monotonic"] <= after


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"untagged_vlan": 0}, 400),
        ({"untagged_vlan": 4095}, 400),
        ({"untagged_vlan": "101"}, 400),
        ({"untagged_vlan": True}, 400),
        ({"add_tagged": 5}, 400),
        ({"add_tagged": [5000]}, 400),
        ({"enabled": "yes"}, 400),
        ({"colour": "red"}, 400),
        ({"filters": "web"}, 400),
        ({"filters": [1]}, 400),
        ({"filters": [f"f{number}" for number in range(17)]}, 400),
        ({"add_filters": "web"}, 400),
        ({"remove_filters": [1]}, 400),
        ({"add_filters": ["never-made"]}, 409),
        ({"filters": [], "unless_untagged": 5}, 400),
        ({"filters": ["never-made"]}, 409),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    rack: StandaloneRack, wanted: dict[str, Any], status: int
) -> None:
    before = rack.port("leaf1/Ethernet5")
    with pytest.raises(Unavailable, match=str(status)):
        change(rack, "leaf1/Ethernet5", **wanted)
    assert rack.port("leaf1/Ethernet5") == before


def test_what_is_not_there_is_not_found(rack: StandaloneRack) -> None:
    for path in ("/switches/leaf9/ports", "/switches/leaf1/ports/Ethernet99"):
        with pytest.raises(Unavailable, match="404"):
            rack.call("switch", "GET", path)


def test_faults_in_what_a_switch_does(rack: StandaloneRack) -> None:
    port = "leaf1/Ethernet6"
    change(rack, port, untagged_vlan=101)
    rack.call("switch", "POST", "/faults", {"target": port, "kind": "not_applied", "match": "plug", "times": 1})
    assert change(rack, port, untagged_vlan=102)["untagged_vlan"] == 102, "it says so"
    assert rack.port(port)["untagged_vlan"] == 101, "it is not so"
    rack.call("switch", "POST", "/faults", {"target": port, "kind": "refuse", "match": "unplug", "times": 1})
    with pytest.raises(Unavailable, match="409"):
        change(rack, port, untagged_vlan=None)
    rack.call(
        "switch", "POST", "/faults", {"target": port, "kind": "late", "match": "plug", "times": 1, "seconds": 0.2}
    )
    change(rack, port, untagged_vlan=103)
    assert rack.port(port)["untagged_vlan"] == 101
    deadline = time.monotonic() + 10
    while rack.port(port)["untagged_vlan"] != 103:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_filters_are_there_before_a_port_has_them_and_stay_as_long(tmp_path: Path) -> None:
    rules = [{"direction": "ingress", "protocol": "tcp", "ports": [443, 443]}]
    with StandaloneRack.make(tmp_path / "home", nodes=1, timing=QUICK).running("switch") as rack:
        of_switch, port = "/switches/leaf1/filters", "leaf1/Ethernet1"
        for _ in range(2):
            rack.call("switch", "PUT", f"{of_switch}/web", {"rules": rules})
            change(rack, port, filters=["web"])
        assert rack.port(port)["filters"] == ["web"]
        with pytest.raises(Unavailable, match="409"):
            rack.call("switch", "DELETE", f"{of_switch}/web")
        rack.kill("switch")
        rack.start("switch")
        assert rack.call("switch", "GET", of_switch) == {"filters": {"web": rules}}
        rack.call("switch", "POST", "/faults", {"target": port, "kind": "not_applied", "match": "filter", "times": 1})
        assert change(rack, port, filters=[])["filters"] == [], "it says so"
        assert rack.port(port)["filters"] == ["web"], "it is not so"
        change(rack, port, filters=[])
        with pytest.raises(Unavailable, match="400"):
            rack.call("switch", "PUT", f"{of_switch}/web", {"rules": ["all"]})
        for _ in range(2):
            rack.call("switch", "DELETE", f"{of_switch}/web")
        assert rack.call("switch", "GET", of_switch) == {"filters": {}}


def test_filters_are_added_and_removed_one_at_a_time(rack: StandaloneRack) -> None:
    port = "leaf1/Ethernet6"
    for name in ("web", "ssh", "dns"):
        rack.call("switch", "PUT", f"/switches/leaf1/filters/{name}", {"rules": []})
    change(rack, port, add_filters=["web"])
    change(rack, port, add_filters=["ssh", "web"])
    assert change(rack, port, remove_filters=["dns", "never-made"])["filters"] == ["ssh", "web"]
    change(rack, port, untagged_vlan=140)
    assert rack.port(port)["filters"] == ["ssh", "web"], "a change of something else leaves them"
    rack.call("switch", "POST", "/faults", {"target": port, "kind": "not_applied", "match": "filter", "times": 1})
    change(rack, port, remove_filters=["web"])
    assert change(rack, port, remove_filters=["web"], add_filters=["dns"])["filters"] == ["dns", "ssh"]
    rack.call("switch", "POST", "/faults", {"target": port, "kind": "refuse", "match": "filter", "times": 1})
    with pytest.raises(Unavailable, match="409"):
        change(rack, port, filters=[], unless_untagged=[141])
    change(rack, port, filters=[], unless_untagged=[139, 140])
    assert rack.port(port)["filters"] == ["dns", "ssh"], "it is still on one of those"
    change(rack, port, untagged_vlan=None, filters=[], only_if_untagged=141)
    assert rack.port(port)["filters"] == ["dns", "ssh"], "it is on another VLAN, whose filters stay"
    change(rack, port, untagged_vlan=None, filters=[], only_if_untagged=140)
    assert rack.port(port)["filters"] == []
    change(rack, port, add_filters=["web"])
    change(rack, port, filters=[], unless_untagged=[139, 140])
    assert rack.port(port)["filters"] == []


def test_a_change_on_the_wrong_port_or_to_the_wrong_vlan(tmp_path: Path) -> None:
    with StandaloneRack.make(tmp_path / "home", nodes=2, timing=QUICK).running("switch") as rack:
        port, last = "leaf1/Ethernet1", "leaf1/Ethernet2"
        fault = {"target": port, "match": "plug", "times": 1}
        rack.call("switch", "POST", "/faults", {**fault, "kind": "wrong_port"})
        before = rack.port(port)
        assert change(rack, port, untagged_vlan=101)["untagged_vlan"] == 101, "it says so"
        assert (rack.port(port), rack.port(last)["untagged_vlan"]) == (before, 101)
        rack.call("switch", "POST", "/faults", {**fault, "kind": "wrong_vlan"})
        assert change(rack, port, untagged_vlan=101)["untagged_vlan"] == 101, "it says so"
        assert rack.port(port)["untagged_vlan"] == 102
        rack.call("switch", "POST", "/faults", {**fault, "match": "filter", "kind": "wrong_vlan"})
        rack.call("switch", "PUT", "/switches/leaf1/filters/web", {"rules": []})
        change(rack, port, add_filters=["web"])
        assert (rack.port(port)["untagged_vlan"], rack.port(port)["filters"]) == (102, ["web"]), "no VLAN was asked for"


def test_a_vlan_that_is_in_use_is_not_removed(tmp_path: Path) -> None:
    rack = StandaloneRack.make(tmp_path / "home", nodes=1, timing=QUICK).rack
    fabric = Fabric(rack, Records(tmp_path / "switch.sqlite"))
    fabric.add_vlan("leaf1", 101, "tenant")
    port = fabric.port("leaf1", "Ethernet1")
    from dataclasses import replace

    fabric.change(replace(port, untagged_vlan=101), by="test")
    with pytest.raises(Conflict):
        fabric.remove_vlan("leaf1", 101)
    fabric.change(port, by="test")
    fabric.remove_vlan("leaf1", 101)
    assert dict(fabric.vlans("leaf1")) == {}


def test_state_and_log_survive_a_kill(tmp_path: Path) -> None:
    with StandaloneRack.make(tmp_path / "home", nodes=1, timing=QUICK).running("switch") as rack:
        change(rack, "leaf1/Ethernet1", untagged_vlan=123, add_tagged=[200])
        before, log = rack.port("leaf1/Ethernet1"), rack.call("switch", "GET", "/log")["log"]
        rack.kill("switch")
        rack.start("switch")
        assert rack.port("leaf1/Ethernet1") == before
        assert rack.call("switch", "GET", "/log")["log"] == log
        change(rack, "leaf1/Ethernet1", untagged_vlan=124)
        assert rack.call("switch", "GET", "/log")["log"][-1]["sequence"] == log[-1]["sequence"] + 1


def test_the_log_cannot_be_changed(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "records.sqlite"
    records = Records(path)
    records.append({"what": "happened"})
    records.close()
    with sqlite3.connect(path) as database:
        for statement in ("DELETE FROM log", "UPDATE log SET entry = '{}'"):
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                database.execute(statement)
