"""Reads what inspections from within told: node by node (Ironic has no list of them), where one is new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from steelyard.clouds.ports import Clouds
from steelyard.errors import NotFound, SteelyardError
from steelyard.inventory.notes import Inspected, inspected_of
from steelyard.nouns import Node
from steelyard.store import Store

AT_ONCE: Final = 25
"""Inventories read in one look: a fleet that nobody has looked into yet is not asked for all of them at a time."""
READERS: Final = 4


class Inspections:
    """Knows the newest inspection of every node."""

    def __init__(self, *, clouds: Clouds, store: Store) -> None:
        self._clouds = clouds
        self._store = store

    def of(self, nodes: Iterable[Node], *, among: Iterable[str] | None = None) -> Mapping[str, Inspected]:
        """By node. Those of which Ironic says that they were inspected since are read, the longest waiting first; one
        that cannot be read is tried again at the next look. `among`: only these nodes are asked about."""
        kept = self._store.inventory.parts.inspections(None if among is None else list(among))
        due = [
            node
            for node in nodes
            if node.inspected_at is not None and ((known := kept.get(node.id)) is None or known.at < node.inspected_at)
        ]
        due.sort(key=lambda node: (node.inspected_at, node.id))
        if not due:
            return kept
        with ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="inspections") as readers:
            read = [each for each in readers.map(self._read, due[:AT_ONCE]) if each is not None]
        self._store.inventory.parts.keep_inspections(dict(read))
        return {**kept, **dict(read)}

    def _read(self, node: Node) -> tuple[str, Inspected] | None:
        assert node.inspected_at is not None
        try:
            inventory = self._clouds.own.nodes.inspection(node.id).inventory
        except NotFound:
            inventory = {}  # it was thrown away, or the inspection told nothing
        except SteelyardError:
            return None
        return node.id, inspected_of(inventory, node.inspected_at)
