"""The controller's objects: in memory with their indices, and in one SQLite file that survives the process.

Not thread-safe: everything happens on one event loop, and no request gives way in the middle of a transaction.
"""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS thing (uuid TEXT PRIMARY KEY, sequence INTEGER NOT NULL, content TEXT NOT NULL)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS address (network TEXT, address TEXT, owner TEXT NOT NULL, PRIMARY KEY (network, address))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pushed (port TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS filter (switch TEXT, name TEXT, PRIMARY KEY (switch, name)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Ref:
    """One reference of a thing to another."""

    uuid: str
    attr: Any = None
    relaxed: bool = False
    """Whether what is referred to may be deleted all the same; the reference then goes with it."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object. Values are replaced, never changed in place."""

    type: str
    uuid: str
    fq_name: tuple[str, ...]
    parent_type: str | None = None
    parent_uuid: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    refs: dict[str, tuple[Ref, ...]] = field(default_factory=dict)
    """By field (`virtual_network_refs`), in the order in which they were made."""

    @property
    def name(self) -> str:
        return self.fq_name[-1]

    def copy(self) -> Thing:
        """One whose properties may be changed until it is stored."""
        return Thing(
            self.type, self.uuid, self.fq_name, self.parent_type, self.parent_uuid,
            copy.deepcopy(self.properties), dict(self.refs),
        )  # fmt: skip

    def targets(self, field: str) -> tuple[str, ...]:
        """The uuids that a reference field holds."""
        return tuple(ref.uuid for ref in self.refs.get(field, ()))


class Database:
    """Things by uuid and by name, their children, who refers to them, and the addresses taken in each network."""

    def __init__(self, path: Path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)
        self._file = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._file.executescript(_SCHEMA)
        self._things: dict[str, Thing] = {}
        self._names: dict[tuple[str, tuple[str, ...]], str] = {}
        self._of_type: dict[str, dict[str, None]] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._referrers: dict[str, dict[str, int]] = {}
        self._addresses: dict[str, dict[str, str]] = {}
        self._undo: list[Callable[[], object]] | None = None
        self._changed: dict[str, None] = {}
        self._changed_addresses: set[tuple[str, str]] = set()
        self._sequence = 0
        self.scanned: dict[str, dict[str, tuple[int, int]]] = {}
        """Network -> subnet -> how far its pools are known to be taken (see addresses.py): a cache, lost when an
        address of the network is freed."""
        self.on_commit: Callable[[], None] = lambda: None
        """Called after each transaction that changed something."""
        self._load()

    # -- reading -------------------------------------------------------------------------------------------------------

    def get(self, uuid: str) -> Thing | None:
        return self._things.get(uuid)

    def __getitem__(self, uuid: str) -> Thing:
        return self._things[uuid]

    def find(self, type: str, fq_name: tuple[str, ...]) -> Thing | None:
        uuid = self._names.get((type, fq_name))
        return None if uuid is None else self._things[uuid]

    def of_type(self, type: str) -> Iterator[Thing]:
        """Oldest first."""
        for uuid in list(self._of_type.get(type, ())):
            yield self._things[uuid]

    def children(self, uuid: str) -> Iterator[Thing]:
        for child in list(self._children.get(uuid, ())):
            yield self._things[child]

    def referrers(self, uuid: str, type: str | None = None) -> Iterator[Thing]:
        """Those that refer to it, in the order in which they came to do so."""
        for referrer in list(self._referrers.get(uuid, ())):
            thing = self._things[referrer]
            if type is None or thing.type == type:
                yield thing

    def addresses(self, network: str) -> dict[str, str]:
        """Address -> owner: the uuid of an instance-ip or floating-ip, or "" for one taken with ip-alloc."""
        return self._addresses.get(network, {})

    # -- changing ------------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what happens inside, or nothing; in the file when it is left. One inside another is part of it."""
        if self._undo is not None:
            yield
            return
        self._undo = []
        try:
            yield
            self._write()
        except BaseException:
            for step in reversed(self._undo):
                step()
            raise
        finally:
            changed = bool(self._undo)
            self._undo = None
            self._changed.clear()
            self._changed_addresses.clear()
        if changed:
            self.on_commit()

    def add(self, thing: Thing) -> None:
        self._put(thing)
        self._note(thing.uuid, lambda: self._drop(thing))

    def replace(self, thing: Thing) -> None:
        before = self._things[thing.uuid]
        self._swap(before, thing)
        self._note(thing.uuid, lambda: self._swap(thing, before))

    def remove(self, uuid: str) -> None:
        thing = self._things[uuid]
        position = list(self._of_type[thing.type])
        self._drop(thing)

        def back() -> None:
            self._put(thing)
            order = self._of_type[thing.type]
            self._of_type[thing.type] = {each: None for each in position if each in order}

        self._note(uuid, back)

    def take_address(self, network: str, address: str, owner: str) -> None:
        self._set_address(network, address, owner)

    def free_address(self, network: str, address: str) -> None:
        self._set_address(network, address, None)

    # -- what the fabric manager has written ---------------------------------------------------------------------------

    def pushed(self) -> dict[str, dict[str, Any]]:
        """Switch port -> what was last written to it."""
        return {port: json.loads(content) for port, content in self._file.execute("SELECT port, content FROM pushed")}

    def note_pushed(self, port: str, content: dict[str, Any]) -> None:
        self._file.execute("INSERT OR REPLACE INTO pushed (port, content) VALUES (?, ?)", (port, json.dumps(content)))

    def filters(self) -> set[tuple[str, str]]:
        """Switch and name of the filters that a switch may have been given."""
        return {(switch, name) for switch, name in self._file.execute("SELECT switch, name FROM filter")}

    def note_filter(self, switch: str, name: str) -> None:
        self._file.execute("INSERT OR IGNORE INTO filter (switch, name) VALUES (?, ?)", (switch, name))

    def forget_filter(self, switch: str, name: str) -> None:
        self._file.execute("DELETE FROM filter WHERE switch = ? AND name = ?", (switch, name))

    def close(self) -> None:
        self._file.close()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _put(self, thing: Thing) -> None:
        self._things[thing.uuid] = thing
        self._names[(thing.type, thing.fq_name)] = thing.uuid
        self._of_type.setdefault(thing.type, {})[thing.uuid] = None
        if thing.parent_uuid is not None:
            self._children.setdefault(thing.parent_uuid, {})[thing.uuid] = None
        self._count(thing, 1)

    def _drop(self, thing: Thing) -> None:
        del self._things[thing.uuid]
        del self._names[(thing.type, thing.fq_name)]
        del self._of_type[thing.type][thing.uuid]
        if thing.parent_uuid is not None:
            self._children[thing.parent_uuid].pop(thing.uuid, None)
        self._count(thing, -1)

    def _swap(self, before: Thing, after: Thing) -> None:
        self._count(before, -1, keep=True)
        self._things[after.uuid] = after
        self._count(after, 1)
        for ref in (ref for refs in before.refs.values() for ref in refs):
            if not self._referrers.get(ref.uuid, {}).get(before.uuid, 1):
                del self._referrers[ref.uuid][before.uuid]

    def _count(self, thing: Thing, step: int, *, keep: bool = False) -> None:
        """Note who refers to whom; `keep` keeps the place of one that is about to be counted again."""
        for refs in thing.refs.values():
            for ref in refs:
                counts = self._referrers.setdefault(ref.uuid, {})
                counts[thing.uuid] = counts.get(thing.uuid, 0) + step
                if not counts[thing.uuid] and not keep:
                    del counts[thing.uuid]

    def _set_address(self, network: str, address: str, owner: str | None) -> None:
        taken = self._addresses.setdefault(network, {})
        before = taken.get(address)

        def put(value: str | None) -> None:
            if value is None:
                taken.pop(address, None)
                self.scanned.pop(network, None)
            else:
                taken[address] = value

        put(owner)
        assert self._undo is not None, "outside of a transaction"
        self._undo.append(lambda: put(before))
        self._changed_addresses.add((network, address))

    def _note(self, uuid: str, undo: Callable[[], object]) -> None:
        assert self._undo is not None, "outside of a transaction"
        self._undo.append(undo)
        self._changed[uuid] = None

    def _write(self) -> None:
        if not self._changed and not self._changed_addresses:
            return
        self._file.execute("BEGIN IMMEDIATE")
        try:
            for uuid in self._changed:
                thing = self._things.get(uuid)
                if thing is None:
                    self._file.execute("DELETE FROM thing WHERE uuid = ?", (uuid,))
                    continue
                self._sequence += 1
                self._file.execute(
                    "INSERT INTO thing (uuid, sequence, content) VALUES (?, ?, ?) "
                    "ON CONFLICT (uuid) DO UPDATE SET content = excluded.content",
                    (uuid, self._sequence, _written(thing)),
                )
            for network, address in self._changed_addresses:
                owner = self._addresses.get(network, {}).get(address)
                if owner is None:
                    self._file.execute("DELETE FROM address WHERE network = ? AND address = ?", (network, address))
                else:
                    self._file.execute("INSERT OR REPLACE INTO address VALUES (?, ?, ?)", (network, address, owner))
            self._file.execute("COMMIT")
        except BaseException:
            self._file.execute("ROLLBACK")
            raise

    def _load(self) -> None:
        for sequence, content in self._file.execute("SELECT sequence, content FROM thing ORDER BY sequence"):
            self._put(_read(content))
            self._sequence = sequence
        for network, address, owner in self._file.execute("SELECT network, address, owner FROM address"):
            self._addresses.setdefault(network, {})[address] = owner


def _written(thing: Thing) -> str:
    return json.dumps(
        {
            "type": thing.type,
            "uuid": thing.uuid,
            "fq_name": thing.fq_name,
            "parent_type": thing.parent_type,
            "parent_uuid": thing.parent_uuid,
            "properties": thing.properties,
            "refs": {
                field: [[ref.uuid, ref.attr, ref.relaxed] for ref in refs] for field, refs in thing.refs.items() if refs
            },
        },
        separators=(",", ":"),
    )


def _read(content: str) -> Thing:
    document = json.loads(content)
    refs = {field: tuple(Ref(*ref) for ref in refs) for field, refs in document.pop("refs").items()}
    return Thing(**{**document, "fq_name": tuple(document["fq_name"])}, refs=refs)
