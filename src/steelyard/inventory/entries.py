"""A record as it is kept: the answer's JSON ready to be sent, what changed between two of them, and its parts. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from steelyard.inventory.model import Kind, NodeRecord

SHAPE: Final = b"1"
"""Changes with the shape of what is derived from a record, so that every row is written anew after an upgrade."""
MAX_VALUE: Final = 2000
"""Characters of a value in the history."""
UNTRACKED: Final = frozenset({"id", "group", "since"})
"""Fields that say nothing that another does not say."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and its key, which stays what it is when a candidate becomes a node and when the node is deleted."""

    key: str
    record: NodeRecord
    document: str
    """The record as JSON, as the API answers with it."""
    digest: str
    """Equal for equal documents, whoever computed it."""

    @property
    def node_id(self) -> str | None:
        return self.record.id if self.record.kind is Kind.NODE else None

    @property
    def subjects(self) -> tuple[str, ...]:
        """Under which names events and operations speak of it."""
        record = self.record
        named = (
            ("node", self.node_id),
            ("candidate", record.candidate_id),
            ("server", record.instance_id),
            ("release", record.instance_id),
        )
        return tuple(f"{noun}:{id}" for noun, id in named if id)


def entry_of(key: str, record: NodeRecord) -> Entry:
    text = json.dumps(document(record), ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.blake2b(SHAPE + text.encode(), digest_size=16).hexdigest()
    return Entry(key, record, text, digest)


def document(record: NodeRecord) -> dict[str, Any]:
    """The record as the API shows it. By hand: `dataclasses.asdict` takes twenty times as long."""
    hardware, location, firmware = record.hardware, record.location, record.firmware
    return {
        "kind": record.kind.value,
        "id": record.id,
        "name": record.name,
        "phase": record.phase,
        "group": record.group.value,
        "provision_state": record.provision_state,
        "power": record.power,
        "resource_class": record.resource_class,
        "traits": list(record.traits),
        "health": record.health,
        "fault": record.fault,
        "maintenance": record.maintenance,
        "maintenance_reason": record.maintenance_reason,
        "last_error": record.last_error,
        "project_id": record.project_id,
        "project": record.project,
        "instance_id": record.instance_id,
        "instance": record.instance,
        "addresses": list(record.addresses),
        "flavor": record.flavor,
        "image": record.image,
        "serial": record.serial,
        "hardware": {
            "vendor": hardware.vendor,
            "model": hardware.model,
            "cpus": hardware.cpus,
            "memory_mib": hardware.memory_mib,
            "disk_gib": hardware.disk_gib,
            "architecture": hardware.architecture,
        },
        "firmware": {"bmc": firmware.bmc, "bios": firmware.bios},
        "location": {"site": location.site, "room": location.room, "rack": location.rack, "unit": location.unit},
        "tags": list(record.tags),
        "nics": [
            {"mac": nic.mac, "switch": nic.switch, "port": nic.port, "pxe": nic.pxe,
             "physical_network": nic.physical_network}
            for nic in record.nics
        ],
        "disks": [
            {"name": disk.name, "serial": disk.serial, "wwn": disk.wwn, "model": disk.model, "size_gb": disk.size_gb}
            for disk in record.disks
        ],
        "bmc_address": record.bmc_address,
        "candidate_id": record.candidate_id,
        "retired": record.retired,
        "since": record.since,
    }  # fmt: skip


# What changed


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a record that has another value than before. None: not known."""

    field: str
    before: str | None
    after: str | None


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Change]:
    """What is different, field by field. Of a record that was not there before, only that it is there now."""
    if before is None:
        return [Change("kind", None, str(after["kind"]))]
    old, new = dict(_flat(before)), dict(_flat(after))
    return [
        Change(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]


def _flat(document: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for name, value in document.items():
        if name in UNTRACKED:
            continue
        if isinstance(value, Mapping):
            found += [(f"{name}.{inner}", _shown(part)) for inner, part in value.items()]
        else:
            found.append((name, _shown(value)))
    return found


def _shown(value: Any) -> str | None:
    if value is None or value == []:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        words = [
            " ".join(str(part) for part in each.values() if isinstance(part, str | int) and not isinstance(part, bool))
            if isinstance(each, Mapping)
            else str(each)
            for each in value
        ]
        return ", ".join(words)[:MAX_VALUE]
    return str(value)[:MAX_VALUE]


# Parts


class PartKind(StrEnum):
    DISK = "disk"
    NIC = "nic"


@dataclass(frozen=True, slots=True)
class Part:
    """Something that can be taken out of one server and put into another, and says who it is."""

    kind: PartKind
    identity: str
    """Serial number or MAC in lower case: what it is recognised by."""
    serial: str
    """As it was written."""
    wwn: str | None = None
    name: str | None = None
    model: str | None = None
    size_gb: int | None = None


_SAYS_NOTHING = re.compile(r"(.)\1*|none|n/?a|unknown|default.*|to be filled.*|not specified|0123456789.*")
"""What makers write where a serial number should be."""


def parts_of(document: Mapping[str, Any]) -> dict[tuple[PartKind, str], Part]:
    """The parts of a server that can be told from all others, by its record as it is kept."""
    found: dict[tuple[PartKind, str], Part] = {}
    for nic in document["nics"]:
        part = Part(PartKind.NIC, nic["mac"].lower(), nic["mac"])
        found[PartKind.NIC, part.identity] = part
    for disk in document["disks"]:
        serial = next((each for each in (disk["serial"], disk["wwn"]) if tells(each)), None)
        if serial is None:
            continue
        part = Part(
            PartKind.DISK, serial.strip().lower()[:255], serial, disk["wwn"], disk["name"], disk["model"],
            disk["size_gb"],
        )  # fmt: skip
        found[PartKind.DISK, part.identity] = part
    return found


def tells(serial: str | None) -> bool:
    """Whether a serial number can be one."""
    plain = (serial or "").strip().lower()
    return len(plain) >= 4 and not _SAYS_NOTHING.fullmatch(plain)
