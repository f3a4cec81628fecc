"""One view of a server, joined from what Ironic, Nova, Glance, Keystone and discovery say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from steelyard.discovery.model import Candidate, KnownNodes, settled
from steelyard.inventory.notes import (
    LOCATION,
    MAX_PARTS,
    TAGS,
    DiskRecord,
    Inspected,
    Location,
    location_of,
    tags_of,
    text,
    whole,
)
from steelyard.nouns import Instance, NetworkPort, Node, NodePort


class Group(StrEnum):
    """The three heaps that an operator looks at."""

    DEPLOYED = "deployed"
    """A tenant has it."""
    AVAILABLE = "available"
    """Free, clean, and not held back."""
    OTHER = "other"
    """Everything else: on its way, in quarantine, held back, retired, or not a node yet."""


class Kind(StrEnum):
    """What a record is at the moment. A candidate that becomes a node stays one record."""

    NODE = "node"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True)
class NicRecord:
    """A NIC and the switch port at the other end of its cable."""

    mac: str
    switch: str | None
    """The switch's name, else its chassis id; None when not known."""
    port: str | None
    pxe: bool
    physical_network: str | None


@dataclass(frozen=True, slots=True)
class Hardware:
    """What is known of a server's size and make."""

    vendor: str | None
    model: str | None
    cpus: int | None
    memory_mib: int | None
    disk_gib: int | None
    architecture: str | None


@dataclass(frozen=True, slots=True)
class Firmware:
    """Versions, as the BMC and the inspection said."""

    bmc: str | None = None
    bios: str | None = None


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One server in the inventory."""

    kind: Kind
    id: str
    """The node's, or the candidate's."""
    name: str
    """Ironic's name, else the id; what people call a candidate."""
    phase: str
    group: Group
    provision_state: str | None
    """None for a candidate."""
    power: str | None
    resource_class: str | None
    traits: tuple[str, ...]
    health: str | None
    """ok, warning, critical; None where nobody says."""
    fault: str | None
    maintenance: bool
    maintenance_reason: str | None
    last_error: str | None
    project_id: str | None
    project: str | None
    instance_id: str | None
    instance: str | None
    addresses: tuple[str, ...]
    flavor: str | None
    image: str | None
    serial: str | None
    hardware: Hardware
    firmware: Firmware
    location: Location
    tags: tuple[str, ...]
    nics: tuple[NicRecord, ...]
    disks: tuple[DiskRecord, ...]
    bmc_address: str | None
    candidate_id: str | None
    retired: bool
    since: str | None
    """When Ironic's state was reached, or the candidate first seen; RFC 3339."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the cloud's bulk lists said at one moment, and the candidates."""

    nodes: tuple[Node, ...]
    instances: tuple[Instance, ...] = ()
    ports: tuple[NodePort, ...] = ()
    projects: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[NetworkPort, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    inspections: Mapping[str, Inspected] = field(default_factory=dict)
    """By node."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The life cycle's rules that the join goes by."""

    phase: Callable[[Node, Instance | None], str]
    deployed: frozenset[str]
    """Phases with a tenant."""
    offered: Callable[[Node], bool]


def join(observed: Observed, rules: Rules) -> list[NodeRecord]:
    """A record for every node, and for every candidate that is not one."""
    by_id = {instance.id: instance for instance in observed.instances}
    by_node = {instance.node_id: instance for instance in observed.instances if instance.node_id}
    ports: dict[str, list[NodePort]] = {}
    for port in observed.ports:
        ports.setdefault(port.node_id, []).append(port)
    wired: dict[str, list[str]] = {}
    for attachment in observed.attachments:
        if attachment.device_id:
            wired.setdefault(attachment.device_id, []).extend(fixed.address for fixed in attachment.addresses)
    known = KnownNodes(observed.nodes)
    by_candidate: dict[str, Candidate] = {}
    alone = []
    for each in observed.candidates:
        candidate = settled(each, known)
        if candidate.node_id in known.by_id and candidate.node_id not in by_candidate:
            by_candidate[candidate.node_id or ""] = candidate
        elif candidate.node_id not in known.by_id:
            alone.append(candidate)
    records = []
    for node in observed.nodes:
        instance = by_id.get(node.instance_id or "") or (by_node.get(node.id) if node.instance_id is None else None)
        records.append(
            node_record(
                node,
                instance,
                ports=[nic_record(port) for port in sorted(ports.get(node.id, ()), key=lambda port: port.mac)],
                addresses=wired.get(instance.id, ()) if instance else (),
                candidate=by_candidate.get(node.id),
                inspected=observed.inspections.get(node.id),
                projects=observed.projects,
                images=observed.images,
                rules=rules,
            )
        )
    return records + [candidate_record(each) for each in alone]


def node_record(
    node: Node,
    instance: Instance | None,
    *,
    ports: Sequence[NicRecord],
    projects: Mapping[str, str],
    images: Mapping[str, str],
    rules: Rules,
    addresses: Sequence[str] = (),
    candidate: Candidate | None = None,
    inspected: Inspected | None = None,
) -> NodeRecord:
    """One node's record. `projects` and `images` are names by id."""
    found = rules.phase(node, instance)
    group = Group.DEPLOYED if found in rules.deployed else Group.AVAILABLE if rules.offered(node) else Group.OTHER
    project_id = instance.project_id if instance else node.lessee if group is Group.DEPLOYED else None
    properties, notes = node.properties, node.notes
    own = instance.addresses if instance else ()
    return NodeRecord(
        kind=Kind.NODE,
        id=node.id,
        name=text(node.name) or node.id,
        phase=str(found),
        group=group,
        provision_state=node.provision_state,
        power=node.power_state,
        resource_class=text(node.resource_class),
        traits=tuple(sorted(node.traits)),
        health=node.health or ("critical" if node.fault else None),
        fault=text(node.fault),
        maintenance=node.maintenance,
        maintenance_reason=text(node.maintenance_reason),
        last_error=text(node.last_error),
        project_id=project_id,
        project=text(projects.get(project_id, project_id)) if project_id else None,
        instance_id=node.instance_id or (instance.id if instance else None),
        instance=text(instance.name) if instance else None,
        addresses=own + tuple(sorted(set(addresses) - set(own))),
        flavor=text(instance.flavor_name) if instance else None,
        image=text(images.get(instance.image_id or "", instance.image_id)) if instance else None,
        serial=text(notes.get("serial")),
        hardware=Hardware(
            vendor=text(notes.get("vendor")) or text(properties.get("vendor")),
            model=text(notes.get("model")),
            cpus=whole(properties.get("cpus")),
            memory_mib=whole(properties.get("memory_mb")),
            disk_gib=whole(properties.get("local_gb")),
            architecture=text(properties.get("cpu_arch")),
        ),
        firmware=Firmware(
            bmc=text(notes.get("bmc_firmware")) or (candidate.bmc_firmware if candidate else None),
            bios=(inspected.bios if inspected else None) or (candidate.bios_version if candidate else None),
        ),
        location=location_of(notes.get(LOCATION)),
        tags=tags_of(notes.get(TAGS)),
        nics=tuple(ports),
        disks=inspected.disks if inspected else (),
        bmc_address=text(node.bmc_address),
        candidate_id=candidate.id if candidate else text(notes.get("candidate_id")),
        retired=node.retired,
        since=node.provision_updated_at.isoformat() if node.provision_updated_at else None,
    )


def candidate_record(candidate: Candidate) -> NodeRecord:
    """A server that was found and is not a node."""
    return NodeRecord(
        kind=Kind.CANDIDATE,
        id=candidate.id,
        name=text(candidate.name) or candidate.id,
        phase="candidate",
        group=Group.OTHER,
        provision_state=None,
        power=candidate.power_state,
        resource_class=None,
        traits=(),
        health=None,
        fault=None,
        maintenance=False,
        maintenance_reason=None,
        last_error=text(candidate.reason),
        project_id=None,
        project=None,
        instance_id=None,
        instance=None,
        addresses=(),
        flavor=None,
        image=None,
        serial=text(candidate.serial),
        hardware=Hardware(
            vendor=text(candidate.vendor),
            model=text(candidate.model),
            cpus=candidate.cpus,
            memory_mib=candidate.memory_mib,
            disk_gib=None,
            architecture=None,
        ),
        firmware=Firmware(bmc=text(candidate.bmc_firmware), bios=text(candidate.bios_version)),
        location=location_of(candidate.location),
        tags=tags_of(candidate.tags),
        nics=tuple(_candidate_nic(candidate, mac) for mac in sorted(set(candidate.macs))[:MAX_PARTS]),
        disks=(),
        bmc_address=text(candidate.bmc_url),
        candidate_id=candidate.id,
        retired=False,
        since=candidate.first_seen_at.isoformat(),
    )


def nic_record(port: NodePort) -> NicRecord:
    link = port.link
    return NicRecord(
        mac=port.mac,
        switch=text(link.switch_name or link.switch_id) if link else None,
        port=text(link.port_id) if link else None,
        pxe=port.pxe_enabled,
        physical_network=port.physical_network,
    )


def _candidate_nic(candidate: Candidate, mac: str) -> NicRecord:
    link = candidate.links.get(mac)
    return NicRecord(
        mac=mac,
        switch=text(link.switch_name or link.switch_id) if link else None,
        port=text(link.port_id) if link else None,
        pxe=False,
        physical_network=None,
    )
