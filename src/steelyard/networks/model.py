"""Which networks are whose, and what a tenant's network may look like. Pure."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network

from steelyard.errors import Duplicate, Forbidden, Invalid, Refused
from steelyard.naming import check_name, shown
from steelyard.networks.ranges import Net, place_pools, place_routes
from steelyard.nouns import Actor, HostRoute, Network, NetworkPort, Subnet

MAX_SUBNETS = 10
"""Of one network, in one request."""
MAX_DNS_SERVERS = 5
"""Neutron's `max_dns_nameservers`."""


class NetworkRole(StrEnum):
    """What a network is for (docs/glossary.md)."""

    TENANT = "tenant"
    """A project's own."""
    PROVISIONING = "provisioning"
    """Where an operating system is written to a server."""
    CLEANING = "cleaning"
    """Where a server is cleaned between two tenants."""
    INSPECTION = "inspection"
    """Where a new server tells what it is."""
    RESCUE = "rescue"
    """Where a broken server is repaired from a ramdisk."""
    QUARANTINE = "quarantine"
    """Where a server reaches nobody."""
    SEGMENT = "segment"
    """One of those of which each node in transition has one to itself."""


@dataclass(frozen=True, slots=True)
class OperatorNetworks:
    """The operator's networks, by role: names or ids, as the settings have them."""

    by_role: Mapping[NetworkRole, str]
    segments: Sequence[str] = ()
    """Ids, names, or patterns of names."""

    def role_of(self, network: Network) -> NetworkRole | None:
        """The role that its id or name has in the settings, if any; says nothing about whose network it is."""
        for role, named in self.by_role.items():
            if named in (network.id, network.name):
                return role
        if network.id in self.segments or self._is_segments(network.name):
            return NetworkRole.SEGMENT
        return None

    def reserves(self, name: str) -> bool:
        """Whether a tenant's network must not have this name: whoever looks a network up by name would find two."""
        return name in self.by_role.values() or self._is_segments(name)

    def _is_segments(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.segments)


@dataclass(frozen=True, slots=True)
class ShownNetwork:
    """A network as it is shown: with its subnets, and the role it has for the one who looks."""

    network: Network
    role: NetworkRole
    subnets: tuple[Subnet, ...]


def role(network: Network, actor: Actor, operators: OperatorNetworks) -> NetworkRole:
    """What the network is to the actor. A tenant's own network is a tenant network, whatever its name."""
    if not actor.is_admin and network.project_id == actor.project_id:
        return NetworkRole.TENANT
    return operators.role_of(network) or NetworkRole.TENANT


def visible(network: Network, actor: Actor, operators: OperatorNetworks) -> bool:
    """Whether the actor may know that the network exists.

    The cloud's own policy hides what is not shared; here the operator's networks stay hidden even when somebody
    shared one by mistake.
    """
    return actor.is_admin or role(network, actor, operators) is NetworkRole.TENANT


def check_attachable(network: Network, operators: OperatorNetworks) -> None:
    """Nobody attaches a server to an operator's network, administrators and its owner neither.

    Where the settings have a name and not an id, that goes for every network of the name. To be asked about networks
    that the caller may see. Raises `Forbidden` (`operator_network`).
    """
    found = operators.role_of(network)
    if found is not None:
        raise Forbidden(
            f"{network.name} is the operator's {found} network; no server may be attached to it.",
            code="operator_network",
            next="steelyard network list",
        )


@dataclass(frozen=True, slots=True)
class NewSubnet:
    """A subnet to create."""

    cidr: Net
    gateway: str | None = None
    """None: the first address."""
    dns_servers: tuple[str, ...] = ()
    asked_pools: tuple[tuple[str, str], ...] = ()
    host_routes: tuple[HostRoute, ...] = ()

    @property
    def gateway_address(self) -> str:
        return self.gateway or str(self.cidr.network_address + 1)

    @property
    def pools(self) -> tuple[tuple[str, str], ...]:
        """First and last address of what servers may be given; empty where the controller's default serves.

        The default leaves the gateway out, but would give a server the address that its neighbours ask for DNS.
        """
        if self.asked_pools:
            return self.asked_pools
        inside = {ip_address(server) for server in self.dns_servers if ip_address(server) in self.cidr}
        if not inside:
            return ()
        kept_out = sorted(int(address) for address in inside | {ip_address(self.gateway_address)})
        first = int(self.cidr.network_address) + 1
        end = int(self.cidr.broadcast_address) - (1 if self.cidr.version == 4 else 0)
        make = type(self.cidr.network_address)
        pools = []
        for address in [*kept_out, end + 1]:
            if first < address:
                pools.append((str(make(first)), str(make(min(address - 1, end)))))
            first = max(first, address + 1)
        return tuple(pools)


@dataclass(frozen=True, slots=True)
class NewNetwork:
    """A tenant's network to create, with at least one subnet."""

    name: str
    subnets: tuple[NewSubnet, ...] = field(default=())


def new_network(
    name: str,
    cidrs: Sequence[str],
    *,
    operators: OperatorNetworks,
    gateways: Sequence[str] = (),
    dns_servers: Sequence[str] = (),
    pools: Sequence[tuple[str, str]] = (),
    routes: Sequence[tuple[str, str]] = (),
) -> NewNetwork:
    """Check what a user typed. Each gateway, pool (first, last) and route (destination, next hop) goes to the subnet
    that it is in, each DNS server to its IP version.

    Raises `Invalid`: `invalid_name`, `reserved_name`, `invalid_cidr`, `overlapping_subnets`, `invalid_gateway`,
    `invalid_dns`, `invalid_pool`, `invalid_route`.
    """
    check_name("network", name)
    if operators.reserves(name):
        raise Invalid(
            f"{shown(name)} is the name of one of the operator's networks.",
            code="reserved_name",
            next="choose another name",
        )
    if not 1 <= len(cidrs) <= MAX_SUBNETS:
        raise Invalid(
            f"A network takes 1 to {MAX_SUBNETS} subnets.",
            code="invalid_cidr",
            next=f"steelyard network create {shlex.quote(name)} --subnet 10.0.0.0/24",
        )
    networks = [parse_cidr(text) for text in cidrs]
    _require_disjoint(networks)
    gateway_of = _place_gateways(networks, gateways)
    servers = _parse_dns(dns_servers, networks)
    bare = [
        NewSubnet(
            cidr=network,
            gateway=gateway_of.get(network),
            dns_servers=tuple(server for server in servers if ip_address(server).version == network.version),
        )
        for network in networks
    ]
    pools_of = place_pools(networks, pools, {each.cidr: (each.gateway_address, *each.dns_servers) for each in bare})
    routes_of = place_routes(networks, routes)
    subnets = tuple(
        replace(each, asked_pools=pools_of.get(each.cidr, ()), host_routes=routes_of.get(each.cidr, ()))
        for each in bare
    )
    for subnet in subnets:
        if not subnet.pools and any(ip_address(server) in subnet.cidr for server in subnet.dns_servers):
            raise Invalid(
                f"The gateway and the DNS servers leave no address of {subnet.cidr} for a server.",
                code="invalid_cidr",
                next="take a larger subnet",
            )
    return NewNetwork(name=name, subnets=subnets)


def parse_cidr(text: str) -> Net:
    """The subnet that a user typed: an address and a length, no bits in the host part, room for a server.

    Raises `Invalid` (`invalid_cidr`).
    """
    example = "10.20.30.0/24 or fd00:20:30::/64"
    if "/" not in text or "%" in text:
        raise Invalid(
            f"{shown(text)} is not a subnet; write it like {example}.", code="invalid_cidr", next=f"--subnet {example}"
        )
    try:
        network = ip_network(text, strict=False)
        ip_network(text)
        int(text.partition("/")[2])
    except ValueError:
        raise _not_a_cidr(text, example) from None
    if network.prefixlen > network.max_prefixlen - 2:
        raise Invalid(
            f"{network} is too small: it has no room for a gateway and a server.",
            code="invalid_cidr",
            next="take a /30 or larger (IPv6: /126)",
        )
    if network.prefixlen == 0:
        raise Invalid(f"{network} is the whole Internet, not a subnet.", code="invalid_cidr")
    for what, is_it in (
        ("for multicast", network.is_multicast),
        ("of the host itself", network.is_loopback),
        ("link-local", network.is_link_local),
        ("reserved", network.is_reserved and network.version == 4),
    ):
        if is_it:
            raise Invalid(f"The addresses of {network} are {what}; servers cannot have them.", code="invalid_cidr")
    return network


def _not_a_cidr(text: str, example: str) -> Invalid:
    try:
        meant = ip_network(text, strict=False)
        int(text.partition("/")[2])
    except ValueError:
        return Invalid(
            f"{shown(text)} is not a subnet; write it like {example}.", code="invalid_cidr", next=f"--subnet {example}"
        )
    return Invalid(
        f"{shown(text)} names one address in a subnet, not the subnet; its subnet is {meant}.",
        code="invalid_cidr",
        next=f"--subnet {meant}",
    )


def _require_disjoint(networks: Sequence[Net]) -> None:
    ordered = sorted(networks, key=lambda network: (network.version, int(network.network_address)))
    for first, second in itertools.pairwise(ordered):
        if first.version == second.version and first.overlaps(second):
            raise Invalid(
                f"The subnets {first} and {second} overlap; an address would belong to both.",
                code="overlapping_subnets",
            )


def _place_gateways(networks: Sequence[Net], gateways: Sequence[str]) -> dict[Net, str]:
    placed: dict[Net, str] = {}
    for text in gateways:
        try:
            gateway = ip_address(text)
        except ValueError:
            raise Invalid(f"The gateway {shown(text)} is not an address.", code="invalid_gateway") from None
        home = next((network for network in networks if gateway in network), None)
        if home is None:
            raise Invalid(f"The gateway {gateway} is in none of the subnets.", code="invalid_gateway")
        if home in placed:
            raise Invalid(f"The subnet {home} can have one gateway, not two.", code="invalid_gateway")
        if gateway == home.network_address or (home.version == 4 and gateway == home.broadcast_address):
            raise Invalid(
                f"The gateway {gateway} is the {'network' if gateway == home.network_address else 'broadcast'} address "
                f"of {home}, which nobody can have.",
                code="invalid_gateway",
            )
        placed[home] = str(gateway)
    return placed


def _parse_dns(texts: Sequence[str], networks: Sequence[Net]) -> list[str]:
    if len(texts) > MAX_DNS_SERVERS:
        raise Invalid(f"A subnet takes at most {MAX_DNS_SERVERS} DNS servers.", code="invalid_dns")
    servers: list[str] = []
    for text in texts:
        try:
            server = ip_address(text)
        except ValueError:
            raise Invalid(f"The DNS server {shown(text)} is not an address.", code="invalid_dns") from None
        if server.is_unspecified or server.is_multicast:
            raise Invalid(f"{server} cannot be a DNS server.", code="invalid_dns")
        if not any(network.version == server.version for network in networks):
            raise Invalid(f"The DNS server {server} is of another IP version than the subnets.", code="invalid_dns")
        if str(server) not in servers:
            servers.append(str(server))
    return servers


def require_free_name(name: str, project_id: str | None, networks: Iterable[Network]) -> None:
    """A name is used once in a project. Raises `Duplicate` (`duplicate_name`)."""
    for network in networks:
        if network.name == name and network.project_id == project_id:
            raise Duplicate(
                f"The project already has a network {shown(name)} ({network.id}).",
                code="duplicate_name",
                next=f"steelyard network show {network.id}",
            )


def require_deletable(
    network: Network,
    found: NetworkRole,
    attachments: Iterable[NetworkPort],
    instance_names: Mapping[str, str],
) -> None:
    """A network goes when nobody is on it; `found` is its role for the one who asks.

    Raises `Refused` (`operator_network`, `network_in_use`).
    """
    if found is not NetworkRole.TENANT:
        raise Refused(
            f"{network.name} is the {found} network; servers could not be handled without it.", code="operator_network"
        )
    users = [port for port in attachments if not (port.device_owner or "").startswith("network:dhcp")]
    if not users:
        return
    named = sorted({describe(port, instance_names) for port in users})
    shown_users = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    servers = sorted({name for port in users if (name := instance_names.get(port.device_id or ""))})
    raise Refused(
        f"{len(users)} attachment{'s are' if len(users) > 1 else ' is'} on the network {network.name}: {shown_users}.",
        code="network_in_use",
        next=f"steelyard server delete {shlex.quote(servers[0])} --wait"
        if servers
        else f"openstack port list --network {network.id}",
    )


def describe(port: NetworkPort, instance_names: Mapping[str, str]) -> str:
    """Who holds an attachment, in a few words."""
    if port.device_id is not None and port.device_id in instance_names:
        return f"server {instance_names[port.device_id]}"
    owner = port.device_owner or ""
    if owner.startswith("network:router"):
        return f"router {port.device_id}"
    if not port.device_id:
        return f"reserved port {port.name or port.id}"
    return f"{owner or 'port'} {port.device_id}"
