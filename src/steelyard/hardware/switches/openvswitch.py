"""Open vSwitch by its own tool, `ovs-vsctl --format=json`, on this machine or over a database address.

Formats: ovs-vsctl(8), ovs-vswitchd.conf.db(5) (columns and what `vlan_mode`, `tag` and `trunks` mean together) and RFC
7047 section 5.1 for values: a set of one is printed as that one. One call is one transaction: all tables of one moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from steelyard.hardware.switches.outputs import (
    ALL_VLANS,
    Family,
    Reading,
    ReadPort,
    Unreadable,
    document,
    joined,
    listed,
    mac,
    macs,
    mapping,
    vlan,
    without,
)
from steelyard.nouns import PortMode

ARGUMENTS: Final = (
    "--format=json",
    *("--", "--columns=cur_cfg,next_cfg", "list", "Open_vSwitch"),
    *("--", "--columns=name,ports,datapath_id", "list", "Bridge"),
    *("--", "--columns=_uuid,name,tag,trunks,vlan_mode,interfaces", "list", "Port"),
    *("--", "--columns=_uuid,name,admin_state,mac_in_use,ofport,error", "list", "Interface"),
)
_TABLES: Final = 4
_WHAT: Final = "ovs-vsctl"

Row = Mapping[str, Any]


def family(bridge: str) -> Family:
    """How the bridge of that name is read. The one command is the tool's arguments, as `LocalTool` splits them."""
    return Family((" ".join(ARGUMENTS),), lambda outputs: parse(outputs[0], bridge), exit_status_counts=True)


def parse(output: str, bridge: str) -> Reading:
    """Raises Unreadable, also while the switch has not put its latest configuration into force."""
    lines = [line for line in output.splitlines() if line.strip()]
    if len(lines) != _TABLES:
        raise Unreadable(f"{_WHAT} printed {len(lines)} tables, not {_TABLES}")
    switches, bridges, ports, interfaces = (_rows(line) for line in lines)
    if len(switches) != 1 or not all(isinstance(switches[0].get(key), int) for key in ("cur_cfg", "next_cfg")):
        raise Unreadable("it does not say which configuration is in force")
    if switches[0]["cur_cfg"] < switches[0]["next_cfg"]:
        raise Unreadable("its latest configuration is not in force (is ovs-vswitchd running?)")
    mine = [row for row in bridges if row.get("name") == bridge]
    if len(mine) != 1:
        raise Unreadable(f"it has no bridge {bridge}")
    wanted = {_uuid(value) for value in _set(mine[0].get("ports"))}
    by_uuid = {_uuid(row.get("_uuid")): row for row in interfaces}
    found: list[ReadPort] = []
    addresses: list[Any] = [_datapath_mac(mine[0])]
    for row in ports:
        if _uuid(row.get("_uuid")) not in wanted:
            continue
        wanted.remove(_uuid(row.get("_uuid")))
        try:
            members = [by_uuid[_uuid(value)] for value in _set(row.get("interfaces"))]
        except KeyError:
            raise Unreadable(f"port {_name(row)} has an interface that is not there") from None
        addresses += [value for member in members for value in _set(member.get("mac_in_use"))]
        found += _ports(row, members)
    if wanted:
        raise Unreadable(f"bridge {bridge} has ports that are not there")
    return Reading(macs=macs(addresses), ports=tuple(found))


def _rows(line: str) -> list[Row]:
    table = mapping(document(line, _WHAT), _WHAT)
    headings = listed(table.get("headings"), "headings")
    rows: list[Row] = []
    for values in listed(table.get("data"), "data"):
        if len(listed(values, "a row")) != len(headings):
            raise Unreadable("a row does not have the columns that the table has")
        rows.append(dict(zip(map(str, headings), values, strict=True)))
    return rows


def _set(value: Any) -> Sequence[Any]:
    """The members of a set; RFC 7047 writes one member as itself."""
    if isinstance(value, list) and len(value) == 2 and value[0] == "set":
        return listed(value[1], "a set")
    return [value]


def _uuid(value: Any) -> str:
    if not (isinstance(value, list) and len(value) == 2 and value[0] == "uuid" and isinstance(value[1], str)):
        raise Unreadable("a reference to a row is none")
    return value[1]


def _name(row: Row) -> str:
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise Unreadable("a port or an interface has no name")
    return name


def _datapath_mac(bridge: Row) -> str | None:
    """The bridge's own MAC: the last 48 bits of its datapath id, unless somebody set that by hand."""
    value = bridge.get("datapath_id")
    return mac(value[4:]) if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16}", value) else None


def _ports(row: Row, interfaces: Sequence[Row]) -> list[ReadPort]:
    """One port; of a bond the group and each of its members."""
    name = _name(row)
    if not interfaces:
        raise Unreadable(f"port {name} has no interface")
    carried = _carried(name, row)
    if len(interfaces) == 1:
        return [_as(carried, _name(interfaces[0]), interfaces[0], None)]
    group = ReadPort(name, **carried, enabled=any(_enabled(each) for each in interfaces))
    return [group, *(_as(carried, _name(each), each, name) for each in interfaces)]


def _as(carried: dict[str, Any], name: str, interface: Row, lag: str | None) -> ReadPort:
    trouble = None
    if (error := _set(interface.get("error"))) and isinstance(error[0], str):
        trouble = f"the interface has an error: {error[0][:100]}"
    elif list(_set(interface.get("ofport"))) in ([], [-1]):
        trouble = "the interface does not exist"
    fields = carried | {"extra": joined(carried["extra"], trouble)}
    return ReadPort(name, **fields, enabled=_enabled(interface), lag=lag)


def _enabled(interface: Row) -> bool:
    return list(_set(interface.get("admin_state"))) == ["up"]


def _carried(name: str, row: Row) -> dict[str, Any]:
    """What `vlan_mode`, `tag` and `trunks` mean together: mode, untagged, tagged, extra."""
    tags = [vlan(value, f"tag of {name}") for value in _set(row.get("tag")) if value != 0]
    modes = list(_set(row.get("vlan_mode")))
    if len(modes) > 1 or len(tags) > 1:
        raise Unreadable(f"port {name} has several VLAN modes or tags")
    mode, tag = (str(modes[0]) if modes else None), (tags[0] if tags else None)
    if mode is None:
        mode = "access" if tag is not None else "trunk"
    if mode in ("access", "dot1q-tunnel"):
        tunnel = mode == "dot1q-tunnel"
        extra = joined("802.1Q tunnel" if tunnel else None, "in no VLAN (VLAN 0)" if tag is None else None)
        return _fields(PortMode.TUNNEL if tunnel else PortMode.ACCESS, tag, frozenset(), extra)
    if mode not in ("trunk", "native-tagged", "native-untagged"):
        return _fields(PortMode.OTHER, None, frozenset(), f"mode {mode[:40]}")
    trunks = list(_set(row.get("trunks")))
    tagged = frozenset(vlan(value, f"trunks of {name}") for value in trunks if value != 0) if trunks else ALL_VLANS
    if mode == "trunk":
        # A trunk puts a frame without a tag into VLAN 0, which is carried where no list excludes it.
        return _fields(PortMode.TRUNK, None, tagged, "untagged in VLAN 0" if not trunks or 0 in trunks else None)
    if tag is None:
        return _fields(PortMode.TRUNK, None, tagged, "untagged in VLAN 0")
    if mode == "native-untagged":
        return _fields(PortMode.TRUNK, tag, without(tagged, tag), None)
    return _fields(PortMode.TRUNK, None, tagged | {tag}, f"takes untagged frames into VLAN {tag}")


def _fields(mode: PortMode, untagged: int | None, tagged: frozenset[int], extra: str | None) -> dict[str, Any]:
    return {"mode": mode, "untagged": untagged, "tagged": tagged, "extra": extra}
