"""Which network each NIC of a server must be on, and whether the controller and the switch agree. Pure.

Three views of every attachment: *intended* follows from the phase (docs/glossary.md), *controller* is what the network
controller has bound, *switch* is what the switch itself reports when read back. Only all three together are proof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from steelyard.isolation.filters import UNFILTERED, unlike
from steelyard.isolation.policy import RAMDISK, Trouble, intended_role, may_attach
from steelyard.isolation.policy import PowerOffPolicy as PowerOffPolicy
from steelyard.isolation.policy import Role as Role
from steelyard.naming import vlan_ranges
from steelyard.nouns import Network, NetworkPort, NodePort, SwitchLink, SwitchPort

Place = tuple[str, str]
"""A switch port: the switch's chassis id in lower case, and the port's name."""


class Verdict(StrEnum):
    """What the three views say together."""

    AGREE = "agree"
    DIFFER = "differ"
    CHANGING = "changing"
    """They differ while the server is between two phases; look again."""
    UNVERIFIED = "unverified"
    """Intended and controller agree, but the switch could not be read."""


@dataclass(frozen=True, slots=True)
class View:
    """One view of one NIC: a network by its name and VLAN. Both None: on no network."""

    network: str | None
    vlan: int | None
    note: str | None = None
    tagged: tuple[int, ...] = ()
    """The VLANs of its sub-interfaces."""

    @property
    def idle(self) -> bool:
        return self.network is None and self.vlan is None


@dataclass(frozen=True, slots=True)
class NicIsolation:
    """One NIC in its three views."""

    mac: str
    link: SwitchLink | None
    role: Role
    intended: View
    controller: View
    switch: View | None
    """None when it could not be read; `why` says why."""
    verdict: Verdict
    why: str | None
    """One sentence, unless they agree."""
    trouble: Trouble | None = None
    """What kind of thing is wrong; None where they agree."""


WAITING: Final = "a segment of its own, not leased yet"

WITHOUT = "without the sub-interface VLAN"
"""How the note on a switch port begins that lacks a tag."""
LESS = (WITHOUT, UNFILTERED)
"""How the note begins on one that lacks something."""
Unread = str
"""Why a switch port could not be read."""


@dataclass(frozen=True, slots=True)
class Leases:
    """Which nodes have a network to themselves (`isolation.segments`)."""

    by_node: Mapping[str, str]
    """Network id, by node id."""
    sharing: bool = False
    """Whether a node in transition may be on its role's network without having one."""

    def unchanged_since(self, before: Leases | None) -> Leases:
        """Those that are the same as they were then: whoever else was on their networks in between was wrong there."""
        was = before.by_node if before is not None else {}
        return Leases({node: id for node, id in self.by_node.items() if was.get(node) == id}, self.sharing)


@dataclass(frozen=True, slots=True)
class Seen:
    """What controller and switches said, for one server or many."""

    networks: Mapping[str, Network]
    """By id."""
    role_networks: Mapping[Role, str]
    """Network id of each of the operator's roles that exists."""
    attachments: Sequence[NetworkPort]
    switch_ports: Mapping[Place, SwitchPort | Unread]
    """By switch id and port id."""
    leases: Leases | None = None
    """None: there is no pool of segments."""
    held: Leases | None = None
    """The leases that were in force all the time while the other things were looked at."""
    filters: Mapping[str, frozenset[str]] | None = None
    """The security groups that the switch must filter by where a port is bound, by the port's id; None: nothing is
    enforced."""
    _by_mac: Mapping[str, list[NetworkPort]] = field(init=False, repr=False, compare=False)
    _by_place: Mapping[Place, list[NetworkPort]] = field(init=False, repr=False, compare=False)
    _names: Mapping[int, str] = field(init=False, repr=False, compare=False)
    _holders: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _segments: Mapping[int, tuple[str, Network]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Worked out once: with a look through all attachments for each NIC, a fleet takes the square of its size.
        by_mac: dict[str, list[NetworkPort]] = defaultdict(list)
        by_place: dict[Place, list[NetworkPort]] = defaultdict(list)
        for port in self.attachments:
            by_mac[port.mac.lower()].append(port)
            for link in port.links:
                by_place[place(link)].append(port)
        names = {each.segmentation_id: each.name for each in self.networks.values() if each.segmentation_id}
        holders = {network_id: node_id for node_id, network_id in self.held.by_node.items()} if self.held else {}
        held = ((node_id, self.networks[id]) for id, node_id in holders.items() if id in self.networks)
        segments = {each.segmentation_id: (node_id, each) for node_id, each in held if each.segmentation_id}
        made = {
            "_by_mac": dict(by_mac), "_by_place": dict(by_place), "_names": names, "_holders": holders,
            "_segments": segments,
        }  # fmt: skip
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def with_mac(self, mac: str) -> Sequence[NetworkPort]:
        """The attachments that carry this MAC, bound or not."""
        return self._by_mac.get(mac.lower(), ())

    def on(self, nic: NodePort) -> list[NetworkPort]:
        """The attachments that are this NIC's: bound to its switch port, or carrying its MAC."""
        found = {port.id: port for port in self.with_mac(nic.mac)}
        if nic.link is not None:
            found.update((port.id, port) for port in self._by_place.get(place(nic.link), ()))
        return list(found.values())

    def of_another(self, network_id: str, node_id: str) -> bool:
        """Whether the network is a segment that another node has to itself."""
        return self._holders.get(network_id, node_id) != node_id

    def segment_of_another(self, vlan: int | None, node_id: str) -> Network | None:
        """The segment with this VLAN, if another node has it to itself."""
        holder, network = self._segments.get(vlan or 0, (node_id, None))
        return network if holder != node_id else None

    def name_of(self, vlan: int | None) -> str | None:
        """The network that has this VLAN."""
        return None if vlan is None else self._names.get(vlan)


def compare(
    nics: Iterable[NodePort],
    *,
    phase: str,
    instance_id: str | None,
    in_transition: bool,
    seen: Seen,
    power_off: PowerOffPolicy = PowerOffPolicy.QUARANTINE,
    state: str = "",
    power: str | None = None,
    own_segment: bool = False,
) -> list[NicIsolation]:
    """Each NIC of a server in its three views, in the order of their MACs.

    `state` is Ironic's provision state, `power` on, off or None (not known). `own_segment`: its network interface in
    Ironic is Steelyard's, by which an agent only runs on a segment of the node's own.
    """
    deployed = state == "active" and instance_id is not None
    nics = list(nics)
    mates = defaultdict(list)
    for nic in nics:
        mates[nic.bond_id or nic.id].append(nic.mac)
    return [
        _nic(
            nic,
            mates[nic.bond_id or nic.id],
            role=intended_role(
                phase, power_off=power_off, state=state, pxe=nic.pxe_enabled, deployed=deployed, power=power
            ),
            instance_id=instance_id,
            in_transition=in_transition,
            seen=seen,
            own_segment=own_segment,
        )
        for nic in sorted(nics, key=lambda nic: nic.mac)
    ]


def _nic(
    nic: NodePort,
    mates: Sequence[str],
    *,
    role: Role,
    instance_id: str | None,
    in_transition: bool,
    seen: Seen,
    own_segment: bool,
) -> NicIsolation:
    """`mates`: the MACs of the NICs that act as one with it, its own among them."""
    bound = _attached(nic, role, seen)
    intended, nic_role = _intended(nic, mates, role, instance_id, seen, own_segment=own_segment)
    controller = _controller(bound, seen)
    switch, unread = _switch(nic, seen, frozenset(controller.tagged), _filters(bound, seen))
    trouble: Trouble | None = None
    if (shared := _with_another(nic, bound, switch, seen)) is not None:
        # Nobody is on his way by there: a segment is leased before its node's first NIC comes, and until it is gone.
        return NicIsolation(
            nic.mac, nic.link, nic_role, intended, controller, switch, Verdict.DIFFER, shared, Trouble.FOREIGN
        )
    if (foreign := _foreign(nic, bound, nic_role, instance_id, intended, controller)) is not None:
        trouble, why = Trouble.FOREIGN, foreign
    elif (wrong := _wrong(nic, bound, intended, controller)) is not None:
        trouble, why = Trouble.CONTROLLER, wrong
    elif switch is not None and (other := _on_switch(switch, controller)) is not None:
        trouble, why = Trouble.SWITCH, other
    if trouble is not None:
        verdict = Verdict.CHANGING if in_transition else Verdict.DIFFER
        return NicIsolation(nic.mac, nic.link, nic_role, intended, controller, switch, verdict, why, trouble)
    if switch is None:
        return NicIsolation(
            nic.mac, nic.link, nic_role, intended, controller, None, Verdict.UNVERIFIED, unread, Trouble.UNVERIFIED
        )
    return NicIsolation(nic.mac, nic.link, nic_role, intended, controller, switch, Verdict.AGREE, None)


def _attached(nic: NodePort, role: Role, seen: Seen) -> list[NetworkPort]:
    """The attachments of this NIC. A tenant's port that is on no NIC keeps the MAC of the one that it was on: that is
    none, but where it should be bound it is what there is to tell."""
    here = seen.on(nic)
    bound = [port for port in here if port.link is not None]
    return bound if bound or role is not Role.TENANT else here


def place(link: SwitchLink) -> Place:
    return link.switch_id.lower(), link.port_id


def _there(link: SwitchLink) -> str:
    return f"{link.switch_name or link.switch_id} {link.port_id}"


def _intended(
    nic: NodePort, mates: Sequence[str], role: Role, instance_id: str | None, seen: Seen, *, own_segment: bool
) -> tuple[View, Role]:
    """The network that this NIC should be on. A tenant's second NIC that it asked no network for is idle.

    All NICs of a bond are on the network of the port that carries the MAC of one of them; in quarantine that one only,
    and the others are on none.
    """
    if role is Role.IDLE:
        return View(None, None), Role.IDLE
    if role in (Role.TENANT, Role.QUARANTINE):
        macs = mates if role is Role.TENANT else (nic.mac,)
        carrying = [port for mac in macs for port in seen.with_mac(mac)]
        mine = [port for port in carrying if port.is_of(instance_id)]
        if not mine:
            return View(None, None), Role.IDLE
        if role is Role.TENANT:
            view = _view(mine[0].network_id, seen)
            return replace(view, tagged=_tagged(mine[:1])), Role.TENANT
    if seen.leases is not None and (role is Role.QUARANTINE or (role in RAMDISK and own_segment)):
        if (segment := seen.leases.by_node.get(nic.node_id)) is not None:
            return _view(segment, seen), role
        if not seen.leases.sharing:  # none was left for a server that is off; an agent's work waits for one
            return View(None if role is Role.QUARANTINE else WAITING, None), role
    network_id = seen.role_networks.get(role)
    if network_id is None:
        return View(f"the {role} network, which is not known", None), role
    return _view(network_id, seen), role


def _controller(bound: Sequence[NetworkPort], seen: Seen) -> View:
    if not bound:
        return View(None, None)
    views = [_view(port.network_id, seen) for port in bound]
    notes = sorted({port.status or "unknown" for port in bound if port.status != "ACTIVE"})
    return View(
        network=", ".join(view.network or "?" for view in views),
        vlan=views[0].vlan if len(views) == 1 else None,
        note=f"status {', '.join(notes)}" if notes else None,
        tagged=_tagged(bound),
    )


def _tagged(ports: Sequence[NetworkPort]) -> tuple[int, ...]:
    return tuple(sorted({subport.vlan for port in ports if port.link is not None for subport in port.subports}))


def _filters(bound: Sequence[NetworkPort], seen: Seen) -> frozenset[str] | None:
    if seen.filters is None:
        return None
    return frozenset().union(*(seen.filters.get(port.id, frozenset()) for port in bound if port.link is not None))


def _switch(
    nic: NodePort, seen: Seen, tagged: frozenset[int], filters: frozenset[str] | None
) -> tuple[View | None, str | None]:
    """`tagged`, `filters`: what the controller has there for sub-interfaces, and by security groups."""
    if nic.link is None:
        return None, "the NIC's switch port is not known"
    read = seen.switch_ports.get(place(nic.link))
    if read is None:
        return None, f"no reader is configured for switch {nic.link.switch_name or nic.link.switch_id}"
    if isinstance(read, str):
        return None, read
    also = f"also tagged {vlan_ranges(more)}" if (more := read.tagged_vlans - tagged) else None
    missing = f"{WITHOUT} {vlan_ranges(less)}" if (less := tagged - read.tagged_vlans) else None
    filtered = unlike(read, filters)
    # What is missing comes first: by its beginning the note is known for one that says less is there than intended.
    first = sorted((filtered, also, missing, read.extra), key=lambda said: not (said or "").startswith(LESS))
    note = ", ".join(said for said in first if said) or None
    return View(seen.name_of(read.untagged_vlan), read.untagged_vlan, note, tuple(sorted(read.tagged_vlans))), None


def _with_another(nic: NodePort, bound: Sequence[NetworkPort], switch: View | None, seen: Seen) -> str | None:
    """That the NIC is on a segment which another node has to itself, as a sentence."""
    for port in bound:
        if port.link is not None and seen.of_another(port.network_id, nic.node_id):
            return f"the controller has {_words(_view(port.network_id, seen))}, which another server has to itself"
    if switch is not None and (found := seen.segment_of_another(switch.vlan, nic.node_id)) is not None:
        return f"the switch carries {found.name} (VLAN {switch.vlan}), which another server has to itself"
    return None


def _foreign(
    nic: NodePort, bound: Sequence[NetworkPort], role: Role, instance_id: str | None, intended: View, controller: View
) -> str | None:
    """Who is on it that may not be, as a sentence."""
    strangers = [
        port
        for port in bound
        if port.link is not None and not may_attach(port, role, node_id=nic.node_id, instance_id=instance_id)
    ]
    if not strangers:
        return None
    if (controller.network, controller.vlan) != (intended.network, intended.vlan):
        return f"intended {_words(intended)}, the controller has {_words(controller)}"
    port = strangers[0]
    of = f"{port.device_owner or 'nobody'} {port.device_id or ''}".strip()
    return f"the controller has a port of {of} on it, which may not be on this NIC"


def _wrong(nic: NodePort, bound: Sequence[NetworkPort], intended: View, controller: View) -> str | None:
    """What the controller has wrong, as a sentence."""
    if len(bound) > 1:
        return f"the controller has {len(bound)} ports on this NIC: {controller.network}"
    if (controller.network, controller.vlan) != (intended.network, intended.vlan):
        return f"intended {_words(intended)}, the controller has {_words(controller)}"
    if bound and (bound[0].link is None or bound[0].status != "ACTIVE"):
        return f"the controller has not bound it: status {bound[0].status or 'unknown'}"
    places = {place(link): link for port in bound for link in port.links}
    if places and nic.link is not None and place(nic.link) not in places:
        where = ", ".join(_there(link) for link in places.values())
        return f"the controller bound it to {where}, its cable is in {_there(nic.link)}"
    return None


def _on_switch(switch: View, controller: View) -> str | None:
    """How the switch differs from the controller, as a sentence."""
    if switch.vlan != controller.vlan:
        return f"the controller has {_words(controller)}, the switch carries {_words(switch)}"
    if switch.note and switch.note.startswith(LESS):
        return f"the switch carries less than intended: {switch.note}"
    if switch.note:
        return f"the switch carries more than intended: {switch.note}"
    return None


def _view(network_id: str, seen: Seen) -> View:
    network = seen.networks.get(network_id)
    return View(network_id, None) if network is None else View(network.name, network.segmentation_id)


def _words(view: View) -> str:
    if view.idle:
        return "no network"
    vlan = f"VLAN {view.vlan}" if view.vlan is not None else "no VLAN"
    return f"{view.network} ({vlan})" if view.network else vlan
