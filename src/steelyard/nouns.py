"""The values that cross the ports: what Steelyard knows of a cloud, in one shape per noun.

Frozen, without I/O and without any wire format; adapters build them, services read them. Identifiers are the
cloud's own (UUIDs, as text). Times are timezone-aware. Sizes carry their unit in their name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from steelyard.fabric_nouns import FabricFacts as FabricFacts
from steelyard.fabric_nouns import FabricPort as FabricPort
from steelyard.fabric_nouns import FabricSwitch as FabricSwitch
from steelyard.fabric_nouns import Leftover as Leftover
from steelyard.fabric_nouns import NetworkFacts as NetworkFacts
from steelyard.network_nouns import IRONICS as IRONICS
from steelyard.network_nouns import AttachmentSpec as AttachmentSpec
from steelyard.network_nouns import Bond as Bond
from steelyard.network_nouns import BondSpec as BondSpec
from steelyard.network_nouns import FixedAddress as FixedAddress
from steelyard.network_nouns import HostRoute as HostRoute
from steelyard.network_nouns import Lag as Lag
from steelyard.network_nouns import Network as Network
from steelyard.network_nouns import NetworkPort as NetworkPort
from steelyard.network_nouns import NodePort as NodePort
from steelyard.network_nouns import NodePortSpec as NodePortSpec
from steelyard.network_nouns import PortMode as PortMode
from steelyard.network_nouns import SecurityGroup as SecurityGroup
from steelyard.network_nouns import Subnet as Subnet
from steelyard.network_nouns import SubnetSpec as SubnetSpec
from steelyard.network_nouns import Subport as Subport
from steelyard.network_nouns import SwitchLink as SwitchLink
from steelyard.network_nouns import SwitchPort as SwitchPort


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: what Keystone says of a token (Identity API v3, GET /v3/auth/tokens)."""

    user_id: str
    user_name: str
    project_id: str | None
    """None for a system-scoped token."""
    project_name: str | None
    roles: frozenset[str]
    system: bool = False

    @property
    def is_admin(self) -> bool:
        """An administrator of the cloud: the admin role, on the system or (as OpenStack has it) on a project."""
        return "admin" in self.roles

    @property
    def may_write(self) -> bool:
        """A reader may look and nothing else."""
        return bool(self.roles & {"admin", "member"})


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    name: str
    status: str
    """Glance's: queued, saving, active, deactivated, killed, ..."""
    size_bytes: int | None
    disk_format: str | None
    checksum: str | None
    """`sha256:…` or `sha512:…` of the stored data, lower-case hex."""
    visibility: str
    project_id: str | None
    created_at: datetime | None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flavor:
    id: str
    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int
    resource_class: str | None
    """The custom resource class that it takes one of (`CUSTOM_BM_LARGE`); None for a flavor of virtual machines."""
    traits: frozenset[str]
    """Required traits (`CUSTOM_…`, `HW_…`)."""
    is_public: bool = True


@dataclass(frozen=True, slots=True)
class Instance:
    """A tenant's deployment (Nova's server)."""

    id: str
    name: str
    status: str
    """Nova's: BUILD, ACTIVE, SHUTOFF, ERROR, DELETED, ..."""
    task_state: str | None
    power_state: str | None
    """on, off or None (unknown)."""
    project_id: str
    user_id: str | None
    flavor_name: str | None
    image_id: str | None
    node_id: str | None
    """The Ironic node that it occupies (Nova's hypervisor hostname); None when not placed yet or not visible."""
    addresses: tuple[str, ...]
    created_at: datetime | None
    fault: str | None = None
    updated_at: datetime | None = None
    locked: bool = False
    mark: str | None = None
    """Steelyard's, of the request that it was made by; see `ServerSpec`."""


@dataclass(frozen=True, slots=True)
class Node:
    """A physical server under management (Ironic's node). Never holds a BMC's credentials."""

    id: str
    name: str | None
    driver: str
    provision_state: str
    """Ironic's: enroll, manageable, available, active, clean failed, ..."""
    target_provision_state: str | None
    power_state: str | None
    """on, off or None (unknown)."""
    maintenance: bool
    maintenance_reason: str | None
    last_error: str | None
    resource_class: str | None
    traits: frozenset[str]
    instance_id: str | None
    bmc_address: str | None
    """URL or host of the BMC, without credentials."""
    owner: str | None
    lessee: str | None
    retired: bool
    protected: bool
    provision_updated_at: datetime | None
    created_at: datetime | None
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Ironic's properties: cpus, memory_mb, local_gb, cpu_arch, capabilities, vendor, ..."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Steelyard's own notes live under the key `steelyard`."""
    step: str | None = None
    """Ironic's deploy or clean step that runs now: write_image, switch_to_tenant_network, erase_devices, ..."""
    target_power_state: str | None = None
    """Not None while the power is being changed: "power on", "rebooting", ..."""
    fault: str | None = None
    """Ironic's: power failure, clean failure, rescue abort failure; why Ironic itself set the maintenance."""
    health: str | None = None
    """Ironic's, from Redfish: ok, warning, critical; None where the BMC or the release does not say."""
    automated_clean: bool | None = None
    """False: Ironic makes it available without cleaning it; None: as the conductor is configured."""
    driver_notes: Mapping[str, Any] = field(default_factory=dict)
    """What our Ironic interfaces noted (`driver_internal_info.steelyard`); written by the conductor, by no API user."""
    protected_reason: str | None = None
    description: str | None = None
    network_interface: str | None = None
    power_interface: str | None = None
    rescue_interface: str | None = None
    """Ironic's; "no-rescue" where the node can boot no rescue system."""
    inspected_at: datetime | None = None
    """When the newest inspection ended (Ironic's inspection_finished_at); None before the first."""

    @property
    def label(self) -> str:
        """What people call it: its name, or its id where it has none."""
        return self.name or self.id

    @property
    def notes(self) -> Mapping[str, Any]:
        """Steelyard's own notes; empty for a node that Steelyard did not onboard."""
        notes = self.extra.get("steelyard")
        return notes if isinstance(notes, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Driver:
    """A hardware type that a conductor offers (Ironic's GET /v1/drivers)."""

    name: str
    power_interfaces: frozenset[str] = frozenset()
    network_interfaces: frozenset[str] = frozenset()
    """Those of its interfaces that are enabled."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the server said of itself from within (Ironic's node inventory, GET /v1/nodes/{id}/inventory)."""

    inventory: Mapping[str, Any]
    plugin_data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a service's own memory: Ironic's node history, Nova's instance actions."""

    at: datetime
    source: str
    """ironic or nova."""
    kind: str
    """Ironic's event type, Nova's action."""
    detail: str
    severity: str | None = None
    """ERROR where the service says so."""
    user_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AllocationRecord:
    """What one consumer holds of one node in Placement."""

    node_id: str
    consumer_id: str
    """The instance."""
    resources: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What a tenant asks for."""

    name: str
    flavor_id: str
    image_id: str
    network_ids: tuple[str, ...]
    key_name: str | None = None
    user_data: str | None = field(default=None, repr=False)
    """Base64, as Nova takes it."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    mark: str | None = None
    """A random text by which the request that made the server finds it again."""
    security_groups: tuple[str, ...] = ()
    """Names or ids; empty: the project's default group."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    name: str
    disk_format: str
    checksum: str
    """Demanded: `sha256:…` or `sha512:…`; stored with the image."""
    size_bytes: int
    visibility: str = "private"
    properties: Mapping[str, str] = field(default_factory=dict)
    project_id: str | None = None
    """The owner, where it is not the one who stores it; takes an administrator's rights."""


@dataclass(frozen=True, slots=True)
class FlavorSpec:
    name: str
    resource_class: str
    traits: frozenset[str] = frozenset()
    vcpus: int = 1
    ram_mib: int = 1024
    disk_gib: int = 10


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node to enroll. `driver_info` holds the BMC's credentials: it goes to the bare metal service only."""

    name: str
    driver: str
    driver_info: Mapping[str, Any] = field(repr=False)
    resource_class: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    interfaces: Mapping[str, str] = field(default_factory=dict)
    """Ironic's *_interface by short name: {"inspect": "agent", "network": "neutron"}."""
