"""A running embedded cloud as its users have it: command line, REST API, stock clients, and the rack itself.

Nothing in here knows how Steelyard is made. What a test compares Steelyard's word with comes from openstacksdk and from
the simulated hardware's own record, never from Steelyard.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx
import openstack
import yaml
from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException

from .rack_at_hand import Rack

Json = dict[str, Any]
Found = TypeVar("Found")

STEELYARD = Path(sys.executable).parent / "steelyard"
STOCK = Path(sys.executable).parents[2] / "openstack" / "bin"
"""Where the stock clients are: the services' own environment, beside Steelyard's."""


def until(what: str, look: Callable[[], Found | None], *, seconds: float = 60.0, every: float = 0.5) -> Found:
    """Look again and again until there is something true to see, and return it; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {found!r}")
        time.sleep(every)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    command: str
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {self.command}\n(exit {self.code})\n{self.out}{self.err}"

    def ok(self) -> Ran:
        """The same; fails when the command did."""
        assert self.code == 0, str(self)
        return self

    @property
    def json(self) -> Any:
        """What it printed, with `-f json`."""
        return json.loads(self.ok().out)

    @property
    def next(self) -> str:
        """The next safe command that it advises; empty when it advises none."""
        found = re.search(r"^next:\s*(.*)$", self.err, re.MULTILINE)
        return found.group(1) if found else ""


@dataclass(frozen=True)
class EmbeddedCloud:
    home: Path

    @cached_property
    def record(self) -> Json:
        return dict(json.loads((self.home / "home.json").read_text()))

    @cached_property
    def rack(self) -> Rack:
        return Rack(self.home, self.record["ports"])

    @property
    def segment_vlans(self) -> range:
        """VLANs of the networks of which each node in transition has one to itself."""
        first = int(self.record["first_segment_vlan"])
        return range(first, first + int(self.record["segments"]))

    @property
    def clouds_file(self) -> Path:
        return self.home / "clouds.yaml"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.record['ports']['steelyard']}"

    @property
    def bmc_range(self) -> str:
        return f"{self.record['rack_network']}.1.0/28"

    @property
    def bmc_port(self) -> int:
        return int(self.record["ports"]["bmc"])

    @property
    def bmc_credentials(self) -> Path:
        return self.home / "rack" / "credentials.yaml"

    def secret(self, name: str) -> str:
        return (self.home / "secrets" / name).read_text().strip()

    # The command line

    def environment(self, **more: str) -> dict[str, str]:
        """A user's environment, with nothing of the developer's own clouds in it."""
        foreign = ("OS_", "STEELYARD_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**kept, "STEELYARD_HOME": str(self.home), "OS_CLIENT_CONFIG_FILE": str(self.clouds_file), **more}

    def run(self, *words: str | Path, within: float = 180.0, env: Mapping[str, str] | None = None) -> Ran:
        line = [str(word) for word in words]
        done = subprocess.run(
            line, env=dict(env or self.environment()), capture_output=True, text=True, timeout=within, check=False
        )
        return Ran(" ".join([Path(line[0]).name, *line[1:]]), done.returncode, done.stdout, done.stderr)

    def steelyard(self, who: str, *words: str | Path, within: float = 180.0) -> Ran:
        """`steelyard --os-cloud WHO …`, as JSON where the command has that."""
        return self.run(STEELYARD, "--os-cloud", who, *words, within=within)

    def status(self) -> Json:
        """`steelyard status -f json`: the supervisor's word."""
        return dict(json.loads(self.run(STEELYARD, "status", "-f", "json").out))

    def openstack(self, who: str, *words: str, within: float = 180.0) -> Ran:
        """The stock client: `openstack --os-cloud WHO …`."""
        return self.run(STOCK / "openstack", "--os-cloud", who, *words, within=within)

    # The APIs

    def connect(self, who: str) -> Connection:
        """openstacksdk as WHO: the oracle."""
        with _environment(OS_CLIENT_CONFIG_FILE=str(self.clouds_file)):
            config = openstack.config.OpenStackConfig(config_files=[str(self.clouds_file)])
            return Connection(config=config.get_one(cloud=who))

    def token(self, who: str) -> str:
        return str(self.connect(who).authorize())

    @contextlib.contextmanager
    def rest(self, token: str | None) -> Iterator[httpx.Client]:
        """Steelyard's REST API with this token, or with none."""
        headers = {"X-Auth-Token": token} if token else {}
        with httpx.Client(base_url=self.api, headers=headers, timeout=60.0) as client:
            yield client

    def get(self, who: str, path: str, **params: Any) -> Json:
        """One GET as WHO; fails unless it answers 200."""
        with self.rest(self.token(who)) as client:
            answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    # What several tests need

    def nodes(self) -> dict[str, Json]:
        """Every node by name, as Steelyard lists it."""
        return {node["name"]: node for node in self.get("admin", "/v1/nodes", limit=1000)["nodes"]}

    def onboard_everything(self) -> None:
        """Every server of the rack is a node again, whatever the tests before have done."""
        self.steelyard(
            "admin", "discover", self.bmc_range, "--port", str(self.bmc_port),
            "--credentials", self.bmc_credentials, "--wait",
        ).ok()  # fmt: skip
        self.steelyard("admin", "node", "onboard", "--all", "--wait", within=600.0).ok()

    def pool_with(self, free: int) -> str:
        """A pool with so many free nodes, the fullest first; waits for cleaning, and onboards the rack, if need be."""

        def fullest() -> str | None:
            pools = self.get("admin", "/v1/pools")["pools"]
            good = [pool for pool in pools if pool["capacity"]["free"] >= free]
            return str(max(good, key=lambda pool: pool["capacity"]["free"])["name"]) if good else None

        if found := fullest():
            return found
        self.follow_the_advice()
        if found := fullest():
            return found
        self.onboard_everything()
        return until(f"a pool with {free} free nodes", fullest, seconds=300.0, every=1.0)

    def follow_the_advice(self) -> None:
        """Wait until every node is at rest, then do with those in quarantine what Steelyard advises; it must help."""

        def at_rest() -> bool:
            moving = {"cleaning", "reclaiming", "deploying", "inspecting"}
            return not moving & {node["phase"] for node in self.nodes().values()}

        until("every node is at rest", at_rest, seconds=300.0, every=1.0)
        for name, node in self.nodes().items():
            if node["phase"] == "quarantined":
                refused = self.steelyard("admin", "node", "delete", name)
                assert refused.code == 5, str(refused)
                advice = refused.next.split()[1:]
                assert advice[:2] in (["node", "release"], ["node", "onboard"]), str(refused)
                self.steelyard("admin", *(word for word in advice if word != "--wait"), "--wait", within=300.0).ok()

    def operation(self, who: str, operation_id: str, *, seconds: float = 300.0) -> Json:
        """The operation once it has ended, asked for patiently: Steelyard's server may be away for a while."""

        def ended() -> Json | None:
            try:
                found = self.get(who, f"/v1/operations/{operation_id}")["operation"]
            except (httpx.TransportError, AssertionError, ClientException, SDKException):
                return None
            return dict(found) if found["phase"] in ("succeeded", "failed", "cancelled") else None

        return until(f"operation {operation_id} has ended", ended, seconds=seconds, every=1.0)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def credentials_of(path: Path) -> list[Json]:
    """The entries of a credentials file."""
    return list(yaml.safe_load(path.read_text())["credentials"])
