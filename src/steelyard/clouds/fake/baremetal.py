"""The fakes `Nodes`, `Provisioning` and `NodePorts`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from steelyard.clouds.fake import ironic
from steelyard.clouds.fake.gate import passes
from steelyard.clouds.fake.machines import DELETABLE, WORK
from steelyard.clouds.fake.pointer import changed, split
from steelyard.clouds.fake.port import FakePort, call
from steelyard.clouds.ports import PowerAction, ProvisionVerb
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound
from steelyard.nouns import Driver, HistoryEntry, Inspection, Node, NodePort, NodePortSpec, NodeSpec, SwitchLink

FIELDS = {
    "name": "name", "driver": "driver", "resource_class": "resource_class", "owner": "owner", "lessee": "lessee",
    "retired": "retired", "protected": "protected", "protected_reason": "protected_reason",
    "instance_uuid": "instance_id", "automated_clean": "automated_clean", "description": "description",
    "network_interface": "network_interface", "power_interface": "power_interface",
}  # fmt: skip
"""Ironic's fields that can be set, and what the noun calls them."""
DEFAULT_POWER = {"steelyard-redfish": "steelyard-redfish", "steelyard-ipmi": "steelyard-ipmi"}
"""The power interfaces that our hardware types choose by themselves (steelyard_ironic.hardware)."""
CONNECTIVITY = frozenset({"/portgroup_uuid", "/pxe_enabled", "/local_link_connection", "/physical_network"})
"""What Ironic changes of a port only in these states, or in maintenance (ConductorManager.update_port)."""
RECABLED = frozenset({"enroll", "inspecting", "inspect wait", "manageable"})
WAITS = frozenset({"clean wait", "inspect wait", "wait call-back", "rescue wait"})
"""Working states in which nobody has the node locked: an agent is waited for."""
UNSEEN = {"inspect_interface", "deploy_interface", "retired_reason"}


class _OfNodes(FakePort):
    def find(self, node_id: str) -> Node:
        found = self.world.nodes.get(node_id)
        if found is None:
            found = next((node for node in self.world.nodes.values() if node.name == node_id), None)
        if found is None or not (self.sees(found.owner) or self.sees(found.lessee)):
            raise NotFound(f"node {node_id} could not be found")
        return found

    def unlocked(self, node: Node) -> Node:
        if self.world.is_locked(node.id):
            raise Conflict(f"node {node.id} is locked by host fake, please retry after the current operation")
        return node

    def find_for_change(self, node_id: str, action: str) -> Node:
        node = self.find(node_id)
        self.require_admin(action)
        return self.unlocked(node)


class FakeNodes(_OfNodes):
    name = "nodes"

    @call
    def all(self) -> list[Node]:
        return [node for node in self.world.nodes.values() if self.sees(node.owner) or self.sees(node.lessee)]

    @call
    def get(self, node_id: str) -> Node:
        return self.find(node_id)

    @call
    def create(self, spec: NodeSpec) -> Node:
        self.require_admin("enrolling a node")
        if any(node.name == spec.name for node in self.world.nodes.values()):
            raise Duplicate(f"a node with name {spec.name} already exists")
        if not spec.driver:
            raise Invalid("a node needs a driver")
        address = spec.driver_info.get("redfish_address") or spec.driver_info.get("ipmi_address")
        node = Node(
            id=str(uuid.uuid4()), name=spec.name, driver=spec.driver, provision_state="enroll",
            target_provision_state=None, power_state=None, maintenance=False, maintenance_reason=None,
            last_error=None, resource_class=spec.resource_class, traits=frozenset(), instance_id=None,
            bmc_address=str(address) if address else None, owner=None, lessee=None, retired=False, protected=False,
            provision_updated_at=self.world.now, created_at=self.world.now, properties=dict(spec.properties),
            extra=dict(spec.extra), network_interface=spec.interfaces.get("network"),
            power_interface=spec.interfaces.get("power") or DEFAULT_POWER.get(spec.driver),
        )  # fmt: skip
        self.world.nodes[node.id] = node
        self.world.driver_info[node.id] = dict(spec.driver_info)
        return node

    @call
    def update(self, node_id: str, changes: Mapping[str, Any]) -> Node:
        node = self.find_for_change(node_id, "changing a node")
        before = node
        for path, value in changes.items():
            node = self._set(node, path, value)
        self.world.nodes[node.id] = node = ironic.checked(before, node)
        return node

    def _set(self, node: Node, path: str, value: Any) -> Node:
        head, *rest = split(path)
        if head in {"properties", "extra"}:
            old = node.properties if head == "properties" else node.extra
            new = changed(old, rest, value, path=path) if rest else dict(value or {})
            return replace(node, properties=new) if head == "properties" else replace(node, extra=new)
        if head == "driver_info":
            known = self.world.driver_info.setdefault(node.id, {})
            self.world.driver_info[node.id] = changed(known, rest, value, path=path) if rest else dict(value or {})
            return node
        if head in UNSEEN or head == "instance_info":
            return node
        if rest or head not in FIELDS:
            raise Invalid(f"couldn't apply patch: there is no {path}")
        if head in {"retired", "protected"}:
            value = bool(value)
        if head == "retired" and value and node.provision_state == "available":
            raise Conflict(f"node {node.id} can not have 'retired' set in provision state 'available'")
        if head == "name" and any(other.name == value and other.id != node.id for other in self.world.nodes.values()):
            raise Duplicate(f"a node with name {value} already exists")
        return replace(node, **{FIELDS[head]: value})

    @call
    def set_traits(self, node_id: str, traits: frozenset[str]) -> None:
        node = self.find_for_change(node_id, "setting traits")
        bad = sorted(trait for trait in traits if not trait.startswith(("CUSTOM_", "HW_", "COMPUTE_")))
        if bad:
            raise Invalid(f"not a trait: {', '.join(bad)}")
        self.world.nodes[node.id] = replace(node, traits=traits)

    @call
    def inspection(self, node_id: str) -> Inspection:
        node = self.find(node_id)
        self.require_admin("reading an inventory")
        found = self.world.inspections.get(node.id)
        if found is None:
            raise NotFound(f"node {node_id} has no inspection data")
        return found

    @call
    def set_maintenance(self, node_id: str, reason: str | None) -> None:
        node = self.find_for_change(node_id, "setting maintenance")
        self.world.nodes[node.id] = replace(
            node, maintenance=reason is not None, maintenance_reason=reason, fault=node.fault if reason else None
        )

    @call
    def delete(self, node_id: str) -> None:
        try:
            node = self.find_for_change(node_id, "deleting a node")
        except NotFound:
            return
        if node.protected:
            raise Conflict(f"node {node.id} is protected")
        if not node.maintenance and node.instance_id is not None:
            raise Conflict(f"node {node.id} is associated with instance {node.instance_id}")
        if not node.maintenance and node.provision_state not in DELETABLE:
            raise Conflict(f'can not delete node "{node.id}" while it is in provision state "{node.provision_state}"')
        for port in [port for port in self.world.node_ports.values() if port.node_id == node.id]:
            del self.world.node_ports[port.id]
        for bond in [bond for bond in self.world.bonds.values() if bond.node_id == node.id]:
            del self.world.bonds[bond.id]
        for own in [own for own in self.world.fabric.ports.values() if own.device_id == node.id]:
            self.world.fabric.remove_port(own.id)
        self.world.inspections.pop(node.id, None)
        self.world.held_back.discard(node.id)
        self.world.driver_info.pop(node.id, None)
        self.world.history.gone(node.id)
        del self.world.nodes[node.id]


class FakeProvisioning(_OfNodes):
    name = "provisioning"

    @call
    def request(self, node_id: str, verb: ProvisionVerb, *, steps: Sequence[Mapping[str, Any]] = ()) -> None:
        node = self.find_for_change(node_id, f"the verb {verb}")
        if verb == "clean" and not steps:
            raise Invalid("a manual clean needs its steps")
        ironic.start(self.world, node, verb)
        if verb == "clean":
            self.world.truth.manual_clean(node.id, steps)

    @call
    def power(self, node_id: str, action: PowerAction) -> None:
        node = self.find_for_change(node_id, "switching a node")
        if node.provision_state in WORK and node.provision_state not in WAITS:  # a thread of the conductor's is at it
            raise Conflict(f"node {node.id} is locked by host fake, please retry after the current operation")
        if node.provision_state == "clean wait":
            raise Conflict(f"node {node.id} can not be switched while it is in state {node.provision_state}")
        if node.id in self.world.unreachable:  # accepted, and found out later
            self.world.nodes[node.id] = replace(node, last_error="the BMC does not answer")
            return
        on = action in {"on", "reboot"}
        if on and not passes(self.world, node):
            return
        self.world.nodes[node.id] = replace(self.world.nodes[node.id], power_state="on" if on else "off")

    @call
    def drivers(self) -> list[Driver]:
        self.require_admin("listing drivers")
        return list(self.world.drivers)

    @call
    def history(self, node_id: str) -> list[HistoryEntry]:
        node = self.find(node_id)
        return list(self.world.history.of_nodes.get(node.id, ()))


class FakeNodePorts(_OfNodes):
    name = "node_ports"

    @call
    def all(self, *, node_id: str | None = None, mac: str | None = None) -> list[NodePort]:
        mac = mac.lower() if mac else None
        return [
            port
            for port in self.world.node_ports.values()
            if self._visible(port) and node_id in (None, port.node_id) and mac in (None, port.mac)
        ]

    @call
    def create(self, spec: NodePortSpec) -> NodePort:
        self.require_admin("creating a node port")
        try:
            self.unlocked(self.find(spec.node_id))
        except NotFound as error:
            raise Invalid(f"node {spec.node_id} could not be found") from error
        mac = spec.mac.lower()
        if any(port.mac == mac for port in self.world.node_ports.values()):
            raise Duplicate(f"a port with MAC address {mac} already exists")
        port = NodePort(
            id=str(uuid.uuid4()), node_id=spec.node_id, mac=mac, pxe_enabled=spec.pxe_enabled,
            physical_network=spec.physical_network, link=spec.link,
        )  # fmt: skip
        self.world.node_ports[port.id] = port
        if spec.link is not None:
            self.world.fabric.switches.know(spec.link)
        return port

    @call
    def update(self, port_id: str, changes: Mapping[str, Any]) -> NodePort:
        port = self._find(port_id)
        node = self.unlocked(self.find(port.node_id))
        if CONNECTIVITY & changes.keys() and node.provision_state not in RECABLED and not node.maintenance:
            raise Conflict(
                f"port {port_id} can not have any connectivity attributes updated while node {node.id} is in state "
                f"{node.provision_state} and not in maintenance"
            )
        for path, value in changes.items():
            port = self._set(port, path, value)
        self.world.node_ports[port.id] = port
        return port

    def _set(self, port: NodePort, path: str, value: Any) -> NodePort:
        if path == "/local_link_connection":
            if value is not None and not isinstance(value, SwitchLink):
                raise Invalid("/local_link_connection takes a SwitchLink")
            if value is not None:
                self.world.fabric.switches.know(value)
            return replace(port, link=value)
        if path == "/pxe_enabled":
            return replace(port, pxe_enabled=bool(value))
        if path == "/physical_network":
            return replace(port, physical_network=value)
        if path == "/name":
            return replace(port, name=value)
        if path == "/portgroup_uuid":
            if value is not None and value not in self.world.bonds:
                raise Invalid(f"port group {value} could not be found")
            return replace(port, bond_id=value)
        if path.startswith("/extra"):
            return port
        raise Invalid(f"couldn't apply patch: there is no {path}")

    @call
    def delete(self, port_id: str) -> None:
        try:
            port = self._find(port_id)
        except NotFound:
            return
        node = self.unlocked(self.find(port.node_id))
        if node.instance_id is not None and not node.maintenance:
            raise Conflict(f"port {port_id} is of node {node.id}, which is in use")
        del self.world.node_ports[port.id]

    @call
    def detach(self, node_id: str, vif_id: str) -> None:
        node = self.find_for_change(node_id, "detaching a VIF")
        if not any(unit.vif_id == vif_id for unit in self.world.vif_holders(node.id)):
            return
        self.world.drop_vif(vif_id)
        port = self.world.fabric.ports.get(vif_id)
        if port is not None and node.provision_state in {"active", "deleting", "available"}:
            self.world.fabric.unbind(port)

    def _visible(self, port: NodePort) -> bool:
        node = self.world.nodes.get(port.node_id)
        return node is not None and (self.sees(node.owner) or self.sees(node.lessee))

    def _find(self, port_id: str) -> NodePort:
        port = self.world.node_ports.get(port_id)
        if port is None or not self._visible(port):
            raise NotFound(f"port {port_id} could not be found")
        if not self.actor.is_admin:
            raise Forbidden("changing a node port needs an administrator")
        return port
