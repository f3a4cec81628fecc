"""What the rack's three processes have in common: their arguments, their home's files, and how they run and end."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.embedded.rack import files
from steelyard.embedded.rack.plan import Rack
from steelyard.errors import Invalid, SteelyardError

LOG = logging.getLogger("steelyard.rack")

TOKEN = "secrets/rack_token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class Timing:
    """How long simulated things take, in seconds; `home.json["rack"]` may say otherwise."""

    power_seconds: float = 0.3
    """Power switch pressed -> power state changed."""
    shutdown_seconds: float = 0.3
    """An operating system asked to shut down -> power off."""
    boot_seconds: float = 0.5
    """Power on -> what it boots is up (the agent starts, or the tenant's system runs)."""
    step_seconds: float = 0.1
    """One agent step that moves no data."""
    heartbeat_seconds: float = 1.5
    """An idle agent's heartbeat period."""


@dataclass(frozen=True, slots=True)
class RackHome:
    """What a rack process reads from STEELYARD_HOME."""

    home: Path
    rack: Rack
    ports: Mapping[str, int]
    ramdisk_vlans: frozenset[int]
    """VLANs in which a ramdisk reaches the bare metal service."""
    discovery_vlan: int | None
    """What a switch port carries until it is configured for the first time: a new server is inspected through it."""
    token: str
    timing: Timing
    filters: bool = True
    """Whether the switches are of a model that filters at its ports."""

    def port(self, name: str) -> int:
        """Raises Invalid when home.json does not name that port."""
        try:
            return self.ports[name]
        except KeyError:
            raise Invalid(f"home.json names no port for {name}", code="home_ports", next="steelyard up") from None

    @property
    def state(self) -> Path:
        return self.home / "rack" / files.STATE


def read_home(home: Path) -> RackHome:
    """Raises Invalid when a file is missing or damaged, naming the file and what to do."""
    settings = _read_json(home / "home.json")
    rack = Rack.from_json(_read(home / "rack" / files.RACK))
    ports, vlans = settings.get("ports"), settings.get("ramdisk_vlans", {})
    if not isinstance(ports, dict) or not all(isinstance(port, int) for port in ports.values()):
        raise Invalid(f"{home / 'home.json'} has no `ports`", code="home_ports", next="steelyard up")
    if not isinstance(vlans, dict) or not all(isinstance(vlan, int) for vlan in vlans.values()):
        raise Invalid(f"`ramdisk_vlans` in {home / 'home.json'} must give a VLAN for each role", code="home_vlans")
    token = _read(home / TOKEN).strip()
    if len(token) < 16:
        raise Invalid(
            f"{home / TOKEN} holds no usable token",
            code="rack_token",
            next="steelyard reset --all --yes, then: steelyard up",
        )
    return RackHome(
        home=home,
        rack=rack,
        ports=ports,
        ramdisk_vlans=frozenset(vlans.values()) | _segment_vlans(settings),
        discovery_vlan=vlans.get("inspection"),
        token=token,
        timing=_timing(settings.get("rack") or {}),
        filters=settings.get("filters") is not False,
    )


def _segment_vlans(settings: Mapping[str, Any]) -> frozenset[int]:
    """Those of the networks of which each node in transition has one to itself."""
    first, number = settings.get("first_segment_vlan", 0), settings.get("segments", 0)
    if not isinstance(first, int) or not isinstance(number, int):
        raise Invalid("`segments` and `first_segment_vlan` in home.json must be numbers", code="home_vlans")
    return frozenset(range(first, first + number))


def run(name: str, serve: Callable[[RackHome, asyncio.Event], Awaitable[None]]) -> None:
    """Run one rack process until SIGTERM or SIGINT. `serve` gets the home and an event that says "stop".

    Exits 2 with one sentence on standard error when it cannot start.
    """
    parser = argparse.ArgumentParser(prog=f"steelyard.embedded.rack.{name}", description=f"The rack's {name}.")
    parser.add_argument("--home", type=Path, required=True, help="STEELYARD_HOME")
    home = parser.parse_args().home.resolve()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp").setLevel(logging.ERROR)
    try:
        asyncio.run(_run(read_home(home), serve))
    except SteelyardError as error:
        hint = f" Next: {error.next}" if error.next else ""
        sys.exit(f"rack {name}: {error.detail}.{hint}")
    except OSError as error:
        sys.exit(f"rack {name}: cannot serve: {error}")


async def _run(home: RackHome, serve: Callable[[RackHome, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(home, stop)


def _timing(settings: Mapping[str, Any]) -> Timing:
    known = {name: getattr(Timing(), name) for name in Timing.__dataclass_fields__}
    for name, value in settings.items():
        if name not in known:
            raise Invalid(f"Unknown rack setting {name!r} in home.json", code="home_rack")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
            raise Invalid(f"Rack setting {name} in home.json must be 0 to 3600 seconds", code="home_rack")
        known[name] = float(value)
    return Timing(**known)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"Cannot read {path}: {error}", code="home_files", next="steelyard up") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_read(path))
    except ValueError as error:
        raise Invalid(
            f"{path} is not JSON: {error}", code="home_files", next="steelyard reset --all --yes, then: steelyard up"
        ) from None
    if not isinstance(document, dict):
        raise Invalid(
            f"{path} is not a JSON object", code="home_files", next="steelyard reset --all --yes, then: steelyard up"
        )
    return document
