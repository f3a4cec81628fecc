"""`ipam_driver = steelyard_contrail`: the controller allocates addresses, Neutron's tables remember them.

The pools and allocations stay in Neutron's own IPAM tables as well. What is taken at the controller inside of a
transaction is given back when that is rolled back, and what a transaction gives back is freed once it is committed
(transactions.py); so no explicit rollback is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import netaddr
from neutron.ipam import exceptions as ipam_exc
from neutron.ipam import requests as ipam_requests
from neutron.ipam import utils as ipam_utils
from neutron.ipam.drivers.neutrondb_ipam import driver as neutrondb
from neutron.objects import ipam as ipam_objects
from neutron_lib import constants
from neutron_lib.db import api as db_api
from oslo_log import log

from steelyard_neutron.contrail import settings, transactions
from steelyard_neutron.contrail.addresses import Address, Subnet
from steelyard_neutron.contrail.client import Refused
from steelyard_neutron.contrail.parts import ensure_network_and_subnets, parts

LOG = log.getLogger(__name__)


class ContrailSubnet(neutrondb.NeutronDbSubnet):  # type: ignore[misc]
    """The addresses of one subnet."""

    def allocate(self, address_request: Any) -> str:
        """The address, taken at the controller and noted here.

        Raises IpAddressAlreadyAllocated, IpAddressGenerationFailure, InvalidIpForSubnet; Refused or Unreachable when
        the controller does not obey or answer.
        """
        wanted = None
        if isinstance(address_request, ipam_requests.SpecificAddressRequest):
            wanted = str(address_request.address)
            self._check(address_request, wanted)
        subnet = self._subnet()
        taken = self._healing(functools.partial(parts().addresses.take, subnet, wanted))
        transactions.on_rollback(self._context.session, functools.partial(parts().addresses.give_back, taken.uuid))
        if self._is_noted(taken.address):
            raise Refused(
                what=f"address in subnet {subnet.id}",
                reason=f"it handed out {taken.address}, which Neutron has given to somebody",
            )
        with db_api.CONTEXT_WRITER.using(self._context):
            self.subnet_manager.create_allocation(self._context, taken.address)
        return taken.address

    def bulk_allocate(self, address_request: Any) -> list[str]:
        """As many as are asked for, one by one."""
        if not isinstance(address_request, ipam_requests.BulkAddressRequest):
            return [self.allocate(address_request)]
        return [self.allocate(ipam_requests.AnyAddressRequest()) for _ in range(address_request.num_addresses)]

    def deallocate(self, address: Any) -> None:
        """Forget it here, and free it at the controller once that is committed."""
        address = str(netaddr.IPAddress(address))
        super().deallocate(address)
        free = functools.partial(parts().addresses.give_back_address, self._subnet_id, address)
        transactions.on_commit_unless_with_port(self._context.session, self._subnet_id, address, free)

    def _check(self, request: Any, wanted: str) -> None:
        if self._is_noted(wanted):
            raise ipam_exc.IpAddressAlreadyAllocated(subnet_id=self._subnet_id, ip=wanted)
        parts().addresses.check_wanted(
            self._subnet(),
            wanted,
            for_router=getattr(request, "device_owner", "") in constants.ROUTER_INTERFACE_OWNERS_SNAT
            or getattr(request, "device_owner", "") == constants.DEVICE_OWNER_ROUTER_GW,
            in_pool=settings.options().fixed_addresses_in_pool,
        )

    def _healing(self, take: Callable[[], Address]) -> Address:
        """A controller that does not know the network yet, or any more, is told; once."""
        try:
            return take()
        except Refused as error:
            if error.status not in (400, 404):
                raise
            LOG.warning("%s; its network %s is made anew", error, self._subnet().network_id)
        ensure_network_and_subnets(self._context, self._subnet().network_id)
        return take()

    def _is_noted(self, address: str) -> bool:
        """Whether Neutron has given the address to somebody."""
        return not self.subnet_manager.check_unique_allocation(self._context, str(netaddr.IPAddress(address)))

    def _subnet(self) -> Subnet:
        stored = self._fetch_subnet(self._context, self._subnet_id)
        gateway = stored.gateway_ip
        pools = [netaddr.IPRange(pool.first_ip, pool.last_ip) for pool in self.subnet_manager.list_pools(self._context)]
        return Subnet(
            id=self._subnet_id,
            network_id=stored.network_id,
            cidr=netaddr.IPNetwork(stored.cidr),
            gateway=netaddr.IPAddress(gateway) if gateway else None,
            pools=pools,
        )


class SubnetRequests(ipam_requests.SubnetRequestFactory):  # type: ignore[misc]
    """Requests that remember the whole subnet: the controller wants to know its network."""

    @classmethod
    def get_request(cls, context: Any, subnet: Mapping[str, Any], subnetpool: Any) -> Any:
        request = super().get_request(context, subnet, subnetpool)
        request.neutron_subnet = dict(subnet)
        return request


class AddressRequests(ipam_requests.AddressRequestFactory):  # type: ignore[misc]
    """Requests that remember whose the address will be: a router may have what others may not."""

    @classmethod
    def get_request(cls, context: Any, port: Mapping[str, Any], ip_dict: Mapping[str, Any]) -> Any:
        request = super().get_request(context, port, ip_dict)
        request.device_owner = port["device_owner"]
        return request


class ContrailPool(neutrondb.NeutronDbPool):  # type: ignore[misc]
    """Subnets at the controller; prefixes of subnet pools are chosen as in Neutron's own driver."""

    def get_subnet_request_factory(self) -> type[SubnetRequests]:
        return SubnetRequests

    def get_address_request_factory(self) -> type[AddressRequests]:
        return AddressRequests

    def get_subnet(self, subnet_id: str) -> ContrailSubnet:
        found: ContrailSubnet = ContrailSubnet.load(subnet_id, self._context)
        return found

    def allocate_subnet(self, subnet_request: Any) -> ContrailSubnet:
        """Make the subnet here and at the controller, before Neutron stores it."""
        asked = getattr(subnet_request, "neutron_subnet", None)
        if asked is None:
            raise ipam_exc.InvalidSubnetRequest(reason="it does not say which network it is for")
        chosen = super().allocate_subnet(subnet_request).get_details()
        subnet = _as_stored(asked, chosen)
        mirror = parts().mirror
        transactions.on_rollback(self._context.session, functools.partial(mirror.remove_subnet, subnet["id"]))
        try:
            mirror.ensure_subnet(subnet)
        except Refused as error:
            if error.status != 404:
                raise
            ensure_network_and_subnets(self._context, subnet["network_id"])
            mirror.ensure_subnet(subnet)
        return self._made(chosen)

    def _made(self, chosen: Any) -> ContrailSubnet:
        """The subnet that the base class has just noted in Neutron's tables."""
        [noted] = ipam_objects.IpamSubnet.get_objects(self._context, neutron_subnet_id=chosen.subnet_id)
        return ContrailSubnet(
            noted.id, self._context, cidr=chosen.subnet_cidr, allocation_pools=chosen.allocation_pools,
            gateway_ip=chosen.gateway_ip, project_id=chosen.project_id, subnet_id=chosen.subnet_id,
        )  # fmt: skip

    def remove_subnet(self, subnet_id: str) -> None:
        super().remove_subnet(subnet_id)
        transactions.on_commit(self._context.session, functools.partial(parts().mirror.remove_subnet, subnet_id))


def _as_stored(asked: Mapping[str, Any], chosen: Any) -> dict[str, Any]:
    """The subnet as Neutron will show it, from the request and what the pools made of it."""
    pools = chosen.allocation_pools or ipam_utils.generate_pools(chosen.subnet_cidr, chosen.gateway_ip)
    version = chosen.subnet_cidr.version

    def given(key: str) -> Any:
        value = asked.get(key)
        return None if value is constants.ATTR_NOT_SPECIFIED else value

    return {
        "id": chosen.subnet_id,
        "network_id": asked["network_id"],
        "name": given("name"),
        "cidr": str(chosen.subnet_cidr.cidr),
        "gateway_ip": str(chosen.gateway_ip) if chosen.gateway_ip is not None else None,
        "enable_dhcp": given("enable_dhcp") is not False,
        "dns_nameservers": given("dns_nameservers") or [],
        "host_routes": given("host_routes") or [],
        "allocation_pools": [
            {
                "start": str(netaddr.IPAddress(pool.first, version)),
                "end": str(netaddr.IPAddress(pool.last, version)),
            }
            for pool in pools
        ],
    }
