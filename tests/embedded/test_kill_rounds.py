"""Servers come and go while Steelyard, Ironic and Nova are killed at random moments: nothing is lost or left behind.

`--rounds N` sets how many deployments and releases there are, `--seed N` repeats the moments of an earlier run.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from .cloud_at_hand import until
from .leftovers import leftovers, offered_dirty
from .local_cloud import LocalCloud
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
VICTIMS = ("steelyard", "ironic", "nova")
SIDE_BY_SIDE = 2
FORGOTTEN_AFTER = timedelta(minutes=2)
"""A server for which no node is chosen in this time waits for nobody."""


@contextmanager
def killing(cloud: LocalCloud, chance: random.Random, kills: list[str]) -> Iterator[None]:
    """Meanwhile, a service is killed every now and then; the next one when the last one is back."""
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(chance.uniform(4.0, 20.0)):
            victim = chance.choice(VICTIMS)
            unit = cloud.services()[victim]
            if unit["state"] != "up":
                continue
            os.kill(unit["pid"], signal.SIGKILL)
            kills.append(victim)
            until(f"{victim} is back", partial(_is_up, cloud, victim), seconds=120.0)

    with ThreadPoolExecutor(1) as thread:
        killer = thread.submit(kill)
        try:
            yield
        finally:
            stop.set()
            killer.result(timeout=180.0)


@contextmanager
def watching(cloud: LocalCloud, seen: list[str]) -> Iterator[None]:
    """Meanwhile, look again and again whether a node is offered that has something on its disks."""
    stop = threading.Event()

    def watch() -> None:
        connection = cloud.connect("system")
        while not stop.wait(0.5):
            try:
                seen.extend(offered_dirty(cloud, connection))
            except (SDKException, ClientException):
                continue  # Ironic or Keystone is down

    with ThreadPoolExecutor(1) as thread:
        watcher = thread.submit(watch)
        try:
            yield
        finally:
            stop.set()
            watcher.result(timeout=60.0)


def test_services_are_killed_while_servers_come_and_go(
    cloud: LocalCloud, things: Things, pytestconfig: pytest.Config
) -> None:
    rounds, seed = pytestconfig.getoption("--rounds"), pytestconfig.getoption("--seed")
    print(f"repeat with: --rounds {rounds} --seed {seed}")
    chance = random.Random(seed)
    image, network, flavor = things.image(), things.network("10.97.0.0/24"), things.flavor(free=SIDE_BY_SIDE)
    kills: list[str] = []
    dirty: list[str] = []
    lost: list[str] = []

    def one_round(number: int) -> None:
        name = unique(f"round{number}")
        stay = random.Random(f"{seed}.{number}").uniform(0.0, 8.0)
        server_id = _created(cloud, things, name, flavor, image, network)
        status = until(f"{name} has come to rest", lambda: _rest(cloud, server_id), seconds=420.0, every=1.0)
        if status == "lost":
            lost.append(f"{name} disappeared")
            return
        threading.Event().wait(stay)
        until(f"{name} is gone", lambda: _released(cloud, server_id), seconds=420.0, every=2.0)

    with watching(cloud, dirty), killing(cloud, chance, kills), ThreadPoolExecutor(SIDE_BY_SIDE) as workers:
        for done in [workers.submit(one_round, number) for number in range(rounds)]:
            done.result()

    until("all is up", lambda: cloud.status()["phase"] == "up", seconds=180.0)
    cloud.follow_the_advice()
    print(f"killed: {dict(Counter(kills))}")
    assert kills, "nothing was killed: the rounds were too short"
    assert (lost, dirty) == ([], [])
    _tidy(cloud)
    assert cloud.steelyard("admin", "leaks", "-f", "json").json["leaks"] == []
    for name, node in cloud.nodes().items():
        assert node["phase"] == "available", f"{name} is {node['phase']} ({node['provision_state']})"
        assert cloud.rack.disks(name) == {}
    running = [
        each
        for phase in ("pending", "running")
        for each in cloud.get("admin", "/v1/operations", phase=phase)["operations"]
    ]
    assert running == []


def _tidy(cloud: LocalCloud) -> None:
    """Nothing is left behind; what it is if something is."""
    found: list[str] = []

    def look() -> bool:
        found[:] = leftovers(cloud)
        return not found

    try:
        until("nothing is left behind", look, seconds=240.0, every=2.0)  # lifecycle.vifs looks twice, a minute apart
    except AssertionError as late:
        raise AssertionError(f"{late}: {found}") from None


def _is_up(cloud: LocalCloud, service: str) -> bool:
    return bool(cloud.services()[service]["state"] == "up")


def _created(cloud: LocalCloud, things: Things, name: str, flavor: Json, image: Json, network: Json) -> str:
    """A server of this name has been asked for, however often it takes while services are down.

    Ironic fails a clean in whose middle it was killed, and that node is in quarantine. Where none is left to deploy on,
    the administrator does what Steelyard advises.
    """

    def there() -> str | None:
        asked = things.start(name, flavor, image, network, wait=False)
        if asked.code == 0:
            return str(asked.json["id"])
        if "No node is free" in asked.err:
            _release_quarantined(cloud)
        shown = cloud.steelyard("demo", "server", "show", name, "-f", "json")  # the answer may have been lost
        return str(shown.json["id"]) if shown.code == 0 else None

    return until(f"{name} is accepted", there, seconds=300.0, every=2.0)


def _release_quarantined(cloud: LocalCloud) -> None:
    """Whatever is killed meanwhile; who comes again looks again."""
    listed = cloud.steelyard("admin", "node", "list", "-f", "json")
    for node in listed.json if listed.code == 0 else []:
        if node["phase"] == "quarantined":
            cloud.steelyard("admin", "node", "release", node["name"], "--wait", within=300.0)


def _rest(cloud: LocalCloud, server_id: str) -> str | None:
    """How the deployment ended by Nova's own word: ACTIVE, ERROR or lost; None while it goes on or nobody answers.

    FORGOTTEN: Nova was killed after it had accepted it and before it had begun (ARCHITECTURE.md). The tenant releases
    it like any other, and nothing may stay behind of it either.
    """
    try:
        server = cloud.connect("demo").compute.find_server(server_id)
    except (SDKException, ClientException):
        return None
    if server is None:
        return "lost"
    if server.status == "BUILD" and server.task_state == "scheduling":
        age = datetime.now(UTC) - datetime.fromisoformat(server.created_at)
        return "FORGOTTEN" if age > FORGOTTEN_AFTER else None
    return str(server.status) if server.status in ("ACTIVE", "ERROR") and server.task_state is None else None


def _released(cloud: LocalCloud, server_id: str) -> bool:
    """Ask for the release until the server is gone; a request that hits a dead service is repeated."""
    cloud.steelyard("demo", "server", "delete", server_id, "--wait", within=300.0)
    return cloud.steelyard("demo", "server", "show", server_id).code == 4
