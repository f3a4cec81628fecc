"""Candidates: servers that were found but are not nodes. Values and rules, without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from steelyard.nouns import Node, SwitchLink


class CandidateState(StrEnum):
    """Where a candidate stands."""

    FOUND = "found"
    """Its BMC answered; it is not a node."""
    ONBOARDING = "onboarding"
    """An operation is making a node of it."""
    ONBOARDED = "onboarded"
    """It is a node; `node_id` says which."""
    FAILED = "failed"
    """Its onboarding failed; `reason` says why, `next` what to do."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One computer system that a sweep found, whatever became of it since."""

    id: str
    address: str
    """The BMC's address."""
    port: int
    system_path: str
    """The system's resource on that BMC, e.g. /redfish/v1/Systems/1."""
    state: CandidateState
    first_seen_at: datetime
    last_seen_at: datetime
    uuid: str | None = None
    serial: str | None = None
    vendor: str | None = None
    model: str | None = None
    asset_tag: str | None = None
    """The label that its owner gave it in the BMC."""
    hostname: str | None = None
    power_state: str | None = None
    cpus: int | None = None
    memory_mib: int | None = None
    macs: tuple[str, ...] = ()
    bmc_firmware: str | None = None
    fingerprint: str | None = None
    """SHA-256 of the BMC's TLS certificate."""
    secret_id: str | None = None
    """Where the BMC's credentials are kept (store.secrets)."""
    node_id: str | None = None
    reason: str | None = None
    next: str | None = None
    note: str | None = None
    """What the last sweep noticed: another address, another certificate."""
    links: Mapping[str, SwitchLink] = field(default_factory=dict)
    """Switch ports by MAC, as the last inspection proved them: a second onboarding starts on managed ports."""
    bios_version: str | None = None
    location: Mapping[str, Any] = field(default_factory=dict)
    """site, room, rack, unit, as an administrator said; its node gets them."""
    tags: tuple[str, ...] = ()
    """An administrator's; its node gets them."""

    @property
    def bmc_url(self) -> str:
        """https://address:port, as Ironic's redfish_address."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"https://{host}:{self.port}"

    @property
    def name(self) -> str:
        """What people call it: its label, else its host name, its serial, its BMC's address."""
        return self.asset_tag or self.hostname or self.serial or self.address


# Recognising a server that was seen before


def recognise(known: Iterable[Candidate], seen: Candidate) -> Candidate | None:
    """The known candidate that is the same server as the one just seen, if any.

    Serial numbers decide; UUIDs only where a serial is missing on either side (some makers ship whole batches with
    one UUID); the place (BMC address, port and system) only where neither side has any identity to compare.
    """
    at_same_place = None
    same_uuid = None
    for each in known:
        both_serials = each.serial is not None and seen.serial is not None
        if both_serials and each.serial == seen.serial and each.vendor == seen.vendor:
            return each
        if each.uuid is not None and each.uuid == seen.uuid and not both_serials:
            same_uuid = same_uuid or each
        if (
            (each.address, each.port, each.system_path) == (seen.address, seen.port, seen.system_path)
            and not both_serials
            and (each.uuid is None or seen.uuid is None)
        ):
            at_same_place = at_same_place or each
    return same_uuid or at_same_place


def refreshed(known: Candidate, seen: Candidate) -> Candidate:
    """A known candidate after it was seen again: what the BMC says is new, what Steelyard knows stays."""
    notes = []
    if (known.address, known.port) != (seen.address, seen.port):
        notes.append(f"its BMC moved from {known.address} to {seen.address}")
    if known.fingerprint and seen.fingerprint and known.fingerprint != seen.fingerprint:
        notes.append("its BMC presents another certificate than before")
    return replace(
        seen,
        id=known.id,
        state=known.state,
        first_seen_at=known.first_seen_at,
        node_id=known.node_id,
        reason=known.reason,
        next=known.next,
        links=known.links,
        location=known.location,
        tags=known.tags,
        uuid=seen.uuid or known.uuid,
        serial=seen.serial or known.serial,
        macs=seen.macs or known.macs,
        note="; ".join(notes) or None,
    )


class KnownNodes:
    """The nodes that exist, by everything that can tell which server one is."""

    def __init__(self, nodes: Iterable[Node]):
        self.by_id: dict[str, Node] = {}
        self._by_candidate: dict[str, Node] = {}
        self._by_serial: dict[tuple[object, object], Node] = {}
        self._by_uuid: dict[object, Node] = {}
        self._by_bmc: dict[str, Node] = {}
        for node in nodes:
            notes = node.notes
            self.by_id[node.id] = node
            if isinstance(candidate_id := notes.get("candidate_id"), str):
                self._by_candidate.setdefault(candidate_id, node)
            if isinstance(serial := notes.get("serial"), str):
                self._by_serial.setdefault((serial, notes.get("vendor")), node)
            if isinstance(uuid := notes.get("uuid"), str):
                self._by_uuid.setdefault(uuid, node)
            if node.bmc_address:
                self._by_bmc.setdefault(_bmc_place(node.bmc_address), node)

    def of(self, candidate: Candidate) -> Node | None:
        """The node that is this server, whoever enrolled it.

        By the candidate's id, serial number, or UUID as Steelyard noted them; by the BMC's address only a node of
        which nothing is noted, since BMCs change addresses.
        """
        if (node := self._by_candidate.get(candidate.id)) is not None:
            return node
        if candidate.serial and (node := self._by_serial.get((candidate.serial, candidate.vendor))) is not None:
            return node
        node = self._by_uuid.get(candidate.uuid) if candidate.uuid else None
        if node is not None and not (candidate.serial and node.notes.get("serial")):
            return node
        node = self._by_bmc.get(_bmc_place(candidate.bmc_url))
        return node if node is not None and not node.notes.get("serial") else None


def _bmc_place(address: str) -> str:
    """host:port of a BMC's URL or bare address; port 443 where none is said."""
    host = (address.partition("://")[2] or address).partition("/")[0].lower()
    if host.startswith("["):
        return host if "]:" in host else f"{host}:443"
    if host.count(":") > 1:
        return f"[{host}]:443"
    return host if ":" in host else f"{host}:443"


def settled(candidate: Candidate, nodes: KnownNodes) -> Candidate:
    """A candidate as it stands in the light of the nodes that exist: somebody may have deleted or enrolled its node."""
    if candidate.state is CandidateState.ONBOARDING:
        return candidate
    if candidate.state is CandidateState.ONBOARDED and candidate.node_id not in nodes.by_id:
        return replace(candidate, state=CandidateState.FOUND, node_id=None)
    if candidate.state is CandidateState.FOUND and (node := nodes.of(candidate)) is not None:
        return replace(candidate, state=CandidateState.ONBOARDED, node_id=node.id)
    return candidate


# Making a node of it

_NAME = re.compile(r"[^a-z0-9.-]+")


def node_name(candidate: Candidate, taken: Iterable[str]) -> str:
    """A node name in the characters that Ironic takes: what people call it, made unique with the candidate's id."""
    wanted = _NAME.sub("-", candidate.name.lower()).strip("-.")
    wanted = wanted[:63] or f"node-{candidate.id[:8]}"
    return f"{wanted[:54]}-{candidate.id[:8]}" if wanted in set(taken) else wanted


def size_class(cpus: int | None, memory_mib: int | None) -> str:
    """The resource class of a server nobody named a class for, by memory, or by CPUs where memory is unknown.

    Below 96 GiB (or 24 logical CPUs) small, below 384 GiB (or 96) medium, above large.
    """
    measure = memory_mib / 1024 / 4 if memory_mib else float(cpus or 0)
    if measure <= 0:
        return "bm-unsized"
    return "bm-small" if measure < 24 else "bm-medium" if measure < 96 else "bm-large"


_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def is_class(name: str) -> bool:
    """Whether a resource class can have this name: what Ironic takes and Placement can express as CUSTOM_…"""
    return bool(_CLASS.fullmatch(name))


def traits_for(vendor: str | None, architecture: str | None) -> frozenset[str]:
    """Capabilities that flavors can ask for: the maker and the CPU architecture."""
    traits = set()
    if vendor and (word := re.sub(r"[^A-Z0-9]+", "_", vendor.upper()).strip("_")):
        traits.add(f"CUSTOM_VENDOR_{word}"[:255])
    if known := {"x86_64": "HW_ARCH_X86_64", "aarch64": "HW_ARCH_AARCH64"}.get(architecture or ""):
        traits.add(known)
    return frozenset(traits)
