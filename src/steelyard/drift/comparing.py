"""From what all systems said to what they do not agree on. Pure.

The rules of leaks and of isolation are used here, not told again.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from steelyard.attention.model import Severity
from steelyard.discovery.model import traits_for
from steelyard.drift.model import (
    SEVERITY,
    Action,
    BindPort,
    ClearInstance,
    DeleteAllocation,
    DeletePort,
    DetachPort,
    DetachVif,
    Drift,
    EmptySwitchPort,
    ForgetSecret,
    RemoveLeftover,
    SetNodeTraits,
    SetProviderTraits,
)
from steelyard.isolation.fleet import Attachment, Fleet, views
from steelyard.isolation.fleet import severity as nic_severity
from steelyard.isolation.model import place
from steelyard.isolation.policy import Role, Trouble, may_attach
from steelyard.lifecycle.leaks import Leak
from steelyard.naming import placement_class
from steelyard.nouns import Leftover, NetworkPort, Node, NodePort, SwitchPort

RESERVED_FOR: Final = timedelta(hours=24)
"""So long a tenant's port may wait for a server without being told of."""
NOVA_FOLLOWS: Final = timedelta(minutes=10)
"""So long may Nova take to tell Placement of a node that has become available."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What all systems said at about the same time."""

    fleet: Fleet
    attachments: Sequence[Attachment]
    """The fleet's NICs, compared."""
    leaks: Sequence[Leak]
    operators: Mapping[Role, str]
    """Network ids of the operator's roles."""
    segments: frozenset[str]
    """Ids of the networks of which each node in transition has one to itself."""
    switches: Mapping[str, Sequence[SwitchPort]]
    """Ports of each switch that could be read, by chassis id."""
    traits: Mapping[str, frozenset[str]]
    """Of Placement's providers, by node id."""
    classes: Mapping[str, frozenset[str]]
    """Of those of Placement's providers that were asked about."""
    now: datetime
    leftovers: Sequence[Leftover] = ()
    """What the network controller itself says that nothing uses."""


def compare(seen: Seen) -> list[Drift]:
    """Everything that the systems do not agree on, each once."""
    found = [_of_leak(leak) for leak in seen.leaks]
    found += _ports(seen)
    handled = {each.action.port_id for each in found if isinstance(each.action, DeletePort | DetachPort)}
    found += _nics(seen, handled)
    found += [*_servers(seen), *_traits(seen), *_classes(seen), *_switch_ports(seen)]
    found += [_of_leftover(each) for each in seen.leftovers]
    return list({each.key: each for each in found}.values())


def must_ask(nodes: Iterable[Node], free: Collection[str]) -> list[str]:
    """Nodes of whose resource class Placement must be asked: Ironic offers them, and Placement does not."""
    return [
        node.id
        for node in nodes
        if node.provision_state == "available"
        and node.instance_id is None
        and not node.maintenance
        and node.resource_class
        and node.id not in free
    ]


# Leaks

_SYSTEM: Final[Mapping[str, str]] = {
    "node": "ironic", "server": "nova", "allocation": "placement", "secret": "steelyard", "port": "neutron",
    "vif": "ironic",
}  # fmt: skip


def _of_leak(leak: Leak) -> Drift:
    what = leak.kind.split("_", 1)[0]
    severity = SEVERITY[leak.kind]
    if leak.kind == "port_without_server" and leak.evidence.get("node"):
        severity = Severity.CRITICAL  # it is bound: whoever has that NIC now is on the network
    return Drift(
        leak.kind, f"{what}:{leak.id}", leak.name, severity, leak.reason, leak.next,
        {_SYSTEM[what]: dict(leak.evidence)}, _mend_leak(leak),
    )  # fmt: skip


def _mend_leak(leak: Leak) -> Action | None:
    evidence = leak.evidence
    if leak.kind in ("port_without_server", "port_left_behind"):
        return DeletePort(port_id=leak.id)
    if leak.kind == "port_on_foreign_nic":
        return DetachPort(port_id=leak.id, node_id=evidence["node"], mac=evidence["mac"])
    if leak.kind == "allocation_without_server":
        return DeleteAllocation(consumer_id=evidence["consumer"], node_id=evidence["node"])
    if leak.kind == "node_without_server" and evidence["state"] == "available":
        return ClearInstance(node_id=leak.id, instance_id=evidence["instance"])
    if leak.kind == "vif_without_server" and evidence["bound_to"] in (None, evidence["node"]):
        return DetachVif(node_id=evidence["node"], vif_id=evidence["vif"])
    if leak.kind == "secret_without_use":
        return ForgetSecret(secret_id=leak.id)
    return None


# Ports and addresses


def _ports(seen: Seen) -> Iterator[Drift]:
    """Ports of nobody: neither a server, nor a node, nor a service of the controller's has them."""
    operators = {network_id: role.value for role, network_id in seen.operators.items()}
    operators |= dict.fromkeys(seen.segments, "segment")
    macs = {nic.mac.lower() for nic in seen.fleet.nics}
    for port in seen.fleet.seen.attachments:
        if port.device_id or port.device_owner:
            continue
        role = operators.get(port.network_id)
        addresses = [fixed.address for fixed in port.addresses]
        bound = port.host_id is not None
        if role is None and not bound and port.mac.lower() not in macs:
            if port.created_at is None or seen.now - port.created_at < RESERVED_FOR:
                continue
            reason = "A port of nobody has waited for a server for more than a day. It may be reserved on purpose."
            action: Action | None = None
        else:
            where = f"the {role} network" if role else "a NIC of the fleet" if bound else "the MAC of a NIC"
            reason = f"A port on {where} belongs to nobody."
            action = DeletePort(port_id=port.id)
        yield Drift(
            "port_without_owner", f"port:{port.id}", port.name or port.mac,
            Severity.CRITICAL if bound else SEVERITY["port_without_owner"],
            f"{reason} It holds {', '.join(addresses)}." if addresses else reason,
            f"openstack port show {port.id}", {"neutron": _port(port)}, action,
        )  # fmt: skip


def _servers(seen: Seen) -> Iterator[Drift]:
    """Addresses that Nova says a server has, and no port of it."""
    addresses: dict[str, set[str]] = defaultdict(set)
    for port in seen.fleet.seen.attachments:
        if port.device_id:
            addresses[port.device_id] |= {fixed.address for fixed in port.addresses}
    nodes = {node.id for node in seen.fleet.nodes}
    for server in seen.fleet.instances:
        if server.task_state is not None or server.status not in ("ACTIVE", "SHUTOFF") or server.node_id not in nodes:
            continue
        missing = sorted(set(server.addresses) - addresses[server.id])
        if not missing:
            continue
        lost = not addresses[server.id]
        kind = "server_without_port" if lost else "address_of_nobody"
        what = "no port" if lost else "no port with that address"
        yield Drift(
            kind, f"server:{server.id}", server.name, SEVERITY[kind],
            f"Nova says that the server has {', '.join(missing)}; Neutron has {what} of it.",
            f"openstack server show {server.id}",
            {"nova": {"addresses": list(server.addresses)}, "neutron": {"addresses": sorted(addresses[server.id])}},
        )  # fmt: skip


def _port(port: NetworkPort) -> dict[str, Any]:
    return {
        "port": port.id, "network": port.network_id, "mac": port.mac, "project": port.project_id,
        "addresses": [fixed.address for fixed in port.addresses], "device_owner": port.device_owner,
        "device": port.device_id, "node": port.host_id, "status": port.status,
    }  # fmt: skip


def _of_leftover(leftover: Leftover) -> Drift:
    return Drift(
        "controller_leftover", f"{leftover.kind}:{leftover.id}", leftover.name, SEVERITY["controller_leftover"],
        f"The network controller has the {leftover.kind} {leftover.name}, and {leftover.reason}.",
        "steelyard drift plan --kind controller_leftover -o FILE",
        {"contrail": {"type": leftover.kind, "uuid": leftover.id, "name": leftover.name}},
        RemoveLeftover.model_validate({"kind": leftover.kind, "object_id": leftover.id}),
    )  # fmt: skip


# NICs and switches


def _nics(seen: Seen, handled: Collection[str]) -> Iterator[Drift]:
    nics = {nic.mac: nic for nic in seen.fleet.nics}
    for found in seen.attachments:
        if not found.differs or found.nic.trouble is None:
            continue
        nic = nics[found.nic.mac]
        there = [port for port in seen.fleet.seen.on(nic) if port.link is not None]
        action = _mend_nic(found, nic, there, seen) if not found.overdue else None
        if isinstance(action, DetachPort) and action.port_id in handled:
            continue  # the port itself is told of, and goes
        yield Drift(
            found.nic.trouble.value, f"nic:{nic.mac}", found.node.label, nic_severity(found),
            f"NIC {nic.mac} of node {found.node.label}: {found.nic.why}.",
            f"steelyard isolation show {shlex.quote(found.node.label)}", _nic_evidence(found, there), action,
        )  # fmt: skip


def _nic_evidence(found: Attachment, there: Sequence[NetworkPort]) -> dict[str, Any]:
    shown = views(found)
    return {
        "ironic": {"node": found.node.id, "state": found.node.provision_state, "server": found.node.instance_id},
        "steelyard": {"phase": found.phase.value, "role": shown["role"], "intended": shown["intended"]},
        "neutron": {"has": shown["controller"], "ports": [_port(port) for port in there]},
        "switch": {"port": shown["switch_port"], "carries": shown["switch"]},
    }


def _mend_nic(found: Attachment, nic: NodePort, there: Sequence[NetworkPort], seen: Seen) -> Action | None:
    node = found.node
    if found.nic.trouble is Trouble.FOREIGN:
        for port in there:
            if not may_attach(port, found.nic.role, node_id=node.id, instance_id=node.instance_id):
                return DetachPort(port_id=port.id, node_id=node.id, mac=nic.mac)
        return None
    if len(there) > 1 or nic.link is None:
        return None
    if found.nic.trouble is Trouble.CONTROLLER:
        mine = [port for port in seen.fleet.seen.with_mac(nic.mac) if port.is_of(node.instance_id)]
        if found.nic.role is not Role.TENANT or len(mine) != 1:
            return None
        return BindPort(port_id=mine[0].id, node_id=node.id, mac=nic.mac)
    if there:
        return BindPort(port_id=there[0].id, node_id=node.id, mac=nic.mac)
    return EmptySwitchPort(node_id=node.id, mac=nic.mac)


def _switch_ports(seen: Seen) -> Iterator[Drift]:
    """VLANs of our networks on ports at which no NIC is known to be, of switches that have some of the fleet's."""
    known = {place(nic.link) for nic in seen.fleet.nics if nic.link is not None}
    inspection = seen.operators.get(Role.INSPECTION)
    vlans = {
        network.segmentation_id: network
        for network in seen.fleet.seen.networks.values()
        # servers that are no nodes yet are looked at from within on that one
        if network.segmentation_id is not None and network.id != inspection
    }
    for switch_id, ports in sorted(seen.switches.items()):
        for port in ports:
            network = vlans.get(port.untagged_vlan) if port.untagged_vlan is not None else None
            if network is None or (switch_id.lower(), port.port_id) in known:
                continue
            yield Drift(
                "vlan_on_unknown_port", f"switch_port:{switch_id}/{port.port_id}",
                f"{port.switch_name} {port.port_id}", SEVERITY["vlan_on_unknown_port"],
                f"{port.switch_name} {port.port_id} leads into {network.name} (VLAN {port.untagged_vlan}), and no NIC "
                "of the fleet is known to be there.",
                f"openstack port list --network {network.id}",
                {"switch": {"port": port.port_id, "carries": port.untagged_vlan}, "ironic": {"nic": None}},
            )  # fmt: skip


# Traits and classes


def _traits(seen: Seen) -> Iterator[Drift]:
    for node in seen.fleet.nodes:
        vendor, architecture = node.properties.get("vendor"), node.properties.get("cpu_arch")
        given = traits_for(vendor if isinstance(vendor, str) else None, architecture)
        onboarded = "class_given" in node.notes and node.provision_state in ("available", "active")
        missing = sorted(given - node.traits) if onboarded else []
        provider = seen.traits.get(node.id)
        evidence = {
            "ironic": {"traits": sorted(node.traits)},
            "placement": {"traits": sorted(provider) if provider is not None else None},
            "steelyard": {"given": sorted(given)},
        }
        if missing:
            yield Drift(
                "trait_missing", f"node:{node.id}", node.label, SEVERITY["trait_missing"],
                f"Its onboarding gave it {', '.join(missing)}; Ironic does not have that any more.",
                f"openstack baremetal node add trait {node.id} {' '.join(missing)}", evidence,
                SetNodeTraits(node_id=node.id, add=missing),
            )  # fmt: skip
        elif provider is not None and provider != node.traits and node.provision_state in ("available", "active"):
            wrong = [f"lacks {name}" for name in sorted(node.traits - provider)]
            wrong += [f"has {name}" for name in sorted(provider - node.traits)]
            yield Drift(
                "provider_traits_differ", f"node:{node.id}", node.label, SEVERITY["provider_traits_differ"],
                f"Its provider in Placement {', '.join(wrong)}; Ironic says otherwise.",
                f"openstack --os-placement-api-version 1.6 resource provider trait list {node.id}", evidence,
                SetProviderTraits(node_id=node.id, traits=sorted(node.traits)),
            )  # fmt: skip


def _classes(seen: Seen) -> Iterator[Drift]:
    for node in seen.fleet.nodes:
        had = seen.classes.get(node.id)
        if had is None or node.resource_class is None or placement_class(node.resource_class) in had:
            continue
        if node.provision_updated_at is None or seen.now - node.provision_updated_at < NOVA_FOLLOWS:
            continue
        yield Drift(
            "provider_class_differs", f"node:{node.id}", node.label, SEVERITY["provider_class_differs"],
            f"Ironic offers it as {node.resource_class}; Placement has {', '.join(sorted(had)) or 'nothing'} of it.",
            f"openstack resource provider inventory list {node.id}",
            {"ironic": {"resource_class": node.resource_class}, "placement": {"classes": sorted(had)}},
        )  # fmt: skip
