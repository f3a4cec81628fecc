"""What drift is: findings over all systems, and the actions that end them. Pure.

An action is typed: a verb and exactly the fields that it needs. Nothing else can be planned, and nothing but what the
systems themselves say is the reason for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from steelyard.attention.model import URGENCY, Severity

Id = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
"""A UUID, or what the service uses as one."""
Mac = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5,19}$")]
"""Of Ethernet, or of InfiniBand."""
Trait = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,255}$")]
"""As Placement takes it."""


class _Action(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DeletePort(_Action):
    """Delete a port that belongs to nobody, in the network controller."""

    verb: Literal["delete_port"] = "delete_port"
    port_id: Id


class DetachPort(_Action):
    """Take a port off a NIC on which it may not be. The port stays, with its addresses."""

    verb: Literal["detach_port"] = "detach_port"
    port_id: Id
    node_id: Id
    mac: Mac


class BindPort(_Action):
    """Bind a server's port to the NIC that it belongs on, by which the switch is written again."""

    verb: Literal["bind_port"] = "bind_port"
    port_id: Id
    node_id: Id
    mac: Mac


class EmptySwitchPort(_Action):
    """Take every VLAN off the switch port of a NIC that is on no network."""

    verb: Literal["empty_switch_port"] = "empty_switch_port"
    node_id: Id
    mac: Mac


class DeleteAllocation(_Action):
    """Free what a consumer that is gone holds in Placement."""

    verb: Literal["delete_allocation"] = "delete_allocation"
    consumer_id: Id
    node_id: Id


class ClearInstance(_Action):
    """Have Ironic forget that a server is on a node that is available; nothing was written to it."""

    verb: Literal["clear_instance"] = "clear_instance"
    node_id: Id
    instance_id: Id


class DetachVif(_Action):
    """Have Ironic take a port off a NIC of a node that has no server."""

    verb: Literal["detach_vif"] = "detach_vif"
    node_id: Id
    vif_id: Id


class SetNodeTraits(_Action):
    """Give a node in Ironic the traits that its onboarding gave it; others that it has stay."""

    verb: Literal["set_node_traits"] = "set_node_traits"
    node_id: Id
    add: Annotated[list[Trait], Field(min_length=1, max_length=100)]


class SetProviderTraits(_Action):
    """Give the node's provider in Placement the traits that the node has in Ironic, and no other."""

    verb: Literal["set_provider_traits"] = "set_provider_traits"
    node_id: Id
    traits: Annotated[list[Trait], Field(max_length=200)]


class ForgetSecret(_Action):
    """Delete a secret of Steelyard's own that nothing refers to."""

    verb: Literal["forget_secret"] = "forget_secret"
    secret_id: Id


class RemoveLeftover(_Action):
    """Remove an object of the network controller's own that nothing uses."""

    verb: Literal["remove_leftover"] = "remove_leftover"
    kind: Literal["instance-ip", "virtual-port-group", "network-ipam"]
    object_id: Id


Action = Annotated[
    DeletePort
    | DetachPort
    | BindPort
    | EmptySwitchPort
    | DeleteAllocation
    | ClearInstance
    | DetachVif
    | SetNodeTraits
    | SetProviderTraits
    | ForgetSecret
    | RemoveLeftover,
    Field(discriminator="verb"),
]


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing on which the systems do not agree."""

    kind: str
    subject: str
    """`port:<uuid>`, `node:<uuid>`, `nic:<mac>`, `allocation:<consumer>`, `server:<uuid>`, `secret:<id>`, ..."""
    name: str
    """Of the subject, for people."""
    severity: Severity
    reason: str
    """One sentence."""
    next: str
    """The command that shows more, or that a person would type to mend it."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What each system says: `ironic`, `nova`, `placement`, `neutron`, `switch`, `steelyard`. JSON, no secrets."""
    action: Action | None = None
    """What would mend it; None where only a person can say."""
    since: datetime | None = None
    """When it was first seen. UTC."""

    @property
    def key(self) -> tuple[str, str]:
        """The same drift has the same key in the next look."""
        return self.kind, self.subject


SEVERITY: Final[Mapping[str, Severity]] = {
    "port_without_server": Severity.MINOR,
    "port_left_behind": Severity.MAJOR,
    "port_on_foreign_nic": Severity.CRITICAL,
    "port_without_owner": Severity.MINOR,
    "address_of_nobody": Severity.MINOR,
    "server_without_port": Severity.MAJOR,
    "node_without_server": Severity.MAJOR,
    "server_without_node": Severity.MAJOR,
    "vif_without_server": Severity.MAJOR,
    "allocation_without_server": Severity.MAJOR,
    "allocation_on_other_node": Severity.MAJOR,
    "allocation_of_failed_server": Severity.MINOR,
    "secret_without_use": Severity.MINOR,
    "trait_missing": Severity.MINOR,
    "provider_traits_differ": Severity.MINOR,
    "provider_class_differs": Severity.MAJOR,
    "vlan_on_unknown_port": Severity.MINOR,
    "controller_leftover": Severity.MINOR,
}
"""Of each kind; those of isolation (`foreign_attachment`, `controller_differs`, `switch_differs`) by what is so."""


def order(found: Drift) -> tuple[int, str, str, str]:
    """The worst first, then the oldest."""
    since = found.since.isoformat() if found.since is not None else "9"
    return URGENCY[found.severity], since, found.kind, found.subject
