"""What the ramdisk reports of its server: ironic-python-agent's hardware inventory, LLDP frames included. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steelyard.embedded.rack.bmc.makes import MAKES
from steelyard.embedded.rack.plan import GIB, Disk, Nic, Server

AGENT_VERSION = "13.0.0"
MIN_ROOT_DISK = 4 * GIB
"""Smaller disks are never chosen by themselves (ironic-python-agent, hardware.py)."""

_LLDP_CHASSIS_ID, _LLDP_PORT_ID, _LLDP_TTL, _LLDP_SYSTEM_NAME, _LLDP_SYSTEM_DESCRIPTION = 1, 2, 3, 5, 6
_LLDP_ORGANISATION = 127
_SUBTYPE_MAC = 4
_SUBTYPE_INTERFACE_NAME = 5
_PORT_VLAN_ID = bytes.fromhex("0080c201")
"""IEEE 802.1Q Annex D: organisation 00-80-C2, subtype 1."""


def inventory(server: Server, vlans: Mapping[str, int | None]) -> dict[str, Any]:
    """The inventory. `vlans` has the untagged VLAN of each NIC (by name) whose link is up."""
    make = MAKES[server.vendor]
    return {
        "interfaces": [_interface(server, number, vlans) for number in range(len(server.nics))],
        "cpu": {
            "model_name": server.cpu_model,
            "frequency": "3600",
            "count": server.cpus,
            "architecture": "x86_64",
            "flags": ["lm", "vmx", "aes", "avx2"],
            "socket_count": 1,
        },
        "disks": [block_device(disk) for disk in server.disks],
        # The kernel keeps a part of the physical memory to itself.
        "memory": {"total": (server.memory_mib - 512) << 20, "physical_mb": server.memory_mib},
        "bmc_address": server.bmc_address,
        "bmc_v6address": "::/0",
        "bmc_mac": server.bmc_mac,
        "system_vendor": {
            "product_name": server.model,
            "serial_number": server.serial,
            "manufacturer": server.vendor,
            "system_uuid": server.uuid,
            "firmware": {"vendor": make.vendor, "version": make.bios_version, "build_date": "03/01/2025"},
        },
        "boot": {"current_boot_mode": "uefi", "pxe_interface": server.boot_nic.mac},
        "hostname": server.name,
    }


def inspection_data(server: Server, vlans: Mapping[str, int | None]) -> dict[str, Any]:
    """The body of POST /v1/continue_inspection."""
    root = root_device(server, {})
    return {
        "inventory": inventory(server, vlans),
        "boot_interface": server.boot_nic.mac,
        "root_disk": block_device(root) if root is not None else None,
        "configuration": {"collectors": ["default", "logs"], "managers": [{"name": "generic_hardware_manager"}]},
        "error": None,
    }


def lldp(nic: Nic, vlan: int | None) -> list[list[Any]]:
    """The type-length-values that the NIC hears from its switch: `[[type, hex], ...]` (IEEE 802.1AB)."""
    chassis = bytes([_SUBTYPE_MAC]) + bytes.fromhex(nic.switch_mac.replace(":", ""))
    values: list[tuple[int, bytes]] = [
        (_LLDP_CHASSIS_ID, chassis),
        (_LLDP_PORT_ID, bytes([_SUBTYPE_INTERFACE_NAME]) + nic.port.encode()),
        (_LLDP_TTL, (120).to_bytes(2, "big")),
        (_LLDP_SYSTEM_NAME, nic.switch.encode()),
        (_LLDP_SYSTEM_DESCRIPTION, b"Steelyard simulated switch"),
    ]
    if vlan is not None:
        values.append((_LLDP_ORGANISATION, _PORT_VLAN_ID + vlan.to_bytes(2, "big")))
    return [[kind, value.hex()] for kind, value in values]


def block_device(disk: Disk) -> dict[str, Any]:
    return {
        "name": f"/dev/{disk.name}",
        "model": disk.model,
        "size": disk.size_bytes,
        "rotational": disk.rotational,
        "wwn": disk.wwn,
        "wwn_with_extension": disk.wwn,
        "wwn_vendor_extension": None,
        "serial": disk.serial,
        "vendor": "SIM",
        "hctl": None,
        "by_path": f"/dev/disk/by-path/{disk.serial}",
    }


def root_device(server: Server, hints: Mapping[str, Any]) -> Disk | None:
    """The disk that an image is written to: the one that fits the hints, else the smallest one that is large enough.

    Hints as in the node's properties/root_device; equality only (`s==` and `==` may stand before the value).
    """
    fitting = [disk for disk in server.disks if all(_fits(disk, name, hint) for name, hint in hints.items())]
    if not hints:
        fitting = [disk for disk in fitting if disk.size_bytes >= MIN_ROOT_DISK]
    return min(fitting, key=lambda disk: (disk.size_bytes, disk.name), default=None)


def _fits(disk: Disk, name: str, hint: Any) -> bool:
    device = block_device(disk)
    if name not in device:
        return False
    wanted = str(hint).removeprefix("s==").removeprefix("==").strip().lower()
    if name == "size":
        return wanted == str(disk.size_bytes // GIB)
    return wanted == str(device[name]).lower()


def _interface(server: Server, number: int, vlans: Mapping[str, int | None]) -> dict[str, Any]:
    nic = server.nics[number]
    linked = nic.name in vlans
    first, second = (int(octet) for octet in server.bmc_address.split(".")[2:])
    return {
        "name": nic.name,
        "mac_address": nic.mac,
        # Nobody serves DHCP in the simulated VLANs; the kernel gives itself a link-local address (RFC 3927).
        "ipv4_address": f"169.254.{first}.{second}" if linked and number == 0 else None,
        "ipv6_address": None,
        "has_carrier": linked,
        "lldp": lldp(nic, vlans.get(nic.name)) if linked else [],
        "vendor": "0x8086",
        "product": "0x1593",
        "client_id": None,
        "biosdevname": None,
        "speed_mbps": nic.speed_mbps,
        "pci_address": f"0000:3b:00.{number}",
        "driver": "ice",
    }
