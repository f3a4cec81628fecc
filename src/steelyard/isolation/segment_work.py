"""The reconciler `isolation.segments`: segments that nobody needs any more go back, and what keeps one is found.

Runbook, by hand: `steelyard isolation segments` says who has which segment and who waits; `openstack port list
--network SEGMENT` what the controller has on it, `steelyard isolation switch show SWITCH` what a switch carries. A
segment whose node is gone, or which neither a port nor the state of its node needs, is given back when it was so in two
runs and no switch carries its VLAN. One that a switch still carries stays leased: the next node would meet whoever is
there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from steelyard.attention.model import Finding, Severity
from steelyard.clouds.observing import Observer
from steelyard.errors import SteelyardError
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.parking import parked
from steelyard.isolation.reading import read_switches
from steelyard.isolation.segments import LOOK, Segments, carried_at, is_of, is_services
from steelyard.lifecycle.model import IN_TRANSITION, phase
from steelyard.nouns import Network, NetworkPort, Node, SwitchPort
from steelyard.operations.reconciling import Reconciler, Report
from steelyard.store import Store
from steelyard.store.segments import SegmentLease

SEGMENTS: Final = "isolation.segments"
ACTOR: Final = "steelyard"
COMING: Final = timedelta(seconds=60)
"""So long after it was given a segment a node may not have put anything there yet."""

Read = Mapping[str, list[SwitchPort] | SteelyardError]


class SegmentReconciler:
    """One run looks at the leases; without any and without a pool, nobody is asked."""

    def __init__(self, segments: Segments, *, store: Store, observer: Observer, switches: SwitchReaders) -> None:
        self._segments = segments
        self._store = store
        self._observer = observer
        self._switches = switches
        self._idle: Collection[SegmentLease] = ()
        """Leases that nobody needed in the last run."""

    def reconciler(self, *, period: float) -> Reconciler:
        about = "Segments that no node needs any more are given back; who waits for one is found."
        return Reconciler(SEGMENTS, about, self.run, period=period)

    def run(self) -> Report:
        leases = self._store.segments.leased()  # before the lists: what is given to a node later is not in them
        if not leases and not self._segments.enabled:
            self._store.findings.replace(SEGMENTS, [])
            return Report(0, 0)
        networks = {network.id: network for network in self._observer.networks()}
        pool = {network.id for network in self._segments.pool(list(networks.values()))}
        self._store.segments.know(pool)
        nodes = {node.id: node for node in self._observer.nodes()}
        ports: dict[str, list[NetworkPort]] = defaultdict(list)
        for port in self._observer.attachments():
            if port.network_id in pool or any(lease.network_id == port.network_id for lease in leases):
                ports[port.network_id].append(port)
        now = datetime.now(UTC)
        idle = [
            lease
            for lease in leases
            if now - lease.asked_at > COMING and not _needs(nodes.get(lease.node_id), ports[lease.network_id])
        ]
        returned, kept = self._return([lease for lease in idle if lease in self._idle], nodes, networks)
        self._idle = [lease for lease in idle if lease not in returned]
        found = [
            *(_kept(lease, nodes, networks, why) for lease, why in kept.items()),
            *self._strangers(leases, nodes, networks, ports),
            *self._waiting(leases, nodes, pool),
        ]
        self._store.findings.replace(SEGMENTS, found)
        detail = f"{len(returned)} given back" if returned else ""
        return Report(len(pool), len(returned), detail, data={"leased": len(leases) - len(returned)})

    def _return(
        self, leases: Sequence[SegmentLease], nodes: Mapping[str, Node], networks: Mapping[str, Network]
    ) -> tuple[list[SegmentLease], dict[SegmentLease, str]]:
        """Those that were given back, and why the others were not."""
        if not leases:
            return [], {}
        # Also switches to which the node is not cabled: a write may have gone astray.
        read = read_switches(self._switches, [switch.chassis_id for switch in self._switches.switches])
        returned, kept = [], {}
        for lease in leases:
            network = networks.get(lease.network_id)
            if (why := _still_carried(network, read)) is not None:
                kept[lease] = why
            elif self._segments.give_back(nodes.get(lease.node_id, lease.node_id), lease, ACTOR):
                returned.append(lease)
        return returned, kept

    def _strangers(
        self,
        leases: Sequence[SegmentLease],
        nodes: Mapping[str, Node],
        networks: Mapping[str, Network],
        ports: Mapping[str, Sequence[NetworkPort]],
    ) -> list[Finding]:
        """Ports on segments that are not their node's."""
        holders = {lease.network_id: nodes.get(lease.node_id) for lease in leases}
        found = []
        for network_id, there in sorted(ports.items()):
            holder = holders.get(network_id)
            strange = [p for p in there if not is_services(p) and (holder is None or not is_of(p, holder))]
            # Of a node that is gone, or has just been given the segment, nobody can say which ports are its own.
            if not strange or (network_id in holders and holder is None):
                continue
            name = networks[network_id].name
            found.append(Finding(
                "isolation.segment_occupied", f"network:{network_id}", name, Severity.CRITICAL,
                f"Segment {name} carries {len(strange)} ports that are not of the node which has it to itself.",
                f"openstack port list --network {network_id}",
                {"ports": sorted(port.id for port in strange), "node": holder.label if holder else None},
            ))  # fmt: skip
        return found

    def _waiting(
        self, leases: Sequence[SegmentLease], nodes: Mapping[str, Node], pool: Collection[str]
    ) -> list[Finding]:
        """Nodes that wait, and who has what they wait for."""
        names = sorted(nodes[lease.node_id].label for lease in leases if lease.node_id in nodes)
        has = f"all {len(pool)} are leased" if pool else "there is no network that STEELYARD_SEGMENTS names"
        return [
            Finding(
                "isolation.segments_exhausted", f"node:{wait.node_id}", nodes[wait.node_id].label, Severity.MINOR,
                f"Node {nodes[wait.node_id].label} waits for a segment of its own ({wait.role} network): {has}.",
                LOOK, {"role": wait.role, "waits_since": wait.since.isoformat(), "leased_to": names},
            )
            for wait in self._store.segments.waiting()
            if wait.node_id in nodes
        ]  # fmt: skip


def _still_carried(network: Network | None, read: Read) -> str | None:
    """Why the network may not be empty, in words; what nobody can read may carry anything."""
    if network is None or network.segmentation_id is None:
        return None
    if there := carried_at(read, network.segmentation_id):
        return f"the switches carry VLAN {network.segmentation_id} on {', '.join(sorted(there.values()))}"
    return next((error.detail for error in read.values() if isinstance(error, SteelyardError)), None)


def _needs(node: Node | None, ports: Sequence[NetworkPort]) -> bool:
    """Whether the lease must stay: something is there, or its node is between two phases and may come there."""
    if any(not is_services(port) for port in ports):
        return True
    if node is None:
        return False
    if parked(node) is not None or node.target_power_state is not None:
        return True
    return phase(node, None) in IN_TRANSITION


def _kept(lease: SegmentLease, nodes: Mapping[str, Node], networks: Mapping[str, Network], why: str) -> Finding:
    network = networks.get(lease.network_id)
    name = network.name if network is not None else lease.network_id
    node = nodes.get(lease.node_id)
    label = node.label if node is not None else lease.node_id
    return Finding(
        "isolation.segment_not_empty", f"network:{lease.network_id}", name, Severity.MAJOR,
        f"Segment {name} cannot be given back by node {label}, which no longer needs it: {why}.",
        "steelyard isolation check", {"node": label, "role": lease.role},
    )  # fmt: skip
