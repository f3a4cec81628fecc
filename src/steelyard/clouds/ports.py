"""The ports: what Steelyard asks of a cloud, split by capability, each with a fake in `clouds.fake`.

Rules that hold for every method of every port:

* Lists are bulk lists: one call (paged inside) for the whole cloud, never one per node.
* What does not exist, or is not visible to the credentials in use, raises `NotFound`; a name or address that is
  taken raises `Duplicate`; what the service refuses in the present state raises `Conflict`; a value it does not
  accept raises `Invalid`; missing rights raise `Forbidden`; no answer raises `Unavailable`; an answer that is no
  answer raises `UpstreamError`. No exception of a client library passes a port.
* Verbs are idempotent where the service lets them be: deleting what is gone succeeds.
* No secret that goes in comes out, in a value or in an exception.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, BinaryIO, Literal, Protocol, runtime_checkable

from steelyard.clouds.addresses import Addresses as Addresses
from steelyard.clouds.fabric import Fabric as Fabric
from steelyard.clouds.nics import Bonds as Bonds
from steelyard.clouds.nics import NodePorts as NodePorts
from steelyard.nouns import (
    Actor,
    AllocationRecord,
    AttachmentSpec,
    Driver,
    Flavor,
    FlavorSpec,
    HistoryEntry,
    Image,
    ImageSpec,
    Inspection,
    Instance,
    Lag,
    Network,
    NetworkPort,
    Node,
    NodeSpec,
    SecurityGroup,
    ServerSpec,
    Subnet,
    SubnetSpec,
    Subport,
    SwitchLink,
)

PowerAction = Literal["on", "off", "soft off", "reboot"]
ProvisionVerb = Literal[
    "manage", "inspect", "clean", "provide", "adopt", "abort", "rescue", "unrescue", "active", "deleted", "rebuild"
]


@runtime_checkable
class Identity(Protocol):
    """Keystone (Identity API v3)."""

    def validate(self, token: str) -> Actor:
        """Who holds this token. Raises `Unauthenticated` for one that is unknown, expired or revoked."""

    def project_names(self) -> Mapping[str, str]:
        """Name of every project by its id."""


@runtime_checkable
class Images(Protocol):
    """Glance (Image API v2)."""

    def all(self) -> list[Image]: ...

    def get(self, image_id: str) -> Image: ...

    def create(self, spec: ImageSpec, data: BinaryIO) -> Image:
        """Store the data and return the image once it is active.

        Reads `data` to its end, in chunks. Raises `Invalid` if the service computes another checksum than the
        spec's; nothing is left behind then.
        """

    def delete(self, image_id: str) -> None: ...


@runtime_checkable
class Flavors(Protocol):
    """Nova's flavors (Compute API, /flavors)."""

    def all(self) -> list[Flavor]: ...

    def create(self, spec: FlavorSpec) -> Flavor:
        """A flavor that takes exactly one of the resource class and none of VCPU, MEMORY_MB, DISK_GB."""

    def delete(self, flavor_id: str) -> None: ...


@runtime_checkable
class Compute(Protocol):
    """Nova's instances (Compute API, /servers). Sees what its credentials see."""

    def all(self, *, all_projects: bool = False) -> list[Instance]: ...

    def get(self, instance_id: str) -> Instance: ...

    def create(self, spec: ServerSpec) -> Instance:
        """Ask for a server. After `Unavailable` and `UpstreamError` it may be there all the same."""

    def delete(self, instance_id: str) -> None: ...

    def power(self, instance_id: str, action: PowerAction) -> None:
        """Ask for a power state. Returns when the request is accepted. Raises `Conflict` in the wrong state."""

    def rebuild(self, instance_id: str, image_id: str) -> None:
        """Write an image anew; name, addresses and node stay. Returns when the request is accepted."""

    def rescue(self, instance_id: str, *, leave: bool = False, password: str | None = None) -> None:
        """Into rescue, or out of it (`leave`). Returns when the request is accepted.

        `password` is root's in the rescue system and goes to Nova only; without one Nova makes one up that nobody
        sees. Raises `Conflict` in the wrong state, `Invalid` for a password that Nova does not take.
        """

    def history(self, instance_id: str) -> list[HistoryEntry]:
        """Nova's instance actions (/servers/{id}/os-instance-actions), the oldest first; also of a deleted one."""


@runtime_checkable
class Interfaces(Protocol):
    """Nova's attachments of an instance (Compute API, /servers/{id}/os-interface): what a tenant may change itself."""

    def attach(self, instance_id: str, *, network_id: str, address: str | None = None) -> str:
        """A port of the network on one of the server's free NICs. Returns the port's id once Nova has attached it.

        Raises `Conflict` in a state that does not allow it, and where Nova could not attach (no free NIC, the address
        is taken): no port is left behind then. After `Unavailable` and `UpstreamError` one may be there all the same.
        """

    def attach_port(self, instance_id: str, port_id: str) -> None:
        """The same with a port that is there already. It is kept when Nova cannot attach it."""

    def detach(self, instance_id: str, port_id: str) -> None:
        """Ask for the port to be taken off the server; one that Nova made is deleted. Returns when it is accepted.

        What is gone is detached. Raises `Conflict` in a state that does not allow it.
        """


@runtime_checkable
class Nodes(Protocol):
    """Ironic's nodes as records (Bare Metal API v1, /nodes)."""

    def all(self) -> list[Node]: ...

    def get(self, node_id: str) -> Node:
        """By id or name."""

    def create(self, spec: NodeSpec) -> Node: ...

    def update(self, node_id: str, changes: Mapping[str, Any]) -> Node:
        """Set fields. Keys are JSON-pointer paths (`/extra/steelyard`, `/resource_class`); a value of None removes."""

    def set_traits(self, node_id: str, traits: frozenset[str]) -> None:
        """Replace all traits."""

    def inspection(self, node_id: str) -> Inspection:
        """The newest in-band inspection. Raises `NotFound` before the first one."""

    def set_maintenance(self, node_id: str, reason: str | None) -> None:
        """Into maintenance with a reason, or out of it with None."""

    def delete(self, node_id: str) -> None: ...


@runtime_checkable
class Provisioning(Protocol):
    """Ironic's verbs: what makes a node change its state (Bare Metal API v1, /nodes/{id}/states/…)."""

    def request(self, node_id: str, verb: ProvisionVerb, *, steps: Sequence[Mapping[str, Any]] = ()) -> None:
        """Ask for a transition. Returns when it is accepted, not when it is done.

        `steps` are the clean steps, and only for `clean`, which needs them: {"interface": …, "step": …, "args": …}.

        Raises `Conflict` when the state does not allow the verb or the node is locked by another request.
        """

    def power(self, node_id: str, action: PowerAction) -> None: ...

    def drivers(self) -> list[Driver]:
        """The hardware types that are enabled, with what they support (Bare Metal API v1, /drivers)."""

    def history(self, node_id: str) -> list[HistoryEntry]:
        """Ironic's node history (/nodes/{id}/history), the oldest first."""


@runtime_checkable
class Placement(Protocol):
    """Placement: how much of what is left."""

    def free(self, resource_class: str, traits: frozenset[str] = frozenset()) -> frozenset[str]:
        """Node ids that could be allocated now: one of the class is free and all the traits are there.

        Takes the class as Ironic or as Placement spells it. A class or trait that nobody has: nothing is free.
        """

    def hold_back(self, node_id: str) -> None:
        """Reserve the node's whole inventory, so that no new allocation can be made. Nothing happens where Placement
        does not know the node. Nova lifts it once Ironic offers the node again (no maintenance)."""

    def allocations(self, node_ids: Collection[str] | None = None) -> list[AllocationRecord]:
        """Who holds which node: of these, or of all that Placement cannot offer.

        Not for a period: Placement has no list of all allocations, so this costs a call for each node that is asked
        about, or, for all, for each one that is taken or held back. Who only looks for leftovers asks about the few
        nodes whose use the other services do not explain.
        """

    def delete_allocation(self, consumer_id: str) -> None:
        """Free what a consumer that no longer exists still holds."""

    def traits(self) -> Mapping[str, frozenset[str]]:
        """The traits of every provider, by its id (a node's is the node's own), but for those that Nova sets of its own
        accord (`COMPUTE_…`, `OWNER_…`). A call for each trait that is in use, not one for each node."""

    def set_traits(self, node_id: str, traits: frozenset[str]) -> None:
        """Replace a provider's traits, but for Nova's own. Raises `NotFound` where Placement does not know the node."""

    def classes(self, node_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """The resource classes that these providers have an inventory of, as Placement spells them; of one that it
        does not know, none. A call for each: ask about few."""


@runtime_checkable
class Networks(Protocol):
    """The network controller's networks and subnets (Neutron's Networking API v2.0, or Contrail's)."""

    def all(self) -> list[Network]: ...

    def create(self, name: str, *, project_id: str | None = None) -> Network:
        """A private network of the project, with a segment of its own; without a project, of the credentials'."""

    def delete(self, network_id: str) -> None:
        """Raises `Conflict` while something is attached."""

    def subnets(self) -> list[Subnet]: ...

    def create_subnet(self, spec: SubnetSpec) -> Subnet: ...

    def delete_subnet(self, subnet_id: str) -> None: ...


@runtime_checkable
class Attachments(Protocol):
    """The network controller's ports: who is attached where, with which address."""

    def all(
        self, *, network_ids: Sequence[str] | None = None, device_ids: Sequence[str] | None = None
    ) -> list[NetworkPort]:
        """All, or those on these networks, or those of these owners (instances, nodes)."""

    def get(self, port_id: str) -> NetworkPort: ...

    def bound(self, node_id: str) -> list[NetworkPort]:
        """Whatever is bound to the node (binding:host_id), whoever owns it. For administrators: nobody else is told
        where a port is bound."""

    def create(self, spec: AttachmentSpec) -> NetworkPort:
        """A port of Steelyard's own on a NIC, bound at once. The same again returns the one that is there."""

    def bind(self, port_id: str, *, node_id: str, mac: str, link: SwitchLink, lag: Lag | None = None) -> NetworkPort:
        """Put a port on a NIC (binding:host_id, profile, vnic_type baremetal). Its addresses stay.

        With `lag` on all the links of a bond, `link` being its first; its subports' VLANs come along, tagged.
        """

    def unbind(self, port_id: str) -> None:
        """Take a port off its NIC; port, MAC and addresses stay reserved."""

    def delete(self, port_id: str) -> None:
        """With its sub-interfaces."""


@runtime_checkable
class SubInterfaces(Protocol):
    """Tagged sub-interfaces of attachments (Neutron's trunk extension; sub-interface VMIs of Contrail).

    Administrators' work, whoever asked for it: who may choose a tag could choose another tenant's VLAN, since a switch
    carries what it is told. So there is no tag to choose: a sub-interface has the VLAN of its network. `NetworkPort`
    tells which ones an attachment has.
    """

    def add(self, parent_id: str, *, network_id: str, name: str, project_id: str | None = None) -> Subport:
        """A port of the network, tagged, on the NIC of the parent port. The same again returns the one that is there.

        Raises `Conflict` when the parent has one of this network's VLAN, `Invalid` for a network without a VLAN or the
        parent's own network.
        """

    def remove(self, parent_id: str, port_id: str) -> None:
        """Take it off the NIC and delete its port. What is gone is removed."""


@runtime_checkable
class SecurityGroups(Protocol):
    """The network controller's security groups, as the credentials see them."""

    def all(self) -> list[SecurityGroup]: ...

    def put(self, port_id: str, group_ids: Sequence[str]) -> None:
        """Replace the groups of a port."""

    def enforced_on_nics(self) -> bool:
        """Whether this controller has the groups of a server's port enforced, by the switch or by itself. False: it
        accepts and keeps them, and nothing filters."""

    def on_switch(self, port: NetworkPort | None) -> frozenset[str] | None:
        """Ids of the groups by which the switch must filter where this port is bound; without one: where none is.
        None: the groups are not enforced, so that a switch need not filter by them."""


class Cloud(Protocol):
    """All the ports of one cloud, seen with one set of credentials."""

    @property
    def images(self) -> Images: ...
    @property
    def flavors(self) -> Flavors: ...
    @property
    def compute(self) -> Compute: ...
    @property
    def interfaces(self) -> Interfaces: ...
    @property
    def nodes(self) -> Nodes: ...
    @property
    def provisioning(self) -> Provisioning: ...
    @property
    def node_ports(self) -> NodePorts: ...
    @property
    def bonds(self) -> Bonds: ...
    @property
    def placement(self) -> Placement: ...
    @property
    def networks(self) -> Networks: ...
    @property
    def attachments(self) -> Attachments: ...
    @property
    def sub_interfaces(self) -> SubInterfaces: ...
    @property
    def security_groups(self) -> SecurityGroups: ...
    @property
    def fabric(self) -> Fabric: ...
    @property
    def addresses(self) -> Addresses: ...


class Clouds(Protocol):
    """The way in: the same cloud with Steelyard's own rights, or with those of whoever asks.

    Administrators' work and observation use `own`; what a tenant asks for is done with the tenant's token, so that
    the cloud's own policies, quotas and ownership decide.
    """

    @property
    def identity(self) -> Identity: ...
    @property
    def own(self) -> Cloud: ...

    def on_behalf_of(self, token: str) -> Cloud: ...
