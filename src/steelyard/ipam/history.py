"""Who had an address, and when. Pure.

What is known is what was seen: somebody who had an address between two looks only is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from steelyard.ipam.model import AddressUse, OwnerKind
from steelyard.nouns import Subnet


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which one owner had an address, as it was observed. Times are UTC."""

    address: str
    subnet_id: str
    cidr: str
    """Of the subnet: it may be gone when somebody asks."""
    network_id: str
    port_id: str
    owner: OwnerKind
    mac: str
    project_id: str | None
    """The port's."""
    since: datetime
    """When the port was made, or when this owner was first seen where the port had another one before."""
    owner_id: str | None = None
    """The instance or node, or what else the port belongs to; None where it is kept by hand or for nobody."""
    owner_name: str | None = None
    """When it was first known: of the instance, or, where it is kept by hand, what for."""
    node_id: str | None = None
    node_name: str | None = None
    until: datetime | None = None
    """When it was first seen to be over; None while it lasts."""
    seen_at: datetime | None = None
    """When it was last seen before it was over; None while it lasts."""
    id: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """One that lasts is found again by this."""
        return self.subnet_id, self.address, self.port_id

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """While this stays the same it is the same owner. Its kind counts only where no id tells who it is: that of a
        server's port is unknown until Nova has said that the port is its own."""
        return self.mac, self.project_id, self.owner_id or self.owner.value


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from what was known."""

    began: Sequence[Interval]
    ended: Sequence[Interval]
    """As they were known, still without an end."""
    known: Sequence[Interval] = ()
    """Those that last, of which more is known now."""

    def __len__(self) -> int:
        return len(self.began) + len(self.ended) + len(self.known)


def interval(subnet: Subnet, use: AddressUse, *, now: datetime) -> Interval | None:
    """What a row of the address plan says; None for what no port has (a gateway of the configuration alone)."""
    if use.port_id is None or use.mac is None:
        return None
    return Interval(
        address=use.address, subnet_id=subnet.id, cidr=subnet.cidr, network_id=subnet.network_id, port_id=use.port_id,
        owner=use.owner, mac=use.mac, project_id=use.project_id, since=use.since or now,
        owner_id=use.device_id or use.node_id,
        owner_name=use.instance_name or use.port_name, node_id=use.node_id, node_name=use.node_name,
    )  # fmt: skip


def changes(lasting: Iterable[Interval], seen: Iterable[Interval], *, now: datetime) -> Changes:
    """Compare what lasted at the last look with what is seen now."""
    left: dict[tuple[str, str, str], Interval] = {each.key: each for each in lasting}
    began: list[Interval] = []
    ended: list[Interval] = []
    known: list[Interval] = []
    for each in seen:
        before = left.pop(each.key, None)
        if before is None:
            began.append(each)
        elif before.identity != each.identity:
            ended.append(before)
            began.append(replace(each, since=now))
        elif (more := _with_more(before, each)) != before:
            known.append(more)
    return Changes(began, [*ended, *left.values()], known)


_VAGUE: Final = {OwnerKind.UNKNOWN: 0, OwnerKind.VIRTUAL_MACHINE: 1}
"""What an owner is taken for as long as little is known: Nova makes a port first and says in a second call that it is
its own (nova/network/neutron.py), and the node of a server may be in no list yet."""
_EXACT: Final = 2


def _with_more(before: Interval, seen: Interval) -> Interval:
    """What is known of an owner, with what this look adds to it. What was known once is not forgotten: at the end of a
    server's life less is seen of it."""
    better = _VAGUE.get(seen.owner, _EXACT) > _VAGUE.get(before.owner, _EXACT)
    name = seen.owner_name or before.owner_name if better else before.owner_name or seen.owner_name
    node = before if before.node_id else seen
    return replace(
        before, owner=seen.owner if better else before.owner, owner_name=name,
        node_id=node.node_id, node_name=node.node_name,
    )  # fmt: skip


def visible(each: Interval, *, project_id: str | None, is_admin: bool) -> Interval | None:
    """As the one who asks may see it: tenants their own project's, and no node."""
    if is_admin:
        return each
    if project_id is None or each.project_id != project_id:
        return None
    owner_id = None if each.owner_id == each.node_id else each.owner_id
    return replace(each, node_id=None, node_name=None, owner_id=owner_id)
