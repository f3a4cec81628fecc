"""How the rack's makes differ in what their BMCs say and refuse. Each difference is one that real makes show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Make:
    vendor: str
    redfish_version: str
    system_id: str
    manager_id: str
    chassis_id: str
    manager_model: str
    bmc_version: str
    bios_version: str
    media_on_system: bool
    """VirtualMedia hangs off the ComputerSystem (since Redfish 2020.4) instead of the Manager."""
    cd_slot: str
    usb_slot: str
    reset_types: tuple[str, ...]
    shows_transitions: bool
    """Reports PoweringOn and PoweringOff on the way; otherwise the old state until the new one is reached."""
    tolerates_repeats: bool
    """Answers 204 when told to do what is the case already; otherwise 409."""
    continuous_boot: bool
    """Accepts BootSourceOverrideEnabled=Continuous; otherwise 400."""
    needs_transfer_protocol: bool
    """InsertMedia without TransferProtocolType is refused (400 ActionParameterMissing)."""
    memory_in_summary: bool
    """MemorySummary has the size; otherwise only the Memory collection's modules have it."""
    modern_storage: bool
    """Storage with Drives; otherwise SimpleStorage."""
    etags: bool


FERRUM = Make(
    vendor="Ferrum",
    redfish_version="1.6.0",
    system_id="1",
    manager_id="1",
    chassis_id="1",
    manager_model="Ferrum iMC 4",
    bmc_version="4.21",
    bios_version="F2.70",
    media_on_system=False,
    cd_slot="2",
    usb_slot="1",
    reset_types=("On", "ForceOff", "GracefulShutdown", "ForceRestart", "GracefulRestart", "PushPowerButton"),
    shows_transitions=True,
    tolerates_repeats=True,
    continuous_boot=True,
    needs_transfer_protocol=False,
    memory_in_summary=True,
    modern_storage=True,
    etags=False,
)
NORDMARK = Make(
    vendor="Nordmark",
    redfish_version="1.15.0",
    system_id="System.Embedded.1",
    manager_id="BMC.Embedded.1",
    chassis_id="Chassis.Embedded.1",
    manager_model="Nordmark Remote Control 3",
    bmc_version="3.10.08",
    bios_version="2.4.8",
    media_on_system=True,
    cd_slot="CD",
    usb_slot="RemovableDisk",
    reset_types=("On", "ForceOn", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "PowerCycle"),
    shows_transitions=False,
    tolerates_repeats=False,
    continuous_boot=False,
    needs_transfer_protocol=True,
    memory_in_summary=False,
    modern_storage=False,
    etags=True,
)

MAKES = {make.vendor: make for make in (FERRUM, NORDMARK)}
