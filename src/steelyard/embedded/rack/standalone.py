"""A rack by itself, without the cloud around it: for tests, measurements and trying things out.

with StandaloneRack.make(Path("/tmp/rack"), nodes=4).running("bmc", "switch") as rack:
    rack.call("switch", "GET", "/state")
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steelyard.embedded.rack.files import write_private, write_rack
from steelyard.embedded.rack.plan import Rack, plan_rack
from steelyard.embedded.rack.process import TOKEN
from steelyard.errors import Unavailable

PROCESSES = {"bmc": "rack_bmc", "switch": "rack_switch", "agents": "rack_agents"}
"""Process -> the port of its control endpoint in home.json."""
RAMDISK_VLANS = {"provisioning": 2001, "cleaning": 2002, "inspection": 2003, "rescue": 2005}
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class StandaloneRack:
    """A home with nothing in it but a rack."""

    home: Path
    rack: Rack
    ports: Mapping[str, int]
    token: str = field(repr=False)
    running_processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def make(
        cls, home: Path, *, nodes: int, seed: str = "standalone", timing: Mapping[str, float] | None = None
    ) -> StandaloneRack:
        """Plan a rack in a directory, with ports and a loopback network that are free now."""
        ports = dict(zip([*PROCESSES.values(), "bmc", "ironic"], _free_ports(len(PROCESSES) + 2), strict=True))
        rack = plan_rack(nodes, network=_free_network(ports["bmc"]), bmc_port=ports["bmc"], seed=seed)
        token = secrets.token_urlsafe(24)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(home / TOKEN, token.encode())
        settings = {"ports": ports, "ramdisk_vlans": RAMDISK_VLANS, "rack": dict(timing or {})}
        write_private(home / "home.json", json.dumps(settings).encode())
        write_rack(rack, home, switch_port=ports["rack_switch"])
        return cls(home, rack, ports, token)

    @contextlib.contextmanager
    def running(self, *processes: str) -> Iterator[StandaloneRack]:
        """With these processes ready; all that run are stopped at the end."""
        try:
            for process in processes:
                self.start(process)
            yield self
        finally:
            for process in list(self.running_processes):
                self.stop(process)

    def start(self, process: str) -> None:
        """Start one process and wait until it is ready. Raises Unavailable with the end of its log when it is not."""
        log = self.home / f"{process}.log"
        with log.open("ab") as stream:
            started = subprocess.Popen(
                [sys.executable, "-m", f"steelyard.embedded.rack.{process}", "--home", str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        self.running_processes[process] = started
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and started.poll() is None:
            try:
                self.call(process, "GET", "/health")
                return
            except Unavailable:
                time.sleep(0.05)
        self.stop(process)
        raise Unavailable(f"The rack's {process} does not start: {log.read_text()[-500:]}", code="rack_start")

    def stop(self, process: str) -> None:
        """Ask it to end, and wait; kill it when it does not."""
        running = self.running_processes.pop(process)
        running.terminate()
        try:
            running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()

    def kill(self, process: str) -> None:
        """SIGKILL: nothing is put in order."""
        running = self.running_processes.pop(process)
        running.kill()
        running.wait()

    def call(self, process: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request to a control endpoint. Raises Unavailable, also for an error answer (its text as the detail)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[PROCESSES[process]]}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                document = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise Unavailable(f"{error.code}: {error.read(2000).decode(errors='replace')}", code="rack_call") from None
        except OSError as error:
            raise Unavailable(f"The rack's {process} does not answer: {error}", code="rack_call") from None
        return document if isinstance(document, dict) else {}

    def machine(self, server: str) -> dict[str, Any]:
        """What is true of a server, whatever its BMC says."""
        return self.call("bmc", "GET", f"/state/{server}")

    def port(self, key: str) -> dict[str, Any]:
        """What is true of a switch port (`leaf1/Ethernet1`)."""
        ports = self.call("switch", "GET", "/state")["ports"]
        found = ports[key]
        return found if isinstance(found, dict) else {}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _free_network(port: int) -> str:
    """A loopback /16 whose first address has that port free: several racks may run on one machine."""
    for _ in range(200):
        network = f"127.{2 + secrets.randbelow(250)}"
        with socket.socket() as attempt:
            try:
                attempt.bind((f"{network}.1.1", port))
            except OSError:
                continue
        return network
    raise Unavailable("There is no free loopback network for a rack", code="rack_network")
