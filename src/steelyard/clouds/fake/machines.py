"""The fake Ironic's state machine, as a table: what a verb starts, what a working state leads to.

Source: ironic/common/states.py and state_machine.py; the waits for the agent are one step each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steelyard.naming import placement_class
from steelyard.nouns import Node

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld


@dataclass(frozen=True, slots=True)
class Work:
    """A state that ends by itself: the job it is part of, where it leads, and where it ends if it fails."""

    job: str
    next: str | None
    """None: to the node's target state."""
    failed: str


STARTS: Final[dict[tuple[str, str], tuple[str, str | None]]] = {
    ("enroll", "manage"): ("verifying", "manageable"),
    ("available", "manage"): ("manageable", None),
    ("clean failed", "manage"): ("manageable", None),
    ("inspect failed", "manage"): ("manageable", None),
    ("adopt failed", "manage"): ("manageable", None),
    ("manageable", "inspect"): ("inspecting", "manageable"),
    ("inspect failed", "inspect"): ("inspecting", "manageable"),
    ("manageable", "provide"): ("cleaning", "available"),
    ("manageable", "clean"): ("cleaning", "manageable"),
    ("manageable", "adopt"): ("adopting", "active"),
    ("adopt failed", "adopt"): ("adopting", "active"),
    ("available", "active"): ("deploying", "active"),
    ("deploy failed", "active"): ("deploying", "active"),
    ("active", "rebuild"): ("deploying", "active"),
    ("deploy failed", "rebuild"): ("deploying", "active"),
    ("error", "rebuild"): ("deploying", "active"),
    ("active", "deleted"): ("deleting", "available"),
    ("wait call-back", "deleted"): ("deleting", "available"),
    ("deploy failed", "deleted"): ("deleting", "available"),
    ("error", "deleted"): ("deleting", "available"),
    ("rescue", "deleted"): ("deleting", "available"),
    ("rescue failed", "deleted"): ("deleting", "available"),
    ("rescue wait", "deleted"): ("deleting", "available"),
    ("active", "rescue"): ("rescuing", "rescue"),
    ("rescue failed", "rescue"): ("rescuing", "rescue"),
    ("rescue", "unrescue"): ("unrescuing", "active"),
    ("rescue failed", "unrescue"): ("unrescuing", "active"),
    ("clean wait", "abort"): ("clean failed", None),
    ("inspect wait", "abort"): ("inspect failed", None),
    ("wait call-back", "abort"): ("deploy failed", None),
    ("rescue wait", "abort"): ("rescue failed", None),
}
"""(state, verb) -> (new state, target state)."""

WORK: Final[dict[str, Work]] = {
    "verifying": Work("verify", "manageable", "enroll"),
    "inspecting": Work("inspect", "inspect wait", "inspect failed"),
    "inspect wait": Work("inspect", "manageable", "inspect failed"),
    "cleaning": Work("clean", "clean wait", "clean failed"),
    "clean wait": Work("clean", None, "clean failed"),
    "deploying": Work("deploy", "wait call-back", "deploy failed"),
    "wait call-back": Work("deploy", "active", "deploy failed"),
    "deleting": Work("delete", "cleaning", "error"),
    "adopting": Work("adopt", "active", "adopt failed"),
    "rescuing": Work("rescue", "rescue wait", "rescue failed"),
    "rescue wait": Work("rescue", "rescue", "rescue failed"),
    "unrescuing": Work("unrescue", "active", "rescue failed"),
}

NETWORK_ROLE: Final[dict[str, str]] = {
    "inspecting": "inspection",
    "inspect wait": "inspection",
    "cleaning": "cleaning",
    "clean wait": "cleaning",
    "deploying": "provisioning",
    "wait call-back": "provisioning",
    "deploy failed": "provisioning",
    "rescuing": "rescue",
    "rescue wait": "rescue",
}
"""The network that Ironic keeps the booting NICs on; a state that is not named here has none of its own."""
TENANTS: Final = frozenset({"active", "rescue"})
"""States in which the tenant's networks are on; in rescue once the ramdisk has its password (`finalize_rescue`)."""

POWERED_ON: Final = (frozenset(NETWORK_ROLE) | {"rescue"}) - {"deploy failed"}
CLEAN_STEP: Final = "erase_devices_metadata"
"""The step of an automated clean that the agent is waited for."""
TENANCY: Final = frozenset({
    "deploying", "wait call-back", "active", "rescuing", "rescue wait", "rescue", "unrescuing", "adopting",
})  # fmt: skip
"""States into which Ironic goes by switching the power while somebody may write to the disks."""
HELD: Final = {"clean wait": "Cleaning", "wait call-back": "Deploy", "rescue wait": "Rescue"}
"""States that end by an agent's heartbeat, which Ironic does not act upon in maintenance, and what that is part of.
An inspection ends by the agent's report, in maintenance too."""
NOT_IN_MAINTENANCE: Final = frozenset({"active", "rebuild", "clean", "rescue", "unrescue"})
"""Verbs that Ironic refuses for a node in maintenance; `provide` with them where the operator has it so."""
UPDATABLE: Final = frozenset({"enroll", "inspecting", "inspect wait", "manageable", "available"})
"""States in which Ironic lets a node's resource class be changed."""
DELETABLE: Final = frozenset({"available", "manageable", "enroll", "adopt failed"})
"""Ironic's DELETE_ALLOWED_STATES with the default `allow_deleting_available_nodes`."""
EMPTY: Final = frozenset({"cleaning", "clean wait", "clean failed", "available", "manageable", "enroll"})
"""States in which the last tenant's instance is gone, for Nova."""


def serves(resource_class: str | None, traits: frozenset[str], wanted: str | None, required: frozenset[str]) -> bool:
    """Whether a node of this class and these traits could serve a flavor."""
    return resource_class is not None and wanted == placement_class(resource_class) and required <= traits


def skips_cleaning(world: FakeWorld, node: Node) -> bool:
    """Whether this is an automated clean that is switched off: the node is made available as it is."""
    wanted = world.automated_clean if node.automated_clean is None else node.automated_clean
    return node.provision_state == "cleaning" and node.target_provision_state == "available" and not wanted
