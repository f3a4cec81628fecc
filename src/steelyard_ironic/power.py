"""Power interfaces: Ironic's own, with a gate before every power-on of a deployed server, and a note after cleaning.

The conductor holds the node's lock while it asks, so Steelyard must not need that lock to answer; it moves Neutron
ports only. A server whose NICs are where they belong (the usual case) asks nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ironic.common import states
from ironic.drivers import base
from ironic.drivers.modules import ipmitool
from ironic.drivers.modules.redfish import power as redfish_power
from oslo_log import log

from steelyard_ironic import NOTES, PARKED
from steelyard_ironic.asking import ask

LOG = log.getLogger(__name__)

TENANCY = frozenset({
    states.DEPLOYING, states.DEPLOYWAIT, states.DEPLOYHOLD, states.DEPLOYFAIL, states.ACTIVE, states.RESCUING,
    states.RESCUEWAIT, states.RESCUE, states.RESCUEFAIL, states.UNRESCUING, states.UNRESCUEFAIL, states.SERVICING,
    states.SERVICEWAIT, states.SERVICEHOLD, states.SERVICEFAIL, states.ADOPTING,
})  # fmt: skip
"""Provision states in which somebody may write to the disks."""

ENDS_ON = frozenset({states.POWER_ON, states.REBOOT, states.SOFT_REBOOT})


def pass_gate(task: Any, power_state: str) -> None:
    """Return when the node may get power. Raises SteelyardRefused when its NICs cannot be brought back first."""
    node = task.node
    if power_state in ENDS_ON and node.provision_state == states.ACTIVE and PARKED in node.extra:
        LOG.info("Node %s: its NICs are in quarantine; asking Steelyard before it gets power", node.uuid)
        ask(node.uuid, "power-gate", "get power")


def note_use(task: Any) -> None:
    """Write down when a server's power was last switched while a tenant may write to its disks. Whoever asked for the
    power change saves the node."""
    node = task.node
    if node.provision_state in TENANCY:
        _note(node, "used", datetime.now(UTC).isoformat(timespec="seconds"))


def _note(node: Any, key: str, value: Any) -> None:
    node.set_driver_internal_info(NOTES, {**(node.driver_internal_info.get(NOTES) or {}), key: value})


class GatedPower:
    """The mixin: before `set_power_state` and `reboot` of the interface that it is mixed into."""

    def set_power_state(self, task: Any, power_state: str, timeout: int | None = None) -> None:
        pass_gate(task, power_state)
        note_use(task)
        super().set_power_state(task, power_state, timeout=timeout)  # type: ignore[misc]

    def reboot(self, task: Any, timeout: int | None = None) -> None:
        pass_gate(task, states.REBOOT)
        note_use(task)
        super().reboot(task, timeout=timeout)  # type: ignore[misc]

    # Of the lowest priority that runs: Ironic comes here only after every other step of an automated clean has
    # succeeded. What a network interface sees at the end of a clean is the same after a failed one.
    @base.clean_step(priority=1, requires_ramdisk=False)  # type: ignore[untyped-decorator]
    def record_cleaning(self, task: Any) -> None:
        """Write down that an automated clean has run to its end, and of which steps it was made."""
        node = task.node
        steps = node.driver_internal_info.get("clean_steps") or []
        if node.target_provision_state != states.AVAILABLE:
            LOG.info("Node %s: a manual clean proves nothing and is not recorded", node.uuid)
            return
        if node.driver_internal_info.get("clean_step_index") != len(steps) - 1:
            LOG.warning("Node %s: other clean steps come after this one; the clean is not recorded", node.uuid)
            return
        done = [{key: step.get(key) for key in ("interface", "step", "priority")} for step in steps]
        at = datetime.now(UTC).isoformat(timespec="seconds")
        _note(node, "cleaned", {"at": at, "steps": done})
        node.save()


class SteelyardRedfishPower(GatedPower, redfish_power.RedfishPower):  # type: ignore[misc]
    """Ironic's Redfish power interface, behind the gate."""


class SteelyardIPMIPower(GatedPower, ipmitool.IPMIPower):  # type: ignore[misc]
    """Ironic's IPMI power interface, behind the gate."""
