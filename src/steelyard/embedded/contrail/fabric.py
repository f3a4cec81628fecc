"""The fabric manager: puts on each switch port what the port groups ask for.

It works as a real one does: some time after the change, by itself, again and again until the switch has taken it, and
without a word in the config API about how far it is. `GET /control/fabric` tells tests.

A port gets its VLANs and its filters in one change, after the switch has the filters with their rules: it carries no
network without them. Filters of groups that are on no port of a switch any more are removed from it later.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import time
import urllib.parse
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from steelyard.embedded.contrail.database import Database
from steelyard.embedded.contrail.filters import Filter, Rule
from steelyard.embedded.contrail.port_config import PortConfig, restored, wanted, wanted_on
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
UNUSED_SECONDS = 2.0
"""A filter is on no port of its switch -> it is removed from the switch: the next server may have the same group."""

Key = tuple[str, str]
"""Switch and port, or switch and filter."""


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
        self._rules: dict[Key, tuple[Rule, ...]] = {}
        """What the filters are that a switch has taken from this process."""
        self._one_at_a_time: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        """For each filter of a switch."""

    async def write(self, switch: str, port: str, config: PortConfig, before: PortConfig) -> None:
        """Make a port carry `config` and nothing of `before` beside it. Raises OSError when it was not done."""
        path = _path(switch, "ports", port)
        if switch not in self._aggregates:
            self._aggregates[switch] = "lag" in await self._ask("GET", path)
        for each in config.filters:
            await self._put_filter(switch, each)
        change: dict[str, Any] = {"untagged_vlan": config.untagged, "enabled": True}
        change["filters"] = [each.name for each in config.filters]
        if config.tagged:
            change["add_tagged"] = list(config.tagged)
        if gone := sorted(set(before.tagged) - set(config.tagged)):
            change["remove_tagged"] = gone
        if self._aggregates[switch]:
            change["lag"] = _LACP if config.lacp else None
        try:
            await self._ask("PATCH", path, change)
        except OSError:
            # It may have lost a filter: the next attempt tells it them all again.
            for each in config.filters:
                self._rules.pop((switch, each.name), None)
            raise

    async def _put_filter(self, switch: str, wanted: Filter) -> None:
        key = (switch, wanted.name)
        async with self._one_at_a_time[key]:
            if self._rules.get(key) == wanted.rules:
                return
            self._rules.pop(key, None)
            await self._ask("PUT", _path(switch, "filters", wanted.name), {"rules": list(wanted.rules)})
            self._rules[key] = wanted.rules

    async def remove_filter(self, switch: str, name: str) -> None:
        """Raises OSError when it was not done, as while a port has it."""
        key = (switch, name)
        async with self._one_at_a_time[key]:
            self._rules.pop(key, None)
            await self._ask("DELETE", _path(switch, "filters", name))

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


def _path(switch: str, kind: str, name: str) -> str:
    return f"/switches/{urllib.parse.quote(switch, safe='')}/{kind}/{urllib.parse.quote(name, safe='')}"


@dataclass(slots=True)
class _Due:
    at: float
    """Monotonic time of the next attempt."""
    attempts: int = 0
    problem: str | None = None


class FabricManager:
    """Writes what differs between the config and what it believes that the switches carry."""

    def __init__(
        self, database: Database, switches: Switches, faults: Faults, *, push_seconds: float = PUSH_SECONDS,
        filters: bool = True,
    ):  # fmt: skip
        """`filters`: whether the switches are of a model that filters."""
        self._database = database
        self._switches = switches
        self._faults = faults
        self._push_seconds = push_seconds
        self._can_filter = filters
        self._pushed: dict[Key, PortConfig] = {}
        self._unsure: set[Key] = set()
        """Ports whose last write has begun and not been answered."""
        for port, content in database.pushed().items():
            switch, _, name = port.partition("/")
            self._pushed[(switch, name)] = restored(content)
            if not content["sure"]:
                self._unsure.add((switch, name))
        self._due: dict[Key, _Due] = {}
        self._filters: set[Key] = database.filters()
        """Those that switches may have from here."""
        self._unused: dict[Key, _Due] = {}
        """Those of them that are on no port."""
        self._wake = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()
        self._writing: dict[Key, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        database.on_commit = self._wake.set

    def look(self) -> None:
        """Something may have changed: note what is to be written, and when."""
        now = time.monotonic()
        asked = wanted(self._database, filters=self._can_filter)
        for key in {**asked, **self._pushed}:
            if key[1] not in self._switches.known.get(key[0], ()):
                continue
            if key in self._unsure or asked.get(key, PortConfig()) != self._pushed.get(key, PortConfig()):
                self._due.setdefault(key, _Due(now + self._push_seconds))
            else:
                self._due.pop(key, None)
        used = self._filters_in(self._pushed) | self._filters_in(asked)
        for key in self._filters - used:
            self._unused.setdefault(key, _Due(now + UNUSED_SECONDS))
        for key in self._unused.keys() & used:
            del self._unused[key]

    @staticmethod
    def _filters_in(ports: Mapping[Key, PortConfig]) -> set[Key]:
        return {(switch, each.name) for (switch, _), config in ports.items() for each in config.filters}

    def state(self) -> dict[str, Any]:
        """What it believes, and what it has yet to do."""
        self.look()
        return {
            "believed": {f"{switch}/{port}": config.as_json() for (switch, port), config in self._pushed.items()},
            "pending": {
                f"{switch}/{port}": {"attempts": due.attempts, "problem": due.problem}
                for (switch, port), due in self._due.items()
            },
            "filters": sorted("/".join(key) for key in self._filters),
        }

    async def run(self) -> None:
        """For ever. Ports are written at once and each for itself: a switch that hangs delays no other."""
        try:
            while True:
                self._wake.clear()
                self.look()
                now, later = time.monotonic(), []
                ports = [(key, due, self._push) for key, due in self._due.items()]
                filters = [(key, due, self._remove_filter) for key, due in self._unused.items()]
                for key, due, work in (*ports, *filters):
                    if key in self._writing:
                        continue
                    if due.at > now:
                        later.append(due.at)
                        continue
                    self._writing[key] = asyncio.create_task(work(key, due))
                    self._writing[key].add_done_callback(functools.partial(self._written, key, due))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), min(later, default=now + 3600.0) - now)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for task in [*self._writing.values(), *self._late]:
                task.cancel()

    def _written(self, key: Key, due: _Due, task: asyncio.Task[None]) -> None:
        del self._writing[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("%s/%s: a bug of the fabric manager", *key, exc_info=error)
            due.at = time.monotonic() + RETRY_SECONDS[-1]
        self._wake.set()

    async def _push(self, key: Key, due: _Due) -> None:
        switch, port = key
        try:
            async with self._slots:
                config = wanted_on(self._database, switch, port, filters=self._can_filter)
                before = self._pushed.get(key, PortConfig())
                filters = {each.name: each for each in (*before.filters, *config.filters)}
                both = PortConfig(
                    before.untagged, tuple(sorted({*before.tagged, *config.tagged})), filters=tuple(filters.values())
                )
                self._note(key, both, sure=False)
                self._note_filters(switch, config)
                await self._write(key, config, before, self._faults.take("push", f"{switch}/{port}", switch))
        except OSError as error:
            due.attempts += 1
            due.problem = str(error)[:200]
            due.at = time.monotonic() + RETRY_SECONDS[min(due.attempts, len(RETRY_SECONDS)) - 1]
            LOG.warning("%s/%s is not written yet (attempt %d): %s", switch, port, due.attempts, due.problem)
            return
        self._note(key, config, sure=True)
        self._due.pop(key, None)

    def _note(self, key: Key, config: PortConfig, *, sure: bool) -> None:
        self._pushed[key] = config
        if sure:
            self._unsure.discard(key)
        else:
            self._unsure.add(key)
        self._database.note_pushed("/".join(key), {**config.stored(), "sure": sure})

    def _note_filters(self, switch: str, config: PortConfig) -> None:
        for each in config.filters:
            if (switch, each.name) not in self._filters:
                self._filters.add((switch, each.name))
                self._database.note_filter(switch, each.name)

    async def _remove_filter(self, key: Key, due: _Due) -> None:
        try:
            async with self._slots:
                if key in self._filters_in(self._pushed):  # a port has begun to get it while this waited
                    return
                await self._switches.remove_filter(*key)
        except OSError as error:  # on a port all the same, for one that was written by mistake
            due.at = time.monotonic() + RETRY_SECONDS[-1]
            LOG.info("filter %s stays on %s for now: %s", key[1], key[0], error)
            return
        self._unused.pop(key, None)
        if key not in self._filters_in(self._pushed):  # else a port has begun to get it meanwhile
            self._filters.discard(key)
            self._database.forget_filter(*key)

    async def _write(self, key: Key, config: PortConfig, before: PortConfig, fault: Fault | None) -> None:
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

    def _later(self, seconds: float, key: Key, config: PortConfig, before: PortConfig) -> None:
        async def write() -> None:
            await asyncio.sleep(seconds)
            try:
                await self._switches.write(*key, config, before)
            except OSError as error:
                LOG.warning("%s/%s was not written late: %s", *key, error)

        task = asyncio.create_task(write())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
