"""What a server says of itself from within, and whether it is the one that its BMC describes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.discovery.model import Candidate
from steelyard.nouns import Inspection, SwitchLink


@dataclass(frozen=True, slots=True)
class InBand:
    """The part of an in-band inspection that onboarding decides by. Everything in it comes from the server itself."""

    serial: str | None
    vendor: str | None
    product: str | None
    cpus: int | None
    memory_mib: int | None
    disk_gib: int | None
    """Size of the smallest disk: what an image can count on."""
    architecture: str | None
    macs: tuple[str, ...]
    links: Mapping[str, SwitchLink]
    """Switch port by MAC, for the NICs that heard LLDP."""


def in_band(inspection: Inspection) -> InBand:
    """Read an inspection, taking anything of the wrong type for unknown."""
    inventory = inspection.inventory
    system = _mapping(inventory.get("system_vendor"))
    cpu = _mapping(inventory.get("cpu"))
    disks = [size for disk in _list(inventory.get("disks")) if (size := _whole(_mapping(disk).get("size")))]
    names: dict[str, str] = {}
    for nic in map(_mapping, _list(inventory.get("interfaces"))):
        name, mac = nic.get("name"), nic.get("mac_address")
        if isinstance(name, str) and isinstance(mac, str) and name != "lo":
            names[name] = mac.lower()
    links = {}
    for name, heard in _mapping(inspection.plugin_data.get("parsed_lldp")).items():
        if name in names and (link := _link(_mapping(heard))) is not None:
            links[names[name]] = link
    return InBand(
        serial=_text(system.get("serial_number")),
        vendor=_text(system.get("manufacturer")),
        product=_text(system.get("product_name")),
        cpus=_whole(cpu.get("count")),
        memory_mib=_whole(_mapping(inventory.get("memory")).get("physical_mb")),
        disk_gib=min(disks) // 2**30 if disks else None,
        architecture=_text(cpu.get("architecture")),
        macs=tuple(names.values()),
        links=links,
    )


def identity_conflict(candidate: Candidate, found: InBand) -> str | None:
    """Why the server that booted cannot be the one whose BMC was asked; None when it is.

    The serial numbers must be equal where both are known; without them, at least one MAC must be common. What cannot
    be compared at all is a conflict too: nobody may be handed a server that was not identified.
    """
    if candidate.serial and found.serial:
        if candidate.serial.strip().lower() == found.serial.strip().lower():
            return None
        return f"the BMC says serial {candidate.serial!r}, the server that booted says {found.serial!r}"
    ours, theirs = set(candidate.macs), set(found.macs)
    if ours & theirs:
        return None
    if ours and theirs:
        return "the BMC and the server that booted have no MAC address in common"
    return "neither a serial number nor a MAC address is known on both sides, so nothing proves that it is the server"


def moved_links(known: Mapping[str, SwitchLink], found: InBand) -> str | None:
    """Which cable moved since the switch ports `known` by MAC were learned, as a sentence; None for none."""
    for mac, link in known.items():
        now = found.links.get(mac)
        if now is not None and (now.switch_id, now.port_id) != (link.switch_id, link.port_id):
            return (
                f"NIC {mac} was cabled to {link.switch_name or link.switch_id} {link.port_id} "
                f"and is now on {now.switch_name or now.switch_id} {now.port_id}"
            )
    return None


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

_PORT = re.compile(r"[A-Za-z0-9][\w ./:@+-]{0,127}", re.ASCII)
"""A port id is put into commands for the switch, and the server says what it heard: nothing that ends a command."""


def _link(heard: Mapping[str, Any]) -> SwitchLink | None:
    chassis, port = _text(heard.get("switch_chassis_id")), _text(heard.get("switch_port_id"))
    if not chassis or not port or not _MAC.fullmatch(chassis.lower()) or not _PORT.fullmatch(port):
        return None
    return SwitchLink(switch_id=chassis.lower(), port_id=port, switch_name=_text(heard.get("switch_system_name")))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str | None:
    """Text without control characters, which it could only hold to deceive whoever reads it."""
    return value[:255] if isinstance(value, str) and value.strip() and value.isprintable() else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 << 60:
        return None
    return int(value) or None
