"""Two Steelyard servers on one PostgreSQL: one is killed amid 20 onboardings, the other finishes them all."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from steelyard.embedded import home, loopback, services

from . import servers
from .cloud_at_hand import STEELYARD, STOCK, until
from .local_cloud import LocalCloud

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
NODES = 20


@contextmanager
def second_server(cloud: LocalCloud, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`steelyard serve` beside the supervised one, on the same database, under another name and port."""
    port = loopback.choose_ports(["server"])["server"]
    known = home.load(cloud.home, STOCK.parent)
    environment = services.server_environment(known) | {"STEELYARD_REPLICA": "second", "STEELYARD_PORT": str(port)}
    with log.open("wb") as output:
        process = subprocess.Popen([STEELYARD, "serve"], env=environment, stdout=output, stderr=output)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until("the second server answers", answers, seconds=60.0)
        yield process
    finally:
        process.kill()
        process.wait()


def test_one_of_two_servers_is_killed_and_the_other_finishes_its_work(
    new_cloud: Callable[[], LocalCloud], tmp_path: Path, after: ExitStack
) -> None:
    try:
        url = after.enter_context(servers.postgresql())
    except servers.Missing as missing:
        pytest.skip(str(missing))
    cloud = new_cloud()
    cloud.up("--nodes", str(NODES), "--database", url)
    after.callback(cloud.down)
    assert not (cloud.home / "steelyard" / "steelyard.sqlite").exists()
    cloud.steelyard(
        "admin", "discover", f"{cloud.record['rack_network']}.1.0/27", "--port", str(cloud.bmc_port),
        "--credentials", cloud.bmc_credentials, "--wait",
    ).ok()  # fmt: skip
    with second_server(cloud, tmp_path / "second.log") as second:
        started = cloud.steelyard("admin", "node", "onboard", "--all", "-f", "json").json
        assert started

        def both_work() -> bool:
            held = {each["replica"] for each in _onboardings(cloud) if each["phase"] == "running"}
            return held >= {"second", "steelyard"}

        until("both servers onboard", both_work, seconds=60.0)
        half = until("some have got far", lambda: [each for each in _onboardings(cloud) if _far(each)], seconds=240.0)
        theirs = [each["id"] for each in _onboardings(cloud) if each["replica"] == "second" and not _ended(each)]
        assert theirs, half
        second.kill()
        second.wait()

        def all_ended() -> bool:
            return len(_onboardings(cloud)) == NODES and all(_ended(each) for each in _onboardings(cloud))

        until("every onboarding has ended", all_ended, seconds=600.0, every=2.0)
    ended = {each["id"]: each for each in _onboardings(cloud)}
    assert {each["phase"] for each in ended.values()} == {"succeeded"}
    assert {ended[each]["replica"] for each in theirs} == {"steelyard"}
    assert len(cloud.nodes()) == NODES

    def all_offered() -> bool:
        return {node["phase"] for node in cloud.nodes().values()} == {"available"}

    until("the list shows every node available", all_offered, seconds=10.0)


def _onboardings(cloud: LocalCloud) -> list[Json]:
    found = cloud.get("admin", "/v1/operations", kind="nodes.onboard", limit=1000)["operations"]
    return [dict(each) for each in found]


def _ended(operation: Json) -> bool:
    return str(operation["phase"]) in ("succeeded", "failed", "cancelled")


def _far(operation: Json) -> bool:
    done = [step for step in operation["steps"] if step["phase"] == "succeeded"]
    return bool(operation["phase"] == "running" and len(done) >= 4)
