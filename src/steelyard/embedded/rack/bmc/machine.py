"""The state of one simulated server. A value: what happens to it is decided in `hardware`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Power(StrEnum):
    """Redfish's PowerState (Resource.v1_1 PowerState)."""

    ON = "On"
    OFF = "Off"
    POWERING_ON = "PoweringOn"
    POWERING_OFF = "PoweringOff"


class Running(StrEnum):
    """What a server executes at this moment."""

    NOTHING = "nothing"
    """It is off, or halted."""
    FIRMWARE = "firmware"
    """Between power on and the operating system."""
    RAMDISK = "ramdisk"
    """Booted from its virtual CD: the agent runs."""
    SYSTEM = "system"
    """Booted from its disk: what a tenant deployed."""
    NO_BOOT_DEVICE = "no boot device"
    """The firmware found nothing to boot and sits at its prompt."""


RUNS_SOFTWARE = frozenset({Running.RAMDISK, Running.SYSTEM})
"""Those that hear a request to shut down."""


@dataclass(frozen=True, slots=True)
class Boot:
    """Boot source override (ComputerSystem.Boot)."""

    target: str = "None"
    enabled: str = "Disabled"
    """Disabled, Once or Continuous."""
    mode: str = "UEFI"


@dataclass(frozen=True, slots=True)
class Machine:
    power: Power = Power.OFF
    running: Running = Running.NOTHING
    boot: Boot = Boot()
    boot_id: int = 0
    """Counts boots. Whatever belongs to an earlier one is gone with its memory."""
    booted_image: str | None = None
    """What the present boot came from: the medium's URL, or the image on the disk."""
    media: Mapping[str, str] = field(default_factory=dict)
    """Slot (`cd`, `usb`) -> URL of what is inserted."""
    power_since: str | None = None
    """When `power` last changed, ISO 8601 in UTC, by the clock that the switches' log has too."""
    disks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Disk -> what is on it, as the agent wrote it; `bootable` says whether firmware can boot it. Absent: blank."""

    def as_json(self) -> dict[str, Any]:
        return {
            "power": self.power.value,
            "power_since": self.power_since,
            "running": self.running.value,
            "boot": {"target": self.boot.target, "enabled": self.boot.enabled, "mode": self.boot.mode},
            "boot_id": self.boot_id,
            "booted_image": self.booted_image,
            "media": dict(self.media),
            "disks": {name: dict(content) for name, content in self.disks.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Machine:
        return cls(
            power=Power(value["power"]),
            power_since=value.get("power_since"),
            running=Running(value["running"]),
            boot=Boot(**value["boot"]),
            boot_id=value["boot_id"],
            booted_image=value["booted_image"],
            media=value["media"],
            disks=value["disks"],
        )

    def settled(self) -> Machine:
        """Where a server gets to that was in the middle of a change when its simulator died."""
        if self.power is Power.POWERING_OFF:
            return replace(self, power=Power.OFF, running=Running.NOTHING)
        return self
