"""What the fake's machines are made of: read by the fake inspection, cabled to the fake switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steelyard.nouns import Inspection, SwitchLink


@dataclass(frozen=True, slots=True)
class FakeNic:
    """A NIC, its cable, and whether the machine boots its ramdisk over it."""

    mac: str
    link: SwitchLink | None
    pxe: bool = False


@dataclass(frozen=True, slots=True)
class FakeHardware:
    """A machine as its agent would report it (ironic-python-agent's inventory)."""

    nics: tuple[FakeNic, ...]
    cpus: int = 16
    memory_mib: int = 65536
    disks: tuple[tuple[str, int], ...] = (("/dev/sda", 480 * 10**9),)
    """Name and size in bytes of each disk."""
    vendor: str = "Fakes Inc."
    product: str = "FM-1"
    serial: str = "F0000"
    extra_plugin_data: dict[str, Any] = field(default_factory=dict)


def cabled(number: int, nics: int, *, switches: Sequence[tuple[str, str]]) -> tuple[FakeNic, ...]:
    """NICs of the machine of this number: one on each switch in turn, the first one for booting."""
    return tuple(
        FakeNic(
            mac=f"52:54:00:{number >> 8 & 255:02x}:{number & 255:02x}:{nic + 1:02x}",
            link=SwitchLink(
                switch_id=switches[nic % len(switches)][1],
                port_id=f"Ethernet{number}" if nic < len(switches) else f"Ethernet{number}/{nic // len(switches)}",
                switch_name=switches[nic % len(switches)][0],
            ),
            pxe=nic == 0,
        )
        for nic in range(nics)
    )


def report(hardware: FakeHardware) -> Inspection:
    """The inspection as Ironic's `agent` interface stores it, with its hooks `ports` and `parse-lldp`."""
    interfaces: list[dict[str, Any]] = []
    lldp: dict[str, dict[str, str]] = {}
    for index, nic in enumerate(hardware.nics):
        name = f"eth{index}"
        interfaces.append({"name": name, "mac_address": nic.mac, "has_carrier": True, "lldp": None, "product": "0x1"})
        if nic.link is not None:
            lldp[name] = {
                "switch_chassis_id": nic.link.switch_id,
                "switch_port_id": nic.link.port_id,
                "switch_system_name": nic.link.switch_name or "",
            }
    inventory: dict[str, Any] = {
        "interfaces": interfaces,
        "cpu": {"architecture": "x86_64", "count": hardware.cpus, "model_name": "Fake CPU", "flags": []},
        "memory": {"physical_mb": hardware.memory_mib, "total": hardware.memory_mib << 20},
        "disks": [
            {"name": name, "size": size, "serial": f"{hardware.serial}-{index}", "rotational": False, "model": "Fake"}
            for index, (name, size) in enumerate(hardware.disks)
        ],
        "system_vendor": {
            "manufacturer": hardware.vendor,
            "product_name": hardware.product,
            "serial_number": hardware.serial,
        },
        "boot": {"current_boot_mode": "uefi", "pxe_interface": next((n.mac for n in hardware.nics if n.pxe), None)},
    }
    plugin_data: dict[str, Any] = {"parsed_lldp": lldp, "valid_interfaces": {}, **hardware.extra_plugin_data}
    plugin_data["valid_interfaces"] = {
        entry["name"]: {"mac_address": entry["mac_address"], "pxe_enabled": nic.pxe}
        for entry, nic in zip(interfaces, hardware.nics, strict=True)
    }
    return Inspection(inventory=inventory, plugin_data=plugin_data)
