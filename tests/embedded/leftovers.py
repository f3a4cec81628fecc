"""What a server's life left behind, asked of each service by the stock SDK and of the rack itself."""

from __future__ import annotations

from typing import Any

from .cloud_at_hand import EmbeddedCloud

COMPUTE = "compute:"
BAREMETAL = "baremetal:"


def leftovers(cloud: EmbeddedCloud) -> list[str]:
    """Everything that belongs to no server and no work in progress; empty when the cloud is at rest and tidy."""
    system, admin = cloud.connect("system"), cloud.connect("admin")
    servers = {server.id for server in admin.compute.servers(all_projects=True)}
    nodes = {node.id: node for node in system.baremetal.nodes(details=True)}
    # A provider of virtual machines has the name of its host.
    hosts = {service.host for service in admin.compute.services(binary="nova-compute")}
    found = []
    for port in admin.network.ports():
        owner = port.device_owner or ""
        if owner.startswith(COMPUTE) and port.device_id not in servers:
            found.append(f"Neutron port {port.id} of server {port.device_id}, which is gone")
        if owner.startswith(BAREMETAL):
            found.append(f"Neutron port {port.id} on a node's NIC ({port.network_id}), of no tenant")
    for provider in admin.placement.resource_providers():
        held = admin.placement.get(f"/resource_providers/{provider.id}/allocations").json()["allocations"]
        found += [f"Placement allocation of {each} on {provider.name}" for each in held if each not in servers]
        if provider.id not in nodes and provider.name not in hosts:
            found.append(f"Placement provider {provider.name} of no node")
    for node in nodes.values():
        if node.instance_id and node.instance_id not in servers:
            found.append(f"node {node.name} belongs to server {node.instance_id}, which is gone")
        if not node.instance_id and (vlan := cloud.rack.vlan_of(node.name)) is not None:
            found.append(f"node {node.name} is still on VLAN {vlan}")
    for kind, units in (
        ("NIC", system.baremetal.ports(details=True)),
        ("bond", system.baremetal.port_groups(details=True)),
    ):
        for unit in units:
            vif = (unit.internal_info or {}).get("tenant_vif_port_id")
            if vif and not nodes[unit.node_id].instance_id:
                found.append(f"port {vif} on {kind} {unit.address} of {nodes[unit.node_id].name}, which has no server")
    return found


def offered_dirty(cloud: EmbeddedCloud, connection: Any) -> list[str]:
    """Nodes that Ironic offers at this moment although there is something on their disks."""
    found = []
    for node in connection.baremetal.nodes(details=True):
        if not _offered(node) or not (disks := cloud.rack.disks(node.name)):
            continue
        again = connection.baremetal.get_node(node.id)  # a deployment may have begun between the two looks
        if _offered(again) and again.provision_updated_at == node.provision_updated_at:
            found.append(f"{node.name} is offered with {sorted(disks)} written")
    return found


def _offered(node: Any) -> bool:
    return bool(node.provision_state == "available" and not node.instance_id and not node.is_maintenance)
