"""Addresses that are kept by hand: ports (VMIs) that are bound to nothing, each with one instance-ip."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from steelyard.address_nouns import HoldSpec
from steelyard.clouds.contrail.addresses import Addresses
from steelyard.clouds.contrail.attachments import MAC_FIELDS, OURS, ContrailAttachments
from steelyard.clouds.contrail.flips import VMI
from steelyard.clouds.contrail.networks import project_name
from steelyard.clouds.contrail.reading import DEVICE, owner_of, pairs_of, readable_by, ref_name, subnets_of
from steelyard.clouds.contrail.rest import ContrailRest, taken_by
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound, SteelyardError
from steelyard.nouns import NetworkPort, Subnet


class ContrailAddresses:
    """Kept with the rights of who owns the network. `operator` sees all MACs on it: the controller compares none."""

    def __init__(self, rest: ContrailRest, operator: ContrailRest, attachments: ContrailAttachments):
        self._rest = rest
        self._operator = operator
        self._attachments = attachments
        self._addresses = Addresses(rest)

    def hold(self, specs: Sequence[HoldSpec]) -> list[NetworkPort]:
        """All or none: what was made before a refusal is taken back."""
        self._rest.require_writer("creating a port")
        networks = {network_id: self._network(network_id) for network_id in {spec.network_id for spec in specs}}
        macs = {network_id: self._macs(network_id) for network_id in networks}
        made: list[str] = []
        try:
            ids = [self._hold(spec, networks[spec.network_id], macs[spec.network_id], made) for spec in specs]
        except BaseException:
            self._take_back(made)
            raise
        there = {port.id: port for port in self._attachments.all(network_ids=list(networks))}
        return [there[each] for each in ids]

    def release(self, port_id: str) -> None:
        try:
            self._attachments.get(port_id)
            # A tenant sees neither the binding nor a reference to what is an administrator's.
            found = self._operator.read(VMI, port_id)
        except NotFound:
            return
        bindings = pairs_of(found)
        if user := bindings.get(DEVICE) or ref_name(found, "virtual_machine_refs") or bindings.get("host_id"):
            raise Conflict(f"the address is in use by {user}", code="address_in_use")
        self._attachments.delete(port_id)

    def _hold(self, spec: HoldSpec, network: Document, macs: dict[str, str], made: list[str]) -> str:
        subnet = next((each for each in subnets_of(network) if each.id == spec.subnet_id), None)
        if subnet is None:
            raise NotFound(f"subnet {spec.subnet_id[:80]} could not be found")
        if spec.mac in macs:
            return self._same(spec, macs[spec.mac], subnet)
        if spec.address is not None:
            _require_possible(spec.address, subnet)
        owner = spec.project_id or self._rest.project_id
        if owner is None:
            raise Invalid("a port belongs to a project, and these credentials have none", code="no_project")
        if owner != self._rest.project_id and not self._rest.is_admin:
            raise Forbidden("only an administrator can create for another project")
        identifier = str(uuid.uuid4())
        made.append(identifier)  # before: it may be made, and the answer get lost
        try:
            self._rest.make(VMI, _body(spec, project_name(self._rest, owner), owner), identifier=identifier)
        except Duplicate as error:
            made.remove(identifier)
            there = taken_by(error)  # the same was asked for at the same time
            if there is None:
                raise
            return self._same(spec, there, subnet)
        macs[spec.mac] = identifier
        self._give(spec, identifier, subnet)
        return identifier

    def _give(self, spec: HoldSpec, port_id: str, subnet: Subnet) -> None:
        owner = spec.project_id
        if spec.address is None:
            self._addresses.give(port_id, spec.network_id, [subnet], owner=owner)
        else:
            self._addresses.give_this(port_id, spec.network_id, subnet, spec.address, owner=owner)

    def _same(self, spec: HoldSpec, port_id: str, subnet: Subnet) -> str:
        """What was asked for before. One that is without an address, as after a crash, gets it now.

        Raises `Duplicate` for somebody else's port, which not everybody may see.
        """
        try:
            port = self._attachments.get(port_id)
        except NotFound:
            port = None
        if port is not None and port.device_owner == spec.device_owner:
            if not port.addresses:
                self._give(spec, port_id, subnet)
                return port_id
            if any(each.subnet_id == subnet.id and spec.address in (None, each.address) for each in port.addresses):
                return port_id
        raise Duplicate(f"the MAC address {spec.mac} is in use on network {spec.network_id}", code="mac_in_use")

    def _network(self, network_id: str) -> Document:
        """Raises `NotFound` for what the credentials may not know of, `Forbidden` for another project's."""
        try:
            found = self._rest.read("virtual-network", network_id)
        except Forbidden:
            found = None
        if found is None or not (self._rest.is_admin or readable_by(found, self._rest.project_id)):
            raise NotFound(f"network {network_id[:80]} could not be found")
        if not self._rest.is_admin and owner_of(found) != self._rest.project_id:
            raise Forbidden("a MAC, an address and a project are for the network's owner to choose")
        return found

    def _macs(self, network_id: str) -> dict[str, str]:
        """The port that has it, by MAC: everybody's on the network."""
        taken = {}
        for each in self._operator.objects(VMI, referring=[network_id], fields=MAC_FIELDS):
            for mac in each.mapping("virtual_machine_interface_mac_addresses").get("mac_address") or ():
                taken[str(mac).lower()] = each.text("uuid")
        return taken

    def _take_back(self, port_ids: Iterable[str]) -> None:
        for port_id in port_ids:
            try:
                self._attachments.delete(port_id)
            except SteelyardError:
                continue  # it stays as what it is, a port that is kept by hand: seen in the list, released by hand


def _body(spec: HoldSpec, project: Sequence[str], owner: str) -> dict[str, Any]:
    """The name is the network's and the MAC's: asked for twice at the same time, it is one port."""
    name = f"steelyard-kept-{uuid.uuid5(OURS, f'{spec.network_id}/{spec.mac}')}"
    return {
        "fq_name": [*project, name], "parent_type": "project", "display_name": spec.name,
        "perms2": {"owner": owner, "owner_access": 7, "global_access": 0, "share": []},
        "virtual_network_refs": [{"uuid": spec.network_id, "attr": None}],
        "virtual_machine_interface_mac_addresses": {"mac_address": [spec.mac]},
        "virtual_machine_interface_device_owner": spec.device_owner,
    }  # fmt: skip


def _require_possible(address: str, subnet: Subnet) -> None:
    """Raises `Invalid` for what no port of the subnet can have. The pools are for who asks to look at."""
    net = ipaddress.ip_network(subnet.cidr, strict=False)
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        raise Invalid(f"{address[:64]!r} is no address", code="invalid_address") from None
    edges = {net.network_address, net.broadcast_address} if net.version == 4 else {net.network_address}
    if wanted not in net or wanted in edges:
        raise Invalid(f"IP address {address} is not a valid IP for the specified subnet.", code="invalid_address")
