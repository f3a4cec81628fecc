"""Ports in the controller: virtual machine interfaces (VMIs) with their addresses, bound through port groups."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from steelyard.clouds.contrail.addresses import Addresses
from steelyard.clouds.contrail.flips import BINDINGS, VMI, Flips
from steelyard.clouds.contrail.groups import Groups
from steelyard.clouds.contrail.networks import project_name
from steelyard.clouds.contrail.reading import (
    DEVICE,
    PORT_FIELDS,
    addresses_by_port,
    as_pairs,
    network_id_of,
    owner_of,
    pairs_of,
    port_of,
    ref_ids,
    subnets_of,
    tag_of,
)
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Duplicate, Forbidden, Invalid, NotFound, SteelyardError
from steelyard.nouns import AttachmentSpec, FixedAddress, Lag, NetworkPort, Subport, SwitchLink

OURS = uuid.UUID("5c0d4a0e-5b5e-4d0e-9b0a-0d6c1f1e7a51")
"""Namespace of the uuids of ports that Steelyard makes: the same port asked for twice has the same one."""

FEW = 20
"""Up to so many ports are completed one by one and not by lists of everything."""
MAC_FIELDS = ("virtual_machine_interface_mac_addresses",)


class ContrailAttachments:
    """Ports as the credentials see them. `operator` has Steelyard's own rights: the map of switch ports is ours."""

    def __init__(self, rest: ContrailRest, operator: ContrailRest, groups: Groups, flips: Flips):
        self._rest = rest
        self._operator = operator
        self._addresses = Addresses(rest)
        self._groups = groups
        self._flips = flips

    def all(
        self, *, network_ids: Sequence[str] | None = None, device_ids: Sequence[str] | None = None
    ) -> list[NetworkPort]:
        if (network_ids is not None and not network_ids) or (device_ids is not None and not device_ids):
            return []
        networks = [each for each in network_ids or () if _is_uuid(each)] if network_ids is not None else None
        if networks == []:
            return []
        seen = self._rest.objects(VMI, fields=PORT_FIELDS, referring=networks)
        found = [each for each in seen if self._sees(each) and (networks is None or network_id_of(each) in networks)]
        ports = self._whole(found, of=networks, among=seen if networks is None else None)
        return ports if device_ids is None else [port for port in ports if port.device_id in set(device_ids)]

    def get(self, port_id: str) -> NetworkPort:
        return self._one(self._read(port_id))

    def bound(self, node_id: str) -> list[NetworkPort]:
        if not self._rest.is_admin:
            return []
        # The controller cannot be asked by binding; so that of all is read, and the rest only of those that are meant.
        bindings = self._rest.objects(VMI, fields=(BINDINGS,))
        ids = [each.text("uuid") for each in bindings if pairs_of(each).get("host_id") == node_id]
        found = self._rest.objects(VMI, fields=PORT_FIELDS, ids=ids) if ids else []
        mine = [each for each in found if pairs_of(each).get("host_id") == node_id and tag_of(each) is None]
        return self._whole(mine)

    def create(self, spec: AttachmentSpec) -> NetworkPort:
        self._rest.require_admin("binding a port")
        links = spec.lag.links if spec.lag is not None else (spec.link,)
        identifier = own_port_id(spec)
        network = self._rest.read("virtual-network", spec.network_id)
        self._require_mac_free(spec.network_id, spec.mac, identifier)
        fresh = self._make(spec, identifier)
        try:
            if spec.with_address:
                self._addresses.give(identifier, spec.network_id, subnets_of(network))
            port = self._operator.read(VMI, identifier)
            self._flips.bind(port, node_id=spec.node_id, mac=spec.mac, links=links, fresh=fresh)
        except SteelyardError:
            if fresh and self._is_unbound(identifier):
                self.delete(identifier)
            raise
        return self.get(identifier)

    def _is_unbound(self, port_id: str) -> bool:
        """Whether a port is there and on no NIC: one that another server of ours has bound meanwhile stays."""
        try:
            return not pairs_of(self._operator.read(VMI, port_id, fields=(BINDINGS,))).get("host_id")
        except NotFound:
            return False

    def _make(self, spec: AttachmentSpec, identifier: str) -> bool:
        """The unbound port; false if it was there."""
        try:
            self._operator.read(VMI, identifier, fields=("fq_name",))
        except NotFound:
            owner = self._rest.project_id
            if owner is None:
                raise Invalid(
                    "a port belongs to a project, and these credentials have none", code="no_project"
                ) from None
            self._rest.make(
                VMI,
                {
                    "fq_name": [*project_name(self._rest, owner), identifier], "parent_type": "project",
                    "display_name": spec.name,
                    "virtual_network_refs": [{"uuid": spec.network_id, "attr": None}],
                    "virtual_machine_interface_mac_addresses": {"mac_address": [spec.mac.lower()]},
                    "virtual_machine_interface_device_owner": spec.device_owner,
                    "virtual_machine_interface_bindings": as_pairs({DEVICE: spec.node_id}),
                },
                identifier=identifier,
            )  # fmt: skip
            return True
        return False

    def bind(self, port_id: str, *, node_id: str, mac: str, link: SwitchLink, lag: Lag | None = None) -> NetworkPort:
        port = self._to_bind(port_id)
        self._require_mac_free(network_id_of(port), mac, port_id)
        links = lag.links if lag is not None else (link,)
        self._flips.bind(port, node_id=node_id, mac=mac, links=links)
        for child in self._children(port_id):
            self._flips.bind(child, node_id=node_id, mac=mac, links=links)
        return self.get(port_id)

    def unbind(self, port_id: str) -> None:
        port = self._to_bind(port_id)
        for child in self._children(port_id):
            self._flips.unbind(child)
        self._flips.unbind(port)

    def delete(self, port_id: str) -> None:
        """In the order that the controller demands: sub-interfaces, floating addresses let go, addresses, the port, its
        group."""
        try:
            port = self._read(port_id)
        except NotFound:
            return
        self._rest.require_writer("deleting a port")
        for child in self._children(port_id):
            self.delete(child.text("uuid"))
        groups = [group.id for group in self._groups.of_port(port_id)]
        if groups:
            self._rest.require_admin("taking a port off a switch port")
            self._flips.unbind(port)
        for floating in ref_ids(port, "floating_ip_back_refs"):
            self._rest.refer("floating-ip", floating, VMI, port_id, operation="DELETE")
        self._addresses.give_back(port_id)
        self._rest.remove(VMI, port_id)
        for group in groups:
            self._groups.remove_if_empty(group)

    # Reading

    def _read(self, port_id: str) -> Document:
        """Raises `NotFound` also for what the credentials may not know of."""
        try:
            found = self._rest.read(VMI, port_id)
        except Forbidden:
            found = None
        if found is None or not self._sees(found):
            raise NotFound(f"port {port_id[:80]} could not be found")
        return found

    def _sees(self, port: Document) -> bool:
        return self._rest.is_admin or owner_of(port) == self._rest.project_id

    def _to_bind(self, port_id: str) -> Document:
        port = self._read(port_id)
        self._rest.require_admin("binding a port")
        return port

    def _one(self, port: Document) -> NetworkPort:
        addresses = addresses_by_port(self._addresses.of_port(port.text("uuid")))
        groups = self._groups.of_port(port.text("uuid"))
        wired = any(group.interface_ids for group in groups)
        links = self._groups.links([port], groups)[port.text("uuid")]
        subports = [_subport(child) for child in self._children(port.text("uuid"))]
        return self._shown(port, addresses.get(port.text("uuid"), []), links, wired, subports)

    def _whole(
        self, found: Sequence[Document], *, of: Sequence[str] | None = None, among: Sequence[Document] | None = None
    ) -> list[NetworkPort]:
        """Ports with their addresses, sub-interfaces and whether they are wired, by bulk lists.

        `of`: the networks that they are on, if it is known. `among`: all ports, if they have been listed.
        """
        if not found:
            return []
        if of is None and len(found) <= FEW:
            of = list(dict.fromkeys(network for each in found if (network := network_id_of(each))))
        addresses = addresses_by_port(self._addresses.of_networks(of))
        # A tenant's port does not say which groups have it: those are not the tenant's to see.
        by_one = len(found) <= FEW and self._rest.is_admin
        groups = self._groups.some(_groups_of(found)) if by_one else self._groups.all()
        links = self._groups.links(found, groups)
        wired = {port_id for group in groups if group.interface_ids for port_id in group.port_ids}
        if among is None:
            nics = [each.text("uuid") for each in found if pairs_of(each).get("vnic_type") == "baremetal"]
            among = self._operator.objects(VMI, fields=PORT_FIELDS, referring=nics) if nics else []
        children: dict[str, list[Subport]] = {}
        for each in among:
            if tag_of(each) is not None:
                for parent in ref_ids(each, "virtual_machine_interface_refs"):
                    children.setdefault(parent, []).append(_subport(each))
        return [
            self._shown(each, addresses.get(each.text("uuid"), []), links[each.text("uuid")],
                        each.text("uuid") in wired, children.get(each.text("uuid"), []))
            for each in found
        ]  # fmt: skip

    def _shown(
        self, port: Document, addresses: Sequence[FixedAddress], links: Sequence[SwitchLink], wired: bool,
        subports: Sequence[Subport],
    ) -> NetworkPort:  # fmt: skip
        shown = port_of(port, addresses, links=links, wired=wired, whole=self._rest.is_admin, subports=subports)
        # A sub-interface is on its parent's NIC, and not a second port there.
        return shown if tag_of(port) is None else replace(shown, host_id=None, link=None, more_links=())

    def _children(self, port_id: str) -> list[Document]:
        """Its tagged sub-interfaces."""
        found = self._operator.objects(VMI, referring=[port_id], fields=PORT_FIELDS)
        return [
            each
            for each in found
            if tag_of(each) is not None and port_id in ref_ids(each, "virtual_machine_interface_refs")
        ]

    def _require_mac_free(self, network_id: str, mac: str, port_id: str) -> None:
        """The controller takes a MAC twice on one network. Raises `Duplicate`."""
        for each in self._operator.objects(VMI, referring=[network_id], fields=MAC_FIELDS):
            has = each.mapping("virtual_machine_interface_mac_addresses").get("mac_address")
            if each.text("uuid") != port_id and has and mac.lower() in [str(one).lower() for one in has]:
                raise Duplicate(f"the MAC address {mac} is in use on network {network_id}", code="mac_in_use")


def own_port_id(spec: AttachmentSpec) -> str:
    """Uuid of a port of Steelyard's own: asked for twice, in whatever order, it is the same port."""
    return str(uuid.uuid5(OURS, "/".join((spec.network_id, spec.node_id, spec.mac.lower(), spec.name))))


def _groups_of(ports: Sequence[Document]) -> list[str]:
    return [group_id for each in ports for group_id in ref_ids(each, "virtual_port_group_back_refs")]


def _subport(child: Document) -> Subport:
    return Subport(child.text("uuid"), tag_of(child) or 0)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
