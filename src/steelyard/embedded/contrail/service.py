"""The process: `python -m steelyard.embedded.contrail --home HOME`, or with paths of its own in tests.

In a home, everything follows from home.json: the port `contrail`, Keystone's address, the rack and its switches.
Without one, `--port`, `--state`, `--tokens` and `--control-token` say it; only with `--rack` is there
a fabric to write to.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from steelyard.embedded.contrail.api import Api
from steelyard.embedded.contrail.database import Database
from steelyard.embedded.contrail.fabric import PUSH_SECONDS, FabricManager, Switches
from steelyard.embedded.contrail.frame import FAULT_KINDS, OPERATIONS
from steelyard.embedded.contrail.hardware import ServerPortRules, seed
from steelyard.embedded.contrail.identity import Identities, Keystone, TokenFile
from steelyard.embedded.contrail.networks import FloatingIpRules, InstanceIpRules, NetworkRules, SecurityGroupRules
from steelyard.embedded.contrail.port_groups import InterfaceRules, PortGroupRules
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.rules import Rules
from steelyard.embedded.rack import control, process
from steelyard.embedded.rack.faults import Faults
from steelyard.embedded.rack.plan import Rack
from steelyard.errors import SteelyardError

LOG = logging.getLogger("steelyard.contrail")

VLANS = range(3000, 4000)
"""Of networks that are made without a segmentation id: apart from what Neutron picks, and from the operator's."""
STATE = "contrail.sqlite"


@dataclass(frozen=True, slots=True)
class Settings:
    """What one controller is started with."""

    port: int
    state: Path
    """Its SQLite file."""
    control_token: str
    keystone_url: str | None
    tokens: Path | None
    """A file of tokens, where there is no Keystone."""
    rack: Rack | None
    switch_url: str
    switch_token_file: Path
    push_seconds: float = PUSH_SECONDS
    filters: bool = True
    """Whether the rack's switches filter."""


def rules(vlans: range = VLANS) -> Mapping[str, Rules]:
    """What is peculiar to each type that has something."""
    return {
        "virtual-network": NetworkRules(vlans),
        "instance-ip": InstanceIpRules(),
        "floating-ip": FloatingIpRules(),
        "security-group": SecurityGroupRules(),
        "virtual-machine-interface": InterfaceRules(),
        "virtual-port-group": PortGroupRules(),
        "port": ServerPortRules(),
    }


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """State from its file, the API and the fabric manager, until told to stop. Raises OSError for a port in use."""
    database = Database(settings.state)
    resources, faults = Resources(database, rules()), Faults(OPERATIONS, FAULT_KINDS)
    seed(resources, settings.rack)
    identities: Identities
    keystone = Keystone(settings.keystone_url) if settings.keystone_url is not None else None
    if keystone is not None:
        identities = keystone
    else:
        assert settings.tokens is not None
        identities = TokenFile(settings.tokens)
    known = {switch.name: switch.ports for switch in settings.rack.switches} if settings.rack is not None else {}
    switches = Switches(settings.switch_url, settings.switch_token_file, known)
    fabric = FabricManager(database, switches, faults, push_seconds=settings.push_seconds, filters=settings.filters)
    app = Api(resources, identities, faults).application()
    app.add_subapp("/control", _control(settings.control_token, faults, fabric))
    manager = asyncio.create_task(fabric.run())
    try:
        async with control.serving(app, settings.port):
            LOG.info("the config API answers on port %d", settings.port)
            done, _ = await asyncio.wait(
                {manager, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED
            )
            if manager in done:
                manager.result()  # a fabric manager that has ended is a bug: end loudly
    finally:
        manager.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await manager
        await switches.close()
        if keystone is not None:
            await keystone.close()
        database.close()


def _control(token: str, faults: Faults, fabric: FabricManager) -> web.Application:
    app = control.application(token, faults, health=lambda: {"pending": len(fabric.state()["pending"])})

    async def state(_: web.Request) -> web.Response:
        return web.json_response(fabric.state())

    app.router.add_get("/fabric", state)
    return app


def main() -> None:
    """Run until SIGTERM or SIGINT. Exits 2 with one sentence on standard error when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiohttp").setLevel(logging.ERROR)
    try:
        asyncio.run(_run(_settings(_arguments())))
    except SteelyardError as error:
        hint = f" Next: {error.next}" if error.next else ""
        sys.exit(f"contrail: {error.detail}.{hint}")
    except OSError as error:
        sys.exit(f"contrail: cannot serve: {error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="steelyard.embedded.contrail", description="A small Contrail controller.")
    parser.add_argument("--home", type=Path, help="STEELYARD_HOME: everything else follows from it")
    parser.add_argument("--port", type=int, help="TCP port on 127.0.0.1")
    parser.add_argument("--state", type=Path, help="its SQLite file")
    parser.add_argument("--tokens", type=Path, help="file of tokens, instead of Keystone")
    parser.add_argument("--control-token", type=Path, help="file with the token of /control/")
    parser.add_argument("--rack", type=Path, help="home of a rack whose switches it configures")
    parser.add_argument("--push-seconds", type=float, default=PUSH_SECONDS, help="delay of the fabric manager")
    given = parser.parse_args()
    if given.home is None and None in (given.port, given.state, given.tokens, given.control_token):
        parser.error("either --home, or --port, --state, --tokens and --control-token")
    return given


def _settings(given: argparse.Namespace) -> Settings:
    """Raises Invalid."""
    if given.home is not None:
        home = process.read_home(given.home.resolve())
        return Settings(
            port=given.port or home.port("contrail"),
            state=given.state or home.home / "db" / STATE,
            control_token=home.token,
            keystone_url=f"http://127.0.0.1:{home.port('keystone')}/v3",
            tokens=None,
            rack=home.rack,
            switch_url=f"http://127.0.0.1:{home.port('rack_switch')}",
            switch_token_file=home.home / process.TOKEN,
            push_seconds=given.push_seconds,
            filters=home.filters,
        )
    rack = process.read_home(given.rack.resolve()) if given.rack is not None else None
    return Settings(
        port=given.port,
        state=given.state,
        control_token=given.control_token.read_text().strip(),
        keystone_url=None,
        tokens=given.tokens,
        rack=rack.rack if rack is not None else None,
        switch_url=f"http://127.0.0.1:{rack.port('rack_switch')}" if rack is not None else "",
        switch_token_file=rack.home / process.TOKEN if rack is not None else Path("/dev/null"),
        push_seconds=given.push_seconds,
        filters=rack is None or rack.filters,
    )


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)
