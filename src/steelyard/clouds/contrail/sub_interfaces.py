"""Tagged sub-interfaces: VMIs that refer to the port whose NIC they are on, with the VLAN of their network as tag."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from steelyard.clouds.contrail.addresses import Addresses
from steelyard.clouds.contrail.attachments import OURS, ContrailAttachments
from steelyard.clouds.contrail.flips import VMI, Flips
from steelyard.clouds.contrail.networks import project_name
from steelyard.clouds.contrail.reading import (
    DEVICE,
    PORT_FIELDS,
    links_in,
    network_id_of,
    owner_of,
    pairs_of,
    ref_ids,
    subnets_of,
    tag_of,
)
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.contrail.vlans import Vlans
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Conflict, Invalid, NotFound, SteelyardError
from steelyard.nouns import NetworkPort, SecurityGroup, Subport

NO_RULE = "__no_rule__"
"""The controller's own group, of ports that are not filtered."""


class ContrailSubInterfaces:
    """Administrators' work; `attachments` deletes them as it does every port."""

    def __init__(self, rest: ContrailRest, vlans: Vlans, flips: Flips, attachments: ContrailAttachments):
        self._rest = rest
        self._vlans = vlans
        self._flips = flips
        self._attachments = attachments
        self._addresses = Addresses(rest)

    def add(self, parent_id: str, *, network_id: str, name: str, project_id: str | None = None) -> Subport:
        self._rest.require_admin("adding a sub-interface")
        parent = self._rest.read(VMI, parent_id)
        if network_id_of(parent) == network_id:
            raise Invalid("a port has its own network untagged already", code="own_network")
        network = self._rest.read("virtual-network", network_id)
        vlan = self._vlans.of(network_id)
        identifier = str(uuid.uuid5(OURS, f"{parent_id}/{network_id}"))
        owner = project_id or owner_of(parent)
        if owner is None:
            raise Invalid("a port belongs to a project", code="no_project")
        bindings, links = pairs_of(parent), links_in(pairs_of(parent))
        fresh = self._make(identifier, parent, network_id, name, owner, vlan)
        try:
            child = self._rest.read(VMI, identifier)
            if tag_of(child) != vlan:
                raise Conflict(f"the sub-interface has the tag {tag_of(child)} and its network is VLAN {vlan}")
            self._addresses.give(identifier, network_id, subnets_of(network))
            if links and (node_id := bindings.get("host_id")):
                self._flips.bind(child, node_id=node_id, mac=_mac(parent), links=links, fresh=fresh)
        except SteelyardError:
            if fresh:
                self._attachments.delete(identifier)
            raise
        return Subport(identifier, vlan)

    def _make(self, identifier: str, parent: Document, network_id: str, name: str, owner: str, vlan: int) -> bool:
        """The unbound sub-interface; false if it was there."""
        try:
            self._rest.read(VMI, identifier, fields=("fq_name",))
        except NotFound:
            device = pairs_of(parent).get(DEVICE)
            pairs = [{"key": DEVICE, "value": device}] if device else []
            body = {
                "fq_name": [*project_name(self._rest, owner), identifier], "parent_type": "project",
                "display_name": name, "virtual_network_refs": [{"uuid": network_id, "attr": None}],
                "virtual_machine_interface_refs": [{"uuid": parent.text("uuid"), "attr": None}],
                "virtual_machine_interface_mac_addresses": {"mac_address": [_mac(parent)]},
                "virtual_machine_interface_device_owner": "trunk:subport",
                "virtual_machine_interface_properties": {"sub_interface_vlan_tag": vlan},
                "virtual_machine_interface_bindings": {"key_value_pair": pairs},
            }  # fmt: skip
            self._rest.make(VMI, body, identifier=identifier)
            return True
        return False

    def remove(self, parent_id: str, port_id: str) -> None:
        self._rest.require_admin("removing a sub-interface")
        try:
            child = self._rest.read(VMI, port_id, fields=PORT_FIELDS)
        except NotFound:
            return
        if tag_of(child) is None or parent_id not in ref_ids(child, "virtual_machine_interface_refs"):
            raise NotFound(f"port {parent_id} has no sub-interface {port_id}")
        self._attachments.delete(port_id)


class ContrailSecurityGroups:
    """Security groups as the credentials see them. `enforced`: whether the operator's fabric filters NICs by them."""

    def __init__(self, rest: ContrailRest, *, enforced: bool):
        self._rest = rest
        self._enforced = enforced

    def all(self) -> list[SecurityGroup]:
        found = self._rest.objects("security-group", fields=("display_name", "parent_uuid"))
        return [
            SecurityGroup(each.text("uuid"), names[-1], owner_of(each))
            for each in found
            if (names := each.texts("fq_name")) and names[-1] != NO_RULE
            if self._rest.is_admin or owner_of(each) == self._rest.project_id
        ]

    def put(self, port_id: str, group_ids: Sequence[str]) -> None:
        self._rest.require_writer("changing a port")
        port = self._rest.read(VMI, port_id, fields=("parent_uuid",))
        if not self._rest.is_admin and owner_of(port) != self._rest.project_id:
            raise NotFound(f"port {port_id[:80]} could not be found")
        known = {group.id for group in self.all()}
        if unknown := [group_id for group_id in group_ids if group_id not in known]:
            raise NotFound(f"security group {unknown[0][:80]} could not be found")
        refs = [{"uuid": group_id, "attr": None} for group_id in dict.fromkeys(group_ids)]
        self._rest.change(VMI, port_id, {"security_group_refs": refs})

    def enforced_on_nics(self) -> bool:
        return self._enforced

    def on_switch(self, port: NetworkPort | None) -> frozenset[str] | None:
        if not self._enforced:
            return None
        return frozenset(port.security_groups) if port is not None else frozenset()


def _mac(port: Document) -> str:
    macs = port.mapping("virtual_machine_interface_mac_addresses").get("mac_address")
    if not isinstance(macs, list) or not macs or not isinstance(macs[0], str):
        raise Conflict("the port has no MAC address yet", code="port_without_mac")
    return macs[0].lower()
