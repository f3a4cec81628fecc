"""Arista EOS over its command line, which prints JSON after `| json`.

Formats: Arista's EOS command API guide and the manual's chapters on VLANs and port channels, `show version`,
`show interfaces status` (models `interfaceStatuses`, `vlanInformation`) and `show interfaces switchport` (model
`switchports`). All three need privilege level 1 only.
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
    macs,
    mapping,
    text_of,
    vlan,
    vlans,
    without,
)
from steelyard.nouns import PortMode

COMMANDS: Final = ("show version | json", "show interfaces status | json", "show interfaces switchport | json")

_PORT: Final = re.compile(r"(Ethernet|Port-Channel)\d[\d/]*")
_IN_LAG: Final = re.compile(r"in Po(\d+)")


def parse(outputs: Sequence[str]) -> Reading:
    """Raises Unreadable."""
    version, status, switchport = (
        mapping(document(output, command), command) for output, command in zip(outputs, COMMANDS, strict=True)
    )
    statuses = mapping(status.get("interfaceStatuses"), "interfaceStatuses")
    switchports = mapping(switchport.get("switchports"), "switchports")
    names = [name for name in statuses if _PORT.fullmatch(name)]
    entries = {name: mapping(statuses[name], name) for name in names}
    own = {name: _port(name, entries[name], switchports) for name in names if _lag(name, entries[name]) is None}
    ports = []
    for name in names:
        lag = _lag(name, entries[name])
        if lag is None:
            ports.append(own[name])
        elif lag in own:
            ports.append(own[lag].member(name, enabled=_enabled(name, entries[name])))
        else:
            raise Unreadable(f"{name} is in {lag}, which it does not report")
    return Reading(macs=macs([version.get("systemMacAddress")]), ports=tuple(ports))


def _information(name: str, status: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(status.get("vlanInformation"), f"vlanInformation of {name}")


def _lag(name: str, status: Mapping[str, Any]) -> str | None:
    """The port channel that it is a member of."""
    information = _information(name, status)
    if information.get("interfaceForwardingModel") != "dataLink":
        return None
    found = _IN_LAG.fullmatch(str(information.get("vlanExplanation")))
    if found is None:
        raise Unreadable(f"{name} forwards for another port, and it does not say for which")
    return f"Port-Channel{found[1]}"


def _enabled(name: str, status: Mapping[str, Any]) -> bool:
    return text_of(status, "linkStatus", name) != "disabled"


def _port(name: str, status: Mapping[str, Any], switchports: Mapping[str, Any]) -> ReadPort:
    enabled, forwarding = _enabled(name, status), _information(name, status).get("interfaceForwardingModel")
    entry = mapping(switchports[name], name) if name in switchports else {"enabled": False}
    switched = entry.get("enabled")
    if not isinstance(switched, bool):
        raise Unreadable(f"{name}: is it switched or routed?")
    if not switched:
        if forwarding == "routed":
            return ReadPort(name, PortMode.ROUTED, enabled=enabled, extra="routed")
        if forwarding == "bridged":
            raise Unreadable(f"{name} is bridged, and `{COMMANDS[2]}` does not list it")
        return ReadPort(name, PortMode.OTHER, enabled=enabled, extra=f"forwarding model {str(forwarding)[:40]}")
    return _switched(name, enabled, status, mapping(entry.get("switchportInfo"), f"switchportInfo of {name}"))


def _switched(name: str, enabled: bool, status: Mapping[str, Any], info: Mapping[str, Any]) -> ReadPort:
    mode = text_of(info, "mode", name)
    if mode in ("access", "dot1q-tunnel"):
        carried = vlan(info.get("accessVlanId"), f"accessVlanId of {name}")
        extra = _in_force(name, carried, status)
        if mode == "access":
            return ReadPort(name, PortMode.ACCESS, carried, enabled=enabled, extra=extra)
        return ReadPort(name, PortMode.TUNNEL, carried, enabled=enabled, extra=joined("802.1Q tunnel", extra))
    if mode == "trunk":
        allowed = _allowed(name, info)
        # A native VLAN that the trunk does not allow carries nothing; 0 is EOS's word for "tag that one too".
        native = info.get("trunkingNativeVlanId")
        untagged = None if native == 0 else vlan(native, f"trunkingNativeVlanId of {name}")
        if untagged not in allowed:
            untagged = None
        tagged, extra = without(allowed, untagged), _in_force(name, None, status)
        return ReadPort(name, PortMode.TRUNK, untagged, tagged, enabled, extra=extra)
    return ReadPort(name, PortMode.OTHER, enabled=enabled, extra=f"mode {mode[:40]}")


def _in_force(name: str, configured: int | None, status: Mapping[str, Any]) -> str | None:
    """What its status says that its configuration does not: another VLAN (802.1X), or frames that go elsewhere, as on
    a port that mirrors others."""
    information = _information(name, status)
    forwarding, now = information.get("interfaceForwardingModel"), information.get("vlanId")
    return joined(
        f"forwarding model {str(forwarding)[:40]}" if forwarding != "bridged" else None,
        f"its status says VLAN {str(now)[:20]}" if None not in (now, configured) and now != configured else None,
    )


def _allowed(name: str, info: Mapping[str, Any]) -> frozenset[int]:
    allowed = text_of(info, "trunkAllowedVlans", name)
    if allowed.upper() == "ALL":
        return ALL_VLANS
    return frozenset() if allowed.upper() == "NONE" else vlans(allowed, f"trunkAllowedVlans of {name}")


FAMILY: Final = Family(COMMANDS, parse)
