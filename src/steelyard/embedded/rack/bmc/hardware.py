"""What the simulated servers do when they are told: power, boot, media, disks; honest about time and about what runs.

Every change is committed before it is visible, and announced on the feed in the same turn of the event loop.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from steelyard.embedded.rack.bmc.machine import RUNS_SOFTWARE, Boot, Machine, Power, Running
from steelyard.embedded.rack.plan import Rack, Server
from steelyard.embedded.rack.process import Timing
from steelyard.embedded.rack.records import Records
from steelyard.errors import Conflict, Invalid, NotFound

LOG = logging.getLogger("steelyard.rack.hardware")

_CD_TARGETS = frozenset({"Cd", "UsbCd"})


class AlreadySo(Conflict):
    """A server was told to become what it is; makes differ in what they say to that."""

    kind = "already_so"


class Hardware:
    """All servers of the rack. Runs in one event loop; nothing here blocks but the record's commit."""

    def __init__(self, rack: Rack, records: Records, timing: Timing, changed: Callable[[str], None]):
        self._servers = {server.name: server for server in rack.servers}
        self._records = records
        self._timing = timing
        self._changed = changed
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._machines = {name: Machine() for name in self._servers}
        for key, value in records.all():
            kind, _, name = key.partition(":")
            if kind == "machine" and name in self._machines:
                self._machines[name] = Machine.from_json(value).settled()

    def resume(self) -> None:
        """Go on with what a killed simulator had under way: a server on its way up goes on to boot."""
        for name, machine in self._machines.items():
            if machine.power is Power.POWERING_ON:
                self._after(name, self._timing.power_seconds, self._power_up)
            elif machine.power is Power.ON and machine.running is Running.FIRMWARE:
                self._after(name, self._timing.boot_seconds, self._boot_up)

    def servers(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def machine(self, name: str) -> Machine:
        """Raises NotFound."""
        try:
            return self._machines[name]
        except KeyError:
            raise NotFound(f"There is no server {name}", code="server_not_found") from None

    # Power

    def reset(self, name: str, how: str) -> None:
        """Redfish's ComputerSystem.Reset. Raises AlreadySo, or Conflict when the state forbids it."""
        actions: dict[str, Callable[[str], None]] = {
            "On": self._press_on,
            "ForceOn": self._press_on,
            "ForceOff": self._cut_power,
            "GracefulShutdown": self._ask_to_shut_down,
            "GracefulRestart": self._ask_to_restart,
            "ForceRestart": self._restart,
            "PowerCycle": self._power_cycle,
            "PushPowerButton": self._push_button,
        }
        LOG.info("%s: reset %s", name, how)
        actions[how](name)

    def shut_down(self, name: str, *, boot_id: int, restart: bool) -> None:
        """The running software shuts its own server down. Raises Conflict for software of an earlier boot."""
        machine = self.machine(name)
        if machine.boot_id != boot_id or machine.running not in RUNS_SOFTWARE:
            raise Conflict(f"{name} does not run that boot any more", code="stale_boot")
        if restart:
            self._ask_to_restart(name)
        else:
            self._ask_to_shut_down(name)

    def _press_on(self, name: str) -> None:
        machine = self.machine(name)
        if machine.power in (Power.ON, Power.POWERING_ON):
            raise AlreadySo(f"{name} is on")
        self._set(name, power=Power.POWERING_ON, running=Running.NOTHING)
        self._after(name, self._timing.power_seconds, self._power_up)

    def _power_up(self, name: str) -> None:
        self._set(name, power=Power.ON)
        self._restart(name)

    def _cut_power(self, name: str) -> None:
        machine = self.machine(name)
        if machine.power in (Power.OFF, Power.POWERING_OFF):
            raise AlreadySo(f"{name} is off")
        # What ran stops at once; the BMC takes its time to notice.
        self._set(name, power=Power.POWERING_OFF, running=Running.NOTHING, booted_image=None)
        self._after(name, self._timing.power_seconds, self._powered_off)

    def _powered_off(self, name: str) -> None:
        self._set(name, power=Power.OFF, running=Running.NOTHING, booted_image=None)

    def _ask_to_shut_down(self, name: str) -> None:
        if self.machine(name).power in (Power.OFF, Power.POWERING_OFF):
            raise AlreadySo(f"{name} is off")
        if self.machine(name).running in RUNS_SOFTWARE:
            self._after(name, self._timing.shutdown_seconds, self._powered_off)
        # Nobody listens in firmware: the request is lost, as on real machines.

    def _ask_to_restart(self, name: str) -> None:
        self._must_be_on(name)
        if self.machine(name).running in RUNS_SOFTWARE:
            self._after(name, self._timing.shutdown_seconds, self._restart)

    def _restart(self, name: str) -> None:
        """Start executing firmware, which chooses what to boot; a one-time override is used up by that."""
        self._must_be_on(name)
        machine = self.machine(name)
        override = machine.boot if machine.boot.enabled != "Once" else Boot(mode=machine.boot.mode)
        self._set(
            name,
            running=Running.FIRMWARE,
            boot=override,
            boot_id=machine.boot_id + 1,
            booted_image=_boot_source(machine),
        )
        self._after(name, self._timing.boot_seconds, self._boot_up)

    def _boot_up(self, name: str) -> None:
        machine = self.machine(name)
        source = machine.booted_image
        if source is None:
            running = Running.NO_BOOT_DEVICE
        elif source.startswith("disk:"):
            running = Running.SYSTEM
        else:
            running = Running.RAMDISK
        LOG.info("%s: boot %d runs %s", name, machine.boot_id, running.value)
        self._set(name, running=running)

    def _power_cycle(self, name: str) -> None:
        self._must_be_on(name)
        self._set(name, power=Power.POWERING_OFF, running=Running.NOTHING, booted_image=None)

        def off(name: str) -> None:
            self._powered_off(name)
            self._press_on(name)

        self._after(name, self._timing.power_seconds, off)

    def _push_button(self, name: str) -> None:
        if self.machine(name).power in (Power.OFF, Power.POWERING_OFF):
            self._press_on(name)
        else:
            self._ask_to_shut_down(name)

    def _must_be_on(self, name: str) -> None:
        if self.machine(name).power is not Power.ON:
            raise Conflict(f"{name} is off", code="server_off")

    # Boot override and virtual media

    def set_boot(self, name: str, boot: Boot) -> None:
        if boot.enabled == "Disabled" or boot.target == "None":
            boot = Boot(mode=boot.mode)
        self._set(name, boot=boot)

    def insert(self, name: str, slot: str, url: str) -> None:
        self._set(name, media={**self.machine(name).media, slot: url})

    def eject(self, name: str, slot: str) -> None:
        """Ejecting from an empty slot does no harm."""
        media = {other: url for other, url in self.machine(name).media.items() if other != slot}
        self._set(name, media=media)

    # Disks, which only software that runs on the server can touch

    def write_disk(self, name: str, disk: str, content: Mapping[str, Any] | None, *, boot_id: int, step: str) -> None:
        """Replace what is on a disk (None: blank). Raises Conflict for a boot that is over, NotFound, Invalid."""
        machine = self.machine(name)
        if machine.boot_id != boot_id or machine.running not in RUNS_SOFTWARE:
            raise Conflict(f"{name} does not run that boot any more", code="stale_boot")
        if disk not in {known.name for known in self._servers[name].disks}:
            raise NotFound(f"{name} has no disk {disk}", code="disk_not_found")
        if content is not None and not isinstance(content.get("bootable"), bool):
            raise Invalid("What is on a disk must say whether it is `bootable`", code="disk_content")
        disks = {other: before for other, before in machine.disks.items() if other != disk}
        if content is not None:
            disks[disk] = content
        self._records.append(
            {
                "time": datetime.datetime.now(datetime.UTC).isoformat(),
                "server": name,
                "disk": disk,
                "step": step,
                "before": machine.disks.get(disk),
                "after": content,
            }
        )
        self._set(name, disks=disks)

    def log(self, *, after: int) -> list[dict[str, Any]]:
        """Every write to every disk, ever; append-only."""
        return self._records.log(after=after)

    def _set(self, name: str, **changes: Any) -> None:
        before = self.machine(name)
        if changes.get("power", before.power) is not before.power:
            changes["power_since"] = datetime.datetime.now(datetime.UTC).isoformat()
        machine = replace(before, **changes)
        if machine != before:
            self._records.put(f"machine:{name}", machine.as_json())
            self._machines[name] = machine
            self._changed(name)

    def _after(self, name: str, seconds: float, then: Callable[[str], None]) -> None:
        """Later, unless something else is decided for this server before: the newest decision wins."""
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

        def happen() -> None:
            self._timers.pop(name, None)
            then(name)

        self._timers[name] = asyncio.get_running_loop().call_later(seconds, happen)


def _boot_source(machine: Machine) -> str | None:
    """What firmware boots: the override's medium if it has one, else the first bootable disk, else nothing."""
    if machine.boot.enabled != "Disabled" and machine.boot.target in _CD_TARGETS and "cd" in machine.media:
        return machine.media["cd"]
    for disk, content in sorted(machine.disks.items()):
        if content["bootable"]:
            return f"disk:{disk}"
    return None
