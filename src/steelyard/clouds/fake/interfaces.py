"""The fake `Interfaces`, `SubInterfaces` and `SecurityGroups`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steelyard.clouds.fake.port import FakePort, call
from steelyard.clouds.fake.units import Unit, units
from steelyard.errors import Conflict, Invalid, NotFound
from steelyard.nouns import Instance, Network, NetworkPort, SecurityGroup, Subport


class FakeInterfaces(FakePort):
    name = "interfaces"

    @call
    def attach(self, instance_id: str, *, network_id: str, address: str | None = None) -> str:
        instance = self._find(instance_id)
        network = self.world.fabric.networks.get(network_id)
        if network is None or not (network.shared or self.sees(network.project_id)):
            raise Invalid(f"network {network_id} could not be found")
        if not network.subnet_ids:
            raise Invalid(f"network {network_id} requires a subnet in order to boot instances on")
        unit = self._free(instance)
        port = self.world.fabric.add_port(
            network_id, now=self.world.now, mac=unit.mac, project_id=instance.project_id, device_id=instance.id,
            device_owner="compute:nova", address=address,
        )  # fmt: skip
        self._bind(instance, port, unit)
        return port.id

    @call
    def attach_port(self, instance_id: str, port_id: str) -> None:
        instance = self._find(instance_id)
        port = self.world.fabric.ports.get(port_id)
        if port is None or not self.sees(port.project_id):
            raise NotFound(f"port {port_id} could not be found")
        if port.device_id:
            raise Conflict(f"port {port_id} is still in use")
        unit = self._free(instance)
        mine = replace(port, device_id=instance.id, device_owner="compute:nova")
        self.world.fabric.ports[port.id] = mine
        self._bind(instance, mine, unit)

    @call
    def detach(self, instance_id: str, port_id: str) -> None:
        instance = self._find(instance_id)
        port = self.world.fabric.ports.get(port_id)
        if port is None or port.device_id != instance.id:
            return
        self.world.fabric.remove_port(port_id)
        self.world.drop_vif(port_id)
        gone = {fixed.address for fixed in port.addresses}
        kept = tuple(address for address in instance.addresses if address not in gone)
        self.world.instances[instance.id] = replace(instance, addresses=kept)

    def _find(self, instance_id: str) -> Instance:
        instance = self.world.instances.get(instance_id)
        if instance is None or not self.sees(instance.project_id):
            raise NotFound(f"instance {instance_id} could not be found")
        self.require_writer("changing a server's attachments")
        if instance.task_state is not None or instance.status not in {"ACTIVE", "SHUTOFF"}:
            raise Conflict(f"cannot change the interfaces of {instance_id} while it is {instance.status}")
        if instance.node_id in self.world.locked:
            raise Conflict(f"Failed to attach network adapter device to {instance_id}", code="attach_failed")
        return instance

    def _free(self, instance: Instance) -> Unit:
        taken = {port.mac for port in self.world.fabric.instance_ports(instance.id)}
        nics = [nic for nic in self.world.node_ports.values() if nic.node_id == instance.node_id]
        for unit in units(nics, self.world.bonds):
            if unit.mac not in taken and unit.vif_id is None and unit.links:
                return unit
        raise Conflict(f"Failed to attach network adapter device to {instance.id}", code="attach_failed")

    def _bind(self, instance: Instance, port: NetworkPort, unit: Unit) -> None:
        if unit.links:
            self.world.fabric.bind_at(port, instance.node_id or "", unit.mac, unit.links[0], unit.lag)
        self.world.put_vif(unit.id, port.id)
        addresses = (*instance.addresses, *(fixed.address for fixed in port.addresses))
        self.world.instances[instance.id] = replace(instance, addresses=addresses)


class FakeSubInterfaces(FakePort):
    name = "sub_interfaces"

    @call
    def add(self, parent_id: str, *, network_id: str, name: str, project_id: str | None = None) -> Subport:
        self.require_admin("making a sub-interface")
        fabric = self.world.fabric
        parent = fabric.ports.get(parent_id)
        if parent is None:
            raise NotFound(f"port {parent_id} could not be found")
        network = self._network(network_id)
        if parent.network_id == network_id:
            raise Invalid("the NIC is on this network already, untagged", code="same_network")
        if network.segmentation_id is None:
            raise Invalid("the network has no VLAN", code="network_without_vlan")
        for known in parent.subports:
            if fabric.ports[known.port_id].network_id == network_id:
                return known
            if known.vlan == network.segmentation_id:
                raise Conflict(f"the NIC has a sub-interface with the tag {known.vlan}, of another network")
        port = fabric.add_port(
            network_id, now=self.world.now, mac=parent.mac, project_id=project_id or parent.project_id,
            device_id=parent.id, device_owner="trunk:subport", name=name, vnic_type="normal",
        )  # fmt: skip
        subport = Subport(port.id, network.segmentation_id)
        fabric.ports[port.id] = replace(port, status="ACTIVE" if parent.link else "DOWN")
        fabric.set_subports(replace(parent, subports=(*parent.subports, subport)))
        return subport

    @call
    def remove(self, parent_id: str, port_id: str) -> None:
        self.require_admin("removing a sub-interface")
        fabric = self.world.fabric
        parent = fabric.ports.get(parent_id)
        if parent is not None:
            kept = tuple(each for each in parent.subports if each.port_id != port_id)
            fabric.set_subports(replace(parent, subports=kept))
        fabric.remove_port(port_id)

    def _network(self, network_id: str) -> Network:
        network = self.world.fabric.networks.get(network_id)
        if network is None:
            raise NotFound(f"network {network_id} could not be found")
        return network


class FakeSecurityGroups(FakePort):
    name = "security_groups"

    @call
    def all(self) -> list[SecurityGroup]:
        self.world.default_group(self.actor.project_id)
        return [group for group in self.world.security_groups.values() if self.sees(group.project_id)]

    @call
    def put(self, port_id: str, group_ids: Sequence[str]) -> None:
        self.require_writer("changing a port")
        port = self.world.fabric.ports.get(port_id)
        if port is None or not self.sees(port.project_id):
            raise NotFound(f"port {port_id} could not be found")
        if unknown := [group_id for group_id in group_ids if group_id not in self.world.security_groups]:
            raise NotFound(f"security group {unknown[0]} does not exist")
        self.world.fabric.set_groups(port, tuple(group_ids))

    @call
    def enforced_on_nics(self) -> bool:
        return self.world.fabric.enforces_groups

    def on_switch(self, port: NetworkPort | None) -> frozenset[str] | None:
        return self.world.fabric.filters_at(port) if self.world.fabric.enforces_groups else None
