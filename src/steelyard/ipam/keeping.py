"""Whether an address may be kept, or given up, by hand, and why not. Pure.

A controller takes more than is good: an address outside of the pools, the gateway's, a MAC that a server's NIC has. So
every rule is checked here first, and what is refused is refused with a reason.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from steelyard.address_nouns import HoldSpec
from steelyard.errors import Duplicate, Invalid, Refused, SteelyardError
from steelyard.ipam.model import AddressState, AddressUse, OwnerKind, kept_as, order, pools_of, usable
from steelyard.naming import check_name, shown
from steelyard.nouns import NetworkPort, NodePort, Subnet

KEEPABLE: Final = (AddressState.RESERVED, AddressState.BROWNFIELD)
"""What somebody may keep a chosen address as."""
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Wish:
    """One address that somebody wants to keep."""

    address: str
    state: AddressState
    note: str
    """What for; the port's name."""
    mac: str | None = None
    """Of what uses it, where that is known; None: one is made up."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What stands in the way: the subnet's addresses, and the MACs that are in use."""

    uses: Mapping[str, AddressUse]
    """By address."""
    macs: Mapping[str, str]
    """On the network: MAC to port id."""
    nics: Collection[str]
    """MACs of the fleet's NICs."""


def taken(uses: Iterable[AddressUse], ports: Iterable[NetworkPort], nics: Iterable[NodePort]) -> Taken:
    """Index what was seen. `ports`: those of the subnet's network."""
    return Taken(
        {use.address: use for use in uses},
        {port.mac: port.id for port in ports},
        {nic.mac.lower() for nic in nics},
    )


def check_note(note: str) -> str:
    """Raises `Invalid` (`invalid_name`): it is the port's name."""
    return check_name("note", note)


def check_mac(mac: str) -> str:
    """As the controller writes it. Raises `Invalid` (`invalid_mac`)."""
    found = mac.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(found) or int(found[:2], 16) & 1 or found == "00:00:00:00:00:00":
        raise Invalid(f"{shown(mac)} is no MAC of a NIC; write it like 52:54:00:12:34:56.", code="invalid_mac")
    return found


def is_kept(wish: Wish, seen: Taken) -> bool:
    """Whether it is kept already just as it is wanted."""
    use = seen.uses.get(wish.address)
    return (
        use is not None
        and use.owner is OwnerKind.BY_HAND
        and use.port_id is not None
        and (use.state, use.port_name) == (wish.state, wish.note)
        and wish.mac in (None, use.mac)
    )


def refusal(subnet: Subnet, wish: Wish, seen: Taken) -> SteelyardError | None:
    """Why the address may not be kept; None where it may."""
    cidr, address = ip_network(subnet.cidr), ip_address(wish.address)
    if address.version != cidr.version:
        return Invalid(f"{address} is IPv{address.version}, and {cidr} is IPv{cidr.version}.", code="wrong_family")
    if address not in cidr:
        return Invalid(f"{address} is not in the subnet {cidr}.", code="outside_subnet", next="steelyard ipam subnets")
    edges = {cidr.network_address, cidr.broadcast_address} if cidr.version == 4 else {cidr.network_address}
    if usable(cidr) != cidr.num_addresses and address in edges:
        return Invalid(f"{address} is the address of the subnet itself.", code="outside_subnet")
    return _refused_for_use(subnet, wish, seen) or _refused_for_mac(wish, seen)


def _refused_for_use(subnet: Subnet, wish: Wish, seen: Taken) -> SteelyardError | None:
    use = seen.uses.get(wish.address)
    if use is not None and not _may_become(use, wish):
        return Duplicate(
            f"{wish.address} is taken: {words(use)}.", code="address_in_use", next=f"steelyard ipam list {subnet.id}"
        )
    number = order(wish.address)
    if wish.state is not AddressState.BROWNFIELD and not any(low <= number <= high for low, high in pools_of(subnet)):
        return Refused(
            f"{wish.address} is outside of the pools of {subnet.cidr}: the controller gives it to nobody as it is. "
            "Where something uses it, it is brownfield.",
            code="outside_pool", next=f"steelyard ipam list {subnet.id} --all",
        )  # fmt: skip
    return None


def _may_become(use: AddressUse, wish: Wish) -> bool:
    """A brownfield address that is written down and has no port (any more) gets one."""
    return use.port_id is None and use.state is AddressState.BROWNFIELD and wish.state is AddressState.BROWNFIELD


def _refused_for_mac(wish: Wish, seen: Taken) -> SteelyardError | None:
    if wish.mac is None:
        return None
    if wish.mac in seen.macs:
        return Duplicate(
            f"The MAC {wish.mac} is in use on this network already, by port {seen.macs[wish.mac]}.", code="mac_in_use"
        )
    if wish.mac in seen.nics and wish.state is not AddressState.BROWNFIELD:
        return Duplicate(
            f"{wish.mac} is the MAC of a server's NIC: the server could not be attached to this network any more.",
            code="mac_in_use", next="leave --mac out",
        )  # fmt: skip
    return None


def release_refusal(subnet: Subnet, address: str, use: AddressUse | None) -> SteelyardError | None:
    """Why the address may not be given up by hand; None where it may, or is free already."""
    if use is None or is_releasable(use):
        return None
    return Refused(
        f"{address} cannot be released: {words(use)}.", code="address_in_use",
        next=f"steelyard server show {use.instance_id}" if use.instance_id else f"steelyard ipam list {subnet.id}",
    )  # fmt: skip


def is_releasable(use: AddressUse) -> bool:
    """Kept by hand, or by a port that waits for nobody."""
    return use.owner is OwnerKind.BY_HAND or (use.owner is OwnerKind.NOBODY and use.state is AddressState.RESERVED)


def words(use: AddressUse) -> str:
    """Who has an address, in a few words, without a node's name."""
    name = use.instance_name or use.port_name or use.instance_id or use.port_id
    if use.owner is OwnerKind.BY_HAND:
        return f"{use.state} by hand ({name})"
    if use.owner is OwnerKind.NOBODY:
        return f"a port keeps it ({name})"
    if use.owner in (OwnerKind.BARE_METAL, OwnerKind.VIRTUAL_MACHINE):
        return f"{use.owner} {name}"
    return f"{use.owner} of the subnet"


def hold_spec(subnet: Subnet, wish: Wish, project_id: str | None) -> HoldSpec:
    """What the controller is asked for. The same address has the same MAC, so that twice is once."""
    mac = wish.mac or made_up_mac(subnet.id, wish.address)
    return HoldSpec(subnet.network_id, subnet.id, kept_as(wish.state), wish.note, mac, wish.address, project_id)


def next_free_spec(subnet: Subnet, note: str, key: str, project_id: str | None) -> HoldSpec:
    """Whatever is free next; the same `key` has the same MAC, and so the same port."""
    mac = made_up_mac(subnet.id, key)
    return HoldSpec(subnet.network_id, subnet.id, kept_as(AddressState.ALLOCATED), note, mac, None, project_id)


def made_up_mac(*parts: str) -> str:
    """A locally administered unicast MAC: 46 bits of what it is for."""
    digest = bytearray(hashlib.sha256("\0".join(parts).encode()).digest()[:6])
    digest[0] = digest[0] & 0xFC | 0x02
    return ":".join(f"{byte:02x}" for byte in digest)
