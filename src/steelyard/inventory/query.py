"""What can be asked of the inventory: the columns, and how a question is read. Pure.

One table says what a record can be searched, filtered, counted and sorted by. Text is compared in lower case, and what
is not known is the empty text, which comes first in ascending order; of numbers it is -1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from steelyard.inventory.model import Group, Kind, NodeRecord
from steelyard.inventory.notes import plain
from steelyard.lifecycle.model import Phase

MAX_QUERY: Final = 1000
"""Characters of a search."""
MAX_TERMS: Final = 16
MAX_KEY: Final = 255
"""Characters of a text that are compared when sorting and filtering."""
UNKNOWN_NUMBER: Final = -1

Value = str | int
_Of = Callable[[NodeRecord], str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Column:
    """One thing that a record can be asked about."""

    name: str
    of: _Of
    title: str
    """For people, in exports."""
    number: bool = False
    filter: bool = False
    """May be filtered by, and counted."""
    sort: bool = True

    def key(self, record: NodeRecord) -> Value:
        """The value as it is compared."""
        value = self.of(record)
        if self.number:
            return value if isinstance(value, int) else UNKNOWN_NUMBER
        return text_key(value)


def text_key(value: str | int | bool | None) -> str:
    """A text, or yes or no, as it is compared."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(str(value)).lower()[:MAX_KEY]


def pool_key(name: str | None) -> str:
    """A resource class in whichever spelling, as it is compared: bm-small, BM_SMALL, CUSTOM_BM_SMALL."""
    whole = "".join(c if c.isalnum() else "_" for c in plain(name or "").upper())
    return whole.removeprefix("CUSTOM_").lower()[:MAX_KEY]


COLUMNS: Final = (
    Column("name", lambda r: r.name, "Name"),
    Column("id", lambda r: r.id, "Id"),
    Column("kind", lambda r: r.kind.value, "Kind", filter=True),
    Column("phase", lambda r: r.phase, "Phase", filter=True),
    Column("state", lambda r: r.group.value, "State", filter=True),
    Column("provision_state", lambda r: r.provision_state, "State in Ironic", filter=True),
    Column("power", lambda r: r.power, "Power", filter=True),
    Column("health", lambda r: r.health, "Health", filter=True),
    Column("maintenance", lambda r: r.maintenance, "Maintenance", filter=True),
    Column("retired", lambda r: r.retired, "Retired", filter=True),
    Column("pool", lambda r: r.resource_class, "Class", filter=True),
    Column("project", lambda r: r.project, "Project", filter=True),
    Column("server", lambda r: r.instance, "Server"),
    Column("flavor", lambda r: r.flavor, "Flavor", filter=True),
    Column("image", lambda r: r.image, "Image", filter=True),
    Column("address", lambda r: " ".join(r.addresses), "Addresses"),
    Column("serial", lambda r: r.serial, "Serial"),
    Column("vendor", lambda r: r.hardware.vendor, "Vendor", filter=True),
    Column("model", lambda r: r.hardware.model, "Model", filter=True),
    Column("architecture", lambda r: r.hardware.architecture, "Architecture", filter=True),
    Column("cpus", lambda r: r.hardware.cpus, "CPUs", number=True),
    Column("memory_mib", lambda r: r.hardware.memory_mib, "Memory (MiB)", number=True),
    Column("disk_gib", lambda r: r.hardware.disk_gib, "Disk (GiB)", number=True),
    Column("site", lambda r: r.location.site, "Site", filter=True),
    Column("room", lambda r: r.location.room, "Room", filter=True),
    Column("rack", lambda r: r.location.rack, "Rack", filter=True),
    Column("unit", lambda r: r.location.unit, "Unit", number=True),
    Column("bmc", lambda r: r.bmc_address, "BMC"),
    Column("bmc_firmware", lambda r: r.firmware.bmc, "BMC firmware", filter=True),
    Column("bios", lambda r: r.firmware.bios, "BIOS", filter=True),
    Column("since", lambda r: r.since, "Since"),
    Column("mac", lambda r: " ".join(nic.mac for nic in r.nics), "MACs", sort=False),
    Column("project_id", lambda r: r.project_id, "Project id", sort=False),
)
BY_NAME: Final[Mapping[str, Column]] = {column.name: column for column in COLUMNS}
TAG: Final = "tag"
FILTERS: Final = (*(column.name for column in COLUMNS if column.filter), TAG)
"""What can be filtered by and counted, several values of one meaning any of them."""
SORTS: Final = tuple(column.name for column in COLUMNS if column.sort)
FIELDS: Final = (*BY_NAME, TAG)
"""What `word:` in a search may be."""
CHOICES: Final[Mapping[str, frozenset[str]]] = {
    "kind": frozenset(kind.value for kind in Kind),
    "phase": frozenset(phase.value for phase in Phase),
    "state": frozenset(group.value for group in Group),
    "maintenance": frozenset({"true", "false"}),
    "retired": frozenset({"true", "false"}),
}
"""Filters that have these values and no others."""
PLAIN_LABELS: Final = frozenset({
    "kind", "phase", "state", "provision_state", "power", "health", "maintenance", "retired", TAG,
})  # fmt: skip
"""Columns whose compared value is also what people want to see."""


def columns_of(record: NodeRecord) -> dict[str, Value]:
    """Every column's value as it is compared."""
    values = {column.name: column.key(record) for column in COLUMNS}
    values["pool"] = pool_key(record.resource_class)
    return values


def tags_of(record: NodeRecord) -> frozenset[str]:
    """The tags as they are compared."""
    return frozenset(text_key(tag) for tag in record.tags)


def joined_tags(tags: Iterable[str]) -> str:
    """Tags in one text, in which `\\n<tag>\\n` is found for each; empty for none."""
    listed = sorted(tags)
    return "\n".join(["", *listed, ""]) if listed else ""


def haystack(record: NodeRecord) -> str:
    """Everything that a search looks through, in lower case, a value a line."""
    hardware, location = record.hardware, record.location
    single = (
        record.id, record.name, record.phase, record.provision_state, record.resource_class, record.project,
        record.project_id, record.instance, record.instance_id, record.flavor, record.image, record.serial,
        hardware.vendor, hardware.model, hardware.architecture, record.bmc_address, record.last_error,
        record.maintenance_reason, record.health, record.fault, record.firmware.bmc, record.firmware.bios,
        location.site, location.room, location.rack, record.candidate_id,
    )  # fmt: skip
    lines = [value for value in single if value]
    lines += record.addresses
    lines += record.traits
    lines += record.tags
    lines += [f"{nic.mac} {nic.switch or ''} {nic.port or ''}".rstrip() for nic in record.nics]
    for disk in record.disks:
        lines += [value for value in (disk.serial, disk.wwn, disk.model) if value]
    return plain("\n".join(lines)).lower()


# Questions


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a search: to be found in any field, or in this one. In lower case."""

    text: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Sort:
    """By what, and which way; equals are in the order of their ids."""

    column: str = "name"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """Which records are wanted: all words, and of each filter one of its values (as compared)."""

    terms: tuple[Term, ...] = ()
    filters: Mapping[str, frozenset[str]] = field(default_factory=dict)
    gone: bool = False
    """Also those that were removed."""


class QueryError(ValueError):
    """A question that cannot be understood. `where` is the parameter; the text is for people, and names what is
    known."""

    def __init__(self, where: str, message: str):
        super().__init__(message)
        self.where = where


_TERM = re.compile(r'(?:([a-z_]+):)?(?:"([^"]*)"?|(\S+))')


def terms_of(search: str) -> tuple[Term, ...]:
    """The words of a search: `leaf1 rack:r12 "delivery 7"`. A word before a colon that is no field is just text (MACs
    and URLs have colons); a field without a value, as one types it, asks for nothing. Raises `QueryError`."""
    if len(search) > MAX_QUERY:
        raise QueryError("q", f"is longer than {MAX_QUERY} characters")
    found = []
    for match in _TERM.finditer(plain(search).lower()):
        name, quoted, word = match.groups()
        text = " ".join(quoted.split(" ")) if quoted is not None else word or ""
        if name is not None and name not in FIELDS:
            name, text = None, f"{name}:{text}"
        if name == "pool":
            text = pool_key(text)
        if text and not (name is None and text.endswith(":") and text[:-1] in FIELDS):
            found.append(Term(text[:MAX_KEY], name))
    if len(found) > MAX_TERMS:
        raise QueryError("q", f"has more than {MAX_TERMS} words")
    return tuple(dict.fromkeys(found))


def sort_of(sort: str) -> Sort:
    """`rack`, or `-rack` for the other way round. Raises `QueryError`, which names what can be sorted by."""
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise QueryError("sort", f"is not one of {', '.join(SORTS)} (with - before it: the other way round)")
    return Sort(name, descending=sort.startswith("-"))


def query_of(search: str | None, filters: Mapping[str, Iterable[str]], *, gone: bool = False) -> Query:
    """A question as it was asked. A filter's empty value means those of which it is not known. Raises `QueryError`."""
    kept: dict[str, frozenset[str]] = {}
    for name, values in filters.items():
        if name not in FILTERS:
            raise QueryError(name, f"is not a filter; known are {', '.join(FILTERS)}")
        keys = frozenset(pool_key(value) if name == "pool" else text_key(value) for value in values)
        if name in CHOICES and not keys <= CHOICES[name]:
            raise QueryError(name, f"is not one of {', '.join(sorted(CHOICES[name]))}")
        if keys:
            kept[name] = keys
    return Query(terms_of(search) if search else (), kept, gone)


def facets_of(names: Iterable[str]) -> tuple[str, ...]:
    """What is to be counted, each once. Raises `QueryError`, which names what can be counted."""
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in FILTERS:
            raise QueryError("facet", f"is not one of {', '.join(FILTERS)}")
    return wanted
