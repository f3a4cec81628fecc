"""Addresses of a network, handed out as the controller does it, with its surprises (trap 5 of the docs).

* from the top of the pool, unless the subnet says `addr_from_start`; one that was freed is the next one again
* the subnets in their order: without a family, an address of version 6 comes when those of version 4 are used up
* a fixed address outside the pool is given, also that of the gateway or the DNS server, and these two even twice
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.database import Database, Thing

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Subnet:
    """One `ipam_subnets` entry of a network, as far as addresses go."""

    uuid: str
    network: Network
    gateway: Address | None
    dns: Address | None
    pools: tuple[tuple[int, int], ...]
    """First and last address, both included."""
    from_start: bool

    @property
    def name(self) -> str:
        return str(self.network)

    def candidates(self, start: tuple[int, int] | None = None) -> Iterator[tuple[tuple[int, int], Address]]:
        """Every address of the pools that may be handed out unasked, in the order in which it would be.

        Each with its place, from which (included) another walk may start.
        """
        excluded = {int(self.network[0]), int(self.network[-1])}
        excluded |= {int(address) for address in (self.gateway, self.dns) if address is not None}
        make = ipaddress.IPv4Address if self.network.version == 4 else ipaddress.IPv6Address
        pools = self.pools if self.from_start else tuple(reversed(self.pools))
        for index, (first, last) in enumerate(pools):
            if start is not None and index < start[0]:
                continue
            if start is not None and index == start[0]:
                first, last = (start[1], last) if self.from_start else (first, start[1])
            for number in range(first, last + 1) if self.from_start else range(last, first - 1, -1):
                if number not in excluded:
                    yield (index, number), make(number)


def subnets_of(network: Thing) -> Iterator[Subnet]:
    """The subnets of a stored virtual-network, in order."""
    for ref in network.refs.get("network_ipam_refs", ()):
        for entry in (ref.attr or {}).get("ipam_subnets") or []:
            if (entry.get("subnet") or {}).get("ip_prefix"):
                yield _subnet(entry)


def _subnet(entry: Mapping[str, Any]) -> Subnet:
    prefix = entry["subnet"]
    network = ipaddress.ip_network(f"{prefix['ip_prefix']}/{prefix['ip_prefix_len']}", strict=False)
    pools = tuple(
        (int(ipaddress.ip_address(pool["start"])), int(ipaddress.ip_address(pool["end"])))
        for pool in entry.get("allocation_pools") or []
    )
    return Subnet(
        uuid=entry["subnet_uuid"],
        network=network,
        gateway=_address(entry.get("default_gateway")),
        dns=_address(entry.get("dns_server_address")),
        pools=pools or ((int(network[0]), int(network[-1]) - 1),),
        from_start=bool(entry.get("addr_from_start")),
    )


def _address(text: Any) -> Address | None:
    return None if not text or text == "None" else ipaddress.ip_address(text)


def allocate(
    database: Database, network: Thing, owner: str, *, subnet_uuid: str | None = None, asked: str | None = None,
    family: str | None = None,
) -> tuple[str, str]:  # fmt: skip
    """An address for `owner` and the uuid of its subnet; it is taken from then on.

    `family` is "v4", "v6" or None for any. Raises ApiError: 409 when the asked one is used, 400 when there is none.
    """
    wanted = _asked(asked)
    if wanted is not None and str(wanted) in database.addresses(network.uuid):
        raise ApiError(409, "IP address already in use")
    version = {"v4": 4, "v6": 6}.get(family or "")
    subnets, tried = list(subnets_of(network)), []
    if not subnets:
        raise ApiError(400, f"Virtual-Network({list(network.fq_name)}) has no defined subnets")
    if subnet_uuid is not None and subnet_uuid not in {subnet.uuid for subnet in subnets}:
        raise ApiError(400, f"Virtual-Network({list(network.fq_name)}) has invalid subnet({subnet_uuid})")
    for subnet in subnets:
        if subnet_uuid not in (None, subnet.uuid) or version not in (None, subnet.network.version):
            continue
        if wanted is not None:
            if wanted in (subnet.gateway, subnet.dns):
                return str(wanted), subnet.uuid  # not noted as taken: the next one who asks gets it too
            if wanted in subnet.network:
                database.take_address(network.uuid, str(wanted), owner)
                return str(wanted), subnet.uuid
            continue
        tried.append(subnet.name)
        if (found := _next_free(database, network, subnet)) is not None:
            database.take_address(network.uuid, found, owner)
            return found, subnet.uuid
    raise ApiError(400, f"Virtual-Network({list(network.fq_name)}) has exhausted subnet({tried})")


def _next_free(database: Database, network: Thing, subnet: Subnet) -> str | None:
    taken, scanned = database.addresses(network.uuid), database.scanned.setdefault(network.uuid, {})
    for place, address in subnet.candidates(scanned.get(subnet.uuid)):
        if str(address) not in taken:
            scanned[subnet.uuid] = place
            return str(address)
    return None


def free(database: Database, network: str, address: str, owner: str) -> None:
    """Give an address back, if it is that owner's."""
    if database.addresses(network).get(address) == owner:
        database.free_address(network, address)


def taken_in(database: Database, network: Thing, subnet: Subnet) -> int:
    """How many addresses of a subnet are taken."""
    return sum(ipaddress.ip_address(address) in subnet.network for address in database.addresses(network.uuid))


def _asked(text: str | None) -> Address | None:
    if not text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ApiError(400, f"{text[:100]} is no IP address") from None


# -- checks and defaults of a network's subnets ------------------------------------------------------------------------


def complete(attr: Mapping[str, Any], new_uuid: str) -> dict[str, Any]:
    """An entry of `ipam_subnets` with the gateway, the DNS server and the uuid that the controller adds.

    `new_uuid` serves where none is given. Raises ApiError: 400 or 409 for what cannot be.
    """
    entry = dict(attr)
    prefix = entry.get("subnet")
    if not isinstance(prefix, dict) or "ip_prefix" not in prefix:
        return {**entry, "subnet_uuid": entry.get("subnet_uuid") or new_uuid}
    name = f"{prefix.get('ip_prefix')}/{prefix.get('ip_prefix_len')}"
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        raise ApiError(400, f"Invalid subnet {name[:100]}") from None
    for pool in entry.get("allocation_pools") or []:
        _check_pool(pool, network, name)
    from_start = bool(entry.get("addr_from_start"))
    for field, distance in (("default_gateway", 1), ("dns_server_address", 2)):
        if not entry.get(field) or entry[field] == "None":
            at = distance if from_start else -1 - distance
            entry[field] = str(network[at]) if network.num_addresses > 3 else str(network[0])
        try:
            address = ipaddress.ip_address(entry[field])
        except ValueError:
            what = "gateway Ip" if field == "default_gateway" else "Dns Server Ip"
            raise ApiError(409, f"Invalid {what} address:{str(entry[field])[:100]}") from None
        if field == "default_gateway" and int(address) and address not in network:
            raise ApiError(409, f"gateway Ip {address} out of cidr: {name}")
    entry["subnet_uuid"] = entry.get("subnet_uuid") or new_uuid
    return entry


def _check_pool(pool: Any, network: Network, name: str) -> None:
    start, end = (pool.get("start"), pool.get("end")) if isinstance(pool, dict) else (None, None)
    try:
        first, last = ipaddress.ip_address(start or ""), ipaddress.ip_address(end or "")
    except ValueError:
        raise ApiError(409, f"Invalid allocation Pool start:{start}, end:{end} in subnet:{name}") from None
    if first not in network or last not in network or int(first) > int(last):
        raise ApiError(409, f"allocation pool start:{start}, end:{end} out of cidr:{name}")


def check_overlap(subnets: list[Subnet]) -> None:
    """Raises ApiError 400 when two subnets of one network overlap. Those of two networks may."""
    for index, one in enumerate(subnets):
        for other in subnets[index + 1 :]:
            if one.network.version == other.network.version and one.network.overlaps(other.network):
                raise ApiError(400, f"Overlapping addresses: [{one.name}, {other.name}]")
