"""Who had an address, and when. Pure.

What is known is what was seen: somebody who had an address between two looks only is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

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
    """When it was first seen: of the instance, or, where it is kept by hand, what for."""
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
    def identity(self) -> tuple[str, str, str | None, str | None]:
        """While this stays the same it is the same owner."""
        return self.owner.value, self.mac, self.owner_id, self.project_id


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from what was known."""

    began: Sequence[Interval]
    ended: Sequence[Interval]
    """As they were known, still without an end."""


def interval(subnet: Subnet, use: AddressUse, *, now: datetime) -> Interval | None:
    """What a row of the address plan says; None for what no port has (a gateway of the configuration alone)."""
    if use.port_id is None or use.mac is None:
        return None
    return Interval(
        address=use.address, subnet_id=subnet.id, cidr=subnet.cidr, network_id=subnet.network_id, port_id=use.port_id,
        owner=use.owner, mac=use.mac, project_id=use.project_id, since=use.since or now,
        owner_id=use.instance_id or use.node_id or use.device_id,
        owner_name=use.instance_name or use.port_name, node_id=use.node_id, node_name=use.node_name,
    )  # fmt: skip


def changes(lasting: Iterable[Interval], seen: Iterable[Interval], *, now: datetime) -> Changes:
    """Compare what lasted at the last look with what is seen now."""
    known: dict[tuple[str, str, str], Interval] = {each.key: each for each in lasting}
    began: list[Interval] = []
    ended: list[Interval] = []
    for each in seen:
        before = known.pop(each.key, None)
        if before is None:
            began.append(each)
        elif before.identity != each.identity:
            ended.append(before)
            began.append(replace(each, since=now))
    return Changes(began, [*ended, *known.values()])


def visible(each: Interval, *, project_id: str | None, is_admin: bool) -> Interval | None:
    """As the one who asks may see it: tenants their own project's, and no node."""
    if is_admin:
        return each
    if project_id is None or each.project_id != project_id:
        return None
    owner_id = None if each.owner_id == each.node_id else each.owner_id
    return replace(each, node_id=None, node_name=None, owner_id=owner_id)
