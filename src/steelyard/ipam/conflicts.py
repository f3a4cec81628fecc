"""What is wrong with the addresses of a cloud, over virtual and physical. Pure.

What drift tells of already (ports whose server or node is gone) is told by the same rules, `lifecycle.leaks`.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from steelyard.attention.model import Finding, Severity
from steelyard.ipam.keeping import words
from steelyard.ipam.model import (
    AddressState,
    AddressUse,
    Brownfield,
    OwnerKind,
    Owners,
    addresses,
    node_of,
    order,
)
from steelyard.lifecycle.leaks import Leak, leaks
from steelyard.lifecycle.leaks import Seen as Leftovers
from steelyard.nouns import Instance, Network, NetworkPort, Node, NodePort, Subnet

OF_DRIFT: Final = frozenset({"port_without_server", "port_left_behind"})
"""Kinds that drift has too, and opens the findings of: an address whose owner no longer exists."""
SEVERITY: Final[Mapping[str, Severity]] = {
    "address_twice": Severity.CRITICAL,
    "mac_twice": Severity.MAJOR,
    "address_outside_subnet": Severity.MAJOR,
    "address_outside_pool": Severity.MINOR,
    "brownfield_in_pool": Severity.MAJOR,
    "subnets_overlap": Severity.MAJOR,
    "port_without_server": Severity.MINOR,
    "port_left_behind": Severity.MAJOR,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the services said at about the same time."""

    networks: Sequence[Network]
    subnets: Sequence[Subnet]
    ports: Sequence[NetworkPort]
    instances: Sequence[Instance]
    nodes: Sequence[Node]
    nics: Sequence[NodePort]
    who: Owners
    brownfield: Sequence[Brownfield] = ()


@dataclass(frozen=True, slots=True)
class Conflict:
    """One thing that is not as it should be."""

    kind: str
    subject: str
    """`address:<subnet>/<address>`, `mac:<network>/<mac>`, `port:<id>`, `subnet:<id>`."""
    name: str
    severity: Severity
    reason: str
    next: str
    subnet_ids: frozenset[str]
    """Where: a check of one subnet tells of those that concern it."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """The same trouble has the same key in the next look."""
        return self.kind, self.subject

    def finding(self) -> Finding:
        return Finding(
            f"ipam.{self.kind}", self.subject, self.name, self.severity, self.reason, self.next, self.evidence
        )


def conflicts(seen: Seen) -> list[Conflict]:
    """Everything that is wrong, each once, the worst kinds first."""
    by_subnet: dict[str, list[NetworkPort]] = defaultdict(list)
    for port in seen.ports:
        for subnet_id in {fixed.subnet_id for fixed in port.addresses}:
            by_subnet[subnet_id].append(port)
    known: dict[str, list[Brownfield]] = defaultdict(list)
    for each in seen.brownfield:
        known[each.subnet_id].append(each)
    found: list[Conflict] = []
    for subnet in seen.subnets:
        uses = addresses(subnet, by_subnet[subnet.id], seen.who, known[subnet.id])
        found += [*_twice(subnet, uses, known[subnet.id]), *_outside(subnet, uses), *_brownfield(subnet, uses)]
    found += [*_macs(seen), *_overlaps(seen), *_without_owner(seen)]
    order_of = {kind: number for number, kind in enumerate(SEVERITY)}
    unique = {each.key: each for each in found}
    return sorted(unique.values(), key=lambda each: (order_of[each.kind], each.subject))


# Addresses


def _twice(subnet: Subnet, uses: Iterable[AddressUse], known: Iterable[Brownfield]) -> Iterator[Conflict]:
    """Two owners of one address: two ports, a server with the gateway's, or with one that brownfield uses."""
    brownfield = {each.address: each for each in known}
    together: dict[str, list[AddressUse]] = defaultdict(list)
    for use in uses:
        stolen = use.address in brownfield and use.owner is not OwnerKind.BY_HAND
        if use.collides or stolen:
            together[use.address].append(use)
    for address, sharing in together.items():
        who = [words(use) for use in sharing]
        if address == subnet.gateway and len(sharing) == 1:
            who.append("gateway of the subnet")
        if address in brownfield and all(use.owner is not OwnerKind.BY_HAND for use in sharing):
            who.append(f"brownfield ({brownfield[address].note})")
        movable = next((use for use in sharing if use.port_id and use.instance_id), sharing[-1])
        yield _of(
            "address_twice", subnet, address, f"{address} of {subnet.cidr} has {len(who)} owners: {', '.join(who)}.",
            f"openstack port show {movable.port_id}",
            {"owners": [_use(use) for use in sharing], "gateway": subnet.gateway,
             "brownfield": brownfield[address].note if address in brownfield else None},
        )  # fmt: skip


def _outside(subnet: Subnet, uses: Iterable[AddressUse]) -> Iterator[Conflict]:
    cidr = ip_network(subnet.cidr)
    low, high, version = cidr.network_address.packed, cidr.broadcast_address.packed, cidr.version
    for use in uses:
        if use.pool or use.port_id is None or use.state not in (AddressState.ALLOCATED, AddressState.RESERVED):
            continue
        number = order(use.address)
        inside = (6 if ":" in use.address else 4) == version and low <= number <= high
        kind = "address_outside_pool" if inside else "address_outside_subnet"
        where = f"the pools of {subnet.cidr}" if inside else f"its subnet {subnet.cidr}"
        yield _of(
            kind, subnet, use.address, f"{use.address} is outside of {where}: {words(use)}.",
            f"openstack port show {use.port_id}",
            {"owners": [_use(use)], "pools": [list(pool) for pool in subnet.pools]},
        )  # fmt: skip


def _brownfield(subnet: Subnet, uses: Iterable[AddressUse]) -> Iterator[Conflict]:
    """Addresses that something uses, that no port keeps, and that the controller would hand out."""
    for use in uses:
        if use.state is AddressState.BROWNFIELD and use.port_id is None and use.pool:
            note = use.port_name or ""
            yield _of(
                "brownfield_in_pool", subnet, use.address,
                f"{use.address} is in use by {note}; no port keeps it, and the pool would hand it out.",
                f"steelyard ipam reserve {subnet.id} {use.address} --brownfield --note {shlex.quote(note)}",
                {"note": note, "mac": use.mac, "since": use.since.isoformat() if use.since else None},
            )  # fmt: skip


def _of(
    kind: str, subnet: Subnet, address: str, reason: str, next_command: str, evidence: Mapping[str, Any]
) -> Conflict:
    return Conflict(
        kind, f"address:{subnet.id}/{address}", address, SEVERITY[kind], reason, next_command, frozenset({subnet.id}),
        {"subnet": subnet.id, "cidr": subnet.cidr, **evidence},
    )  # fmt: skip


def _use(use: AddressUse) -> dict[str, Any]:
    return {
        "owner": use.owner.value, "state": use.state.value, "name": use.instance_name or use.port_name,
        "port": use.port_id, "device": use.device_id, "mac": use.mac, "project": use.project_id, "node": use.node_name,
        "since": use.since.isoformat() if use.since else None,
    }  # fmt: skip


# MACs


def _macs(seen: Seen) -> Iterator[Conflict]:
    """One MAC on two ports of a network, or bound for two owners, or with a virtual machine and in a NIC."""
    ports: dict[str, list[NetworkPort]] = defaultdict(list)
    for port in seen.ports:
        ports[port.mac].append(port)
    names = {network.id: network.name for network in seen.networks}
    for mac, sharing in ports.items():
        nic_of = seen.who.node_by_mac.get(mac)
        if len(sharing) == 1 and nic_of is None:
            continue  # nearly all
        reason = _why_twice(sharing, nic_of, seen.who, names)
        if reason is None:
            continue
        yield Conflict(
            "mac_twice", f"mac:{mac}", mac, SEVERITY["mac_twice"], f"The MAC {mac} {reason}.",
            f"openstack port list --mac-address {mac}",
            frozenset(fixed.subnet_id for port in sharing for fixed in port.addresses),
            {"ports": [_port(port) for port in sharing], "nic_of": nic_of.id if nic_of else None},
        )  # fmt: skip


def _why_twice(
    sharing: Sequence[NetworkPort], nic_of: Node | None, who: Owners, names: Mapping[str, str]
) -> str | None:
    by_network: dict[str, int] = defaultdict(int)
    for port in sharing:
        by_network[port.network_id] += 1
    for network_id, number in by_network.items():
        if number > 1:
            return f"is on {number} ports of the network {names.get(network_id) or network_id}"
    bound = [port for port in sharing if port.host_id]
    owners = {node.id if (node := _node(port, who)) is not None else port.device_id or port.id for port in bound}
    if len(owners) > 1:
        return f"is bound for {len(owners)} owners at a time"
    if nic_of is not None and any(port.vnic_type != "baremetal" for port in bound):
        return f"is that of a NIC of node {nic_of.label}, and of a virtual machine"
    return None


def _node(port: NetworkPort, who: Owners) -> Node | None:
    return node_of(port, who) if port.vnic_type == "baremetal" else None


def _port(port: NetworkPort) -> dict[str, Any]:
    return {
        "port": port.id, "network": port.network_id, "project": port.project_id, "device": port.device_id,
        "device_owner": port.device_owner, "host": port.host_id, "addresses": [f.address for f in port.addresses],
    }  # fmt: skip


# Subnets


def _overlaps(seen: Seen) -> Iterator[Conflict]:
    """Subnets that share addresses and can reach each other: on one network, or on networks with a router between."""
    domain = _domains(seen.networks, seen.ports)
    grouped: dict[str, list[Subnet]] = defaultdict(list)
    for subnet in seen.subnets:
        grouped[domain.get(subnet.network_id, subnet.network_id)].append(subnet)
    names = {network.id: network.name for network in seen.networks}
    for together in grouped.values():
        if len(together) < 2:
            continue
        nets = sorted(
            ((ip_network(subnet.cidr), subnet) for subnet in together),
            key=lambda pair: (pair[0].version, pair[0].network_address.packed, pair[0].prefixlen, pair[1].id),
        )
        widest = nets[0]
        for each in nets[1:]:
            (wide, first), (net, second) = widest, each
            if wide.version == net.version and net.network_address.packed <= wide.broadcast_address.packed:
                pair = sorted((first, second), key=lambda subnet: subnet.id)
                yield Conflict(
                    "subnets_overlap", f"subnet:{pair[0].id}/{pair[1].id}", str(net), SEVERITY["subnets_overlap"],
                    f"{wide} of {names.get(first.network_id)} and {net} of {names.get(second.network_id)} overlap, "
                    "and a router connects them: an address means two hosts.",
                    f"openstack subnet show {second.id}", frozenset({first.id, second.id}),
                    {"subnets": [{"subnet": s.id, "cidr": s.cidr, "network": s.network_id, "project": s.project_id}
                                 for s in (first, second)]},
                )  # fmt: skip
            if wide.version != net.version or net.broadcast_address.packed > wide.broadcast_address.packed:
                widest = each


def _domains(networks: Iterable[Network], ports: Iterable[NetworkPort]) -> dict[str, str]:
    """Of each network one that stands for all that routers connect it with."""
    leader = {network.id: network.id for network in networks}

    def find(network_id: str) -> str:
        while leader.setdefault(network_id, network_id) != network_id:
            network_id = leader[network_id]
        return network_id

    of_router: dict[str, str] = {}
    for port in ports:
        if not (port.device_id and (port.device_owner or "").startswith(("network:router", "network:ha_router"))):
            continue
        first = of_router.setdefault(port.device_id, port.network_id)
        leader[find(port.network_id)] = find(first)
    return {network_id: find(network_id) for network_id in list(leader)}


# Owners


def _without_owner(seen: Seen) -> Iterator[Conflict]:
    """Addresses of servers and nodes that no longer exist, as drift has them."""
    ports = {port.id: port for port in seen.ports}
    left: list[Leak] = leaks(Leftovers(nodes=seen.nodes, nics=seen.nics, instances=seen.instances, ports=seen.ports))
    for leak in left:
        port = ports.get(leak.id)
        if leak.kind not in OF_DRIFT or port is None or not port.addresses:
            continue
        held = ", ".join(fixed.address for fixed in port.addresses)
        yield Conflict(
            leak.kind, f"port:{port.id}", leak.name, SEVERITY[leak.kind],
            f"{held} {'is' if len(port.addresses) == 1 else 'are'} held by an owner that is gone. {leak.reason}",
            "steelyard drift plan -o plan.json", frozenset(fixed.subnet_id for fixed in port.addresses), leak.evidence,
        )  # fmt: skip
