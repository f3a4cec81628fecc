"""The inventory as a file: CSV for spreadsheets, JSON for programs. Piece by piece; pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

_Of = Callable[[Mapping[str, Any]], Any]


def _at(*path: str) -> _Of:
    def value(record: Mapping[str, Any]) -> Any:
        found: Any = record
        for name in path:
            found = found[name]
        return found

    return value


def _nics(record: Mapping[str, Any]) -> list[str]:
    return [" ".join(filter(None, (nic["mac"], nic["switch"], nic["port"]))) for nic in record["nics"]]


def _disks(record: Mapping[str, Any]) -> list[str]:
    return [" ".join(filter(None, (disk["name"], disk["serial"], disk["model"]))) for disk in record["disks"]]


CSV_COLUMNS: Final[tuple[tuple[str, _Of], ...]] = (
    *((name, _at(name)) for name in (
        "id", "name", "kind", "phase", "group", "provision_state", "power", "health", "fault", "maintenance",
        "maintenance_reason", "last_error", "resource_class", "traits", "project", "project_id", "instance",
        "instance_id", "flavor", "image", "addresses", "serial",
    )),
    *((name, _at("hardware", name)) for name in (
        "vendor", "model", "cpus", "memory_mib", "disk_gib", "architecture",
    )),
    ("bmc_firmware", _at("firmware", "bmc")),
    ("bios", _at("firmware", "bios")),
    *((name, _at("location", name)) for name in ("site", "room", "rack", "unit")),
    ("tags", _at("tags")),
    ("nics", _nics),
    ("disks", _disks),
    *((name, _at(name)) for name in ("bmc_address", "candidate_id", "retired", "since")),
)  # fmt: skip
DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take a cell for a formula (OWASP, CSV injection)."""


def csv_pieces(pieces: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    """RFC 4180, UTF-8, with a header line."""
    yield _lines([[name for name, _ in CSV_COLUMNS]])
    for piece in pieces:
        yield _lines([cell(of(record)) for _, of in CSV_COLUMNS] for record in piece)


def json_pieces(pieces: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    """One array of the records as the API shows them, a record a line."""
    lead = "[\n"
    for piece in pieces:
        yield (lead + ",\n".join(json.dumps(record, separators=(",", ":")) for record in piece)).encode()
        lead = ",\n"
    yield b"[]\n" if lead == "[\n" else b"\n]\n"


def cell(value: Any) -> str:
    """A value as text that no spreadsheet executes: names come from BMCs, tenants and whoever writes to Ironic."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(DANGEROUS) else text


def _lines(rows: Iterable[list[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()
