"""The fabric manager: puts on each switch port what the port groups ask for.

It works as a real one does: some time after the change, by itself, again and again until the switch has taken it, and
without a word in the config API about how far it is. `GET /control/fabric` tells tests.

A simulated switch has VLANs and no overlay, so a network is on a port as its VLAN: the one that the interface asks for
(`tor_port_vlan_id` untagged, `sub_interface_vlan_tag` tagged), else that of the network. Of two untagged interfaces on
one group (trap 1) the later has the port untagged and the earlier one tagged: the port is in both networks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from steelyard.embedded.contrail.database import Database, Thing
from steelyard.embedded.contrail.networks import vlan_of
from steelyard.embedded.contrail.port_groups import ROOT, vlan_on_port
from steelyard.embedded.rack.faults import Fault, Faults

LOG = logging.getLogger("steelyard.contrail.fabric")

PUSH_SECONDS = 0.2
"""A change in the config -> the first write to the switch."""
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between attempts; the last one again and again."""
_WRITE_SECONDS = 10.0
_LOOK_SECONDS = 0.02
"""Least time between two looks at the whole config."""
_LACP = "lacp"
"""How a simulated switch calls the group of a port that finds its fellows by LACP."""
_MOST_AT_ONCE = 16
"""Writes under way."""


@dataclass(frozen=True, slots=True)
class PortConfig:
    """What a switch port is to carry."""

    untagged: int | None = None
    tagged: tuple[int, ...] = ()
    lacp: bool = False
    """Whether it is one of several that are aggregated."""

    def as_json(self) -> dict[str, Any]:
        return {"untagged": self.untagged, "tagged": list(self.tagged), "lacp": self.lacp}


def wanted(database: Database) -> dict[tuple[str, str], PortConfig]:
    """(switch, port) -> what it is to carry, for every physical interface in a port group."""
    found = {}
    for group in database.of_type("virtual-port-group"):
        config = _config(database, group)
        for uuid in group.targets("physical_interface_refs"):
            physical = database[uuid]
            found[(physical.fq_name[1], port_id(physical))] = config
    return found


def wanted_on(database: Database, switch: str, port: str) -> PortConfig:
    """The same for one port."""
    physical = database.find("physical-interface", (ROOT, switch, port.replace(":", "_")))
    group = next(database.referrers(physical.uuid, "virtual-port-group"), None) if physical is not None else None
    return PortConfig() if group is None else _config(database, group)


def port_id(physical: Thing) -> str:
    """The port as its switch calls it: names in the config API cannot hold a colon."""
    return str(physical.properties.get("physical_interface_port_id") or physical.properties["display_name"])


def _config(database: Database, group: Thing) -> PortConfig:
    untagged: list[int] = []
    tagged: set[int] = set()
    for uuid in group.targets("virtual_machine_interface_refs"):
        interface = database[uuid]
        vlan, is_tagged = vlan_on_port(interface)
        networks = interface.targets("virtual_network_refs")
        vlan = vlan or (vlan_of(database[networks[0]]) if networks else 0)
        if not vlan:
            continue
        if is_tagged:
            tagged.add(vlan)
        else:
            untagged.append(vlan)
    native = untagged[-1] if untagged else None
    aggregated = len(group.targets("physical_interface_refs")) > 1
    lacp = aggregated and group.properties.get("virtual_port_group_lacp_enabled") is not False
    return PortConfig(native, tuple(sorted((tagged | set(untagged)) - {native})), lacp)


class Switches:
    """The management API of the rack's switches, as networking-generic-switch uses it."""

    def __init__(self, url: str, token_file: Path, known: Mapping[str, tuple[str, ...]]):
        """`known`: the ports of each switch; a router that is not among them is no business of ours."""
        self._url = url.rstrip("/")
        self._token_file = token_file
        self.known = known
        self._session: aiohttp.ClientSession | None = None
        self._aggregates: dict[str, bool] = {}
        """Switch -> whether it knows of aggregation: its ports say in which group they are then."""

    async def write(self, switch: str, port: str, config: PortConfig, before: PortConfig) -> None:
        """Make a port carry `config` and nothing of `before` beside it. Raises OSError when it was not done."""
        path = f"/switches/{urllib.parse.quote(switch, safe='')}/ports/{urllib.parse.quote(port, safe='')}"
        if switch not in self._aggregates:
            self._aggregates[switch] = "lag" in await self._ask("GET", path)
        change: dict[str, Any] = {"untagged_vlan": config.untagged, "enabled": True}
        if config.tagged:
            change["add_tagged"] = list(config.tagged)
        if gone := sorted(set(before.tagged) - set(config.tagged)):
            change["remove_tagged"] = gone
        if self._aggregates[switch]:
            change["lag"] = _LACP if config.lacp else None
        await self._ask("PATCH", path, change)

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_WRITE_SECONDS), trust_env=False)
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}", "User-Agent": "contrail-fabric"}
        try:
            async with self._session.request(method, self._url + path, json=body, headers=headers) as answer:
                if answer.status != 200:
                    raise OSError(f"{method} {path} was answered {answer.status}")
                document = json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise OSError(f"{method} {path}: {type(error).__name__}") from None
        if not isinstance(document, dict):
            raise OSError(f"{method} {path}: the answer is no object")
        return document

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


@dataclass(slots=True)
class _Due:
    at: float
    """Monotonic time of the next attempt."""
    attempts: int = 0
    problem: str | None = None


class FabricManager:
    """Writes what differs between the config and what it believes that the switches carry."""

    def __init__(self, database: Database, switches: Switches, faults: Faults, *, push_seconds: float = PUSH_SECONDS):
        self._database = database
        self._switches = switches
        self._faults = faults
        self._push_seconds = push_seconds
        self._pushed: dict[tuple[str, str], PortConfig] = {}
        self._unsure: set[tuple[str, str]] = set()
        """Ports whose last write has begun and not been answered."""
        for port, content in database.pushed().items():
            switch, _, name = port.partition("/")
            self._pushed[(switch, name)] = PortConfig(content["untagged"], tuple(content["tagged"]), content["lacp"])
            if not content["sure"]:
                self._unsure.add((switch, name))
        self._due: dict[tuple[str, str], _Due] = {}
        self._wake = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()
        self._writing: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        database.on_commit = self._wake.set

    def look(self) -> None:
        """Something may have changed: note what is to be written, and when."""
        now = time.monotonic()
        asked = wanted(self._database)
        for key in {**asked, **self._pushed}:
            if key[1] not in self._switches.known.get(key[0], ()):
                continue
            if key in self._unsure or asked.get(key, PortConfig()) != self._pushed.get(key, PortConfig()):
                self._due.setdefault(key, _Due(now + self._push_seconds))
            else:
                self._due.pop(key, None)

    def state(self) -> dict[str, Any]:
        """What it believes, and what it has yet to do."""
        self.look()
        return {
            "believed": {f"{switch}/{port}": config.as_json() for (switch, port), config in self._pushed.items()},
            "pending": {
                f"{switch}/{port}": {"attempts": due.attempts, "problem": due.problem}
                for (switch, port), due in self._due.items()
            },
        }

    async def run(self) -> None:
        """For ever. Ports are written at once and each for itself: a switch that hangs delays no other."""
        try:
            while True:
                self._wake.clear()
                self.look()
                now, later = time.monotonic(), []
                for key, due in list(self._due.items()):
                    if key in self._writing:
                        continue
                    if due.at > now:
                        later.append(due.at)
                        continue
                    self._writing[key] = asyncio.create_task(self._push(key, due))
                    self._writing[key].add_done_callback(functools.partial(self._written, key, due))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), min(later, default=now + 3600.0) - now)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for task in [*self._writing.values(), *self._late]:
                task.cancel()

    def _written(self, key: tuple[str, str], due: _Due, task: asyncio.Task[None]) -> None:
        del self._writing[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("%s/%s: a bug of the fabric manager", *key, exc_info=error)
            due.at = time.monotonic() + RETRY_SECONDS[-1]
        self._wake.set()

    async def _push(self, key: tuple[str, str], due: _Due) -> None:
        switch, port = key
        try:
            async with self._slots:
                config = wanted_on(self._database, switch, port)
                before = self._pushed.get(key, PortConfig())
                both = PortConfig(before.untagged, tuple(sorted({*before.tagged, *config.tagged})))
                self._note(key, both, sure=False)
                await self._write(key, config, before, self._faults.take("push", f"{switch}/{port}", switch))
        except OSError as error:
            due.attempts += 1
            due.problem = str(error)[:200]
            due.at = time.monotonic() + RETRY_SECONDS[min(due.attempts, len(RETRY_SECONDS)) - 1]
            LOG.warning("%s/%s is not written yet (attempt %d): %s", switch, port, due.attempts, due.problem)
            return
        self._note(key, config, sure=True)
        self._due.pop(key, None)

    def _note(self, key: tuple[str, str], config: PortConfig, *, sure: bool) -> None:
        self._pushed[key] = config
        if sure:
            self._unsure.discard(key)
        else:
            self._unsure.add(key)
        self._database.note_pushed("/".join(key), {**config.as_json(), "sure": sure})

    async def _write(self, key: tuple[str, str], config: PortConfig, before: PortConfig, fault: Fault | None) -> None:
        switch, port = key
        match fault.kind if fault is not None else None:
            case "refuse" | "drop" | "hang" | "garbage":
                raise OSError(f"{switch} refuses")
            case "not_applied" | "wrong_answer":
                return
            case "slow":
                assert fault is not None
                await asyncio.sleep(fault.delay)
            case "late":
                assert fault is not None
                self._later(fault.delay, key, config, before)
                return
            case "wrong_port":
                port = self._switches.known[switch][-1]
            case "wrong_vlan":
                config = replace(config, untagged=None if config.untagged is None else config.untagged + 1)
        await self._switches.write(switch, port, config, before)

    def _later(self, seconds: float, key: tuple[str, str], config: PortConfig, before: PortConfig) -> None:
        async def write() -> None:
            await asyncio.sleep(seconds)
            try:
                await self._switches.write(*key, config, before)
            except OSError as error:
                LOG.warning("%s/%s was not written late: %s", *key, error)

        task = asyncio.create_task(write())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
