"""The reconciler that moves the NICs of servers that went off, or came on, whoever did that.

Runbook: `steelyard reconciler show isolation.power` says when it ran and what it did; `steelyard isolation show NODE`
what is so; a flip that failed is a finding (`isolation.flip_failed`) until it succeeds, and is tried again at each run.
By hand: see the runbook in isolation/flips.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from steelyard.attention.model import Finding, Severity
from steelyard.errors import SteelyardError
from steelyard.isolation.flips import By
from steelyard.isolation.model import Role
from steelyard.isolation.parking import Move, parked, wanted_move
from steelyard.isolation.segment_work import SegmentReconciler
from steelyard.isolation.service import IsolationService
from steelyard.nouns import Instance, NetworkPort, Node, NodePort
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store.flips import FlipFailure
from steelyard.store.policies import DEFAULT

POWER: Final = "isolation.power"
ACTOR: Final = "steelyard"
AT_A_TIME: Final = 8
"""Nodes whose NICs are moved at a time."""

_WHY: Final[Mapping[Move, str]] = {
    Move.QUARANTINE: "the server is off",
    Move.TENANT: "the server runs, or its project keeps its networks while it is off",
    Move.CLEAR: "nothing is parked any more",
}


def reconcilers(service: IsolationService) -> tuple[Reconciler, ...]:
    """The reconcilers of this room."""
    return (
        Reconciler(
            POWER,
            "NICs of deployed servers that are off go to the quarantine network, and back before and after power-on.",
            _PowerReconciler(service).run,
            period=service.settings.power_seconds,
        ),
        service.refusals.reconciler(period=service.settings.power_seconds),
        SegmentReconciler(
            service.segments, store=service.store, observer=service.observer, switches=service.switch_readers
        ).reconciler(period=service.settings.power_seconds),
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """One node with something to do."""

    node: Node
    move: Move


class _PowerReconciler:
    """One run looks at the whole fleet by bulk lists; only nodes with something to do are asked about singly."""

    def __init__(self, service: IsolationService):
        self._service = service
        self._store = service.store
        self._observer = service.observer

    def run(self) -> Report:
        nodes = self._observer.nodes()
        failures = {failure.node_id: failure for failure in self._store.flips.failures()}
        tasks = self._tasks(nodes, failures)
        done, waiting = self._do(tasks)
        self._report_failures(nodes)
        if done:
            self._observer.forget()
        return Report(len(nodes), len(done), _words(done, waiting))

    def _tasks(self, nodes: Sequence[Node], failures: Mapping[str, FlipFailure]) -> list[_Task]:
        concerned = [node for node in nodes if _may_concern(node)]
        if not concerned:
            return []
        instances = {instance.id: instance for instance in self._observer.instances()}
        nics: dict[str, list[NodePort]] = defaultdict(list)
        for nic in self._observer.node_ports():
            nics[nic.node_id].append(nic)
        ports: dict[str, list[NetworkPort]] = defaultdict(list)
        for port in self._observer.attachments():
            if port.device_id:
                ports[port.device_id].append(port)
        policies = self._store.policies.power_offs()
        held_open = self._store.flips.open_nodes()
        leases = self._service.segments.leases()
        found = []
        for node in concerned:
            if node.id in held_open:
                continue
            instance = _of(instances, node)
            attachments = [*ports[node.id], *(ports[node.instance_id] if node.instance_id else ())]
            move = wanted_move(
                node,
                instance,
                policy=policies.get(instance.project_id if instance else "", DEFAULT),
                nics=nics[node.id],
                attachments=attachments,
                failed_to=failures[node.id].to if node.id in failures else None,
                leases=leases,
            )
            if move is not None:
                found.append(_Task(node, move))
        return found

    def _do(self, tasks: Sequence[_Task]) -> tuple[list[_Task], list[_Task]]:
        """Those that were done, and those that have to wait for a later run."""
        if not tasks:
            return [], []
        with ThreadPoolExecutor(max_workers=min(AT_A_TIME, len(tasks)), thread_name_prefix="flips") as pool:
            outcomes = list(pool.map(self._one, tasks))
        done = [task for task, outcome in zip(tasks, outcomes, strict=True) if outcome]
        return done, [task for task, outcome in zip(tasks, outcomes, strict=True) if not outcome]

    def _one(self, task: _Task) -> bool:
        flips, by = self._service.flips, By(ACTOR, _WHY[task.move])
        moves: Mapping[Move, Callable[[], None]] = {
            Move.QUARANTINE: lambda: flips.to_quarantine(task.node.id, by),
            Move.TENANT: lambda: flips.to_tenant(task.node.id, by),
            Move.CLEAR: lambda: flips.clear(task.node),
        }
        try:
            moves[task.move]()
        except SteelyardError:
            # Somebody works on the node at this moment; or it is gone; or the flip failed, which was written down and
            # becomes a finding below. One node that cannot be moved stops no other.
            return False
        return True

    def _report_failures(self, nodes: Sequence[Node]) -> None:
        names = {node.id: node.label for node in nodes}
        failures = self._store.flips.failures()
        gone = [failure.node_id for failure in failures if failure.node_id not in names]
        if gone:
            self._store.flips.forget(gone)
        self._store.findings.replace(
            POWER, [_finding(failure, names[failure.node_id]) for failure in failures if failure.node_id in names]
        )


def _may_concern(node: Node) -> bool:
    """Whether the other lists have to be looked at for it: a tenant's server that does not run, or a mark."""
    if parked(node) is not None:
        return True
    return node.provision_state == "active" and node.instance_id is not None and node.power_state == "off"


def _of(instances: Mapping[str, Instance], node: Node) -> Instance | None:
    return instances.get(node.instance_id) if node.instance_id else None


def _finding(failure: FlipFailure, name: str) -> Finding:
    return Finding(
        kind="isolation.flip_failed",
        subject=f"node:{failure.node_id}",
        name=name,
        severity=Severity.CRITICAL if failure.to == Role.QUARANTINE else Severity.MAJOR,
        reason=failure.reason,
        next=f"steelyard isolation show {name}",
        evidence={"to": failure.to, "at": failure.at.isoformat()},
    )


def _words(done: Sequence[_Task], waiting: Sequence[_Task]) -> str:
    said = []
    for move, words in ((Move.QUARANTINE, "to quarantine"), (Move.TENANT, "back"), (Move.CLEAR, "tidied")):
        if number := sum(task.move is move for task in done):
            said.append(f"{number} {words}")
    if waiting:
        said.append(f"{len(waiting)} not yet")
    return ", ".join(said)
