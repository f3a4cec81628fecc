"""Segments: networks of which each node in transition has one to itself, leased from a pool.

A node that is inspected, cleaned, deployed, rescued or serviced, and a server that is off, is alone on its network: the
segment is the node's from before its first NIC is put there until controller and switches have been seen without it.
A node has one segment at a time, whatever it is on it for. Where none is free, an agent's work waits and says so; a
server that is off goes on no network at all, and leaves a quarter of the pool to those who work.

The lease is a row in the database, so servers that share one cannot lease a segment twice. What nobody gives back, the
reconciler `isolation.segments` does (isolation/segment_work.py). Nothing here needs a node's lock: conductors that hold
it ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Conflict, SteelyardError
from steelyard.isolation.model import Leases, Place
from steelyard.isolation.policy import Role
from steelyard.isolation.reading import named_roles, role_networks
from steelyard.nouns import Network, NetworkPort, Node, PortMode, SwitchPort
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.store.segments import SegmentLease, SegmentWait

NETWORKS_FRESH: Final = 30.0
"""Seconds for which the list of networks is remembered."""
EXHAUSTED: Final = "segments_exhausted"
"""Code of the refusal that a conductor waits on."""
LOOK: Final = "steelyard isolation segments"
LEASED, RETURNED = "segment.leased", "segment.returned"
"""The events."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a conductor is told."""

    network: Network | None
    """The node's own; None: it goes to the network that the conductor is configured for."""
    shared: bool = False
    """No segment was free, and the settings allow sharing."""


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """A segment as an operator sees it."""

    network: Network
    node_id: str | None
    """None: it is free."""
    node: str | None
    role: str | None
    since: datetime | None
    in_pool: bool
    """False: the settings name it no more; it goes out of use when it is given back."""


def in_pool(network: Network, named: Sequence[str], project_id: str | None) -> bool:
    """Whether the settings name the network, by id, or by name where it is the operator's. Not one that is shared:
    tenants could attach to it. Pure."""
    if network.shared:
        return False
    if network.id in named:
        return True
    return project_id is not None and network.project_id == project_id and named_so(network.name, named)


def named_so(name: str, named: Iterable[str]) -> bool:
    """Whether the settings give segments this name, exactly or by a pattern."""
    return any(fnmatchcase(name, pattern) for pattern in named)


def carried_at(switches: Mapping[str, Sequence[SwitchPort] | SteelyardError], vlan: int) -> dict[Place, str]:
    """The switch ports that carry the VLAN untagged, with their names. Uplinks carry it tagged, and are none. Pure."""
    return {
        (switch_id.lower(), port.port_id): f"{port.switch_name} {port.port_id}"
        for switch_id, read in switches.items()
        if not isinstance(read, SteelyardError)
        for port in read
        if port.enabled and port.untagged_vlan == vlan and port.mode is not PortMode.ROUTED
    }


def is_services(port: NetworkPort) -> bool:
    """Whether the controller's own services have the port: DHCP, a router."""
    return (port.device_owner or "").startswith("network:")


def is_of(port: NetworkPort, node: Node) -> bool:
    return port.host_id == node.id or port.device_id in {node.id, node.instance_id or node.id}


class Segments:
    """Leases segments, and takes them back."""

    def __init__(
        self, *, clouds: Clouds, store: Store, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clouds = clouds
        self._store = store
        self._named = settings.segments
        self._project = settings.segments_project
        self._roles = named_roles(settings)
        self.sharing = settings.segment_sharing
        self._clock = clock
        self._networks: Mapping[str, Network] = {}
        self._pool: tuple[str, ...] = ()
        self._networks_at = float("-inf")

    @property
    def enabled(self) -> bool:
        """Whether the operator has given a pool."""
        return bool(self._named)

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    # What there is

    def pool(self, networks: Sequence[Network]) -> list[Network]:
        """The segments among these networks. None of the operator's other networks is one, whatever the pattern."""
        if not self.enabled:
            return []
        names = self._clouds.identity.project_names()
        found = [id for id, name in names.items() if self._project in (id, name)]
        project_id = found[0] if len(found) == 1 else None
        others = set(role_networks(networks, self._roles).values())
        return sorted(
            (each for each in networks if each.id not in others and in_pool(each, self._named, project_id)),
            key=lambda each: (each.name, each.id),
        )

    def leases(self) -> Leases | None:
        """Who has which, for comparing; None where there is no pool and never was one."""
        leased = {lease.node_id: lease.network_id for lease in self._store.segments.leased()}
        return Leases(leased, sharing=self.sharing or not self.enabled) if self.enabled or leased else None

    def uses(self) -> list[SegmentUse]:
        """Every segment of the pool, and those that are leased still, by their names."""
        networks = self._known(anew=True)
        names = {node.id: node.label for node in self._cloud.nodes.all()}
        leased = {lease.network_id: lease for lease in self._store.segments.leased()}
        found = []
        for id in {*self._pool, *(leased.keys() & networks.keys())}:
            lease = leased.get(id)
            node_id = lease.node_id if lease else None
            found.append(SegmentUse(
                networks[id], node_id, names.get(node_id, node_id) if node_id else None,
                lease.role if lease else None, lease.since if lease else None, in_pool=id in self._pool,
            ))  # fmt: skip
        return sorted(found, key=lambda use: (use.network.name, use.network.id))

    def waiting(self) -> list[tuple[SegmentWait, str]]:
        """Nodes that wait for one, with their names, the one that has waited longest first."""
        waits = self._store.segments.waiting()
        names = {node.id: node.label for node in self._cloud.nodes.all()} if waits else {}
        return [(wait, names.get(wait.node_id, wait.node_id)) for wait in waits]

    def _known(self, *, anew: bool = False) -> Mapping[str, Network]:
        if anew or self._clock() - self._networks_at > NETWORKS_FRESH:
            networks = self._cloud.networks.all()
            self._pool = tuple(each.id for each in self.pool(networks))
            self._networks = {network.id: network for network in networks}
            self._networks_at = self._clock()
        return self._networks

    # Leasing

    def lease(self, reference: str, role: Role, actor: str) -> Segment:
        """The network that the node is put on for this role of an agent's: its own until controller and switches have
        been seen without it. Asking again gives the same.

        Raises `Conflict` (`segments_exhausted`) when none is free: ask again. Raises what the ports raise.
        """
        if not self.enabled:
            return Segment(None)
        node = self._cloud.nodes.get(reference)
        network = self._take(node, role, actor, kept=0, wait=not self.sharing)
        if network is not None:
            return Segment(network)
        if self.sharing:
            return Segment(None, shared=True)
        raise Conflict(self._why_not(node, role), code=EXHAUSTED, next=LOOK)

    def for_quarantine(self, node: Node, shared: Network | None, actor: str) -> Network | None:
        """The network that the NICs of a server that is off go to; None: they go on no network at all.

        `shared` is the quarantine network, for where there is no pool or the settings allow sharing.
        """
        if not self.enabled:
            return shared
        self._known()
        found = self._take(node, Role.QUARANTINE, actor, kept=-(-len(self._pool) // 4), wait=False)
        return found or (shared if self.sharing else None)

    def _take(self, node: Node, role: Role, actor: str, *, kept: int, wait: bool) -> Network | None:
        networks, shunned = self._known(), set[str]()
        self._store.segments.know(self._pool)
        while True:
            pool = [id for id in self._pool if id not in shunned]
            lease = self._store.segments.take(node.id, role.value, pool=pool, actor=actor, kept=kept, wait=wait)
            if lease is None:
                return None
            if lease.network_id not in networks:
                networks = self._known(anew=True)
            network = networks.get(lease.network_id)
            if network is None:  # deleted in the controller, so nothing is on it
                self._store.segments.give_back(lease.network_id, node.id)
            elif lease.since != lease.asked_at:
                return network
            elif self._is_vacant(node, lease):
                self._event(node, LEASED, f"has {_name(network)} to itself: {role.value}", actor, network, role.value)
                return network
            else:
                shunned.add(network.id)

    def _is_vacant(self, node: Node, lease: SegmentLease) -> bool:
        """Whether nobody else has a port there, which the pool cannot know: somebody put it there by hand."""
        try:
            ports = self._cloud.attachments.all(network_ids=[lease.network_id])
        except SteelyardError:
            self._store.segments.give_back(lease.network_id, node.id)
            raise
        if all(is_services(port) or is_of(port, node) for port in ports):
            return True
        self._store.segments.give_back(lease.network_id, node.id)
        return False

    def _why_not(self, node: Node, role: Role) -> str:
        counts = self._store.segments.counts()
        what = f"Node {node.label} waits for a segment of its own ({role.value} network)"
        if not counts.free + counts.leased:
            return f"{what}: there is no network that STEELYARD_SEGMENTS names."
        waiting = f"; {counts.waiting} nodes wait" if counts.waiting > 1 else ""
        return f"{what}: {counts.leased} of {counts.free + counts.leased} are leased{waiting}."

    # Verifying

    def misplaced(self, node: Node, role: str, network_ids: Collection[str]) -> str | None:
        """Why a node may not be put on these networks, as a sentence; None where it may."""
        networks = self._known() if self.enabled else {}
        lease = self._store.segments.of(node.id)
        own = lease.network_id if lease is not None else None
        if role == Role.TENANT:
            if found := sorted(set(self._pool) & set(network_ids)):
                return f"the controller has a tenant's port on segment {networks[found[0]].name}, which is no tenant's"
            return None
        if not self.enabled or (own is None and self.sharing):
            return None
        if strange := sorted(set(network_ids) - {own}):
            names = ", ".join(networks[id].name if id in networks else id for id in strange)
            has = f"its segment is {networks[own].name if own in networks else own}" if own else "it has no segment"
            return f"the bare metal service has put it on network {names}, and {has}"
        return None

    def carried_elsewhere(
        self, node: Node, switches: Mapping[str, Sequence[SwitchPort] | SteelyardError], own: Collection[Place]
    ) -> list[str]:
        """Where the VLAN of the node's segment is carried that is none of its NICs, as sentences."""
        lease = self._store.segments.of(node.id)
        network = self._known().get(lease.network_id) if lease is not None else None
        if network is None or network.segmentation_id is None:
            return []
        found = carried_at(switches, network.segmentation_id)
        vlan = f"VLAN {network.segmentation_id} ({network.name})"
        return [
            f"the switch carries {vlan}, which is this node's alone, on {where}"
            for place, where in sorted(found.items())
            if place not in own
        ]

    # Giving back

    def vacated(
        self,
        node: Node,
        attachments: Iterable[NetworkPort],
        switches: Mapping[str, Sequence[SwitchPort] | SteelyardError],
        actor: str,
    ) -> bool:
        """The node's NICs have been proven to be elsewhere: give its segment back, unless one of these ports or
        switches still has it. Then the reconciler does it later."""
        lease = self._store.segments.of(node.id)
        if lease is None or any(port.network_id == lease.network_id for port in attachments):
            return False
        if self.carried_elsewhere(node, switches, ()):
            return False
        return self.give_back(node, lease, actor)

    def give_back(self, node: Node | str, lease: SegmentLease, actor: str) -> bool:
        """Another node may have it from now on. False when it is not this lease any more."""
        with self._store.unit_of_work():
            if not self._store.segments.give_back(lease.network_id, lease.node_id, asked_at=lease.asked_at):
                return False
            network = self._known().get(lease.network_id)
            self._event(node, RETURNED, f"has given {_name(network)} back", actor, network, lease.role)
        return True

    def _event(self, node: Node | str, kind: str, what: str, actor: str, network: Network | None, role: str) -> None:
        id, label = (node, node) if isinstance(node, str) else (node.id, node.label)
        self._store.events.append(
            f"node:{id}", kind, actor=actor, detail=f"node {label} {what}",
            data={
                "role": role, "network": network.name if network else None,
                "vlan": network.segmentation_id if network else None,
            },
        )  # fmt: skip


def _name(network: Network | None) -> str:
    if network is None:
        return "a segment that is gone"
    return f"segment {network.name}" + ("" if network.segmentation_id is None else f" (VLAN {network.segmentation_id})")
