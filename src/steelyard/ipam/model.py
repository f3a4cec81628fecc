"""One address plan: every address of a subnet with its owner, virtual or physical. Pure.

The joins are over bulk lists: ports to instances and nodes by their ids and MACs. Free addresses are counted, and
listed as ranges only (`ipam.ranges`), so that a /16 or a /64 costs what its used addresses cost.
"""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, NamedTuple

from steelyard.nouns import Instance, Network, NetworkPort, Node, NodePort, Subnet

OURS: Final = "steelyard:"
"""How the device owner of a port begins that keeps an address by hand."""


class AddressState(StrEnum):
    """What an address is taken for."""

    ALLOCATED = "allocated"
    """A server, virtual or physical, has it, or somebody took the next free one by hand."""
    RESERVED = "reserved"
    """A port holds it for nobody yet."""
    BROWNFIELD = "brownfield"
    """Something that this cloud did not deploy is known to use it; a port keeps it from being handed out."""
    GATEWAY = "gateway"
    """The way out of the subnet."""
    SERVICE = "service"
    """DHCP, DNS, a router that is not the gateway, ..."""
    FREE = "free"
    """Nobody has it: of ranges only."""


class OwnerKind(StrEnum):
    """Who has an address."""

    BARE_METAL = "bare metal"
    VIRTUAL_MACHINE = "virtual machine"
    GATEWAY = "gateway"
    """The subnet's gateway, where no port of this cloud has it."""
    ROUTER = "router"
    DHCP = "dhcp"
    DNS = "dns"
    SERVICE = "service"
    """Another service of the network."""
    UNKNOWN = "unknown"
    """A port is in use by something that is none of these."""
    BY_HAND = "by hand"
    """Somebody keeps it; the port's name says what for."""
    NOBODY = "nobody"


class AddressUse(NamedTuple):
    """One taken address, or a range of free ones. A tuple, since there are tens of thousands of them in one list."""

    address: str
    subnet_id: str
    state: AddressState
    owner: OwnerKind
    mac: str | None = None
    port_id: str | None = None
    port_name: str | None = None
    instance_id: str | None = None
    instance_name: str | None = None
    node_id: str | None = None
    """Administrators only."""
    node_name: str | None = None
    """Administrators only."""
    project_id: str | None = None
    device_id: str | None = None
    """What the port belongs to, for the controller."""
    collides: bool = False
    """Somebody else has the same address in this subnet: never true in a sound cloud."""
    since: datetime | None = None
    """When its port was made. UTC."""
    pool: bool = True
    """Whether it is one of those that the controller hands out by itself."""
    last: str | None = None
    """The last one of a range; None for a single address."""

    @property
    def id(self) -> str:
        """Names the row in the list of its subnet."""
        return f"{self.address}_{self.port_id}" if self.collides else self.address


@dataclass(frozen=True, slots=True)
class Brownfield:
    """An address that something which this cloud did not deploy is known to use."""

    subnet_id: str
    address: str
    note: str
    """What uses it."""
    actor: str
    """Who said so."""
    since: datetime
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class Utilisation:
    """How much of a subnet is taken. `allocated + reserved + brownfield + service + gateway + free == total`."""

    total: int
    """Usable addresses: without IPv4's network and broadcast addresses and IPv6's subnet-router anycast address."""
    allocated: int
    reserved: int
    gateway: int
    service: int
    free: int
    brownfield: int = 0

    def __add__(self, other: Utilisation) -> Utilisation:
        return Utilisation(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class SubnetPlan:
    """A subnet with its network's name and its utilisation."""

    subnet: Subnet
    network_name: str
    utilisation: Utilisation


@dataclass(frozen=True, slots=True)
class Owners:
    """Whom the ports can belong to, indexed once for all addresses."""

    instances: Mapping[str, Instance]
    nodes: Mapping[str, Node]
    """By their own ids, and by the ids of the instances that are on them."""
    node_by_mac: Mapping[str, Node]


def owners(instances: Iterable[Instance], nodes: Iterable[Node], node_ports: Iterable[NodePort]) -> Owners:
    by_id = {node.id: node for node in nodes}
    known = {instance.id: instance for instance in instances}
    by_instance = {node.instance_id: node for node in by_id.values() if node.instance_id}
    for instance in known.values():
        if instance.node_id in by_id:
            by_instance.setdefault(instance.id, by_id[instance.node_id])
    return Owners(
        instances=known,
        nodes=by_instance | by_id,
        node_by_mac={port.mac.lower(): by_id[port.node_id] for port in node_ports if port.node_id in by_id},
    )


def addresses(
    subnet: Subnet, ports: Iterable[NetworkPort], who: Owners, brownfield: Iterable[Brownfield] = ()
) -> list[AddressUse]:
    """Every taken address of the subnet, in numerical order.

    `brownfield`: what is written down of this subnet; listed where no port has the address, as its port would be.
    """
    taken: dict[str, NetworkPort] = {}
    sharing: dict[str, list[NetworkPort]] = {}  # few: a list for each address would cost more than all the rest
    subnet_id = subnet.id
    for port in ports:
        for fixed in port.addresses:
            if fixed.subnet_id == subnet_id:
                first = taken.setdefault(fixed.address, port)
                if first is not port:
                    sharing.setdefault(fixed.address, [first]).append(port)
    cidr = ip_network(subnet.cidr)
    without_port: dict[str, AddressUse] = {}
    for server in subnet.dns_servers:
        if server not in taken and _inside(server, cidr):
            without_port[server] = AddressUse(server, subnet.id, AddressState.SERVICE, OwnerKind.DNS)
    if subnet.gateway is not None and subnet.gateway not in taken and _inside(subnet.gateway, cidr):
        without_port[subnet.gateway] = AddressUse(
            subnet.gateway, subnet.id, AddressState.GATEWAY, OwnerKind.GATEWAY, pool=False
        )
    for known in brownfield:
        if known.subnet_id == subnet.id and known.address not in taken:
            without_port[known.address] = AddressUse(
                known.address, subnet.id, AddressState.BROWNFIELD, OwnerKind.BY_HAND, mac=known.mac,
                port_name=known.note, since=known.since,
            )  # fmt: skip
    pools = pools_of(subnet)
    starts = [low for low, _ in pools]
    listed: list[AddressUse] = []
    for address in sorted({*taken, *without_port}, key=order):
        number = order(address)
        at = bisect_right(starts, number) - 1
        pool = at >= 0 and number <= pools[at][1]
        if address in sharing:
            uses = (_use(address, subnet, port, who, pool) for port in sharing[address])
            listed += [use._replace(collides=True) for use in uses]
        elif address in taken:
            listed.append(_use(address, subnet, taken[address], who, pool))
        else:
            listed.append(without_port[address]._replace(pool=pool))
    return listed


def pools_of(subnet: Subnet) -> list[tuple[bytes, bytes]]:
    """First and last address of each pool, as `order` has them, in the order of numbers."""
    return sorted((order(first), order(last)) for first, last in subnet.pools)


def order(address: str) -> bytes:
    """Sorts addresses as numbers, at a tenth of the price of `ipaddress`."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _inside(address: str, cidr: IPv4Network | IPv6Network) -> bool:
    return cidr.version == (6 if ":" in address else 4) and (
        cidr.network_address.packed <= order(address) <= cidr.broadcast_address.packed
    )


def _use(address: str, subnet: Subnet, port: NetworkPort, who: Owners, pool: bool) -> AddressUse:
    node = node_of(port, who)
    instance = who.instances.get(port.device_id) if port.device_id else None
    state, owner = _classify(port, node, instance)
    if address == subnet.gateway and state is AddressState.SERVICE:
        state = AddressState.GATEWAY
    return AddressUse(
        address=address,
        subnet_id=subnet.id,
        state=state,
        owner=owner,
        mac=port.mac,
        port_id=port.id,
        port_name=port.name or None,
        instance_id=instance.id if instance else None,
        instance_name=instance.name if instance else None,
        node_id=node.id if node else None,
        node_name=node.name if node else None,
        project_id=port.project_id,
        device_id=port.device_id,
        # The gateway's address in a server's hands: its neighbours would send it what they mean for the Internet.
        collides=address == subnet.gateway and state not in (AddressState.GATEWAY, AddressState.RESERVED),
        since=port.created_at,
        pool=pool,
    )


def node_of(port: NetworkPort, who: Owners) -> Node | None:
    """The node that a port belongs to: by the host it is bound to, by its device, or by its MAC."""
    host, device = port.host_id, port.device_id
    if not host and not device:
        return None
    nodes = who.nodes
    return nodes.get(host or "") or nodes.get(device or "") or who.node_by_mac.get(port.mac)


_SERVICES = {
    "network:dhcp": OwnerKind.DHCP,
    "network:dns": OwnerKind.DNS,
    "network:router_interface": OwnerKind.ROUTER,
    "network:router_interface_distributed": OwnerKind.ROUTER,
    "network:router_centralized_snat": OwnerKind.ROUTER,
    "network:router_gateway": OwnerKind.ROUTER,
    "network:ha_router_replicated_interface": OwnerKind.ROUTER,
}
"""Neutron's `device_owner` (neutron_lib.constants)."""


_BY_HAND = {
    f"{OURS}{state.value}": state for state in (AddressState.RESERVED, AddressState.ALLOCATED, AddressState.BROWNFIELD)
}


def kept_as(state: AddressState) -> str:
    """The device owner of a port that keeps an address by hand in this state."""
    return f"{OURS}{state.value}"


def _classify(port: NetworkPort, node: Node | None, instance: Instance | None) -> tuple[AddressState, OwnerKind]:
    device_owner = port.device_owner or ""
    if device_owner in _BY_HAND and not port.device_id and not port.host_id:
        return _BY_HAND[device_owner], OwnerKind.BY_HAND
    if device_owner.startswith("network:"):
        return AddressState.SERVICE, _SERVICES.get(device_owner, OwnerKind.SERVICE)
    if not port.device_id and not port.host_id:
        return AddressState.RESERVED, OwnerKind.NOBODY
    if port.vnic_type == "baremetal" or device_owner.startswith("baremetal:") or node is not None:
        return AddressState.ALLOCATED, OwnerKind.BARE_METAL
    # Nova makes a port first and calls it its own afterwards; the instance is on a host by then, and that is no node.
    if port.is_novas or (instance is not None and instance.node_id is not None):
        return AddressState.ALLOCATED, OwnerKind.VIRTUAL_MACHINE
    return AddressState.ALLOCATED, OwnerKind.UNKNOWN


def without_nodes(use: AddressUse) -> AddressUse:
    """The same as a tenant may see it."""
    return use._replace(node_id=None, node_name=None, device_id=None)


def utilisation(subnet: Subnet, uses: Iterable[AddressUse]) -> Utilisation:
    """Count the taken addresses (each once, whoever shares it) and what is left."""
    cidr = ip_network(subnet.cidr)
    counts = dict.fromkeys(AddressState, 0)
    seen: set[str] = set()
    for use in uses:
        if use.address not in seen:
            seen.add(use.address)
            counts[use.state] += 1
    total = usable(cidr)
    return Utilisation(
        total=total,
        allocated=counts[AddressState.ALLOCATED],
        reserved=counts[AddressState.RESERVED],
        gateway=counts[AddressState.GATEWAY],
        service=counts[AddressState.SERVICE],
        free=max(0, total - len(seen)),
        brownfield=counts[AddressState.BROWNFIELD],
    )


def usable(cidr: IPv4Network | IPv6Network) -> int:
    """Addresses that a port can have (Neutron refuses the others)."""
    if cidr.prefixlen >= cidr.max_prefixlen - 1:
        return cidr.num_addresses
    return cidr.num_addresses - (2 if cidr.version == 4 else 1)


def plan(
    subnets: Iterable[Subnet],
    networks: Iterable[Network],
    ports: Iterable[NetworkPort],
    who: Owners,
    brownfield: Iterable[Brownfield] = (),
) -> list[SubnetPlan]:
    """All subnets with their utilisation; one pass over the ports."""
    by_subnet: dict[str, list[NetworkPort]] = {}
    for port in ports:
        for subnet_id in {fixed.subnet_id for fixed in port.addresses}:
            by_subnet.setdefault(subnet_id, []).append(port)
    known: dict[str, list[Brownfield]] = {}
    for each in brownfield:
        known.setdefault(each.subnet_id, []).append(each)
    names = {network.id: network.name for network in networks}
    return [
        SubnetPlan(
            subnet=subnet,
            network_name=names.get(subnet.network_id, ""),
            utilisation=utilisation(
                subnet, addresses(subnet, by_subnet.get(subnet.id, []), who, known.get(subnet.id, []))
            ),
        )
        for subnet in subnets
    ]


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A network's subnets of one IP version together."""

    network_id: str
    network_name: str
    version: int
    cidrs: tuple[str, ...]
    utilisation: Utilisation

    @property
    def id(self) -> str:
        return f"{self.network_id}_{self.version}"


def by_network(plans: Iterable[SubnetPlan]) -> list[NetworkPlan]:
    """Sum up the subnets of each network, IPv4 and IPv6 apart: a /64 would hide how full a /24 is."""
    found: dict[tuple[str, int], NetworkPlan] = {}
    for each in plans:
        subnet = each.subnet
        key = (subnet.network_id, 6 if ":" in subnet.cidr else 4)
        before = found.get(key)
        cidrs = (*before.cidrs, subnet.cidr) if before else (subnet.cidr,)
        used = before.utilisation + each.utilisation if before else each.utilisation
        found[key] = NetworkPlan(subnet.network_id, each.network_name, key[1], cidrs, used)
    return list(found.values())
