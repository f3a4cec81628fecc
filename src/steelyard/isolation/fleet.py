"""The whole fleet's NICs in their three views, from bulk lists. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from steelyard.attention.model import Severity
from steelyard.isolation.model import NicIsolation, PowerOffPolicy, Seen, Verdict, View, compare
from steelyard.isolation.parking import has_own_segment, is_busy, wanted_move
from steelyard.isolation.policy import Trouble
from steelyard.lifecycle.model import IN_TRANSITION, Phase, phase
from steelyard.naming import vlan_ranges
from steelyard.nouns import Instance, NetworkPort, Node, NodePort


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the services and the switches said at about the same time."""

    nodes: Sequence[Node]
    nics: Sequence[NodePort]
    instances: Sequence[Instance]
    seen: Seen
    power_off: Mapping[str, PowerOffPolicy]
    """By project; see `default`."""
    default: PowerOffPolicy
    """For projects of which nobody has said anything."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One NIC of the fleet with its server."""

    node: Node
    phase: Phase
    nic: NicIsolation
    changing_since: datetime | None = None
    """Since when its server is between two phases; None where it is not, or nobody knows."""
    overdue: bool = False
    """It differs, its server has been changing for longer than the bound, and so it counts as differing."""

    @property
    def key(self) -> tuple[str, str]:
        """The same trouble has the same key in the next look."""
        return self.nic.mac, self.nic.trouble.value if self.nic.trouble else ""

    @property
    def differs(self) -> bool:
        return self.nic.verdict is Verdict.DIFFER or self.overdue

    @property
    def unverified(self) -> bool:
        return self.nic.trouble is Trouble.UNVERIFIED

    @property
    def changing(self) -> bool:
        return self.nic.verdict is Verdict.CHANGING and not self.overdue


def attachments(
    fleet: Fleet,
    *,
    now: datetime,
    bound: timedelta,
    first_seen: Mapping[str, datetime],
    only: Collection[str] | None = None,
) -> list[Attachment]:
    """Every NIC of every node (or of those with these ids) in its three views, by the nodes' names.

    What differs while its server is between two phases is changing, for `bound` at most: counted from when Ironic put
    it into its present state, or, where only its power changes, from `first_seen` (node ids).
    """
    nics: dict[str, list[NodePort]] = defaultdict(list)
    for nic in fleet.nics:
        nics[nic.node_id].append(nic)
    instances = {instance.id: instance for instance in fleet.instances}
    ports: dict[str, list[NetworkPort]] = defaultdict(list)
    for port in fleet.seen.attachments:
        if port.device_id:
            ports[port.device_id].append(port)
    found: list[Attachment] = []
    for node in sorted(fleet.nodes, key=lambda node: node.label):
        if only is not None and node.id not in only:
            continue
        instance = instances.get(node.instance_id) if node.instance_id else None
        power_off = fleet.power_off.get(instance.project_id if instance else "", fleet.default)
        its_phase = phase(node, instance)
        own = nics.get(node.id, [])
        attached = [*ports.get(node.id, ()), *(ports.get(node.instance_id, ()) if node.instance_id else ())]
        working = its_phase in IN_TRANSITION
        changing = (
            working
            or is_busy(node, instance)
            or wanted_move(node, instance, policy=power_off, nics=own, attachments=attached, leases=fleet.seen.leases)
            is not None
        )
        since = _since(node, working=working, first_seen=first_seen) if changing else None
        compared = compare(
            own,
            phase=its_phase.value,
            instance_id=node.instance_id,
            in_transition=changing,
            seen=fleet.seen,
            power_off=power_off,
            state=node.provision_state,
            power=node.power_state,
            own_segment=has_own_segment(node),
        )
        found += [
            Attachment(node, its_phase, nic, since, _is_overdue(nic, since, now=now, bound=bound)) for nic in compared
        ]
    return found


def _since(node: Node, *, working: bool, first_seen: Mapping[str, datetime]) -> datetime | None:
    """Ironic writes down when a state began, but not when a power change did."""
    if working and node.provision_updated_at is not None:
        return node.provision_updated_at
    return first_seen.get(node.id)


def _is_overdue(nic: NicIsolation, since: datetime | None, *, now: datetime, bound: timedelta) -> bool:
    return nic.verdict is Verdict.CHANGING and since is not None and now - since > bound


def totals(found: Iterable[Attachment]) -> dict[str, int]:
    """How many NICs there are of each kind."""
    counts = dict.fromkeys(("attachments", "agree", "differ", "changing", "unverified"), 0)
    for each in found:
        counts["attachments"] += 1
        if each.differs:
            counts["differ"] += 1
        elif each.changing:
            counts["changing"] += 1
        elif each.unverified:
            counts["unverified"] += 1
        else:
            counts["agree"] += 1
    return counts


def severity(found: Attachment) -> Severity:
    """A NIC that is on a network on which it may not be is the worst; one that is on none is out of use."""
    if found.nic.trouble is Trouble.UNVERIFIED:
        return Severity.MINOR
    seen = [found.nic.controller, *([found.nic.switch] if found.nic.switch else [])]
    if found.nic.trouble is Trouble.FOREIGN or any(_elsewhere(view, found.nic.intended) for view in seen):
        return Severity.CRITICAL
    return Severity.MAJOR


def _elsewhere(view: View, intended: View) -> bool:
    return not view.idle and (view.vlan != intended.vlan or bool(view.note and "also tagged" in view.note))


def views(found: Attachment) -> dict[str, Any]:
    """What was seen of it, as evidence."""
    nic = found.nic
    return {
        "switch_port": f"{nic.link.switch_name or nic.link.switch_id} {nic.link.port_id}" if nic.link else None,
        "role": nic.role.value,
        "intended": words(nic.intended),
        "controller": words(nic.controller),
        "switch": words(nic.switch) if nic.switch is not None else "not read",
    }


def words(view: View) -> str:
    """One view as evidence."""
    if view.idle:
        return "no network"
    name = view.network or "unknown network"
    tagged = f", tagged {vlan_ranges(view.tagged)}" if view.tagged else ""
    return (f"{name} (VLAN {view.vlan})" if view.vlan is not None else name) + tagged
