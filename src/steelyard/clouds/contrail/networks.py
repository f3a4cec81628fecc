"""Networks and subnets in the controller: virtual networks, and a network-ipam for each subnet.

Each subnet has a network-ipam of its own, named after it: so that one is added by one reference and nobody's other is
overwritten, and so that each can have its own DHCP options. Those that the controller's Neutron plugin makes (all on
one ipam) are read alike, and removed with care.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from steelyard.clouds.contrail.reading import (
    ADDRESS_FIELDS,
    NETWORK_FIELDS,
    as_subnet,
    default_pools,
    ipam_refs,
    ipam_subnets,
    name_of,
    network_of,
    owner_of,
    readable_by,
    subnet_of,
    subnets_of,
    vlan_of,
)
from steelyard.clouds.contrail.rest import ContrailRest, uuid_of
from steelyard.clouds.contrail.vlans import Vlans
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Conflict, Forbidden, Invalid, NotFound, SteelyardError, UpstreamError
from steelyard.nouns import Network, Subnet, SubnetSpec

IPAM_PREFIX = "steelyard-subnet-"
"""Begins the name of a network-ipam that belongs to one subnet."""
PRIVATE = {"owner_access": 7, "global_access": 0, "share": []}
"""A network that only its owner uses; administrators always may."""


class ContrailNetworks:
    """Virtual networks as the credentials see them; `vlans` has Steelyard's own."""

    def __init__(self, rest: ContrailRest, vlans: Vlans):
        self._rest = rest
        self._vlans = vlans

    def all(self) -> list[Network]:
        return [network_of(found, whole=self._rest.is_admin) for found in self._visible()]

    def create(self, name: str, *, project_id: str | None = None) -> Network:
        self._rest.require_writer("creating a network")
        owner = project_id or self._rest.project_id
        if owner is None:
            raise Invalid("a network belongs to a project, and these credentials have none", code="no_project")
        if owner != self._rest.project_id and not self._rest.is_admin:
            raise Forbidden("only an administrator can create for another project")
        identifier = self._rest.make(
            "virtual-network",
            {
                "fq_name": [*project_name(self._rest, owner), name], "parent_type": "project", "display_name": name,
                "perms2": {"owner": owner, **PRIVATE},
            },
        )  # fmt: skip
        try:
            if self._vlans.chooses:
                self._vlans.of(identifier)
        except SteelyardError:
            self._rest.remove("virtual-network", identifier)
            raise
        return network_of(self._rest.read("virtual-network", identifier), whole=self._rest.is_admin)

    def delete(self, network_id: str) -> None:
        found = self._mine(network_id)
        if found is None:
            return
        users = self._rest.objects("virtual-machine-interface", referring=[network_id], fields=("parent_uuid",))
        if users:
            count = len(users)
            raise Conflict(
                f"{count} port{' is' if count == 1 else 's are'} on the network {name_of(found)}",
                code="network_in_use", next=f"openstack port list --network {network_id}",
            )  # fmt: skip
        own = [ref.text("uuid") for ref in ipam_refs(found) if _is_ours(ref)]
        self._rest.remove("virtual-network", network_id)
        for ipam in own:
            self._rest.remove("network-ipam", ipam)

    def subnets(self) -> list[Subnet]:
        return [subnet for found in self._visible() for subnet in subnets_of(found)]

    def create_subnet(self, spec: SubnetSpec) -> Subnet:
        wanted = _checked(spec)
        self._rest.require_writer("creating a subnet")
        network = self._network(spec.network_id)
        self._require_own(network)
        _require_disjoint(wanted, subnets_of(network))
        owner = owner_of(network)
        subnet = replace(wanted, id=str(uuid.uuid4()), project_id=owner)
        ipam = self._rest.make(
            "network-ipam",
            {
                "fq_name": [*network.texts("fq_name")[:-1], IPAM_PREFIX + subnet.id], "parent_type": "project",
                "display_name": subnet.name, "network_ipam_mgmt": {"ipam_method": "dhcp"},
                "perms2": {"owner": owner, **PRIVATE},
            },
        )  # fmt: skip
        try:
            attr = {"ipam_subnets": [as_subnet(subnet)]}
            self._rest.refer("virtual-network", spec.network_id, "network-ipam", ipam, attr=attr)
            return self._made(spec.network_id, subnet.id)
        except SteelyardError:
            self._undo_subnet(spec.network_id, ipam)
            raise

    def _made(self, network_id: str, subnet_id: str) -> Subnet:
        """The subnet as the controller has it now, which keeps what it does not know to itself."""
        there = {each.id: each for each in subnets_of(self._rest.read("virtual-network", network_id))}
        if subnet_id not in there:
            raise UpstreamError("the controller took the subnet and does not have it", code="subnet_not_kept")
        return there[subnet_id]

    def _undo_subnet(self, network_id: str, ipam: str) -> None:
        try:
            self._rest.refer("virtual-network", network_id, "network-ipam", ipam, operation="DELETE")
            self._rest.remove("network-ipam", ipam)
        except SteelyardError:
            return  # an ipam without a network is found as an object without an owner

    def delete_subnet(self, subnet_id: str) -> None:
        for found in self._visible():
            for ref in ipam_refs(found):
                ids = [subnet_of(entry, found).id for entry in ipam_subnets(ref)]
                if subnet_id in ids and self._may_change(found):
                    self._rest.require_writer("deleting a subnet")
                    self._remove_subnet(found, ref, subnet_id)
                    return

    def _remove_subnet(self, network: Document, ref: Document, subnet_id: str) -> None:
        network_id = network.text("uuid")
        held = self._rest.objects("instance-ip", referring=[network_id], fields=ADDRESS_FIELDS)
        if any(each.maybe_text("subnet_uuid") == subnet_id for each in held):
            raise Conflict("the subnet has addresses in use", code="subnet_in_use")
        rest: list[dict[str, Any]] = [
            entry.data for entry in ipam_subnets(ref) if subnet_of(entry, network).id != subnet_id
        ]
        ipam = ref.text("uuid")
        if rest:
            self._rest.refer("virtual-network", network_id, "network-ipam", ipam, attr={"ipam_subnets": rest})
        else:
            self._rest.refer("virtual-network", network_id, "network-ipam", ipam, operation="DELETE")
            if _is_ours(ref):
                self._rest.remove("network-ipam", ipam)

    # Who may what

    def _visible(self) -> list[Document]:
        found = self._rest.objects("virtual-network", fields=NETWORK_FIELDS)
        return [each for each in found if not _internal(each) and self._sees(each)]

    def _sees(self, network: Document) -> bool:
        return self._rest.is_admin or readable_by(network, self._rest.project_id)

    def _network(self, network_id: str) -> Document:
        """Raises `NotFound` also for what the credentials may not know of."""
        try:
            found = self._rest.read("virtual-network", network_id)
        except Forbidden:
            found = None
        if found is None or not self._sees(found):
            raise NotFound(f"network {network_id[:80]} could not be found")
        return found

    def _may_change(self, network: Document) -> bool:
        return self._rest.is_admin or owner_of(network) == self._rest.project_id

    def _require_own(self, network: Document) -> None:
        if not self._may_change(network):
            raise Forbidden("this network belongs to another project")

    def _mine(self, network_id: str) -> Document | None:
        """The network, if the credentials may change it; what they may not see is not there."""
        try:
            found = self._network(network_id)
        except NotFound:
            return None
        self._rest.require_writer("deleting a network")
        self._require_own(found)
        return found


def project_name(rest: ContrailRest, project_id: str) -> tuple[str, ...]:
    """A project's full name: [domain, project]. The controller learns of Keystone's projects when it is asked."""
    try:
        return rest.read("project", uuid_of(project_id), fields=("fq_name",)).texts("fq_name")
    except NotFound:
        raise NotFound(
            f"the controller knows no project {project_id[:80]}",
            code="project_not_synced", next="steelyard network preflight",
        ) from None  # fmt: skip


def _is_ours(ref: Document) -> bool:
    names = ref.texts("to")
    return bool(names) and names[-1].startswith(IPAM_PREFIX)


def _internal(network: Document) -> bool:
    """The controller's own networks (`ip-fabric`, `__link_local__`, ...), which nobody is attached to."""
    names = network.texts("fq_name")
    return names[:2] == ("default-domain", "default-project") and vlan_of(network) is None


def _checked(spec: SubnetSpec) -> Subnet:
    """The subnet that is asked for, its defaults worked out. Raises `Invalid`."""
    try:
        network = ipaddress.ip_network(spec.cidr)
    except ValueError as error:
        raise Invalid(f"{spec.cidr[:64]!r} is not a subnet: {error}", code="invalid_cidr") from None
    if "/" not in spec.cidr:
        raise Invalid(f"{spec.cidr[:64]!r} is not a subnet: it has no length", code="invalid_cidr")
    gateway = spec.gateway or str(network.network_address + 1)
    for address in (gateway, *(end for pool in spec.pools for end in pool)):
        try:
            inside = ipaddress.ip_address(address) in network
        except ValueError:
            inside = False
        if not inside:
            raise Invalid(f"{address[:64]!r} is no address of {network}", code="invalid_address")
    return Subnet(
        id="", name=spec.name, network_id=spec.network_id, project_id=None, cidr=str(network), gateway=gateway,
        pools=spec.pools or default_pools(str(network), gateway), dhcp=spec.dhcp, dns_servers=spec.dns_servers,
        host_routes=spec.host_routes,
    )  # fmt: skip


def _require_disjoint(wanted: Subnet, there: Sequence[Subnet]) -> None:
    """The controller need not refuse subnets of one network that overlap; an address would be in two."""
    cidr = ipaddress.ip_network(wanted.cidr)
    for known in there:
        other = ipaddress.ip_network(known.cidr, strict=False)
        if other.version == cidr.version and other.overlaps(cidr):
            raise Invalid(f"subnet {cidr} overlaps with {other} of the same network", code="overlapping_subnets")
