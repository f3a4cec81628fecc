"""What was left behind: things of a server or a node that no longer has them. Pure.

All services are compared: what Nova has, what Ironic says is on its nodes, what Placement holds back for whom, which
ports Neutron keeps, and which secrets Steelyard keeps. One look is not enough to tell a leftover from something that
is going away at this moment: `steelyard.lifecycle.leaking` looks twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from steelyard.isolation.parking import PORT_NAME, parked
from steelyard.nouns import IRONICS, AllocationRecord, Bond, Instance, NetworkPort, Node, NodePort

AT_REST: Final = frozenset({"enroll", "manageable", "available", "active", "clean failed", "inspect failed"})
"""Ironic's states in which a node has no port of Ironic's own on any network."""
FREE: Final = AT_REST - {"active"}
"""Ironic's states of a node at rest that no server is on."""
BAREMETAL: Final = "baremetal"


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing that was left behind."""

    kind: str
    """`port_without_server`, `allocation_without_server`, ..."""
    id: str
    """Of the thing itself, in the service that has it."""
    name: str
    """Of it, or of the node that it is on, for people."""
    reason: str
    next: str
    """The command that removes it, or shows more."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """The same leak has the same key in the next look."""
        return self.kind, self.id


@dataclass(frozen=True, slots=True)
class LeftVif:
    """A port that Ironic keeps on a NIC or bond of a node that has no server."""

    node: Node
    mac: str | None
    vif_id: str


@dataclass(frozen=True, slots=True)
class UnnamedSecret:
    """A secret of Steelyard's own that nothing refers to."""

    id: str
    what: str
    """For people: "BMC credentials"."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What all services said at about the same time."""

    nodes: Sequence[Node]
    nics: Sequence[NodePort]
    instances: Sequence[Instance]
    ports: Sequence[NetworkPort]
    allocations: Sequence[AllocationRecord] = ()
    secrets: Sequence[UnnamedSecret] = ()
    bonds: Sequence[Bond] = ()


def leaks(seen: Seen) -> list[Leak]:
    """Everything that was left behind, by kind."""
    nodes = {node.id: node for node in seen.nodes}
    instances = {instance.id: instance for instance in seen.instances if instance.status != "DELETED"}
    found = [
        *_nodes(seen.nodes, instances),
        *_servers(instances.values(), nodes),
        *_ports(seen, nodes, instances),
        *_vifs(seen, instances),
        *_allocations(seen.allocations, nodes, instances),
        *_secrets(seen.secrets),
    ]
    return sorted(found, key=lambda leak: leak.key)


def unexplained(nodes: Iterable[Node], instances: Iterable[Instance], free: Collection[str]) -> list[str]:
    """Nodes of which Placement must be asked who holds them: neither free nor in use by the server that has them.

    A provider of bare metal has one unit, so what its own server holds nobody else can.
    """
    known = {instance.id: instance for instance in instances}
    hosts = {instance.node_id for instance in known.values() if instance.node_id and _is_uuid(instance.node_id)}
    asked = hosts - {node.id for node in nodes}  # not the hosts of virtual machines, which Placement knows otherwise
    for node in nodes:
        holder = known.get(node.instance_id or "")
        in_use = holder is not None and holder.node_id == node.id
        if node.id not in free and not in_use:
            asked.add(node.id)
    return sorted(asked)


def _nodes(nodes: Iterable[Node], instances: Mapping[str, Instance]) -> Iterator[Leak]:
    for node in nodes:
        if node.instance_id is None or node.instance_id in instances or node.notes.get("adopted"):
            continue
        yield Leak(
            "node_without_server", node.id, node.label,
            f"Ironic says that server {node.instance_id} is on it ({node.provision_state}); Nova has no such server.",
            f"openstack baremetal node unset --instance-uuid {node.id}"  # only claimed, nothing was written
            if node.provision_state == "available" else f"steelyard node show {node.id}",
            {"instance": node.instance_id, "state": node.provision_state},
        )  # fmt: skip


def _servers(instances: Iterable[Instance], nodes: Mapping[str, Node]) -> Iterator[Leak]:
    for instance in instances:
        if instance.node_id is None or instance.status in {"BUILD", "ERROR"} or instance.task_state is not None:
            continue
        node = nodes.get(instance.node_id)
        if node is not None and node.instance_id == instance.id:
            continue
        has = "has no such node" if node is None else f"has {node.instance_id or 'no server'} on it"
        if node is None and not _is_uuid(instance.node_id):
            continue  # a virtual machine: its hypervisor is no node
        yield Leak(
            "server_without_node", instance.id, instance.name,
            f"Nova says that it is on node {instance.node_id}; Ironic {has}.",
            f"steelyard server delete {instance.id} --wait", {"node": instance.node_id, "status": instance.status},
        )  # fmt: skip


def _ports(seen: Seen, nodes: Mapping[str, Node], instances: Mapping[str, Instance]) -> Iterator[Leak]:
    macs: dict[str, str] = {nic.mac.lower(): nic.node_id for nic in seen.nics}
    # Ironic's own ports carry the id of the server that is on the node, if there is one (ironic/common/neutron.py).
    made_for = {**nodes, **{node.instance_id: node for node in nodes.values() if node.instance_id is not None}}
    for port in seen.ports:
        owner, device = port.device_owner, port.device_id or ""
        if port.is_novas and device not in instances:
            yield _port(port, "port_without_server", f"It belongs to server {device}, which Nova does not have.")
        elif owner == IRONICS and device and (reason := _left_by_ironic(port, made_for.get(device))) is not None:
            yield _port(port, "port_left_behind", reason)
        elif (reason := _on_foreign_nic(port, nodes, instances, macs)) is not None:
            yield _port(port, "port_on_foreign_nic", reason)


def _left_by_ironic(port: NetworkPort, node: Node | None) -> str | None:
    """Why a port that Ironic, or our quarantine, made for a node should not be there any more."""
    if node is None:
        return f"It was made for {port.device_id}; Ironic has no such node, and none with such a server on it."
    if port.name == PORT_NAME:
        wanted = node.provision_state in {"active", "rescue"} or parked(node) is not None
        return None if wanted else f"It keeps a NIC in quarantine, and the node is {node.provision_state}."
    if node.provision_state in AT_REST:
        return f"It is of a clean, a deployment or an inspection, and the node is {node.provision_state}."
    return None


def _on_foreign_nic(
    port: NetworkPort, nodes: Mapping[str, Node], instances: Mapping[str, Instance], macs: Mapping[str, str]
) -> str | None:
    """Why a port that is bound to a NIC is bound where it must not be; None for all others."""
    if port.vnic_type != BAREMETAL or not port.host_id or port.link is None:
        return None
    node = nodes.get(port.host_id or "")
    if node is None:
        return f"It is bound to node {port.host_id}, which Ironic does not have."
    instance = instances.get(port.device_id or "")
    if instance is not None and instance.node_id not in (None, node.id):
        return f"It is bound to node {node.label}, and its server is on node {instance.node_id}."
    of = macs.get(port.mac.lower())
    if of is not None and of != node.id:
        return f"It is bound to node {node.label}, and its MAC is that of a NIC of node {of}."
    return None


def _port(port: NetworkPort, kind: str, reason: str) -> Leak:
    evidence = {
        "network": port.network_id, "mac": port.mac, "addresses": [fixed.address for fixed in port.addresses],
        "device_owner": port.device_owner, "device": port.device_id, "node": port.host_id, "project": port.project_id,
        "switch": port.link.switch_name or port.link.switch_id if port.link else None,
        "switch_port": port.link.port_id if port.link else None,
    }  # fmt: skip
    return Leak(kind, port.id, port.name or port.mac, reason, f"openstack port delete {port.id}", evidence)


def left_vifs(
    nodes: Iterable[Node], nics: Iterable[NodePort], bonds: Iterable[Bond], servers: Mapping[str, Instance]
) -> Iterator[LeftVif]:
    """All of them. `servers`: those that Nova has, by id; a node that was claimed for one of them is not free. Pure."""
    free = {
        node.id: node
        for node in nodes
        if node.provision_state in FREE and node.instance_id not in servers and not node.notes.get("adopted")
    }
    holders: list[NodePort | Bond] = [*nics, *bonds]
    for unit in holders:
        if unit.vif_id is not None and unit.node_id in free:
            yield LeftVif(free[unit.node_id], unit.mac, unit.vif_id)


def _vifs(seen: Seen, instances: Mapping[str, Instance]) -> Iterator[Leak]:
    bound = {port.id: port.host_id for port in seen.ports}
    for left in left_vifs(seen.nodes, seen.nics, seen.bonds, instances):
        node, host = left.node, bound.get(left.vif_id)
        elsewhere = host if host not in (None, node.id) else None
        reason = f"Ironic keeps port {left.vif_id} on NIC {left.mac}, and the node has no server: that NIC is not free."
        yield Leak(
            "vif_without_server", f"{node.id}:{left.vif_id}", node.label,
            reason if elsewhere is None else f"{reason} The port itself is on node {elsewhere}.",
            f"openstack baremetal node vif detach {node.id} {left.vif_id}"
            if elsewhere is None or node.provision_state != "available"
            else f"openstack baremetal node manage {node.id}",  # available, Ironic would unbind it there
            {"node": node.id, "vif": left.vif_id, "mac": left.mac, "state": node.provision_state,
             "instance": node.instance_id, "bound_to": host},
        )  # fmt: skip


def _allocations(
    allocations: Iterable[AllocationRecord], nodes: Mapping[str, Node], instances: Mapping[str, Instance]
) -> Iterator[Leak]:
    for record in allocations:
        instance, node = instances.get(record.consumer_id), nodes.get(record.node_id)
        if instance is None:
            kind, reason = "allocation_without_server", f"Nova has no server {record.consumer_id}."
        elif node is not None and instance.node_id not in (None, node.id):
            kind, reason = "allocation_on_other_node", f"Server {instance.name} is on node {instance.node_id}."
        elif instance.status == "ERROR" and instance.node_id is None:
            kind, reason = "allocation_of_failed_server", f"Server {instance.name} failed and is on no node."
        else:
            continue
        name = node.label if node is not None else record.node_id
        yield Leak(
            kind, f"{record.consumer_id}:{record.node_id}", name, f"Placement holds node {name} back for it. {reason}",
            f"openstack resource provider allocation delete {record.consumer_id}"
            if instance is None
            else f"steelyard server show {record.consumer_id}",
            {"consumer": record.consumer_id, "node": record.node_id, "resources": dict(record.resources)},
        )  # fmt: skip


def _secrets(secrets: Iterable[UnnamedSecret]) -> Iterator[Leak]:
    for secret in secrets:
        yield Leak(
            "secret_without_use", secret.id, secret.what, "Steelyard keeps it encrypted, and nothing refers to it.",
            "steelyard leaks --forget-secrets", {"what": secret.what},
        )  # fmt: skip


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4
