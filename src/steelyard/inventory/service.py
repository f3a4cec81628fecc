"""Use cases of the inventory. Bulk lists only, read side by side, and kept for two seconds at most.

What Steelyard itself has done is shown at once: every such change appends an event, and a list is not kept beyond one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from steelyard.clouds.ports import Clouds
from steelyard.errors import NotFound
from steelyard.inventory.model import Group, NodeRecord, Observed, join, matches
from steelyard.lifecycle.model import DEPLOYED, offered, phase
from steelyard.naming import pick
from steelyard.store import Event, Store

KEEP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """One server with what it said of itself from within, and the newest lines of its timeline."""

    record: NodeRecord
    inventory: dict[str, Any] | None
    """Disks and NICs of the newest in-band inspection; None before the first."""
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A list that was read, when, and which event was the newest just before."""

    at: float
    event: int
    records: list[NodeRecord]


class InventoryService:
    """Every server in one list."""

    def __init__(self, *, clouds: Clouds, store: Store, clock: Callable[[], float] = time.monotonic):
        self._clouds = clouds
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: _Kept | None = None

    def all(self, *, group: Group | None = None, pool: str | None = None, text: str | None = None) -> list[NodeRecord]:
        """Every node that passes the filters."""
        return [each for each in self._records() if matches(each, group=group, pool=pool, text=text)]

    def get(self, reference: str) -> NodeDetail:
        """By id, name, or serial number."""
        records = self._read()
        by_serial = [each for each in records if each.serial == reference]
        if len(by_serial) == 1:
            record = by_serial[0]
        else:
            record = pick(
                "node", reference, records, id=lambda r: r.id, name=lambda r: r.name, next="steelyard node list"
            )
        inventory = None
        with suppress(NotFound):
            inventory = _parts(self._clouds.own.nodes.inspection(record.id).inventory)
        events = self._store.events.of(f"node:{record.id}", limit=10)
        return NodeDetail(record, inventory, tuple(events))

    def _records(self) -> list[NodeRecord]:
        """As read at most `KEEP_SECONDS` ago, after the newest event. One reader reads, the others wait for it."""
        with self._lock:
            newest = self._store.events.newest()
            kept = self._kept
            if kept is None or kept.event != newest or not 0 <= self._clock() - kept.at < KEEP_SECONDS:
                records = self._read()
                kept = self._kept = _Kept(self._clock(), newest, records)
            return kept.records

    def _read(self) -> list[NodeRecord]:
        own = self._clouds.own
        with ThreadPoolExecutor(max_workers=5, thread_name_prefix="inventory") as readers:
            nodes = readers.submit(own.nodes.all)
            instances = readers.submit(own.compute.all, all_projects=True)
            ports = readers.submit(own.node_ports.all)
            projects = readers.submit(self._clouds.identity.project_names)
            images = readers.submit(own.images.all)
            observed = Observed(
                nodes=tuple(nodes.result()),
                instances=tuple(instances.result()),
                ports=tuple(ports.result()),
                projects=projects.result(),
                images={image.id: image.name for image in images.result()},
            )
        return join(observed, phase=phase, deployed=DEPLOYED, offered=offered)


def _parts(inventory: Any) -> dict[str, Any]:
    """Disks and NICs of an inspection, in the few fields that people look for; what has the wrong type is left out."""

    def rows(name: str, fields: tuple[str, ...]) -> list[dict[str, Any]]:
        listed = inventory.get(name)
        entries = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return [
            {f: each[f] for f in fields if isinstance(each.get(f), str | int | float | bool)} for each in entries[:256]
        ]

    return {
        "disks": rows("disks", ("name", "size", "model", "serial", "wwn", "rotational")),
        "nics": rows("interfaces", ("name", "mac_address", "speed_mbps", "has_carrier")),
    }
