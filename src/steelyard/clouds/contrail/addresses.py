"""Addresses of ports: instance-ips. What the controller does not check is checked here.

It hands out from the top of a pool unless told otherwise, answers a question without a family with an IPv6 address once
IPv4 is used up, takes any address of a subnet by request (also the gateway's, also one outside the pool), and hands a
freed one out again at once. So every request here names the subnet, the family and a name of its own, and what comes
back is looked at before anybody uses it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from steelyard.clouds.contrail.reading import ADDRESS_FIELDS, ref_ids
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Conflict, Duplicate, Invalid
from steelyard.nouns import FixedAddress, Subnet


def own_name(port_id: str, family: str) -> str:
    """Name of the instance-ip that we make for a port: global in the controller, so a second one cannot be made."""
    return f"steelyard-{port_id}-{family}"


class Addresses:
    """Instance-ips, with the credentials of the one who owns the ports."""

    def __init__(self, rest: ContrailRest):
        self._rest = rest

    def of_networks(self, network_ids: Iterable[str] | None = None) -> list[Document]:
        """All instance-ips, or those on these networks."""
        if network_ids is None:
            return self._rest.objects("instance-ip", fields=ADDRESS_FIELDS)
        return self._rest.objects("instance-ip", referring=list(network_ids), fields=ADDRESS_FIELDS)

    def of_port(self, port_id: str) -> list[Document]:
        return self._rest.objects("instance-ip", referring=[port_id], fields=ADDRESS_FIELDS)

    def give(
        self, port_id: str, network_id: str, subnets: Sequence[Subnet], *, owner: str | None = None
    ) -> list[FixedAddress]:
        """An address for the port of each family that the network has subnets of; none where it has no subnet.

        `owner`: the project whose it is, where that is not the one that asks.

        The family's next subnet is asked when one is used up. Raises `Conflict` (`no_free_address`) when all are, and
        `Conflict` (`address_not_usable`) when what the controller gave is nobody's to use; it is given back then.
        """
        ordered = sorted(subnets, key=lambda subnet: subnet.cidr)
        families = {"v4": [each for each in ordered if ":" not in each.cidr],
                    "v6": [each for each in ordered if ":" in each.cidr]}  # fmt: skip
        return [self._of_family(port_id, network_id, some, name, owner) for name, some in families.items() if some]

    def _of_family(
        self, port_id: str, network_id: str, subnets: Sequence[Subnet], family: str, owner: str | None
    ) -> FixedAddress:
        refused: list[str] = []
        for subnet in subnets:
            try:
                return self._take(port_id, network_id, subnet, family, owner)
            except (Conflict, Invalid) as error:
                if error.code == "address_not_usable":
                    raise
                refused.append(error.detail)
        raise Conflict(f"no IP{family} address is free on the network: {refused[-1]}", code="no_free_address")

    def _take(self, port_id: str, network_id: str, subnet: Subnet, family: str, owner: str | None) -> FixedAddress:
        there = self._make(port_id, network_id, subnet, family, owner)
        got = self._rest.read("instance-ip", there)
        address = got.text("instance_ip_address")
        if why := unusable(address, subnet):
            self._rest.remove("instance-ip", there)
            raise Conflict(f"the controller gave {address}, {why}", code="address_not_usable")
        return FixedAddress(got.maybe_text("subnet_uuid") or subnet.id, address)

    def give_this(
        self, port_id: str, network_id: str, subnet: Subnet, address: str, *, owner: str | None = None
    ) -> None:
        """This very address, whether it is in a pool or not. Raises `Duplicate` where somebody has it."""
        try:
            self._make(port_id, network_id, subnet, "v6" if ":" in subnet.cidr else "v4", owner, address)
        except Conflict as error:
            taken = f"IP address {address} already allocated in subnet {subnet.id}"
            raise Duplicate(taken, code="address_taken") from error

    def _make(
        self, port_id: str, network_id: str, subnet: Subnet, family: str, owner: str | None, address: str | None = None
    ) -> str:
        """The port's instance-ip, and its uuid; also where it was made before, or is at this moment."""
        name = own_name(port_id, family)
        body: dict[str, Any] = {
            "fq_name": [name], "instance_ip_family": family, "subnet_uuid": subnet.id,
            "virtual_network_refs": [{"uuid": network_id, "attr": None}],
            "virtual_machine_interface_refs": [{"uuid": port_id, "attr": None}],
        }  # fmt: skip
        if address is not None:
            body["instance_ip_address"] = address
        if owner is not None:
            body["perms2"] = {"owner": owner, "owner_access": 7, "global_access": 0, "share": []}
        if (there := self._rest.find("instance-ip", [name])) is not None:
            return there
        try:
            return self._rest.make("instance-ip", body)
        except Duplicate:
            if (there := self._rest.find("instance-ip", [name])) is None:
                raise
            return there

    def give_back(self, port_id: str) -> None:
        """Remove the port's addresses; those that another port has too only lose this one."""
        for entry in self.of_port(port_id):
            users = set(ref_ids(entry, "virtual_machine_interface_refs"))
            if users - {port_id}:
                self._rest.refer(
                    "instance-ip", entry.text("uuid"), "virtual-machine-interface", port_id, operation="DELETE"
                )  # fmt: skip
            else:
                self._rest.remove("instance-ip", entry.text("uuid"))


def unusable(address: str, subnet: Subnet) -> str | None:
    """Why a port may not have this address, in words that go on after it; None if it may. Pure."""
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return "which is no address"
    network = ipaddress.ip_network(subnet.cidr, strict=False)
    if wanted.version != network.version:
        return f"which is of another family than {network}"
    if wanted not in network:
        return f"which is outside {network}"
    if subnet.gateway is not None and wanted == ipaddress.ip_address(subnet.gateway):
        return "which is the gateway's"
    if any(_plain(server) == str(wanted) for server in subnet.dns_servers):
        return "which is a DNS server's"
    ends = [(int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))) for first, last in subnet.pools]
    if not any(first <= int(wanted) <= last for first, last in ends):
        return f"which is outside the pools of {network}"
    return None


def _plain(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
