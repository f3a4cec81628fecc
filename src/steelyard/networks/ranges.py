"""What a subnet's hosts are given beside addresses by default: pools to choose from, and routes. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from steelyard.errors import Invalid
from steelyard.naming import shown
from steelyard.nouns import HostRoute

Net = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
MAX_ROUTES = 20
"""Neutron's `max_subnet_host_routes`."""
MAX_POOLS = 50
"""Of all subnets of a network, in one request."""


def place_pools(
    networks: Sequence[Net], pools: Sequence[tuple[str, str]], taken: Mapping[Net, Sequence[str]]
) -> dict[Net, tuple[tuple[str, str], ...]]:
    """Each pool by the subnet that it is in; `taken`: addresses that no host may be given (gateway, DNS servers).

    Raises `Invalid` (`invalid_pool`).
    """
    if len(pools) > MAX_POOLS:
        raise Invalid(f"A network takes at most {MAX_POOLS} pools.", code="invalid_pool")
    placed: dict[Net, list[tuple[Address, Address]]] = {}
    for first_text, last_text in pools:
        first, last = _address(first_text, "pool"), _address(last_text, "pool")
        home = next((network for network in networks if first in network and last in network), None)
        if home is None:
            raise Invalid(f"The pool {first}-{last} is in none of the subnets.", code="invalid_pool")
        if int(first) > int(last):
            raise Invalid(f"The pool {first}-{last} ends before it begins.", code="invalid_pool")
        ends = {home.network_address, *([home.broadcast_address] if home.version == 4 else [])}
        for address in (*ends, *(ip_address(each) for each in taken.get(home, ()))):
            if int(first) <= int(address) <= int(last):
                raise Invalid(
                    f"The pool {first}-{last} has {address} in it, which no server may be given: it is the gateway's, "
                    "a DNS server's, or the subnet's own.",
                    code="invalid_pool",
                )
        placed.setdefault(home, []).append((first, last))
    for found in placed.values():
        found.sort(key=lambda pool: int(pool[0]))
        for one, other in itertools.pairwise(found):
            if int(one[1]) >= int(other[0]):
                raise Invalid(f"The pools {one[0]}-{one[1]} and {other[0]}-{other[1]} overlap.", code="invalid_pool")
    return {home: tuple((str(first), str(last)) for first, last in found) for home, found in placed.items()}


def place_routes(networks: Sequence[Net], routes: Sequence[tuple[str, str]]) -> dict[Net, tuple[HostRoute, ...]]:
    """Each route (destination, next hop) by the subnet that its next hop is in. Raises `Invalid` (`invalid_route`)."""
    placed: dict[Net, list[HostRoute]] = {}
    for destination_text, hop_text in routes:
        hop = _address(hop_text, "route")
        try:
            destination = ip_network(destination_text)
        except ValueError as error:
            raise Invalid(f"{shown(destination_text)} is no destination: {error}", code="invalid_route") from None
        home = next((network for network in networks if hop in network), None)
        if home is None:
            raise Invalid(
                f"The next hop {hop} is in none of the subnets, so no server could reach it.", code="invalid_route"
            )
        if destination.version != home.version:
            raise Invalid(f"{destination} and its next hop {hop} are of different IP versions.", code="invalid_route")
        route = HostRoute(str(destination), str(hop))
        if any(known.destination == route.destination for known in placed.get(home, ())):
            raise Invalid(f"There are two routes to {destination}.", code="invalid_route")
        placed.setdefault(home, []).append(route)
    if any(len(found) > MAX_ROUTES for found in placed.values()):
        raise Invalid(f"A subnet takes at most {MAX_ROUTES} routes.", code="invalid_route")
    return {home: tuple(found) for home, found in placed.items()}


def _address(text: str, what: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(f"{shown(text)} is not an address.", code=f"invalid_{what}") from None
