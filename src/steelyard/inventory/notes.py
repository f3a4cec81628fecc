"""What Steelyard notes on a node for the inventory (`extra.steelyard` in Ironic), and how it is read back. Pure.

Anybody with the rights to change a node may write anything there, and devices name themselves as they like: what has
the wrong type is unknown, what is too long is cut, and what a database cannot store is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

MAX_TEXT: Final = 1024
"""Characters of one text that are kept; devices and operators may write anything into anything."""
MAX_PARTS: Final = 256
"""Disks, or NICs, of one server."""
MAX_TAGS: Final = 50
LOCATION: Final = "location"
"""Key of the location in Steelyard's notes on a node (`extra.steelyard`)."""
TAGS: Final = "tags"
"""Key of the tags in the same notes."""


@dataclass(frozen=True, slots=True)
class DiskRecord:
    """A disk as the newest inspection that Steelyard has seen found it."""

    name: str | None
    serial: str | None
    wwn: str | None
    model: str | None
    size_gb: int | None
    """10^9 bytes, as on its label."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the newest inspection from within told about a node, as far as the inventory keeps it."""

    at: datetime
    """When it ended."""
    disks: tuple[DiskRecord, ...] = ()
    bios: str | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where it stands."""

    site: str | None = None
    room: str | None = None
    rack: str | None = None
    unit: int | None = None
    """Height unit in the rack, counted from below."""


def location_of(note: object) -> Location:
    """The location in a node's notes; what has the wrong type is unknown."""
    if not isinstance(note, Mapping):
        return Location()
    return Location(
        site=text(note.get("site")),
        room=text(note.get("room")),
        rack=text(note.get("rack")),
        unit=whole(note.get("unit")),
    )


def tags_of(note: object) -> tuple[str, ...]:
    """The tags in a node's notes, each once, in order."""
    listed = note if isinstance(note, list | tuple) else ()
    return tuple(sorted({known for tag in listed if (known := text(tag))})[:MAX_TAGS])


def disks_of(note: object) -> tuple[DiskRecord, ...]:
    """The disks of an inspection, in order of their names; `size` is in bytes there."""
    listed = note if isinstance(note, list | tuple) else ()
    found = []
    for disk in listed[:MAX_PARTS]:
        if not isinstance(disk, Mapping):
            continue
        octets = whole(disk.get("size"))
        record = DiskRecord(
            name=text(disk.get("name")),
            serial=text(disk.get("serial")),
            wwn=text(disk.get("wwn")),
            model=text(disk.get("model")),
            size_gb=octets // 10**9 if octets is not None else None,
        )
        if record.name or record.serial or record.wwn:
            found.append(record)
    return tuple(sorted(found, key=lambda disk: (disk.name or "", disk.serial or "", disk.wwn or "")))


def inspected_of(inventory: Mapping[str, Any], at: datetime) -> Inspected:
    """What Ironic's inventory of an inspection tells; anything of the wrong type is unknown."""
    system = inventory.get("system_vendor")
    firmware = system.get("firmware") if isinstance(system, Mapping) else None
    bios = text(firmware.get("version")) if isinstance(firmware, Mapping) else None
    return Inspected(at=at, disks=disks_of(inventory.get("disks")), bios=bios)


def text(value: object) -> str | None:
    """Text that every database and every JSON reader takes: no NUL, no half surrogate, not endless."""
    if not isinstance(value, str) or not value:
        return None
    return plain(value[:MAX_TEXT])


def plain(text: str) -> str:
    """The text with what cannot be stored replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def whole(value: object) -> int | None:
    """Ironic keeps numbers in properties as numbers or as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 1 << 62 else None
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19 else None
