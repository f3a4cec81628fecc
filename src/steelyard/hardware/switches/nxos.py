"""Cisco NX-OS over its command line, which prints JSON after `| json`.

Formats: Cisco's Nexus 9000 NX-API CLI reference, `show interface` (TABLE_interface/ROW_interface with `eth_mode`,
`eth_bundle`, `admin_state`) and `show interface switchport` (`switchport`, `oper_mode`, `access_vlan`, `native_vlan`,
`trunk_vlans`). The role network-operator may run both. A table with one row is printed as that row, not as a list;
numbers come as numbers or as text, depending on the release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from steelyard.hardware.switches.outputs import (
    Family,
    Reading,
    ReadPort,
    Unreadable,
    document,
    joined,
    macs,
    mapping,
    text_of,
    vlan,
    vlans,
    without,
)
from steelyard.nouns import PortMode

COMMANDS: Final = ("show interface | json", "show interface switchport | json")

_PORT: Final = re.compile(r"(Ethernet\d+(/\d+)+|port-channel\d+)")
_MODES: Final = {"access": PortMode.ACCESS, "trunk": PortMode.TRUNK, "dot1q-tunnel": PortMode.TUNNEL}


def parse(outputs: Sequence[str]) -> Reading:
    """Raises Unreadable."""
    interfaces, switchports = (_rows(output, command) for output, command in zip(outputs, COMMANDS, strict=True))
    names = [name for name in interfaces if _PORT.fullmatch(name)]
    lags = {name: _lag(name, interfaces[name]) for name in names}
    own = {name: _port(name, interfaces[name], switchports) for name in names if lags[name] is None}
    ports = []
    for name in names:
        lag = lags[name]
        if lag is None:
            ports.append(own[name])
        elif lag in own:
            ports.append(own[lag].member(name, enabled=_enabled(name, interfaces[name])))
        else:
            raise Unreadable(f"{name} is in {lag}, which it does not report")
    # Before 10.2(3)F, and without `lldp chassis-id switch`, the LLDP frames of every port name that port's MAC.
    own_macs = (row.get(key) for row in interfaces.values() for key in ("eth_hw_addr", "eth_bia_addr", "svi_mac"))
    return Reading(macs=macs(own_macs), ports=tuple(ports))


def _rows(output: str, command: str) -> dict[str, Mapping[str, Any]]:
    table = mapping(mapping(document(output, command), command).get("TABLE_interface"), f"TABLE_interface of {command}")
    rows = table.get("ROW_interface")
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows if isinstance(rows, list) else [rows]:
        entry = mapping(row, f"a row of `{command}`")
        name = text_of(entry, "interface", f"a row of `{command}`")
        if name in found:
            raise Unreadable(f"it reports port {name[:100]} twice")
        found[name] = entry
    return found


def _lag(name: str, row: Mapping[str, Any]) -> str | None:
    """The port channel that it belongs to: printed as its number or its name."""
    bundle = str(row.get("eth_bundle") or "").strip().lower()
    if bundle in ("", "0", "--"):
        return None
    found = re.fullmatch(r"(?:port-channel|po)?(\d+)", bundle)
    if found is None:
        raise Unreadable(f"{name}: {bundle[:40]!r} is no port channel")
    return f"port-channel{found[1]}"


def _enabled(name: str, row: Mapping[str, Any]) -> bool:
    return text_of(row, "admin_state", name) == "up"


def _port(name: str, row: Mapping[str, Any], switchports: Mapping[str, Mapping[str, Any]]) -> ReadPort:
    enabled = _enabled(name, row)
    # `oper_mode` says only "down" while there is no link; the mode of `show interface` holds in both cases.
    mode = str(row.get("eth_mode") or "that it does not say").strip()
    entry = switchports.get(name)
    switched = entry is not None and text_of(entry, "switchport", name).lower() == "enabled"
    if mode == "routed" and not switched:
        return ReadPort(name, PortMode.ROUTED, enabled=enabled, extra="routed")
    if entry is None or not switched:
        raise Unreadable(f"{name} is in mode {mode[:40]}, and `{COMMANDS[1]}` does not say what it carries")
    known = _MODES.get(mode)
    operating = text_of(entry, "oper_mode", name)
    extra = None if operating in (mode, "down") else f"operating mode {operating[:40]}"
    if known is None:
        return ReadPort(name, PortMode.OTHER, enabled=enabled, extra=joined(f"mode {mode[:40]}", extra))
    tagged = _voice(name, entry)
    if known is PortMode.TRUNK:
        allowed = _allowed(name, entry)
        native = vlan(entry.get("native_vlan"), f"native_vlan of {name}")
        # A native VLAN that the trunk does not allow carries nothing.
        untagged = native if native in allowed else None
        carries = without(allowed, untagged)
        return ReadPort(name, known, untagged, carries | tagged if tagged else carries, enabled, extra=extra)
    carried = vlan(entry.get("access_vlan"), f"access_vlan of {name}")
    if known is PortMode.TUNNEL:
        extra = joined("802.1Q tunnel", extra)
    return ReadPort(name, known, carried, tagged, enabled, extra=extra)


def _allowed(name: str, entry: Mapping[str, Any]) -> frozenset[int]:
    allowed = entry.get("trunk_vlans")
    if isinstance(allowed, str) and allowed.strip().lower() == "none":
        return frozenset()
    return vlans(allowed, f"trunk_vlans of {name}")


def _voice(name: str, entry: Mapping[str, Any]) -> frozenset[int]:
    """A telephone's VLAN, which an access port carries tagged."""
    voice = entry.get("voice_vlan")
    if voice is None or str(voice).strip().lower() in ("", "none"):
        return frozenset()
    return frozenset({vlan(voice, f"voice_vlan of {name}")})


FAMILY: Final = Family(COMMANDS, parse)
