"""What Neutron must be told of the rack's switches."""

from __future__ import annotations

from pathlib import Path

from steelyard.embedded.rack.plan import Rack

PHYSICAL_NETWORK = "physnet1"
TIMEOUT_SECONDS = 10


def ml2_sections(rack: Rack, home: Path, *, switch_port: int | None = None) -> dict[str, dict[str, str]]:
    """Sections of ml2_conf.ini, by name: one `[genericswitch:SWITCH]` per switch.

    The driver is `steelyard_neutron`, which takes the rack's token from its file at each use. `switch_port` defaults
    to home.json's `rack_switch`.
    """
    if switch_port is None:
        from steelyard.embedded.rack.process import read_home

        switch_port = read_home(home).port("rack_switch")
    return {
        f"genericswitch:{switch.name}": {
            "device_type": "steelyard_simulated",
            "ngs_mac_address": switch.chassis_mac,
            "ngs_physical_networks": PHYSICAL_NETWORK,
            "ngs_save_configuration": "false",
            "ngs_security_groups_enabled": "true",
            "steelyard_url": f"http://127.0.0.1:{switch_port}",
            "steelyard_token_file": str(home / "secrets" / "rack_token"),
            "steelyard_timeout": str(TIMEOUT_SECONDS),
        }
        for switch in rack.switches
    }
