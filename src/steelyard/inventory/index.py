"""Keeps the index: by bulk lists on a period, at once where the fleet is small, server by server as events name them.

The rule of freshness, in one place (ADR 0017): what Steelyard itself has done is in the next answer; what others did is
within one period, and within `KEEP` where everything can be read in less than `QUICK`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from steelyard.clouds.observing import FRESH, Observer
from steelyard.clouds.ports import Clouds
from steelyard.discovery.model import Candidate
from steelyard.errors import NotFound, SteelyardError
from steelyard.inventory.entries import Entry, entry_of
from steelyard.inventory.inspections import Inspections
from steelyard.inventory.model import Kind, NodeRecord, Observed, Rules, candidate_record, join, node_record
from steelyard.lifecycle.model import DEPLOYED, offered, phase
from steelyard.nouns import Instance, Node
from steelyard.operations.reconciling import Report
from steelyard.store import Store
from steelyard.store.inventory import IndexState, Known

NAME: Final = "inventory.index"
"""The reconciler."""
KEEP: Final = timedelta(seconds=2)
"""A small fleet is read again before an answer when what is known is older."""
QUICK: Final = 1.0
"""Seconds that reading everything may take to be done before an answer."""
SMALL: Final = 500
"""Records up to which it may."""
FEW: Final = 8
"""Servers that are read one by one before an answer, because an event has named them since the last look."""
HISTORY: Final = timedelta(days=730)
RULES: Final = Rules(phase=phase, deployed=frozenset(DEPLOYED), offered=offered)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old an answer from the index is."""

    observed_at: datetime
    """When everything was last looked at; single servers may be newer."""
    problem: str | None = None
    """Why it could not be looked at again just now."""


class InventoryIndex:
    """Reads the cloud into the index. Thread-safe; several servers may do it at once, the newer look wins."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        store: Store,
        observer: Observer,
        signal: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`signal` asks for a run of a reconciler soon."""
        self._clouds = clouds
        self._store = store
        self._observer = observer
        self._signal = signal
        self._now = now
        self._inspections = Inspections(clouds=clouds, store=store)
        self._reading = threading.Lock()
        self._projects: Mapping[str, str] = {}
        self._images: Mapping[str, str] = {}

    # Before an answer

    def current(self) -> Freshness:
        """Bring the index up to what an answer must show, and say how old it is.

        Raises what the ports raise while nothing is known at all; afterwards an answer from the index, with the reason
        why it is old, serves better than none.
        """
        if (fresh := self.fresh()) is not None:
            return fresh
        with self._reading:  # one reads, the others wait for what it finds
            state = self._store.inventory.state()
            problem = None
            if state is None:
                self.refresh(again=True)
            elif self._is_old(state):
                try:
                    if _is_small(state):
                        self.refresh(again=True)
                    elif not self._follow(state):
                        self._signal(NAME)
                except SteelyardError as error:
                    problem = error.detail
            state = self._store.inventory.state()
        assert state is not None  # a look was written, or it was there
        return Freshness(state.observed_at, problem)

    def fresh(self) -> Freshness | None:
        """How old the index is, if it needs no look before an answer; None if `current` must be asked. Only reads."""
        state = self._store.inventory.state()
        return None if state is None or self._is_old(state) else Freshness(state.observed_at)

    def _is_old(self, state: IndexState) -> bool:
        if self._store.events.newest() != state.event_id:
            return True
        return _is_small(state) and not timedelta(0) <= self._now() - state.observed_at < KEEP

    # Everything

    def reconcile(self) -> Report:
        """One run of the reconciler: what everybody has just read serves, unless something happened since."""
        state = self._store.inventory.state()
        report = self.refresh(again=state is None or state.event_id != self._store.events.newest())
        self._store.inventory.forget_history(self._now() - HISTORY)
        return report

    def refresh(self, *, again: bool) -> Report:
        """Look at everything and write what changed. `again`: what was read before is not good enough."""
        inventory = self._store.inventory
        begin = time.monotonic()
        before = inventory.state()
        if again:
            at, mark = self._now(), self._store.events.newest()
            self._observer.forget()
        else:
            at = self._now() - timedelta(seconds=FRESH)
            mark = inventory.event_before(at)
        records = join(self._observe(), RULES)
        rows = inventory.known()
        entries, absent = _recognised(rows, records)
        kept = {row.key: row.digest for row in rows if not row.gone}
        changed = (entry for entry in entries if kept.get(entry.key) != entry.digest)
        written = inventory.write(changed, at=at, since=before.observed_at if before else None)
        gone = inventory.gone(absent, at=at)
        inventory.observed(IndexState(at, mark, time.monotonic() - begin, len(entries)))
        words = [f"{count} {what}" for count, what in ((written, "changed or new"), (gone, "gone")) if count]
        return Report(seen=len(entries), changed=written + gone, detail=", ".join(words))

    def _observe(self) -> Observed:
        observer = self._observer
        with ThreadPoolExecutor(max_workers=6, thread_name_prefix="inventory") as readers:
            nodes = readers.submit(observer.nodes)
            instances = readers.submit(observer.instances)
            ports = readers.submit(observer.node_ports)
            attachments = readers.submit(observer.attachments)
            projects = readers.submit(observer.projects)
            images = readers.submit(observer.images)
            candidates = self._store.candidates.all()
            self._projects = projects.result()
            self._images = {image.id: image.name for image in images.result()}
            return Observed(
                nodes=tuple(nodes.result()),
                instances=tuple(instances.result()),
                ports=tuple(ports.result()),
                projects=self._projects,
                images=self._images,
                attachments=tuple(attachments.result()),
                candidates=tuple(candidates),
                inspections=self._inspections.of(nodes.result()),
            )

    # Few

    def _follow(self, state: IndexState) -> bool:
        """Look at the servers that events named since; False when they are too many to be looked at one by one."""
        newest = self._store.events.newest()
        subjects = self._store.inventory.subjects_since(state.event_id, limit=10 * FEW)
        if subjects is None:
            return False
        named: dict[str, set[str]] = {}
        for subject in subjects:
            noun, _, id = subject.partition(":")
            named.setdefault({"release": "server"}.get(noun, noun), set()).add(id)
        nodes, candidates, servers = (named.get(noun, set()) for noun in ("node", "candidate", "server"))
        if len(nodes | candidates | servers) > FEW:
            return False
        self.touch(nodes | self._nodes_of(candidates, servers), candidates=candidates)
        self._store.inventory.seen_up_to(newest)
        return True

    def _nodes_of(self, candidates: Collection[str], servers: Collection[str]) -> set[str]:
        """The nodes of candidates and of Nova's servers, those included that are not in the index yet."""
        found = self._store.inventory.rows_of(candidates=candidates, instances=servers)
        nodes = {known.node_id for known in found}
        for id in candidates:
            with suppress(NotFound):
                nodes.add(self._store.candidates.get(id).node_id)
        for id in servers:
            with suppress(NotFound):
                nodes.add(self._clouds.own.compute.get(id).node_id)
        return {node for node in nodes if node}

    def touch(self, nodes: Iterable[str], *, candidates: Iterable[str] = ()) -> None:
        """Look at these few now. The NICs of a node are those of the last complete look."""
        at = self._now()
        inventory = self._store.inventory
        there: list[Node] = []
        absent: set[str] = set()
        for id in sorted(set(nodes)):
            try:
                there.append(self._clouds.own.nodes.get(id))
            except NotFound:
                absent.add(id)
        records = [self._record(node) for node in there]
        wanted = set(candidates) | {row.candidate_id or "" for row in inventory.rows_of(nodes=absent)}
        shown = {node.id for node in there}
        for id in sorted(wanted):
            with suppress(NotFound):
                candidate = self._store.candidates.get(id)
                if candidate.node_id is None or candidate.node_id in absent:
                    records.append(candidate_record(candidate))
                elif candidate.node_id not in shown:
                    records.append(self._record(self._clouds.own.nodes.get(candidate.node_id)))
                    shown.add(candidate.node_id)
        rows = inventory.rows_of(
            nodes=[record.id for record in records] + sorted(absent),
            candidates={record.candidate_id or "" for record in records} | wanted,
        )
        state = inventory.state()
        entries, left = _recognised(rows, records)
        inventory.write(entries, at=at, since=state.observed_at if state else None)
        lost = {
            row.key for row in rows if row.node_id in absent or (row.node_id is None and row.candidate_id in wanted)
        }
        inventory.gone([key for key in left if key in lost], at=at)

    def _record(self, node: Node) -> NodeRecord:
        instance: Instance | None = None
        if node.instance_id is not None:
            with suppress(NotFound):
                instance = self._clouds.own.compute.get(node.instance_id)
        if instance is not None:
            self._learn_names(instance)
        kept = self._store.inventory.search.record(node.id)
        noted = kept.candidate_id if kept else node.notes.get("candidate_id")
        candidate: Candidate | None = None
        if isinstance(noted, str):
            with suppress(NotFound):
                candidate = self._store.candidates.get(noted)
        return node_record(
            node,
            instance,
            ports=kept.nics if kept else (),
            addresses=kept.addresses if kept and instance and kept.instance_id == instance.id else (),
            candidate=candidate,
            inspected=self._inspections.of([node], among=[node.id]).get(node.id),
            projects=self._projects,
            images=self._images,
            rules=RULES,
        )

    def _learn_names(self, instance: Instance) -> None:
        """Of its project and its image, if they are new."""
        if instance.project_id not in self._projects:
            self._projects = self._observer.projects()
        if instance.image_id and instance.image_id not in self._images:
            self._images = {image.id: image.name for image in self._observer.images()}


def _is_small(state: IndexState) -> bool:
    return state.records <= SMALL and state.seconds <= QUICK


def _recognised(rows: Sequence[Known], records: Sequence[NodeRecord]) -> tuple[list[Entry], list[str]]:
    """Each record under the key of the row that is the same server, or under a new one; and the rows of no record."""
    by_node: dict[str, str] = {}
    by_candidate: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.gone):  # stable: what is there comes before what has gone
        if row.node_id:
            by_node.setdefault(row.node_id, row.key)
        if row.candidate_id:
            by_candidate.setdefault(row.candidate_id, row.key)
    taken: set[str] = set()
    entries = []
    for record in sorted(records, key=lambda each: each.id not in by_node):  # nobody else gets the row of a known node
        key = by_node.get(record.id) if record.kind is Kind.NODE else None
        if key is None or key in taken:
            key = by_candidate.get(record.candidate_id or "")
        if key is None or key in taken:
            key = record.id
        if key in taken:
            continue  # two records of one id: the cloud contradicts itself, and the next look will tell
        taken.add(key)
        entries.append(entry_of(key, record))
    return entries, [row.key for row in rows if row.key not in taken and not row.gone]
