"""What is really so in the fake world, whatever its services say: whose data is on which machine's disks.

No port shows it; tests compare it with what the services and Steelyard believe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from steelyard.clouds.fake.gate import PARKED
from steelyard.nouns import Node, SwitchLink

if TYPE_CHECKING:
    from steelyard.clouds.fake.world import FakeWorld

ERASES = "erase_devices"
"""How the clean steps begin that overwrite the disks (ironic-python-agent's)."""
NOVA = "nova"
NOBODY = "nobody"
"""Whose data it is when a node was deployed without an instance of Nova's."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A stay of a node in Ironic's offer with somebody's data on its disks."""

    since: datetime
    by: str | None
    """Who had asked last for a change of the node."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A machine was given to one project while the data of another was on its disks."""

    node_id: str
    machine: str
    before: str
    after: str
    at: datetime
    offer: Offer | None
    """The offer by which it came to that; None when nobody ever offered it with the data on it."""


@dataclass(frozen=True, slots=True)
class PowerOn:
    """A deployed server got power."""

    node_id: str
    caller: str | None
    through_steelyard: bool
    unbound: tuple[str, ...]
    """Its tenant's ports that were not on its NICs at that moment."""
    dark: tuple[SwitchLink, ...]
    """Switch ports of its NICs that did not carry the VLAN of the tenant's port that is bound there."""
    parked: bool
    """Whether its NICs had been in quarantine, and so have just come back."""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A machine is somebody's from now on."""

    at: datetime
    machine: str
    project_id: str | None
    """None: nobody's any more."""
    changes: int
    """How many changes the switches' log had before it."""


class Nodes(dict[str, Node]):
    """The world's nodes; every change of one is told to the truth."""

    def __init__(self, truth: Truth) -> None:
        super().__init__()
        self._truth = truth

    def __setitem__(self, node_id: str, node: Node) -> None:
        before = self.get(node_id)
        super().__setitem__(node_id, node)
        self._truth.changed(before, node)

    def __delitem__(self, node_id: str) -> None:
        super().__delitem__(node_id)
        self._truth.gone(node_id)


class Truth:
    """The ground truth of one world.

    A machine is known by its BMC's address, so that it stays the same when its node is deleted and enrolled again.
    """

    def __init__(self, world: FakeWorld) -> None:
        self._world = world
        self.disks: dict[str, str] = {}
        """Project whose data is on the machine's disks; a machine that is not here holds nobody's."""
        self.cleaned_at: dict[str, datetime] = {}
        """When the machine's disks were last erased with success."""
        self.exposures: list[Exposure] = []
        self.power_ons: list[PowerOn] = []
        self._claimed_at: dict[str, datetime] = {}
        self.through_steelyard = False
        """Whether the call that is being answered is Steelyard's own; set by who plays Steelyard."""
        self.caller: str | None = None
        """Name of the user whose call is being answered; None while time passes."""
        self.touched_by: dict[str, str] = {}
        """Name of the user who asked last for a transition of the node, its maintenance or its cleaning; or Nova."""
        self.offered_dirty: dict[str, Offer] = {}
        """Nodes that Ironic offers with somebody's data on them."""
        self._last_offers: dict[str, Offer] = {}
        self._steps: dict[str, tuple[str, ...]] = {}
        """Steps of the manual clean that runs, by node."""
        self.tenancies: list[Tenancy] = []
        """Every change of who has a machine, the oldest first."""

    def machine(self, node: Node) -> str:
        return node.bmc_address or node.id

    def holder(self, node: Node) -> str | None:
        """Project whose data is on its disks, None if they are clean."""
        return self.disks.get(self.machine(node))

    def soil(self, node: Node, project_id: str = NOBODY) -> None:
        """Put somebody's data on a machine's disks."""
        self.disks[self.machine(node)] = project_id
        self.changed(node, node)

    def manual_clean(self, node_id: str, steps: Sequence[Mapping[str, Any]]) -> None:
        """These are the steps of the clean that begins now."""
        self._steps[node_id] = tuple(str(step.get("step")) for step in steps)

    def changed(self, before: Node | None, after: Node) -> None:
        """A node is another one now, or is new."""
        if after.instance_id != (before.instance_id if before is not None else None):
            instance = self._world.instances.get(after.instance_id or "")
            project = instance.project_id if instance is not None else None
            changes = len(self._world.fabric.switches.log)
            self.tenancies.append(Tenancy(self._world.now, self.machine(after), project, changes))
        if self.caller is not None and before is not None:
            unsafe = after.automated_clean is False and before.automated_clean is not False
            if unsafe or before.maintenance != after.maintenance:
                self.touched_by[after.id] = self.caller
        if before is not None and before.provision_state != after.provision_state:
            self._moved(before, after)
        elif (
            before is not None
            and after.provision_state == "active"
            and (before.power_state, after.power_state) == ("off", "on")
        ):
            self._powered_on(after)
        dirty = after.provision_state == "available" and not after.maintenance and after.instance_id is None
        if dirty and self.holder(after) is not None:
            offer = self.offered_dirty.setdefault(after.id, Offer(self._world.now, self.touched_by.get(after.id)))
            self._last_offers[after.id] = offer
        elif self.offered_dirty.pop(after.id, None) is not None:
            self._claimed_at[after.id] = self._world.now

    def asked(self, node_id: str) -> None:
        """A transition of the node begins: by whoever's call is answered, or by Nova on a tenant's behalf."""
        self.touched_by[node_id] = self.caller or NOVA

    def gone(self, node_id: str) -> None:
        self.offered_dirty.pop(node_id, None)
        self.touched_by.pop(node_id, None)
        self._steps.pop(node_id, None)

    def _powered_on(self, node: Node) -> None:
        ports = self._world.fabric.instance_ports(node.instance_id)
        unbound = tuple(port.id for port in ports if port.host_id is None)
        fabric = self._world.fabric
        dark = tuple(
            port.link
            for port in ports
            if port.link is not None
            and fabric.switches.vlan(port.link) != fabric.networks[port.network_id].segmentation_id
        )
        self.power_ons.append(
            PowerOn(node.id, self.caller, self.through_steelyard, unbound, dark, PARKED in node.extra)
        )

    def _moved(self, before: Node, after: Node) -> None:
        machine = self.machine(after)
        if after.provision_state == "wait call-back":  # the agent is about to write
            instance = self._world.instances.get(after.instance_id or "")
            project = instance.project_id if instance is not None else NOBODY
            held = self.disks.get(machine)
            if held is not None and held != project:
                offer = self._last_offers.get(after.id)
                self.exposures.append(
                    Exposure(after.id, machine, held, project, self._claimed_at.get(after.id, self._world.now), offer)
                )
            self.disks[machine] = project
        elif before.provision_state == "clean wait" and after.provision_state in {"available", "manageable"}:
            steps = self._steps.pop(after.id, None)
            if steps is None or any(step.startswith(ERASES) for step in steps):
                self.disks.pop(machine, None)
                self._last_offers.pop(after.id, None)
                self.cleaned_at[machine] = self._world.now
        elif after.provision_state in {"cleaning", "clean failed"}:
            self._steps.pop(after.id, None)
        elif after.provision_state == "adopting":
            self.disks[machine] = NOBODY
