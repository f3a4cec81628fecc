"""Verified flips: a change of a node's networks that the bare metal service made is proven before it goes on.

The conductor changes the networks, asks here (`POST /v1/nodes/{node}/flip-gate`), and fails its step unless it gets a
yes. It holds the node's lock meanwhile, so nothing here needs that lock: a node that is refused is held back in
Placement at once, and an open finding, which serves as the memory, has the reconciler `isolation.refused` put it into
quarantine as soon as the lock is free.

A switch is not written to once more. A write that got lost, went to another port or came too late says that the
switch does not do what it is told, and a second one would only hide where the first one went. But a node that was
refused has to get off what was left on its switch ports, or nobody could ever release it: when the conductor has taken
it off its networks, and the switch still carries something, its NICs go by way of the quarantine network, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import structlog

from steelyard.attention.model import Finding, Severity
from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import NotFound, Refused, SteelyardError
from steelyard.events.model import EventFilter
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.flips import By
from steelyard.isolation.model import Role, place
from steelyard.isolation.parking import is_on, own_ports
from steelyard.isolation.proof import at_switch, sweep
from steelyard.isolation.reading import named_roles, read_switches, role_networks
from steelyard.isolation.refusal import QUARANTINED, REFUSED, check_may_join, is_marked, refusal_of
from steelyard.isolation.refusal import look as look_at
from steelyard.isolation.segments import Segments
from steelyard.nouns import Network, NetworkPort, Node, NodePort, SwitchLink, SwitchPort
from steelyard.settings import Settings
from steelyard.store import Store

log = structlog.get_logger("steelyard.isolation")

FINDING: Final = "isolation.flip_refused"
SWEEPER: Final = "steelyard"
FLIPPED, FLIP_FAILED = "network.flipped", "network.flip_failed"
"""The events."""
FIRST_LOOK_AGAIN: Final = 0.05
LONGEST_BETWEEN_LOOKS: Final = 1.0
"""Seconds between two looks, at first and at most; each wait is half as long again as the one before."""
SWEEP_AFTER: Final = 1.0
"""Seconds after which a switch port of a refused node that should carry nothing is swept."""
NETWORKS_FRESH: Final = 30.0
"""Seconds for which a network's segment is remembered; while a port is bound there, the controller lets nobody
change it."""

FlipRole = Literal["tenant", "provisioning", "cleaning", "inspection", "rescue", "servicing"]
"""What the network that is joined or left is for."""


@dataclass(frozen=True, slots=True)
class NicWanted:
    """Where one NIC has to be. Neither port nor network: on no network at all."""

    mac: str
    port_id: str | None = None
    """The controller's port that must be bound to the NIC, and no other; the NICs of a bond have the same one. Where
    NICs were taken off a network: the one port that may be left on it."""
    network_id: str | None = None
    """The network that the port must be on; None: on whichever it is. With it and no port, no port was made."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A change of a node's networks that the conductor has made."""

    role: FlipRole
    joined: bool
    """The NICs were put on the network of that role; False: they were taken off it."""
    nics: tuple[NicWanted, ...]

    @property
    def leaving(self) -> str:
        return Role.IDLE.value if self.joined else self.role

    @property
    def entering(self) -> str:
        return self.role if self.joined else Role.IDLE.value

    @property
    def words(self) -> str:
        return f"from {_words(self.leaving)} to {_words(self.entering)}"


@dataclass(frozen=True, slots=True)
class Verified:
    """How it went."""

    unread: tuple[str, ...]
    """Why switches could not be read: no reader is configured for them."""
    seconds: float

    @property
    def verified(self) -> bool:
        return not self.unread


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at everything concerned."""

    wrong: tuple[str, ...]
    """What disagrees, as sentences that name the system."""
    unread: tuple[str, ...] = ()
    told: tuple[Mapping[str, Any], ...] = ()
    """The NICs as an event tells them."""
    left: Mapping[str, SwitchLink] = field(default_factory=dict)
    """NICs, by their MAC, at switch ports that carry something although nothing is bound there."""
    bound: Sequence[NetworkPort] = ()
    """What the controller has on the node."""
    read: Mapping[str, Sequence[SwitchPort] | SteelyardError] = field(default_factory=dict)
    """What the switches carry that the node is cabled to."""
    final: bool = False
    """Waiting cannot make it good."""


class Verifier:
    """Waits, for so long, until controller and switches carry exactly what was asked of them."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        store: Store,
        switches: SwitchReaders,
        settings: Settings,
        segments: Segments | None = None,
        signal: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`signal`: has a reconciler run as soon as it can."""
        self._clouds = clouds
        self._store = store
        self._switches = switches
        self._segments = segments or Segments(clouds=clouds, store=store, settings=settings)
        self._roles = named_roles(settings)
        self._within = settings.flip_seconds
        self._refuse_unread = settings.unverified == "refuse"
        self._signal = signal
        self._clock = clock
        self._sleep = sleep
        self._networks: dict[str, Network] = {}
        self._networks_at = float("-inf")

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    def verify(self, reference: str, flip: Flip, by: By) -> Verified:
        """Return when everything carries what is wanted and nothing else; an event tells of a change.

        Raises `Refused` (`flip_refused`) when it does not in time, in a sentence that names who disagrees: the node is
        held back by then, and goes into quarantine. Raises what `Nodes.get` and `NodePorts.all` raise.
        """
        began = self._clock()
        node = self._cloud.nodes.get(reference)
        if flip.joined:
            check_may_join(self._store, node)
        nics = {nic.mac.lower(): nic for nic in self._cloud.node_ports.all(node_id=node.id)}
        wait = FIRST_LOOK_AGAIN
        swept = False
        while True:
            look = self._look(node, flip, nics)
            took = self._clock() - began
            if not look.wrong:
                break
            if look.final or took >= self._within:
                raise self._refused(node, flip, look, took, by)
            if not flip.joined and took >= SWEEP_AFTER and (not swept or own_ports(node, look.bound)):
                swept = self._sweep(node, look)
            self._sleep(min(wait, max(FIRST_LOOK_AGAIN, self._within - took)))
            wait = min(wait * 1.5, LONGEST_BETWEEN_LOOKS)
        if look.unread and self._refuse_unread:
            raise self._refused(node, flip, _Look(wrong=look.unread, told=look.told), took, by)
        self._tell(node, flip, look, took, by)
        if not flip.joined and flip.role != "tenant":
            self._segments.vacated(node, look.bound, look.read, by.actor)
        return Verified(look.unread, took)

    # Looking

    def _look(self, node: Node, flip: Flip, nics: Mapping[str, NodePort]) -> _Look:
        links = {wanted.mac: nic.link for wanted in flip.nics if (nic := nics.get(wanted.mac)) is not None}
        if lost := [wanted.mac for wanted in flip.nics if links.get(wanted.mac) is None]:
            return _Look(wrong=tuple(f"nobody knows the switch port of NIC {mac}" for mac in lost), final=True)
        if missing := [wanted.mac for wanted in flip.nics if wanted.network_id and not wanted.port_id]:
            return _Look(wrong=tuple(f"the controller has no port for NIC {mac}" for mac in missing), final=True)
        known = {mac: link for mac, link in links.items() if link is not None}
        switch_ids = {link.switch_id.lower() for link in known.values()}
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="verify") as pool:
            # Side by side: neither of them is quick, and both are to be of the same moment.
            reading = pool.submit(read_switches, self._switches, switch_ids)
            try:
                bound = self._cloud.attachments.bound(node.id)
                networks = self._of_ports(flip, bound)
                controller: SteelyardError | None = None
            except SteelyardError as error:
                bound, networks, controller = [], {}, error
            read = reading.result()
        if controller is not None:
            return _Look(wrong=(f"the controller cannot be read: {controller.detail}",))
        wrong: list[str] = []
        if flip.joined:
            ids = {port.network_id for port in bound if any(port.id == nic.port_id for nic in flip.nics)}
            ids |= {nic.network_id for nic in flip.nics if nic.network_id is not None}
            if (misplaced := self._segments.misplaced(node, flip.role, ids)) is not None:
                return _Look(wrong=(misplaced,), final=True)
            if flip.role != "tenant":
                own = {place(nic.link) for nic in nics.values() if nic.link is not None}
                wrong += self._segments.carried_elsewhere(node, read, own)
        unread: dict[str, None] = {}
        told = []
        left: dict[str, SwitchLink] = {}
        there = {port.id for port in bound}
        for wanted in flip.nics:
            if not flip.joined and wanted.port_id not in there:
                wanted = NicWanted(wanted.mac)
            link = known[wanted.mac]
            wrong += _at_controller(wanted, link, bound, networks)
            port = next((port for port in bound if port.id == wanted.port_id), None)
            network = networks.get(port.network_id) if port is not None else None
            tagged = frozenset(subport.vlan for subport in port.subports) if port is not None else frozenset()
            filters = self._cloud.security_groups.on_switch(port)
            said, why = _said(read[link.switch_id.lower()], wanted, link, network, tagged, filters)
            wrong += [said] if said else []
            if said and not any(is_on(port, link) for port in bound):
                left[wanted.mac] = link
            unread |= {why: None} if why else {}
            told.append(_told(wanted, link, network))
        return _Look(tuple(dict.fromkeys(wrong)), tuple(unread), tuple(told), left, bound, read)

    def _of_ports(self, flip: Flip, bound: Sequence[NetworkPort]) -> Mapping[str, Network]:
        """The networks that matter, by id; the list of all is read when one is not known, or was read long ago."""
        wanted = {port.network_id for port in bound} | {nic.network_id for nic in flip.nics if nic.network_id}
        if not wanted:
            return {}
        if wanted - self._networks.keys() or self._clock() - self._networks_at > NETWORKS_FRESH:
            self._networks = {network.id: network for network in self._cloud.networks.all()}
            self._networks_at = self._clock()
        return self._networks

    def _sweep(self, node: Node, look: _Look) -> bool:
        """What a switch still carries for a node that was refused makes room for quarantine, then for nothing. What an
        earlier sweep left in quarantine goes for every node. Returns whether all went well; if not, the switch carries
        it still and says so at the next look."""
        with suppress(SteelyardError):
            for port in own_ports(node, look.bound):
                self._cloud.attachments.delete(port.id)
            if not look.left or refusal_of(self._store, node) is None:
                return True
            networks = self._cloud.networks.all()
            shared = role_networks(networks, self._roles).get(Role.QUARANTINE)
            quarantine = self._segments.for_quarantine(
                node, next((network for network in networks if network.id == shared), None), SWEEPER
            )
            if quarantine is not None:
                for mac, link in look.left.items():
                    sweep(self._cloud, node, mac, link, quarantine)
            return True
        return False

    # Telling

    def _tell(self, node: Node, flip: Flip, look: _Look, took: float, by: By) -> None:
        if not flip.joined and self._is_idle(node):
            return  # nothing was taken off: the conductor also makes sure before a deployment
        verified = not look.unread
        how = f"verified in {took:.1f} s" if verified else "not verified: " + "; ".join(look.unread)
        self._store.events.append(
            f"node:{node.id}", FLIPPED, actor=by.actor, reason=by.reason, request_id=by.request_id,
            detail=f"node {node.label} went {flip.words} ({how})",
            data={
                "from": flip.leaving, "to": flip.entering, "nics": list(look.told), "unread": list(look.unread),
                "verified": verified, "seconds": round(took, 3),
            },
        )  # fmt: skip

    def _is_idle(self, node: Node) -> bool:
        """Whether the last flip that was told of took the NICs off everything."""
        last = self._store.events.page(EventFilter(subject=f"node:{node.id}", kind=FLIPPED), limit=1)
        return bool(last) and last[0].data.get("to") == Role.IDLE.value

    def _refused(self, node: Node, flip: Flip, look: _Look, took: float, by: By) -> Refused:
        wrong = "; ".join(look.wrong)
        after = "" if look.final else f" (after {took:.0f} s)"
        reason = f"Node {node.label} could not be moved {flip.words}: {wrong}{after}"
        with suppress(SteelyardError):  # the finding below does it again; what must not happen is that we say yes
            self._cloud.placement.hold_back(node.id)
        with self._store.unit_of_work():
            subject = f"node:{node.id}"
            known = refusal_of(self._store, node)
            if known is None or is_marked(known):
                # Otherwise the first words stay: they tell the cause, what comes while Ironic tidies up the effects.
                self._store.findings.put(REFUSED, _finding(node, flip, look, reason))
            self._store.events.append(
                subject, FLIP_FAILED, actor=by.actor, detail=reason, reason=by.reason, request_id=by.request_id,
                data={"from": flip.leaving, "to": flip.entering, "wrong": list(look.wrong), "seconds": round(took, 3)},
            )  # fmt: skip
        log.warning("flip refused", node=node.id, flip=flip.words, wrong=look.wrong)
        self._signal(REFUSED)
        return Refused(reason, code="flip_refused", next=look_at(node))


def _finding(node: Node, flip: Flip, look: _Look, reason: str) -> Finding:
    return Finding(
        kind=FINDING, subject=f"node:{node.id}", name=node.label, severity=Severity.CRITICAL, reason=reason,
        next=look_at(node),
        evidence={"from": flip.leaving, "to": flip.entering, "wrong": list(look.wrong), QUARANTINED: False},
    )  # fmt: skip


def _at_controller(
    wanted: NicWanted,
    link: SwitchLink,
    bound: Sequence[NetworkPort],
    networks: Mapping[str, Network],
) -> list[str]:
    """What is wrong in the controller. The port of a bond is on the switch ports of all its NICs."""
    there = [port for port in bound if is_on(port, link) and port.id != wanted.port_id]
    where = f"{link.switch_name or link.switch_id} {link.port_id}"
    wrong = [f"the controller has a port of {_name(port.network_id, networks)} on {where} too" for port in there]
    if wanted.port_id is None:
        return wrong
    port = next((port for port in bound if port.id == wanted.port_id), None)
    if port is None or port.status != "ACTIVE":
        status = "it is not bound to the node" if port is None else f"status {port.status or 'unknown'}"
        wrong.append(f"the controller has not bound port {wanted.port_id} of NIC {wanted.mac}: {status}")
    elif not is_on(port, link):
        at = f"{port.link.switch_name or port.link.switch_id} {port.link.port_id}" if port.link else "no switch port"
        wrong.append(f"the controller has bound NIC {wanted.mac} to {at}, its cable is in {where}")
    elif wanted.network_id is not None and port.network_id != wanted.network_id:
        found, asked = _name(port.network_id, networks), _name(wanted.network_id, networks)
        wrong.append(f"the controller has NIC {wanted.mac} on {found}, wanted {asked}")
    elif port.network_id not in networks:  # then nobody knows which VLAN the switch has to carry
        wrong.append(f"the controller has NIC {wanted.mac} on network {port.network_id}, and does not list it")
    return wrong


def _said(
    read: Sequence[SwitchPort] | SteelyardError,
    wanted: NicWanted,
    link: SwitchLink,
    network: Network | None,
    tagged: frozenset[int],
    filters: frozenset[str] | None,
) -> tuple[str | None, str | None]:
    """What is wrong on the switch; and why nobody can tell, where it has no reader or the network no VLAN."""
    if isinstance(read, NotFound) and read.code == "switch_unknown":
        return None, read.detail
    if isinstance(read, SteelyardError):
        return read.detail, None
    if wanted.port_id is not None and network is None:
        return None, None  # the controller has no such port, or does not list its network, which is said already
    if network is not None and network.segmentation_id is None:
        return None, f"the network {network.name} has no VLAN that could be compared"
    return at_switch(read, link, network, tagged, filters), None


def _told(wanted: NicWanted, link: SwitchLink, network: Network | None) -> Mapping[str, Any]:
    return {
        "mac": wanted.mac, "switch": link.switch_name or link.switch_id, "port": link.port_id,
        "network": network.name if network else None, "vlan": network.segmentation_id if network else None,
    }  # fmt: skip


def _name(network_id: str, networks: Mapping[str, Network]) -> str:
    network = networks.get(network_id)
    return f"network {network.name}" if network is not None else f"network {network_id}"


def _words(role: str) -> str:
    if role == Role.IDLE:
        return "no network"
    return "its tenant's networks" if role == Role.TENANT else f"the {role} network"
