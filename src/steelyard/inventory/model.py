"""One view of a server, joined from what Ironic, Nova, Glance and Keystone say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from steelyard.nouns import Instance, Node, NodePort


class Group(StrEnum):
    """The three heaps that an operator looks at."""

    DEPLOYED = "deployed"
    """A tenant has it."""
    AVAILABLE = "available"
    """Free, clean, and not held back."""
    OTHER = "other"
    """Everything else: on its way, in quarantine, held back, retired."""


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
class NodeRecord:
    """One server in the inventory."""

    id: str
    name: str
    """Ironic's name, else the id."""
    phase: str
    group: Group
    provision_state: str
    power: str | None
    resource_class: str | None
    traits: tuple[str, ...]
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
    nics: tuple[NicRecord, ...]
    bmc_address: str | None
    candidate_id: str | None
    retired: bool
    since: str | None
    """When Ironic's state was reached, RFC 3339."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the cloud's bulk lists said at one moment."""

    nodes: tuple[Node, ...]
    instances: tuple[Instance, ...] = ()
    ports: tuple[NodePort, ...] = ()
    projects: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)


def join(
    observed: Observed,
    *,
    phase: Callable[[Node, Instance | None], str],
    deployed: Iterable[str],
    offered: Callable[[Node], bool],
) -> list[NodeRecord]:
    """Every node's record. `phase`, `deployed` (phases with a tenant) and `offered` are the life cycle's rules."""
    by_id = {instance.id: instance for instance in observed.instances}
    by_node = {instance.node_id: instance for instance in observed.instances if instance.node_id}
    ports: dict[str, list[NodePort]] = {}
    for port in observed.ports:
        ports.setdefault(port.node_id, []).append(port)
    with_tenant = frozenset(deployed)
    records = []
    for node in observed.nodes:
        instance = by_id.get(node.instance_id or "") or (by_node.get(node.id) if node.instance_id is None else None)
        found = phase(node, instance)
        group = Group.DEPLOYED if found in with_tenant else Group.AVAILABLE if offered(node) else Group.OTHER
        records.append(_record(node, instance, ports.get(node.id, []), observed, found, group))
    return records


def _record(
    node: Node, instance: Instance | None, ports: list[NodePort], observed: Observed, phase: str, group: Group
) -> NodeRecord:
    project_id = instance.project_id if instance else node.lessee if group is Group.DEPLOYED else None
    properties, notes = node.properties, node.notes
    return NodeRecord(
        id=node.id,
        name=node.name or node.id,
        phase=str(phase),
        group=group,
        provision_state=node.provision_state,
        power=node.power_state,
        resource_class=node.resource_class,
        traits=tuple(sorted(node.traits)),
        maintenance=node.maintenance,
        maintenance_reason=node.maintenance_reason,
        last_error=node.last_error,
        project_id=project_id,
        project=observed.projects.get(project_id, project_id) if project_id else None,
        instance_id=node.instance_id or (instance.id if instance else None),
        instance=instance.name if instance else None,
        addresses=instance.addresses if instance else (),
        flavor=instance.flavor_name if instance else None,
        image=observed.images.get(instance.image_id or "", instance.image_id) if instance else None,
        serial=_text(notes.get("serial")),
        hardware=Hardware(
            vendor=_text(notes.get("vendor")) or _text(properties.get("vendor")),
            model=_text(notes.get("model")),
            cpus=_whole(properties.get("cpus")),
            memory_mib=_whole(properties.get("memory_mb")),
            disk_gib=_whole(properties.get("local_gb")),
            architecture=_text(properties.get("cpu_arch")),
        ),
        nics=tuple(
            NicRecord(
                mac=port.mac,
                switch=(port.link.switch_name or port.link.switch_id) if port.link else None,
                port=port.link.port_id if port.link else None,
                pxe=port.pxe_enabled,
                physical_network=port.physical_network,
            )
            for port in sorted(ports, key=lambda port: port.mac)
        ),
        bmc_address=node.bmc_address,
        candidate_id=_text(notes.get("candidate_id")),
        retired=node.retired,
        since=node.provision_updated_at.isoformat() if node.provision_updated_at else None,
    )


def matches(
    record: NodeRecord, *, group: Group | None = None, pool: str | None = None, text: str | None = None
) -> bool:
    """Whether a record passes the filters: its heap, its pool (resource class, either spelling), words in any field."""
    if group is not None and record.group is not group:
        return False
    if pool is not None and _plain_class(pool) != _plain_class(record.resource_class or ""):
        return False
    if text:
        haystack = "\n".join(_words(record)).lower()
        return all(word in haystack for word in text.lower().split())
    return True


def _plain_class(name: str) -> str:
    plain = "".join(c if c.isalnum() else "_" for c in name.upper())
    return plain.removeprefix("CUSTOM_")


def _words(record: NodeRecord) -> Iterable[str]:
    hardware = record.hardware
    single = (
        record.id, record.name, record.phase, record.provision_state, record.resource_class, record.project,
        record.project_id, record.instance, record.instance_id, record.flavor, record.image, record.serial,
        hardware.vendor, hardware.model, hardware.architecture, record.bmc_address, record.last_error,
        record.maintenance_reason,
    )  # fmt: skip
    yield from (value for value in single if value)
    yield from record.addresses
    yield from record.traits
    for nic in record.nics:
        yield nic.mac
        yield f"{nic.switch} {nic.port}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    """Ironic keeps numbers in properties as numbers or as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19 else None
