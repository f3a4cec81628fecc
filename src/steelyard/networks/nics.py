"""The NICs of a tenant's server, as the tenant sees and names them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from steelyard.errors import Conflict, NotFound, Refused
from steelyard.naming import pick, shown
from steelyard.nouns import IRONICS, Network, NetworkPort, NodePort, SecurityGroup, Subnet


@dataclass(frozen=True, slots=True)
class SubInterface:
    """A tagged sub-interface of a NIC."""

    port_id: str
    vlan: int
    network_id: str
    network: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerNic:
    """One attachment of a server."""

    port: NetworkPort
    network: str
    """Its network's name."""
    security_groups: tuple[str, ...]
    """Names."""
    sub_interfaces: tuple[SubInterface, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(fixed.address for fixed in self.port.addresses)


def server_nics(
    instance_id: str,
    ports: Sequence[NetworkPort],
    networks: Mapping[str, Network],
    groups: Iterable[SecurityGroup],
) -> list[ServerNic]:
    """The attachments of a server, in the order in which they were made; `ports`: those of the sub-interfaces too."""
    by_id = {port.id: port for port in ports}
    names = {group.id: group.name for group in groups}
    found = []
    for port in sorted(own_ports(instance_id, ports), key=lambda port: (str(port.created_at or ""), port.id)):
        subs = [(subport, by_id[subport.port_id]) for subport in port.subports if subport.port_id in by_id]
        found.append(
            ServerNic(
                port=port,
                network=_name(port.network_id, networks),
                security_groups=tuple(sorted(names.get(group, group) for group in port.security_groups)),
                sub_interfaces=tuple(
                    SubInterface(
                        port_id=sub.id,
                        vlan=subport.vlan,
                        network_id=sub.network_id,
                        network=_name(sub.network_id, networks),
                        addresses=tuple(fixed.address for fixed in sub.addresses),
                    )
                    for subport, sub in subs
                ),
            )
        )
    return found


def own_ports(instance_id: str, ports: Iterable[NetworkPort]) -> list[NetworkPort]:
    """The attachments that are the server's."""
    return [port for port in ports if port.is_of(instance_id)]


def _name(network_id: str, networks: Mapping[str, Network]) -> str:
    network = networks.get(network_id)
    return network.name if network is not None else network_id


def find_nic(reference: str, nics: Sequence[ServerNic], server: str) -> ServerNic:
    """By the port's id, its MAC, one of its addresses, or its network's id or name.

    Raises `NotFound` (`nic_not_found`), `Conflict` (`ambiguous_nic`).
    """
    wanted = reference.lower()
    found = [
        nic
        for nic in nics
        if wanted in (nic.port.id, nic.port.mac, nic.port.network_id, *nic.addresses) or reference == nic.network
    ]
    if not found:
        raise NotFound(
            f"Server {server} has no NIC {shown(reference)}.",
            code="nic_not_found",
            next=f"steelyard server nic list {server}",
        )
    if len(found) > 1:
        raise Conflict(
            f"{len(found)} NICs of server {server} are meant by {shown(reference)}.",
            code="ambiguous_nic",
            next=f"name one by its MAC: steelyard server nic list {server}",
        )
    return found[0]


def attachable_units(nics: Iterable[NodePort]) -> int:
    """How many attachments a node has room for: its cabled NICs, those of a bond counting as one."""
    return len({nic.bond_id or nic.id for nic in nics if nic.link is not None})


def require_subnet(network: Network, subnets: Iterable[Subnet]) -> None:
    """Raises `Refused` (`network_without_subnet`): a NIC on it would get no address."""
    if not any(subnet.network_id == network.id for subnet in subnets):
        raise Refused(
            f"Network {shown(network.name)} has no subnet, so a server on it would get no address.",
            code="network_without_subnet",
            next="steelyard network create NAME --subnet CIDR",
        )


def require_enforced(
    references: Sequence[str], known: Sequence[SecurityGroup], project_id: str | None, *, enforced: bool
) -> tuple[str, ...]:
    """The ids of the security groups that a user named, all of which the controller enforces on a server's NIC.

    A group that nothing enforces would be taken for protection. The project's default group may be named: it is on
    every port anyway. Raises `NotFound`, and `Refused` (`security_group_not_enforced`).
    """
    mine = [group for group in known if group.project_id == project_id]
    found = [
        pick(
            "security group", reference, mine, id=lambda group: group.id, name=lambda group: group.name,
            next="openstack security group list",
        )
        for reference in references
    ]  # fmt: skip
    filtering = [group for group in found if not group.is_default]
    if filtering and not enforced:
        names = ", ".join(shown(group.name) for group in filtering)
        raise Refused(
            f"Security group {names} would not be enforced: nothing filters at a physical server's NIC here, neither "
            "the switch nor the network controller.",
            code="security_group_not_enforced",
            next="leave --security-group out, and filter in the server's own operating system",
        )
    return tuple(group.id for group in found)


def unenforced(ports: Iterable[NetworkPort], defaults: Collection[str]) -> list[NetworkPort]:
    """The tenants' ports bound to NICs that have security groups beside the default ones (ids)."""
    return [
        port
        for port in ports
        if port.vnic_type == "baremetal"
        and port.device_owner != IRONICS
        and (port.host_id is not None or port.device_id)
        and set(port.security_groups) - set(defaults)
    ]
