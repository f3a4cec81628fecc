"""Addresses: allocated by the controller, checked here, since it hands out more than it should.

The controller takes an address outside of the pools, that of the gateway or the name server when it is named, answers
with IPv6 where IPv4 has run out, and may give an address that Neutron gave away before it was asked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import netaddr
from neutron.ipam import exceptions as ipam_exc
from oslo_log import log
from oslo_utils import uuidutils

from steelyard_neutron.contrail import objects
from steelyard_neutron.contrail.client import Refused
from steelyard_neutron.contrail.mirror import Mirror

LOG = log.getLogger(__name__)

REMEMBERED = 1000
"""Instance-ips whose ids are remembered from their allocation until their port is told: then they need no search."""


@dataclass(frozen=True)
class Subnet:
    """What an allocation must fit into."""

    id: str
    network_id: str
    cidr: netaddr.IPNetwork
    gateway: netaddr.IPAddress | None
    pools: Sequence[netaddr.IPRange]

    @property
    def family(self) -> int:
        return int(self.cidr.version)


@dataclass(frozen=True)
class Address:
    """One that was allocated: the id of the instance-ip, and the address."""

    uuid: str
    address: str


class Addresses:
    """The controller's instance-ips in Neutron's subnets."""

    def __init__(self, mirror: Mirror):
        self._mirror = mirror
        self._controller = mirror.controller
        self._recent: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._recent_lock = threading.Lock()

    def take(self, subnet: Subnet, wanted: str | None = None) -> Address:
        """Allocate the address `wanted`, or the controller's next one, as a new instance-ip.

        Its id, and the name made of it, is the idempotency key of the request. Raises IpAddressAlreadyAllocated,
        IpAddressGenerationFailure (none is left), InvalidIpForSubnet, or Refused when the controller hands out what it
        must not; nothing is held then.
        """
        uuid = uuidutils.generate_uuid()
        name = objects.name_of(self._mirror.owner, uuid)
        network = self._mirror.network_name(subnet.network_id)
        content = objects.address(uuid, name, subnet.network_id, network, subnet.id, subnet.family, wanted)
        try:
            self._controller.create(objects.ADDRESS, content)
        except Refused as error:
            if error.status == 409 and wanted is not None:
                raise ipam_exc.IpAddressAlreadyAllocated(ip=wanted, subnet_id=subnet.id) from error
            if "exhausted" in error.reason:
                LOG.info("%s", error)
                raise ipam_exc.IpAddressGenerationFailure(subnet_id=subnet.id) from error
            if error.status == 400 and wanted is not None:
                raise ipam_exc.InvalidIpForSubnet(ip=wanted, subnet_id=subnet.id) from error
            raise
        try:
            present = self._controller.read(objects.ADDRESS, uuid, "instance_ip_address", "subnet_uuid")
            given = str((present or {}).get("instance_ip_address"))
            if wrong := why_not(subnet, given, wanted):
                raise Refused(what=f"address in subnet {subnet.id}", reason=f"it handed out {given}, {wrong}")
        except Exception:
            self.give_back(uuid)
            raise
        address = str(netaddr.IPAddress(given))
        with self._recent_lock:
            self._recent[subnet.id, address] = uuid
            while len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        return Address(uuid, address)

    def check_wanted(self, subnet: Subnet, wanted: str, *, for_router: bool, in_pool: bool) -> None:
        """Whether somebody may have this very address. Raises IpAddressAlreadyAllocated or InvalidIpForSubnet.

        The addresses of the gateway and of the controller's own name server are a router's alone.
        """
        address = netaddr.IPAddress(wanted)
        if address not in subnet.cidr or address in _not_hosts(subnet.cidr):
            raise ipam_exc.InvalidIpForSubnet(ip=wanted, subnet_id=subnet.id)
        if for_router:
            return
        reserved = {subnet.gateway} if subnet.gateway else set()
        reserved |= {netaddr.IPAddress(one) for one in self._mirror.service_addresses(subnet.network_id, subnet.id)}
        if address in reserved:
            raise ipam_exc.IpAddressAlreadyAllocated(ip=wanted, subnet_id=subnet.id)
        if in_pool and not any(address in pool for pool in subnet.pools):
            raise ipam_exc.InvalidIpForSubnet(ip=wanted, subnet_id=subnet.id)

    def find(self, subnet_id: str, address: str) -> str | None:
        """The id of the instance-ip that has an address: remembered, or looked for at the controller."""
        address = str(netaddr.IPAddress(address))
        with self._recent_lock:
            if known := self._recent.get((subnet_id, address)):
                return known
        found = self._controller.every(
            objects.ADDRESS, "instance_ip_address", "subnet_uuid", where={"instance_ip_address": address}
        )
        return next(
            (
                str(one["uuid"])
                for one in found
                if one.get("subnet_uuid") == subnet_id and objects.owned_id(self._mirror.owner, one["fq_name"])
            ),
            None,
        )

    def ids(self, fixed_ips: Iterable[Mapping[str, str]]) -> list[str]:
        """The ids of a port's addresses; one that the controller has not allocated for us has none."""
        found = (self.find(fixed["subnet_id"], str(fixed["ip_address"])) for fixed in fixed_ips)
        return [uuid for uuid in found if uuid is not None]

    def give_back_address(self, subnet_id: str, address: str) -> None:
        """give_back, of the instance-ip that has the address."""
        uuid = self.find(subnet_id, address)
        if uuid is not None:
            self.give_back(uuid)

    def give_back(self, uuid: str) -> None:
        """Free the address; one that is free already stays so."""
        with self._recent_lock:
            for key in [key for key, known in self._recent.items() if known == uuid]:
                del self._recent[key]
        try:
            self._controller.delete(objects.ADDRESS, uuid)
        except Refused as error:
            if error.status != 409:
                raise
            # Something of the controller's refers to it, a floating IP as a rule: that one has to go first.
            raise Refused(what=f"free the address {uuid}", reason=error.reason, status=409) from error


def why_not(subnet: Subnet, given: str, wanted: str | None) -> str | None:
    """What is wrong with an address that the controller gave; None: nothing."""
    try:
        address = netaddr.IPAddress(given)
    except (netaddr.AddrFormatError, ValueError):
        return "which is no address"
    if address.version != subnet.family:
        return f"which is not IPv{subnet.family}"
    if wanted is not None:
        return None if address == netaddr.IPAddress(wanted) else f"and {wanted} was asked for"
    if subnet.gateway is not None and address == subnet.gateway:
        return "which is the gateway's"
    if not any(address in pool for pool in subnet.pools):
        return "which is outside of the allocation pools"
    return None


def _not_hosts(cidr: netaddr.IPNetwork) -> set[netaddr.IPAddress]:
    """The addresses of network and broadcast, where a subnet has them."""
    if cidr.version == 6 or cidr.prefixlen >= 31:
        return set()
    return {netaddr.IPAddress(cidr.first), netaddr.IPAddress(cidr.last)}
