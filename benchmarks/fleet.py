"""The inventory at the size of a fleet: 10,000 servers in the index, on SQLite and PostgreSQL; for docs/benchmarks.md.

    scripts/bench fleet              both of these
    scripts/bench fleet --index      the fleet is a fake cloud's
    scripts/bench fleet --stock      a real Ironic with as many nodes, asked by its own client and by Steelyard

Answers are timed as whoever asks sees them: in process (the REST application without a socket), and over HTTP from
another process, with a token that is validated as always. Everything happens in temporary directories, and is stopped
and removed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import platform
import random
import signal
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.nouns import Image, Inspection, Instance
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.web.logs import configure
from steelyard.wiring import Steelyard, assemble, create_app

ROUNDS = 200
PAGE_TARGET, SEARCH_TARGET = 20.0, 50.0
"""Milliseconds, at the 95th percentile."""
RECONCILE_TARGET = 10.0
"""Seconds of CPU; of all reconcilers together."""
MAKES = (("Acme", "R740"), ("Acme", "R650"), ("Borealis", "ProLine 380"), ("Cobalt", "X12"), ("Dunwich", "SR650"))
POOLS = ("bm-small", "bm-medium", "bm-large", "bm-gpu")
SHARD = "benchmark"
"""Shard and conductor group of the nodes that are only in Ironic's database."""
SITES = ("berlin", "dublin", "osaka", "turin")


@dataclass
class Report:
    """The table that is printed at the end: what, how much, how much at most."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, target: str = "") -> None:
        self.rows.append((what, f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}", target))
        print(f"  {what}: {value:.2f} {unit}  {target}", flush=True)

    def table(self) -> str:
        lines = ["| what | measured | wanted |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in self.rows)])


# A fleet


def build_fleet(world: FakeWorld, size: int, chance: random.Random) -> list[Candidate]:
    """Nodes of four sites, half of them deployed by 40 projects, with disks, tags and locations; their candidates."""
    projects = [world.project(f"project-{number}") for number in range(40)]
    for number in range(20):
        name = f"debian-{number}"
        world.images[name] = Image(name, name, "active", 1 << 30, "raw", None, "public", None, world.now)
    found = []
    for number in range(size):
        vendor, model = MAKES[number % len(MAKES)]
        node = world.add_node(f"bm-{number:05d}", resource_class=chance.choice(POOLS))
        serial = f"SN{number * 7919 % 10**8:08d}"
        candidate = Candidate(
            id=f"c0000000-0000-4000-8000-{number:012d}", address=f"10.0.{number >> 8}.{number & 255}", port=443,
            system_path="/redfish/v1/Systems/1", state=CandidateState.ONBOARDED, first_seen_at=world.now,
            last_seen_at=world.now, serial=serial, vendor=vendor, model=model, node_id=node.id, bmc_firmware="2.75",
            bios_version="2.19.1",
        )  # fmt: skip
        found.append(candidate)
        notes = {
            "candidate_id": candidate.id, "serial": serial, "vendor": vendor, "model": model,
            "location": {"site": chance.choice(SITES), "room": str(number % 6), "rack": f"r{number // 40:03d}",
                         "unit": number % 40 + 1},
            "tags": chance.sample(("spare", "gold", "loaned", "batch-7", "noisy"), k=chance.randrange(3)),
        }  # fmt: skip
        changes: dict[str, Any] = {
            "extra": {"steelyard": notes}, "inspected_at": world.now, "bmc_address": candidate.bmc_url
        }  # fmt: skip
        if number % 97 == 0:
            changes |= {"provision_state": "clean failed", "maintenance": True, "last_error": "nvme1n1 did not erase"}
        elif number % 2:
            instance = Instance(
                id=f"50000000-0000-4000-8000-{number:012d}", name=f"web-{number}", status="ACTIVE", task_state=None,
                power_state="on", project_id=chance.choice(projects), user_id="u", flavor_name="metal-small",
                image_id=f"debian-{number % 20}", node_id=node.id, created_at=world.now,
                addresses=(f"172.16.{number >> 8 & 255}.{number & 255}",),
            )  # fmt: skip
            world.instances[instance.id] = instance
            changes |= {"provision_state": "active", "instance_id": instance.id, "power_state": "on"}
        world.nodes[node.id] = replace(world.nodes[node.id], **changes)
        disks = [{"name": f"/dev/nvme{n}n1", "serial": f"S4EV{number:06d}{n}", "size": 960197124096} for n in range(4)]
        world.inspections[node.id] = Inspection({"disks": disks}, {})
    return found


def learn_inspections(built: Steelyard, world: FakeWorld) -> None:
    """Inspections are read 25 at a look; here all at once, as after half a day."""
    from steelyard.inventory.notes import inspected_of

    built.store.inventory.parts.keep_inspections({
        id: inspected_of(found.inventory, world.nodes[id].inspected_at or world.now)
        for id, found in world.inspections.items()
    })  # fmt: skip


# Questions


def pages(chance: random.Random) -> Iterator[str]:
    """Filtered, sorted pages of 100."""
    filters = [
        "state=deployed", "pool=bm-large", "site=berlin&phase=active", "phase=quarantined", "tag=gold",
        "vendor=Acme&state=available", "project=project-7", "rack=r017", "health=", "maintenance=false&site=osaka",
    ]  # fmt: skip
    sorts = ["name", "-name", "rack", "-since", "serial", "project", "-memory_mib", "phase", "address", "image"]
    while True:
        yield f"/v1/nodes?limit=100&{chance.choice(filters)}&sort={chance.choice(sorts)}"


def searches(chance: random.Random) -> Iterator[str]:
    """As somebody types: pieces of serials, addresses, names, and words that many or no servers have."""
    while True:
        number = chance.randrange(10_000)
        yield "/v1/nodes?limit=100&q=" + chance.choice([
            f"SN{number * 7919 % 10**8:08d}", f"bm-{number // 100:03d}", f"172.16.{number & 255}", "acme r740 berlin",
            f"rack:r{number // 40:03d}", f"s4ev{number:06d}2", "did not erase", "nobody-has-this", "web-",
            f"leaf1 Ethernet{number % 40}", "tag:gold project-7",
        ])  # fmt: skip


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def in_process(app: Any, token: str, urls: Iterator[str]) -> list[float]:
    async def ask() -> list[float]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://steelyard") as client:
            return [await _timed(client, url, token) for url in itertools.islice(urls, ROUNDS)]

    return asyncio.run(ask())


async def _timed(client: httpx.AsyncClient, url: str, token: str) -> float:
    begin = time.perf_counter()
    answer = await client.get(url, headers={"X-Auth-Token": token})
    took = time.perf_counter() - begin
    if answer.status_code != 200:
        sys.exit(f"bench: {url} was answered with {answer.status_code}: {answer.text[:300]}")
    return took


def by_http(port: int, token: str, urls: Iterator[str]) -> list[float]:
    async def ask() -> list[float]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as client:
            return [await _timed(client, url, token) for url in itertools.islice(urls, ROUNDS)]

    return asyncio.run(ask())


@contextlib.contextmanager
def serving(built: Steelyard) -> Iterator[tuple[int, psutil.Process]]:
    """The application on a free port, in a process of its own."""
    import uvicorn

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # as `serve` has it
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    built.store.database.engine.dispose()  # connections do not outlive a fork

    def serve() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the bench's own word for it
        config = uvicorn.Config(create_app(built), log_config=None, access_log=False, lifespan="off", ws="none")
        uvicorn.Server(config).run(sockets=[listener])

    process = multiprocessing.get_context("fork").Process(target=serve, daemon=True)
    process.start()
    try:
        port = int(listener.getsockname()[1])
        for _ in range(200):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0)
                break
            time.sleep(0.05)
        yield port, psutil.Process(process.pid or 0)
    finally:
        process.terminate()
        process.join(10)
        listener.close()


@contextlib.contextmanager
def databases(scratch: Path, wanted: list[str]) -> Iterator[Iterator[tuple[str, str]]]:
    """Name and URL of an empty database of each kind."""

    def each() -> Iterator[tuple[str, str]]:
        if "sqlite" in wanted:
            yield "SQLite", f"sqlite:///{scratch}/steelyard.sqlite"
        if "postgresql" in wanted:
            import pgserver

            server = pgserver.get_server(scratch / "pg", cleanup_mode="delete")
            try:
                yield "PostgreSQL", server.get_uri()
            finally:
                server.cleanup()

    yield each()


def fleet(report: Report, scratch: Path, size: int, wanted: list[str]) -> None:
    chance = random.Random(20261122)
    world = FakeWorld()
    began = time.monotonic()
    candidates = build_fleet(world, size, chance)
    print(f"  {size} servers made in {time.monotonic() - began:.1f} s", flush=True)
    token = world.token(project="admin", roles={"admin"}, user="admin")
    with databases(scratch, wanted) as urls:
        for name, url in urls:
            store = Store.open(url, key_file=scratch / "keys")
            with store.unit_of_work():
                for candidate in candidates:
                    store.candidates.put(candidate)
            built = assemble(
                Settings(home=scratch), clouds=FakeClouds(world), store=store, operations=FakeOperations(),
                switches=SwitchReaders(), prober=FakeBmcProber(),
            )  # fmt: skip
            measure(report, name, built, world, token)
            store.close()


def measure(report: Report, name: str, built: Steelyard, world: FakeWorld, token: str) -> None:
    learn_inspections(built, world)
    index = built.inventory.index
    report.add(f"{name}: first look at everything, CPU", cpu(index.reconcile), "s")
    unchanged = [cpu(index.reconcile) for _ in range(3)]
    report.add(
        f"{name}: `inventory.index` over unchanged servers, CPU", statistics.median(unchanged), "s",
        f"all reconcilers at most {RECONCILE_TARGET:g} s",
    )  # fmt: skip
    everything(report, name, built)
    app = create_app(built)
    kinds = (("page", pages, PAGE_TARGET), ("search", searches, SEARCH_TARGET))
    for kind, questions, target in kinds:
        in_process(app, token, itertools.islice(questions(random.Random(1)), 20))
        times = in_process(app, token, questions(random.Random(2)))
        _percentiles(report, f"{name}: {kind}, in process", times, target)
    with serving(built) as (port, server):
        for kind, questions, target in kinds:
            by_http(port, token, itertools.islice(questions(random.Random(1)), 20))
            before = sum(server.cpu_times()[:2])
            times = by_http(port, token, questions(random.Random(3)))
            each = (sum(server.cpu_times()[:2]) - before) / len(times)
            _percentiles(report, f"{name}: {kind}, by HTTP", times, target)
            report.add(f"{name}: {kind}, by HTTP, CPU of `steelyard serve`", each * 1000, "ms")
        facets = by_http(port, token, itertools.islice(itertools.repeat("/v1/nodes/facets?state=deployed"), 20))
        report.add(f"{name}: all facets, by HTTP, median", statistics.median(facets) * 1000, "ms")
        (took,) = by_http(port, token, iter(["/v1/nodes/export?format=csv"]))
        report.add(f"{name}: CSV of everything", took, "s")


def everything(report: Report, name: str, built: Steelyard) -> None:
    """All reconcilers once, after a first run, as one period of a server that has nothing to do."""
    names = [status.name for status in built.reconcilers.all()]
    total = 0.0
    for turn in range(2):
        total = 0.0
        for one in names:
            took = cpu(lambda one=one: built.reconcilers.run_now(one))  # type: ignore[misc]
            total += took
            if turn:
                print(f"    {one}: {took:.2f} s CPU", flush=True)
    report.add(f"{name}: all {len(names)} reconcilers once, CPU", total, "s", f"at most {RECONCILE_TARGET:g} s")


def _percentiles(report: Report, what: str, times: list[float], target: float) -> None:
    report.add(f"{what}, median", percentile(times, 0.5), "ms")
    report.add(f"{what}, 95th percentile", percentile(times, 0.95), "ms", f"at most {target:g} ms")


# The same question to a real Ironic


def fill_ironic(database: Path, size: int) -> None:
    """Put as many nodes beside the node `template` as its copies, with names, serial numbers and racks of their own.

    They are of a conductor group that no conductor serves, and in maintenance: nobody asks 10,000 BMCs that are not
    there for their power. Their shard is not Nova's (`hide_from_nova`).
    """
    with contextlib.closing(sqlite3.connect(database, timeout=120)) as connection, connection:
        connection.row_factory = sqlite3.Row
        template = dict(connection.execute("SELECT * FROM nodes WHERE name = 'template'").fetchone())
        first = connection.execute("SELECT max(id) FROM nodes").fetchone()[0] + 1
        rows = []
        for number in range(size):
            notes = {
                "serial": f"SN{number * 7919 % 10**8:08d}",
                "vendor": MAKES[number % 5][0],
                "model": MAKES[number % 5][1],
                "location": {"site": SITES[number % 4], "rack": f"r{number // 40:03d}"},
            }
            rows.append(template | {
                "id": first + number, "uuid": str(uuid.UUID(int=number + (1 << 100))), "name": f"bm-{number:05d}",
                "resource_class": POOLS[number % 4], "extra": json.dumps({"steelyard": notes}), "maintenance": 1,
                "maintenance_reason": "benchmark", "power_state": "power off", "conductor_group": SHARD, "shard": SHARD,
                "provision_state": ("manageable", "manageable", "enroll", "clean failed")[number // 4 % 4],
            })  # fmt: skip
        columns = ", ".join(f'"{column}"' for column in template)
        values = ", ".join(f":{column}" for column in template)
        connection.executemany(f"INSERT INTO nodes ({columns}) VALUES ({values})", rows)  # noqa: S608 - its own columns


def hide_from_nova(cloud: Any) -> None:
    """Have Nova manage another shard than the one of these nodes: it tells Placement of each node that it sees, which
    for 10,000 takes hours. The supervisor starts it again with what is in its file then."""
    configuration = cloud.home / "etc" / "nova" / "nova.conf"
    text = configuration.read_text()
    if text.count("[ironic]\n") != 1:
        sys.exit("bench: nova.conf has no section [ironic]")
    configuration.write_text(text.replace("[ironic]\n", f"[ironic]\nshard = not-{SHARD}\n"))
    (nova,) = [each for each in cloud.processes() if any(part.endswith("nova_all.py") for part in each.cmdline())]
    nova.terminate()
    nova.wait(60)
    end = time.monotonic() + 300
    while not cloud.is_up():
        if time.monotonic() > end:
            sys.exit("bench: Nova did not come back")
        time.sleep(1.0)


def stock(report: Report, scratch: Path, size: int, rounds: int) -> None:
    """An embedded cloud whose Ironic has many nodes; both clients ask it the same, in turn."""
    from embedded import OPENSTACK, STEELYARD, Cloud, run

    cloud = Cloud(scratch / "home")
    cloud.steelyard("up", "--nodes", "1")
    try:
        run(OPENSTACK, "--os-cloud", "system", "baremetal", "node", "create", "--driver", "manual-management",
            "--name", "template", env=cloud.env)  # fmt: skip
        hide_from_nova(cloud)
        fill_ironic(cloud.home / "db" / "ironic.sqlite", size)
        port = json.loads((cloud.home / "home.json").read_text())["ports"]["steelyard"]
        token = run(
            OPENSTACK, "--os-cloud", "admin", "token", "issue", "-f", "value", "-c", "id", env=cloud.env
        ).strip()
        end = time.monotonic() + 900
        while (known := _total(port, token)) < size:
            if time.monotonic() > end:
                sys.exit(f"bench: only {known} of {size} nodes are in the index after 15 minutes")
            time.sleep(1.0)
        metal = (OPENSTACK, "--os-cloud", "system", "baremetal", "node", "list")
        ours = (STEELYARD, "--os-cloud", "admin", "node")
        questions: dict[str, tuple[tuple[str | Path, ...], tuple[str | Path, ...], str]] = {
            "one pool in one state, 100 by name": (
                (*metal, "--resource-class", "bm-large", "--provision-state", "manageable", "--sort", "name", "--limit",
                 "100", "--long", "-f", "json"),
                (*ours, "list", "--pool", "bm-large", "--filter", "provision_state=manageable", "--limit", "100", "-f",
                 "json"),
                "/v1/nodes?pool=bm-large&provision_state=manageable&limit=100",
            ),
            "where is the server with this serial number": (
                (*metal, "--limit", "0", "--fields", "uuid", "name", "provision_state", "extra", "-f", "json"),
                (*ours, "search", "SN00031676", "-f", "json"),
                "/v1/nodes?q=SN00031676&limit=100",
            ),
        }  # fmt: skip
        for question, (theirs, own, url) in questions.items():
            times: dict[str, list[float]] = {"stock": [], "ours": [], "http": []}
            for _ in range(rounds):
                for way, command in (("stock", theirs), ("ours", own)):
                    begin = time.monotonic()
                    run(*command, env=cloud.env)
                    times[way].append(time.monotonic() - begin)
                times["http"] += by_http(port, token, iter([url] * 10))
            theirs_took, own_took, http_took = (statistics.median(times[way]) for way in ("stock", "ours", "http"))
            report.add(f"{question}: stock client", theirs_took, "s")
            report.add(f"{question}: `steelyard`", own_took, "s")
            report.add(f"{question}: our API", http_took * 1000, "ms")
            report.add(f"{question}: stock client / our API", theirs_took / http_took, "times", "at least 50 times")
        (server,) = [each for each in cloud.processes() if "steelyard.main" in each.cmdline()]
        before = sum(server.cpu_times()[:2])
        time.sleep(60)
        spent = sum(server.cpu_times()[:2]) - before
        report.add(f"`steelyard serve` with {size} nodes, nothing asked: CPU in a period of 30 s", spent / 2, "s",
                   f"at most {RECONCILE_TARGET:g} s")  # fmt: skip
    finally:
        cloud.steelyard("down")


def _total(port: int, token: str) -> int:
    """How many nodes are in the index; 0 while it is still reading them for the first time."""
    with contextlib.suppress(httpx.TimeoutException):
        answer = httpx.get(
            f"http://127.0.0.1:{port}/v1/nodes/facets?facet=kind", headers={"X-Auth-Token": token}, timeout=300.0
        )
        return int(answer.json().get("total", 0))
    return 0


def cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--index", action="store_true", help="only the index of a fake cloud")
    parser.add_argument("--stock", action="store_true", help="only an embedded cloud with as many nodes in its Ironic")
    parser.add_argument("--rounds", type=int, default=3, help="questions by each client (default 3)")
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"], help="default: both")
    options = parser.parse_args()
    report = Report()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))  # what was started is stopped
    configure("json", "ERROR")  # as serve does, but for the line that it writes for each request
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load before {os.getloadavg()[0]:.2f}", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="steelyard-fleet-") as directory:
        if options.index or not options.stock:
            fleet(report, Path(directory), options.nodes, options.database or ["sqlite", "postgresql"])
        if options.stock or not options.index:
            stock(report, Path(directory), options.nodes, options.rounds)
    print(f"\nload after {os.getloadavg()[0]:.2f}\n\n{report.table()}")


if __name__ == "__main__":
    main()
