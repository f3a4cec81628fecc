"""Neutron's networks, subnets, security groups and ports, kept at the controller: made, changed, removed.

Each call may be repeated. Raises Unreachable or Refused where the controller does not say yes (client.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oslo_log import log

from steelyard_neutron.contrail import group_objects, objects
from steelyard_neutron.contrail.client import Controller, Refused

LOG = log.getLogger(__name__)


class Mirror:
    """Writes for one `owner`, the first word of all names, under the projects of one domain."""

    def __init__(self, controller: Controller, owner: str, domain: str):
        self.controller = controller
        self.owner = owner
        self._domain = domain
        self._projects: dict[str, list[str]] = {}
        self._networks: dict[str, list[str]] = {}
        self._groups: dict[str, list[str]] = {}

    # Projects

    def parent(self, project_id: str | None) -> list[str]:
        """The full name of the project that objects stand under. Made unless the controller has it from Keystone."""
        key = project_id or ""
        if key not in self._projects:
            self._projects[key] = self._project(key)
        return self._projects[key]

    def _project(self, project_id: str) -> list[str]:
        try:
            uuid = objects.project_uuid(project_id)
        except ValueError:
            return [self._domain, objects.WITHOUT_PROJECT]
        present = self.controller.read(objects.PROJECT, uuid, "display_name")
        if present is None:
            present, _ = self.controller.create(objects.PROJECT, objects.project(self._domain, project_id))
        return [str(part) for part in present["fq_name"]]

    def forget(self) -> None:
        """Ask anew where things are: after the controller has lost them."""
        self._projects.clear()
        self._networks.clear()
        self._groups.clear()

    # Networks

    def ensure_network(self, network: Mapping[str, Any], segments: Iterable[Mapping[str, Any]]) -> None:
        """Make it, or bring it to what Neutron says."""
        content = objects.network(network, segments, self.parent(network.get("project_id")), self.owner)
        _, made = self.controller.create(objects.NETWORK, content)
        if not made:
            kept = ("fq_name", "parent_type", "uuid")
            self.controller.update(
                objects.NETWORK, network["id"], {key: value for key, value in content.items() if key not in kept}
            )

    def network_name(self, network_id: str) -> list[str]:
        """The full name of a virtual-network. Raises Refused (404) when the controller has none with this id."""
        if network_id not in self._networks:
            present = self.controller.read(objects.NETWORK, network_id, "display_name")
            if present is None:
                raise Refused(what=f"network {network_id}", reason="the controller does not know it", status=404)
            self._networks[network_id] = [str(part) for part in present["fq_name"]]
        return self._networks[network_id]

    def remove_network(self, network_id: str) -> None:
        """With the references to its subnets, whose network-ipams go too."""
        present = self.controller.read(objects.NETWORK, network_id, "network_ipam_refs")
        self._networks.pop(network_id, None)
        if present is None:
            return
        for reference in present.get("network_ipam_refs") or []:
            if objects.owned_id(self.owner, reference["to"]):
                self.remove_subnet(reference["uuid"])
        self.controller.delete(objects.NETWORK, network_id)

    # Subnets

    def ensure_subnet(self, subnet: Mapping[str, Any]) -> None:
        """Make the subnet's network-ipam and the network's reference to it, or bring both to what Neutron says."""
        network_name = self.network_name(subnet["network_id"])
        content = objects.ipam(subnet, network_name[:-1], self.owner)
        _, made = self.controller.create(objects.IPAM, content)
        if not made:
            self.controller.update(objects.IPAM, subnet["id"], objects.ipam_changes(subnet))
        self.controller.refer(
            objects.NETWORK, subnet["network_id"], objects.IPAM, subnet["id"], content["fq_name"],
            objects.subnet_attribute(subnet),
        )  # fmt: skip

    def remove_subnet(self, subnet_id: str) -> None:
        """Refused while an address of it is taken."""
        present = self.controller.read(objects.IPAM, subnet_id, "virtual_network_back_refs")
        if present is None:
            return
        for network in objects.back_references(present, objects.NETWORK):
            self.controller.unrefer(objects.NETWORK, network, objects.IPAM, subnet_id, present["fq_name"])
        self.controller.delete(objects.IPAM, subnet_id)

    def service_addresses(self, network_id: str, subnet_id: str) -> set[str]:
        """What the controller uses itself in a subnet: its gateway and name server addresses."""
        present = self.controller.read(objects.NETWORK, network_id, "network_ipam_refs") or {}
        found: set[str] = set()
        for reference in present.get("network_ipam_refs") or []:
            for subnet in (reference.get("attr") or {}).get("ipam_subnets") or []:
                if subnet.get("subnet_uuid") == subnet_id:
                    found |= {str(subnet[key]) for key in ("default_gateway", "dns_server_address") if subnet.get(key)}
        return found

    # Security groups

    def ensure_group(self, group: Mapping[str, Any]) -> None:
        """Make it, or bring it to what Neutron says (group_objects.resolved)."""
        content = group_objects.group(group, self.parent(group.get("project_id")), self.owner, self.group_name)
        _, made = self.controller.create(group_objects.KIND, content)
        if not made:
            changes = group_objects.group_changes(group, self.group_name)
            self.controller.update(group_objects.KIND, group["id"], changes)

    def group_name(self, group: Mapping[str, Any]) -> list[str]:
        """The full name of a security-group, whether there is one or not."""
        return [*self.parent(group.get("project_id")), objects.name_of(self.owner, group["id"])]

    def has_group(self, group_id: str) -> bool:
        """Whether the controller has it."""
        return self._group(group_id) is not None

    def remove_group(self, group_id: str) -> None:
        """Refused while an interface refers to it."""
        self._groups.pop(group_id, None)
        self.controller.delete(group_objects.KIND, group_id)

    def _group(self, group_id: str) -> list[str] | None:
        """The full name of a security-group that is there."""
        present = self.controller.read(group_objects.KIND, group_id, "display_name")
        if present is None:
            self._groups.pop(group_id, None)
            return None
        self._groups[group_id] = [str(part) for part in present["fq_name"]]
        return self._groups[group_id]

    def _group_references(self, port: Mapping[str, Any]) -> list[objects.Object]:
        """Raises Refused (404) for a group that the controller does not know."""
        found = []
        for group_id in group_objects.groups_of(port):
            name = self._groups.get(group_id) or self._group(group_id)
            if name is None:
                raise Refused(what=f"security group {group_id}", reason="the controller does not know it", status=404)
            found.append({"to": name, "uuid": group_id})
        return found

    # Ports

    def ensure_port(self, port: Mapping[str, Any], addresses: Iterable[str] = ()) -> None:
        """Make the interface, on no switch port, and give it its instance-ips (ids); one that exists stays bound.

        One in another network than Neutron's is removed and made anew: an interface whose network is changed would stay
        in the old one's routing instance.
        """
        parent = self.parent(port.get("project_id"))
        content = objects.port(port, self.network_name(port["network_id"]), parent, self.owner)
        content |= self.port_changes(port)
        present, made = self.controller.create(objects.PORT, content)
        networks = objects.references(present, objects.NETWORK)
        if not made and networks != [port["network_id"]]:
            LOG.warning("Interface %s is in network %s instead of %s: made anew", port["id"], networks,
                        port["network_id"])  # fmt: skip
            self.remove_port(port["id"], and_addresses=False)
            self.controller.create(objects.PORT, content)
        for address in addresses:
            self.give_address(address, content["uuid"], content["fq_name"])

    def keep_addresses(self, port_id: str, fixed_ips: Iterable[Mapping[str, str]], ids: Iterable[str]) -> None:
        """The interface has exactly these addresses, with these instance-ips; those that it has left are freed."""
        kept = {(fixed["subnet_id"], str(fixed["ip_address"])) for fixed in fixed_ips}
        present = self.controller.read(objects.PORT, port_id, "instance_ip_back_refs")
        if present is None:
            raise Refused(what=f"port {port_id}", reason="the controller does not know it", status=404)
        for reference in present.get("instance_ip_back_refs") or []:
            if objects.owned_id(self.owner, reference["to"]) is None:
                continue
            address = self.controller.read(objects.ADDRESS, reference["uuid"], "instance_ip_address", "subnet_uuid")
            if address and (address.get("subnet_uuid"), str(address.get("instance_ip_address"))) not in kept:
                self.controller.delete(objects.ADDRESS, reference["uuid"])
        had = set(objects.back_references(present, objects.ADDRESS))
        for uuid in ids:
            if uuid not in had:
                self.give_address(uuid, port_id, present["fq_name"])

    def change_port(self, port: Mapping[str, Any]) -> None:
        """Name, MAC address, owner, state and security groups, and not the place."""
        self.controller.update(objects.PORT, port["id"], self.port_changes(port))

    def port_changes(self, port: Mapping[str, Any]) -> objects.Object:
        """What may change of an interface beside its place; a list of references replaces the one that is there."""
        return {**objects.port_changes(port), group_objects.FIELD: self._group_references(port)}

    def give_address(self, address: str, port_id: str, port_name: list[str]) -> None:
        """An instance-ip (id) becomes an address of the interface."""
        self.controller.refer(objects.ADDRESS, address, objects.PORT, port_id, port_name)

    def remove_port(self, port_id: str, *, and_addresses: bool = True) -> None:
        """The interface, after its addresses; `and_addresses` false: they are only taken from it.

        It must be on no switch port: the controller's groups of one interface would go with it, so that nobody could
        verify what the switch port carries.
        """
        present = self.controller.read(objects.PORT, port_id, "instance_ip_back_refs")
        if present is None:
            return
        for reference in present.get("instance_ip_back_refs") or []:
            if and_addresses and objects.owned_id(self.owner, reference["to"]):
                self.controller.delete(objects.ADDRESS, reference["uuid"])
            else:
                self.controller.unrefer(objects.ADDRESS, reference["uuid"], objects.PORT, port_id, present["fq_name"])
        self.controller.delete(objects.PORT, port_id)
