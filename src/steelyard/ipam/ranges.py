"""Ranges of addresses: what people type, and what is free. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from steelyard.errors import Invalid
from steelyard.ipam.model import AddressState, AddressUse, OwnerKind, order, usable
from steelyard.naming import shown
from steelyard.nouns import Subnet

MOST: Final = 1024
"""Addresses in one request."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses that follow on each other, both ends included."""

    first: Address
    last: Address

    @property
    def count(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __iter__(self) -> Iterator[str]:
        make = type(self.first)
        return (str(make(number)) for number in range(int(self.first), int(self.last) + 1))

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def parse(text: str) -> Range:
    """What a user typed: one address, or the first and the last with a hyphen between.

    Raises `Invalid` (`invalid_address`).
    """
    first, hyphen, last = (part.strip() for part in text.partition("-"))
    ends = [_address(first, text), _address(last, text) if hyphen else _address(first, text)]
    if ends[0].version != ends[1].version:
        raise _invalid(text, "its ends are of two IP versions")
    if int(ends[0]) > int(ends[1]):
        raise _invalid(text, "its first address comes after its last")
    return Range(*ends)


def parse_all(texts: Sequence[str]) -> list[str]:
    """Every address of these ranges once, in the order given. Raises `Invalid` for more than `MOST` of them too."""
    ranges = [parse(text) for text in texts]
    if not ranges:
        raise Invalid("No address was named.", code="invalid_address")
    if (count := sum(each.count for each in ranges)) > MOST:
        raise Invalid(
            f"{count} addresses are too many for one request; at most {MOST}.", code="too_many_addresses",
            next="take smaller ranges, or leave them out of the subnet's allocation pool",
        )  # fmt: skip
    return list(dict.fromkeys(address for each in ranges for address in each))


def _address(text: str, whole: str) -> Address:
    try:
        if "%" in text:
            raise ValueError
        return ip_address(text)
    except ValueError:
        raise _invalid(whole, "write it like 10.20.30.5 or 10.20.30.5-10.20.30.9") from None


def _invalid(text: str, why: str) -> Invalid:
    return Invalid(f"{shown(text)} is no address and no range: {why}.", code="invalid_address")


def free_ranges(subnet: Subnet, uses: Iterable[AddressUse]) -> list[AddressUse]:
    """What nobody has, as ranges in numerical order; each inside of one pool or outside of all (`AddressUse.pool`)."""
    cidr = ip_network(subnet.cidr)
    make = type(cidr.network_address)
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    if usable(cidr) != cidr.num_addresses:
        first, last = first + 1, last - (1 if cidr.version == 4 else 0)
    taken = iter(sorted({int.from_bytes(order(use.address)) for use in uses}))
    found: list[AddressUse] = []
    next_taken = next(taken, None)
    for start, end, pool in _segments(subnet, first, last):
        position = start
        while position <= end:
            while next_taken is not None and next_taken < position:
                next_taken = next(taken, None)
            until = end if next_taken is None or next_taken > end else next_taken - 1
            if position <= until:
                found.append(
                    AddressUse(
                        str(make(position)), subnet.id, AddressState.FREE, OwnerKind.NOBODY, pool=pool,
                        last=str(make(until)) if until > position else None,
                    )
                )  # fmt: skip
            position = until + 2 if until < end else end + 1
    return found


def _segments(subnet: Subnet, first: int, last: int) -> Iterator[tuple[int, int, bool]]:
    """The usable addresses, cut at the ends of the pools; whether each part is a pool."""
    position = first
    for low, high in sorted((int(ip_address(low)), int(ip_address(high))) for low, high in subnet.pools):
        if position < low:
            yield position, min(low - 1, last), False
        if max(low, position) <= min(high, last):
            yield max(low, position), min(high, last), True
        position = max(position, high + 1)
    if position <= last:
        yield position, last, False


def count(use: AddressUse) -> int:
    """How many addresses a row of the list is."""
    return 1 if use.last is None else int.from_bytes(order(use.last)) - int.from_bytes(order(use.address)) + 1
