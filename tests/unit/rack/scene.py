"""One server with everything around it, for the tests of the agents."""

from __future__ import annotations

import hashlib
import http.client
import time
from typing import Any

import sushy

from steelyard.embedded.rack.standalone import StandaloneRack

from .fake_ironic import FakeIronic
from .redfish_client import QUICK, cd_of, connect, eventually

SERVER = "bm-001"
PORT = "leaf1/Ethernet1"
TENANT_VLAN = 101
GONE = (OSError, http.client.HTTPException)
"""How it shows that nobody is there."""


class Scene:
    """One server with everything around it, and the verbs of the tests."""

    def __init__(self, rack: StandaloneRack, ironic: FakeIronic, url: str):
        self.rack = rack
        self.ironic = ironic
        self.url = url
        self.server = rack.rack.server(SERVER)

    @property
    def system(self) -> Any:
        return connect(self.rack, self.server).get_system_collection().get_members()[0]

    def boot_ramdisk(self) -> None:
        system = self.system
        media = cd_of(system)
        media.eject_media()
        media.insert_media(f"{self.url}/agent.iso")
        system.set_system_boot_options(sushy.BOOT_SOURCE_TARGET_CD, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE)
        system.reset_system(sushy.RESET_ON)
        eventually(lambda: self.machine["running"] == "ramdisk")

    def power_off(self) -> None:
        self.system.reset_system(sushy.RESET_FORCE_OFF)
        eventually(lambda: self.machine["power"] == "Off")

    def plug(self, vlan: int | None) -> None:
        switch, _, port = PORT.partition("/")
        self.rack.call("switch", "PATCH", f"/switches/{switch}/ports/{port}", {"untagged_vlan": vlan})

    def beats(self) -> None:
        """Wait for one more heartbeat."""
        count = len(self.ironic.heartbeats)
        eventually(lambda: len(self.ironic.heartbeats) > count, what="heartbeat")

    def is_silent(self) -> bool:
        """No heartbeat for a good while (several periods), and nobody answers. One may be under way at first."""
        time.sleep(QUICK["heartbeat_seconds"])
        count = len(self.ironic.heartbeats)
        time.sleep(4 * QUICK["heartbeat_seconds"])
        return len(self.ironic.heartbeats) == count and not self.answers()

    def answers(self) -> bool:
        try:
            self.ironic.commands()
        except GONE:
            return False
        return True

    @property
    def machine(self) -> dict[str, Any]:
        return self.rack.machine(SERVER)

    @property
    def agents(self) -> dict[str, Any]:
        agents: dict[str, Any] = self.rack.call("agents", "GET", "/state")["agents"]
        return agents

    def fault(self, **wanted: Any) -> None:
        self.rack.call("agents", "POST", "/faults", {"target": SERVER, **wanted})

    def step(self, kind: str, name: str, **arguments: Any) -> dict[str, Any]:
        """Execute a step to its end; the finished command."""
        step = {"step": name, "interface": "deploy", "priority": 10, "args": arguments}
        command = self.ironic.command(
            f"{kind}.execute_{kind}_step", {"step": step, "node": {"uuid": self.ironic.node_id}}
        )
        return self.finished(command["id"])

    def finished(self, command_id: str) -> dict[str, Any]:
        def command() -> dict[str, Any]:
            return next(command for command in self.ironic.commands() if command["id"] == command_id)

        eventually(lambda: command()["command_status"] != "RUNNING")
        return command()

    def write_image(self, **changes: Any) -> dict[str, Any]:
        image = {
            "id": "image-1",
            "urls": [f"{self.url}/image?temp_url_sig=secret-signature"],
            "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(self.ironic.image).hexdigest(),
            "disk_format": "raw",
        }
        return self.step("deploy", "write_image", image_info={**image, **changes}, configdrive="Y29uZmln")
