"""What a tenant may ask of a server's power, and when. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from steelyard.errors import Refused
from steelyard.nouns import Instance


class Power(StrEnum):
    """What a tenant may ask of a server's power."""

    ON = "on"
    OFF = "off"
    SOFT_OFF = "soft off"
    REBOOT = "reboot"

    @property
    def target(self) -> str:
        """The Nova status that shows that it is done."""
        return "SHUTOFF" if self.power == "off" else "ACTIVE"

    @property
    def power(self) -> str:
        """The power state that shows that it is done: on or off."""
        return "off" if self in (Power.OFF, Power.SOFT_OFF) else "on"


_POWER_STATES: Final = frozenset({"ACTIVE", "SHUTOFF"})


def check_power(instance: Instance, action: Power) -> bool:
    """Whether there is anything to do. Raises `Refused` where power cannot be changed now."""
    if instance.status not in _POWER_STATES or instance.task_state is not None:
        busy = f"is {instance.status.lower()}" + (f" ({instance.task_state})" if instance.task_state else "")
        raise Refused(
            f"Server {instance.name} {busy}; its power can be changed when it is active or shut off.",
            code="server_busy",
            next=f"steelyard server delete {instance.id}"
            if instance.status == "ERROR"
            else f"steelyard server show {instance.id}",
        )
    if action is Power.REBOOT and instance.status == "SHUTOFF":
        raise Refused(
            f"Server {instance.name} is off; it can be powered on, not rebooted.",
            code="server_off",
            next=f"steelyard server power {instance.id} on",
        )
    return action is Power.REBOOT or instance.status != action.target
