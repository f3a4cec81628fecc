"""Which network each NIC of a server must be on, and whether the controller and the switch agree. Pure.

Three views of every attachment: *intended* follows from the phase (docs/glossary.md), *controller* is what the network
controller has bound, *switch* is what the switch itself reports when read back. Only all three together are proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from steelyard.naming import vlan_ranges
from steelyard.nouns import Network, NetworkPort, NodePort, SwitchLink, SwitchPort


class Role(StrEnum):
    """What a network is for. `IDLE` is none at all."""

    TENANT = "tenant"
    PROVISIONING = "provisioning"
    CLEANING = "cleaning"
    INSPECTION = "inspection"
    RESCUE = "rescue"
    QUARANTINE = "quarantine"
    IDLE = "idle"


class PowerOffPolicy(StrEnum):
    """Where the NICs of a deployed server go while it is off."""

    KEEP = "keep"
    """They stay on the tenant's networks."""
    QUARANTINE = "quarantine"
    """They leave for the quarantine network until it is powered on again."""


_BY_PHASE: Final[Mapping[str, Role]] = {
    "candidate": Role.IDLE,
    "enrolled": Role.IDLE,
    "manageable": Role.IDLE,
    "inspecting": Role.INSPECTION,
    "cleaning": Role.CLEANING,
    "available": Role.IDLE,
    "deploying": Role.PROVISIONING,
    "active": Role.TENANT,
    "servicing": Role.PROVISIONING,
    "rescue": Role.RESCUE,  # on its way there; see `intended_role`
    "reclaiming": Role.CLEANING,
    "adopted": Role.TENANT,
    "quarantined": Role.IDLE,
    "retired": Role.IDLE,
}


def intended_role(phase: str, *, power_off: PowerOffPolicy = PowerOffPolicy.QUARANTINE, state: str = "") -> Role:
    """The role that the phase (`lifecycle.model.Phase`) demands of every NIC.

    `state` is Ironic's provision state: a rescue ramdisk boots on the rescue network, and once it runs (`rescue`)
    Ironic puts the tenant's networks back under it. A quarantined server that no tenant has is idle here: on no network
    at all, which is stricter than a quarantine network; one that a tenant has leaves the tenant's networks as soon as
    it is off.
    """
    if phase == "powered-off":
        return Role.QUARANTINE if power_off is PowerOffPolicy.QUARANTINE else Role.TENANT
    if phase == "rescue" and state == "rescue":
        return Role.TENANT
    return _BY_PHASE[phase]


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


Unread = str
"""Why a switch port could not be read."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What controller and switches said, for one server or many."""

    networks: Mapping[str, Network]
    """By id."""
    role_networks: Mapping[Role, str]
    """Network id of each of the operator's roles that exists."""
    attachments: Sequence[NetworkPort]
    switch_ports: Mapping[tuple[str, str], SwitchPort | Unread]
    """By switch id and port id."""


def compare(
    nics: Iterable[NodePort],
    *,
    phase: str,
    instance_id: str | None,
    in_transition: bool,
    seen: Seen,
    power_off: PowerOffPolicy = PowerOffPolicy.QUARANTINE,
    state: str = "",
) -> list[NicIsolation]:
    """Each NIC of a server in its three views, in the order of their MACs."""
    role = intended_role(phase, power_off=power_off, state=state)
    return [
        _nic(nic, role=role, instance_id=instance_id, in_transition=in_transition, seen=seen)
        for nic in sorted(nics, key=lambda nic: nic.mac)
    ]


def _nic(nic: NodePort, *, role: Role, instance_id: str | None, in_transition: bool, seen: Seen) -> NicIsolation:
    bound = _attached(nic, role, seen)
    intended, nic_role = _intended(nic, role, instance_id, seen)
    controller = _controller(bound, seen)
    switch, unread = _switch(nic, seen)
    trouble = _trouble(nic, bound, intended, controller, switch)
    if trouble is not None:
        verdict = Verdict.CHANGING if in_transition else Verdict.DIFFER
    elif switch is None:
        verdict, trouble = Verdict.UNVERIFIED, unread
    else:
        verdict = Verdict.AGREE
    return NicIsolation(nic.mac, nic.link, nic_role, intended, controller, switch, verdict, trouble)


def _attached(nic: NodePort, role: Role, seen: Seen) -> list[NetworkPort]:
    """The attachments of this NIC. A tenant's port that is on no NIC keeps the MAC of the one that it was on: that is
    none, but where it should be bound it is what there is to tell."""
    here = [port for port in seen.attachments if _is_here(port, nic)]
    bound = [port for port in here if port.link is not None]
    return bound if bound or role is not Role.TENANT else here


def _is_here(port: NetworkPort, nic: NodePort) -> bool:
    """Whether an attachment is this NIC's: bound to its switch port, or carrying its MAC."""
    if port.mac.lower() == nic.mac.lower():
        return True
    return port.link is not None and nic.link is not None and _place(port.link) == _place(nic.link)


def _place(link: SwitchLink) -> tuple[str, str]:
    return link.switch_id.lower(), link.port_id


def _there(link: SwitchLink) -> str:
    return f"{link.switch_name or link.switch_id} {link.port_id}"


def _intended(nic: NodePort, role: Role, instance_id: str | None, seen: Seen) -> tuple[View, Role]:
    """The network that this NIC should be on. A tenant's second NIC that it asked no network for is idle."""
    if role is Role.IDLE:
        return View(None, None), Role.IDLE
    if role in (Role.TENANT, Role.QUARANTINE):
        mine = [
            port
            for port in seen.attachments
            if instance_id is not None and port.device_id == instance_id and port.mac.lower() == nic.mac.lower()
        ]
        if not mine:
            return View(None, None), Role.IDLE
        if role is Role.TENANT:
            return _view(mine[0].network_id, seen), Role.TENANT
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
    )


def _switch(nic: NodePort, seen: Seen) -> tuple[View | None, str | None]:
    if nic.link is None:
        return None, "the NIC's switch port is not known"
    read = seen.switch_ports.get(_place(nic.link))
    if read is None:
        return None, f"no reader is configured for switch {nic.link.switch_name or nic.link.switch_id}"
    if isinstance(read, str):
        return None, read
    names = {network.segmentation_id: network.name for network in seen.networks.values() if network.segmentation_id}
    tagged = f"also tagged {vlan_ranges(read.tagged_vlans)}" if read.tagged_vlans else None
    note = ", ".join(said for said in (tagged, read.extra) if said) or None
    name = names.get(read.untagged_vlan) if read.untagged_vlan is not None else None
    return View(name, read.untagged_vlan, note), None


def _trouble(
    nic: NodePort, bound: Sequence[NetworkPort], intended: View, controller: View, switch: View | None
) -> str | None:
    """The first disagreement, as a sentence that names who is wrong."""
    if len(bound) > 1:
        return f"the controller has {len(bound)} ports on this NIC: {controller.network}"
    if (controller.network, controller.vlan) != (intended.network, intended.vlan):
        return f"intended {_words(intended)}, the controller has {_words(controller)}"
    if bound and (bound[0].link is None or bound[0].status != "ACTIVE"):
        return f"the controller has not bound it: status {bound[0].status or 'unknown'}"
    if bound and nic.link is not None and bound[0].link is not None and _place(bound[0].link) != _place(nic.link):
        return f"the controller bound it to {_there(bound[0].link)}, its cable is in {_there(nic.link)}"
    if switch is not None and switch.vlan != controller.vlan:
        return f"the controller has {_words(controller)}, the switch carries {_words(switch)}"
    if switch is not None and switch.note:
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
