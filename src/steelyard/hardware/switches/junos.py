"""Juniper Junos (EX and QFX with the Enhanced Layer 2 Software) over its command line, as JSON by `| display json`.

Formats: Junos CLI reference, `show lldp local-information` (lldp-local-info), `show interfaces terse`
(interface-information: the address family of a unit is `eth-switch` when it is switched, `aenet` with an
`ae-bundle-name` when it is a member of a bundle) and `show ethernet-switching interface`
(l2ng-l2ald-iff-interface-information: per unit one entry with its name, then one per VLAN with
`l2iff-interface-vlan-member-tagness`). In Junos' JSON every element is a list, and a leaf an object with `data`. The
permission `view` is enough. The older software of EX2200 to EX4200 prints another table and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from steelyard.hardware.switches.outputs import (
    Family,
    Reading,
    ReadPort,
    Unreadable,
    document,
    joined,
    listed,
    macs,
    mapping,
    vlan,
)
from steelyard.naming import vlan_ranges
from steelyard.nouns import PortMode

COMMANDS: Final = (
    "show lldp local-information | display json",
    "show interfaces terse | display json",
    "show ethernet-switching interface | display json",
)

_PORT: Final = re.compile(r"((ge|xe|et|mge|fe)-\d+/\d+/\d+(:\d+)?|ae\d+)")
_ROUTED: Final = frozenset({"inet", "inet6", "iso", "mpls"})
_ENTRY: Final = "l2ng-l2ald-iff-interface-entry"


@dataclass
class _Unit:
    """What the switching table says of one logical interface."""

    tagness: str = ""
    untagged: set[int] = field(default_factory=set)
    tagged: set[int] = field(default_factory=set)


def parse(outputs: Sequence[str]) -> Reading:
    """Raises Unreadable."""
    lldp, terse, switching = (
        mapping(document(output, command), command) for output, command in zip(outputs, COMMANDS, strict=True)
    )
    chassis = [_leaf(info, "lldp-local-chassis-id") for info in _children(lldp, "lldp-local-info")]
    units = _units(switching)
    interfaces = {}
    for information in _children(terse, "interface-information"):
        for entry in _children(information, "physical-interface"):
            name = _named(entry, "a physical interface")
            if not _PORT.fullmatch(name):
                continue
            if name in interfaces:
                raise Unreadable(f"it reports port {name} twice")
            interfaces[name] = entry
    lags = {name: _lag(name, entry) for name, entry in interfaces.items()}
    own = {name: _port(name, entry, units) for name, entry in interfaces.items() if lags[name] is None}
    ports = []
    for name, entry in interfaces.items():
        lag = lags[name]
        if lag is None:
            ports.append(own[name])
        elif lag in own:
            ports.append(own[lag].member(name, enabled=_enabled(name, entry)))
        else:
            raise Unreadable(f"{name} is in {lag[:40]}, which it does not report")
    return Reading(macs=macs(chassis), ports=tuple(ports))


def _children(entry: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    """The elements of that name; none where there are none."""
    for child in listed(entry.get(key, []), key):
        yield mapping(child, key)


def _leaf(entry: Mapping[str, Any], key: str) -> str:
    """The text of a leaf; empty where it is missing or empty."""
    for child in _children(entry, key):
        data = child.get("data")
        if data is None:
            return ""
        if not isinstance(data, str | int):
            raise Unreadable(f"{key} is neither text nor a number")
        return str(data).strip()
    return ""


def _named(entry: Mapping[str, Any], what: str) -> str:
    name = _leaf(entry, "name")
    if not name:
        raise Unreadable(f"{what} has no name")
    return name


def _units(document: Mapping[str, Any]) -> dict[str, _Unit]:
    """The switching table by logical interface."""
    if "l2ng-l2ald-iff-interface-information" not in document:
        raise Unreadable(f"`{COMMANDS[2]}` printed another table")
    found: dict[str, _Unit] = {}
    for information in _children(document, "l2ng-l2ald-iff-interface-information"):
        for instance in _children(information, _ENTRY):
            current: _Unit | None = None
            for entry in _children(instance, _ENTRY):
                name = _leaf(entry, "l2iff-interface-name")
                member = bool(_leaf(entry, "l2iff-interface-vlan-name") or _leaf(entry, "l2iff-interface-vlan-id"))
                if name:
                    current = found.setdefault(name, _Unit())
                    current.tagness = _leaf(entry, "l2iff-interface-vlan-member-tagness")
                if current is None or not (name or member):
                    raise Unreadable("an entry of the switching table belongs to no interface")
                if member:
                    _member(current, entry)
    return found


def _member(unit: _Unit, entry: Mapping[str, Any]) -> None:
    member = vlan(_leaf(entry, "l2iff-interface-vlan-id"), "l2iff-interface-vlan-id")
    tagness = _leaf(entry, "l2iff-interface-vlan-member-tagness")
    if tagness not in ("tagged", "untagged"):
        raise Unreadable(f"VLAN {member} is {tagness[:40]!r}, neither tagged nor untagged")
    (unit.tagged if tagness == "tagged" else unit.untagged).add(member)


def _lag(name: str, entry: Mapping[str, Any]) -> str | None:
    """The bundle that any of its units is a member of."""
    for unit in _children(entry, "logical-interface"):
        for family in _children(unit, "address-family"):
            if _leaf(family, "address-family-name") == "aenet":
                bundle = re.match(r"(ae\d+)(\.|$)", _leaf(family, "ae-bundle-name"))
                if bundle is None:
                    raise Unreadable(f"{name} is in a bundle, and it does not say in which")
                return bundle[1]
    return None


def _enabled(name: str, entry: Mapping[str, Any]) -> bool:
    status = _leaf(entry, "admin-status")
    if status not in ("up", "down"):
        raise Unreadable(f"{name} has the administrative status {status[:40]!r}")
    return status == "up"


def _port(name: str, entry: Mapping[str, Any], units: Mapping[str, _Unit]) -> ReadPort:
    enabled = _enabled(name, entry)
    untagged: set[int] = set()
    tagged: set[int] = set()
    extras: list[str] = []
    routed = switched = trunk = False
    for logical, table in units.items():
        if logical.partition(".")[0] == name:
            switched, trunk = True, trunk or "tagged" in table.tagness.split(",") or bool(table.tagged)
            untagged |= table.untagged
            tagged |= table.tagged
    for unit in _children(entry, "logical-interface"):
        logical = _named(unit, f"a unit of {name}")
        families = {_leaf(family, "address-family-name") for family in _children(unit, "address-family")}
        if "eth-switch" in families and logical not in units:
            extras.append(f"{logical} is switched, and the switching table does not have it")
        if families & _ROUTED:
            routed = True
        extras += [f"family {other[:40]}" for other in sorted(families - _ROUTED - {"eth-switch", "multiservice", ""})]
    if routed:
        extras.insert(0, "routed")
    if len(untagged) > 1:
        # As 802.1X and MAC-based VLANs do it: which one a frame gets depends on its sender.
        extras.append(f"untagged in VLANs {vlan_ranges(untagged)}")
    if switched:
        mode = PortMode.TRUNK if trunk else PortMode.ACCESS
    elif routed:
        mode = PortMode.ROUTED
    else:
        mode = PortMode.OTHER if extras else PortMode.ACCESS
    first = min(untagged, default=None)
    return ReadPort(name, mode, first, frozenset(tagged), enabled, extra=joined(*extras))


FAMILY: Final = Family(COMMANDS, parse)
