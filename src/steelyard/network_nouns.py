"""The values of networks that cross the ports: networks, attachments, cables and switches; see `nouns`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

IRONICS: Final = "baremetal:none"
"""Device owner of the ports that Ironic, and our quarantine, make for a node."""


@dataclass(frozen=True, slots=True)
class SwitchLink:
    """The other end of a NIC's cable (Ironic's local_link_connection; learned by LLDP)."""

    switch_id: str
    """Chassis id: the switch's MAC, lower-case with colons."""
    port_id: str
    """Port name as the switch calls it, e.g. Ethernet3."""
    switch_name: str | None = None


@dataclass(frozen=True, slots=True)
class NodePort:
    """A NIC of a node (Ironic's port)."""

    id: str
    node_id: str
    mac: str
    pxe_enabled: bool
    physical_network: str | None
    link: SwitchLink | None
    name: str | None = None
    bond_id: str | None = None
    """The bond that it is a member of."""
    vif_id: str | None = None
    """The controller's port of a server's that Ironic keeps here (its VIF); no other can be attached meanwhile."""


@dataclass(frozen=True, slots=True)
class Bond:
    """NICs of a node that act as one (Ironic's port group)."""

    id: str
    node_id: str
    name: str | None
    mac: str | None
    mode: str
    """Linux's name of the bonding mode: 802.3ad (LACP), active-backup, balance-xor, ..."""
    vif_id: str | None = None
    """As a NIC's."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Several cables that are one attachment: what the switches make a link aggregation group of."""

    id: str
    """The bond's."""
    name: str | None
    links: tuple[SwitchLink, ...]
    """Of all members; on one leaf, or on two."""
    mode: str = "802.3ad"


@dataclass(frozen=True, slots=True)
class Network:
    id: str
    name: str
    project_id: str | None
    shared: bool
    status: str | None
    segmentation_id: int | None
    """VLAN id, None when not visible or not a VLAN network."""
    network_type: str | None
    physical_network: str | None
    subnet_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route that a subnet's hosts are given beside the default one."""

    destination: str
    """CIDR."""
    next_hop: str


@dataclass(frozen=True, slots=True)
class Subnet:
    id: str
    name: str
    network_id: str
    project_id: str | None
    cidr: str
    gateway: str | None
    pools: tuple[tuple[str, str], ...]
    """Allocation pools, first and last address of each."""
    dhcp: bool
    dns_servers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class FixedAddress:
    subnet_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Subport:
    """A tagged sub-interface of an attachment: another network, in a VLAN of its own on the same NIC."""

    port_id: str
    """The network controller's port of the sub-interface."""
    vlan: int
    """The tag on the wire."""


@dataclass(frozen=True, slots=True)
class NetworkPort:
    """One attachment as the network controller sees it (Neutron's port, Contrail's VMI)."""

    id: str
    name: str
    network_id: str
    project_id: str | None
    mac: str
    addresses: tuple[FixedAddress, ...]
    device_id: str | None
    """Instance or node or router that owns it."""
    device_owner: str | None
    """Neutron's: compute:…, baremetal:none, network:dhcp, network:router_interface, ..."""
    host_id: str | None
    vnic_type: str | None
    """baremetal for a NIC of a node, normal for a virtual machine."""
    status: str | None
    """ACTIVE once the switch port is bound, DOWN before."""
    link: SwitchLink | None
    """Where it is bound, from the binding profile; None when unbound. Of a bond's the first."""
    created_at: datetime | None = None
    more_links: tuple[SwitchLink, ...] = ()
    """The other cables of a bond."""
    security_groups: tuple[str, ...] = ()
    """Ids of those that are set on it, the default one included."""
    subports: tuple[Subport, ...] = ()
    """Its tagged sub-interfaces."""

    @property
    def links(self) -> tuple[SwitchLink, ...]:
        """Every switch port that it is bound to."""
        return () if self.link is None else (self.link, *self.more_links)

    def is_of(self, instance_id: str | None) -> bool:
        """Whether it is this server's. During a deployment Ironic's own ports carry the server's id too."""
        return instance_id is not None and self.device_id == instance_id and self.device_owner != IRONICS

    @property
    def is_novas(self) -> bool:
        """Whether it says to be of a server of Nova's. Where the controller is asked itself, bare metal's does not."""
        return (self.device_owner or "").startswith("compute:")


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    id: str
    name: str
    project_id: str | None

    @property
    def is_default(self) -> bool:
        """The one that the controller puts on every port that names none."""
        return self.name == "default"


@dataclass(frozen=True, slots=True)
class AttachmentSpec:
    """A port to make on a network, bound to a NIC of a node."""

    name: str
    network_id: str
    node_id: str
    mac: str
    link: SwitchLink
    device_owner: str = IRONICS
    with_address: bool = False
    """Whether it takes an address of a subnet; a quarantine port needs none."""
    lag: Lag | None = None
    """Of a bond; `link` is the first of its links."""


@dataclass(frozen=True, slots=True)
class NodePortSpec:
    node_id: str
    mac: str
    pxe_enabled: bool
    physical_network: str | None = None
    link: SwitchLink | None = None


@dataclass(frozen=True, slots=True)
class BondSpec:
    node_id: str
    name: str
    mac: str
    """By custom the MAC of its first member."""
    mode: str = "802.3ad"


@dataclass(frozen=True, slots=True)
class SubnetSpec:
    name: str
    network_id: str
    cidr: str
    project_id: str | None = None
    gateway: str | None = None
    dhcp: bool = True
    pools: tuple[tuple[str, str], ...] = ()
    dns_servers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()


class PortMode(StrEnum):
    """How a switch treats the frames of a port, in the words most vendors use."""

    ACCESS = "access"
    TRUNK = "trunk"
    TUNNEL = "tunnel"
    """802.1Q tunnel: whatever comes in, tagged or not, is carried inside the untagged VLAN."""
    ROUTED = "routed"
    """In no VLAN: the switch itself is the neighbour."""
    OTHER = "other"
    """None of these; `extra` says what the switch calls it."""


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """One port as the switch itself reports it, read back."""

    switch_id: str
    switch_name: str
    port_id: str
    untagged_vlan: int | None
    """None: the port carries no untagged VLAN (idle)."""
    tagged_vlans: frozenset[int] = frozenset()
    enabled: bool = True  # administratively
    mode: PortMode | None = None
    lag: str | None = None
    """The link aggregation group that it is a member of; its VLANs are then the group's."""
    extra: str | None = None
    """What it does beyond carrying those VLANs, as a short phrase ("routed"); never set on a plain port."""
    parked_vlan: int | None = None
    """The VLAN of idle ports, where that is all that it carries; `untagged_vlan` is None then."""
    filters: frozenset[str] | None = None
    """The security groups, by their ids, that its frames have to pass. None: the reader does not read filters."""
