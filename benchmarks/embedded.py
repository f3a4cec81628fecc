"""Times and sizes of the embedded cloud and of a server's life on it, for docs/benchmarks.md.

Machines are noisy: a comparison is a ratio of medians taken alternately in one run, and the load is printed with it.
Everything happens in temporary directories and is stopped and removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
STEELYARD = ROOT / ".venvs/steelyard/bin/steelyard"
OPENSTACK = ROOT / ".venvs/openstack/bin/openstack"
MARK = "STEELYARD_SUPERVISOR"
"""Variable by which the supervisor marks the processes of a home (steelyard.embedded.processes)."""
IMAGE_BYTES = 16 << 20
POLL = 0.25


@dataclass
class Report:
    """The table that is printed at the end: what, how much, how much at most."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, target: float | None = None) -> None:
        wanted = "" if target is None else f"at most {target:g} {unit}"
        self.rows.append((what, f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}", wanted))
        print(f"  {what}: {value:.2f} {unit}  {wanted}", flush=True)

    def table(self) -> str:
        lines = ["| what | measured | wanted |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in self.rows)])


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    start = time.monotonic()
    end: list[float] = []
    yield lambda: (end[0] if end else time.monotonic()) - start
    end.append(time.monotonic())


def run(
    *command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None, timeout: float = 900.0
) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        sys.exit(f"bench: {' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Cloud:
    """A home of its own, and the commands on it."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "STEELYARD_HOME": str(self.home), "OS_CLIENT_CONFIG_FILE": str(self.home / "clouds.yaml")}

    def steelyard(self, *command: str | Path, timeout: float = 900.0) -> str:
        return run(STEELYARD, *command, env=self.env, timeout=timeout)

    def json(self, *command: str | Path):  # type: ignore[no-untyped-def]
        return json.loads(self.steelyard(*command, "-f", "json"))

    def is_up(self) -> bool:
        """Whether every service answers."""
        asked = subprocess.run([str(STEELYARD), "status"], env=self.env, capture_output=True, check=False, timeout=120)
        return asked.returncode == 0

    def processes(self) -> list[psutil.Process]:
        """All processes of this home, the supervisor and its children."""
        mark = str(self.home)
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == mark or mark in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.pid != os.getpid()]

    def rss_mb(self, part: str = "") -> float:
        return sum(p.memory_info().rss for p in self.processes() if part in " ".join(p.cmdline())) / 1e6

    def cpu_seconds(self) -> float:
        return sum(sum(p.cpu_times()[:2]) for p in self.processes())


def set_up(report: Report, scratch: Path) -> None:
    clone = scratch / "clone"
    run("git", "clone", "-q", ROOT, clone)
    with clock() as took:
        run(clone / "scripts/setup", cwd=clone)
    report.add("set-up from nothing, packages already downloaded", took(), "s", 90)
    with clock() as took:
        run(clone / "scripts/setup", cwd=clone)
    report.add("set-up, second run", took(), "s")
    shutil.rmtree(clone)


def starts(report: Report, cloud: Cloud) -> None:
    def up(what: str, target: float) -> None:
        with clock() as took:
            cloud.steelyard("up", "--nodes", "8")
        report.add(what, took(), "s", target)
        report.add(f"  CPU of the processes then running", cloud.cpu_seconds(), "s")  # noqa: F541

    up("first `up`", 50)
    cloud.steelyard("down")
    up("warm `up`", 18)
    with clock() as took:
        cloud.steelyard("down")
    report.add("`down`", took(), "s")
    cloud.steelyard("reset", "--yes")
    up("`up` after `reset` (template)", 20)


def onboard(report: Report, cloud: Cloud) -> None:
    state = json.loads((cloud.home / "home.json").read_text())
    credentials = cloud.home / "rack/credentials.yaml"
    target = f"{state['rack_network']}.1.0/24"
    with clock() as took:
        cloud.steelyard(
            "--os-cloud", "admin", "discover", target, "--port", str(state["ports"]["bmc"]),
            "--credentials", credentials, "--wait",
        )  # fmt: skip
    report.add(f"sweep of a /24 with {state['nodes']} BMCs", took(), "s")
    with clock() as took:
        cloud.steelyard("--os-cloud", "admin", "node", "onboard", "--all", "--wait")
    report.add(f"{state['nodes']} servers from candidate to available", took(), "s")


def tenant_things(cloud: Cloud) -> None:
    image = cloud.home / "bench.raw"
    image.write_bytes(os.urandom(IMAGE_BYTES))
    cloud.steelyard("--os-cloud", "demo", "image", "add", "bench", image)
    pools = cloud.json("--os-cloud", "admin", "pool", "list")
    pool = max(pools, key=lambda one: one["capacity"]["free"])["name"]
    cloud.steelyard("--os-cloud", "admin", "flavor", "create", "bench", "--pool", pool)
    cloud.steelyard("--os-cloud", "demo", "network", "create", "bench", "--subnet", "10.30.0.0/24")


def deploys(report: Report, cloud: Cloud, rounds: int) -> None:
    """Ours and the stock client's way in turn; the same polling, by the SDK, decides when each is ACTIVE."""
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(cloud.home / "clouds.yaml")
    import openstack

    demo = openstack.connect(cloud="demo")
    metal = openstack.connect(cloud="system").baremetal

    def active(name: str) -> str:
        while True:
            server = demo.compute.find_server(name)
            if server is not None and server.status == "ACTIVE":
                return str(server.id)
            if server is not None and server.status == "ERROR":
                sys.exit(f"bench: {name} went into ERROR")
            time.sleep(POLL)

    def released(server: str, node: str) -> None:
        while metal.get_node(node).provision_state != "available" or demo.compute.find_server(server):
            time.sleep(POLL)
        time.sleep(7)  # Nova reports a free node to Placement every five seconds

    ways = {
        "ours": lambda name: cloud.steelyard(
            "--os-cloud", "demo", "server", "create", name, "--flavor", "bench", "--image", "bench",
            "--network", "bench",
        ),
        "by hand": lambda name: run(
            OPENSTACK, "--os-cloud", "demo", "server", "create", name, "--flavor", "bench", "--image", "bench",
            "--network", "bench", env=cloud.env,
        ),
    }  # fmt: skip
    creates: dict[str, list[float]] = {way: [] for way in ways}
    releases: list[float] = []
    for turn in range(rounds):
        for way, create in ways.items():
            name = f"{way.split()[-1]}-{turn}"
            with clock() as took:
                create(name)
                server = active(name)
            creates[way].append(took())
            node = next(iter(metal.nodes(instance_id=server))).id
            with clock() as took:
                cloud.steelyard("--os-cloud", "demo", "server", "delete", name)
                while metal.get_node(node).provision_state != "available":
                    time.sleep(POLL)
            releases.append(took())
            released(name, node)
    ours, hand = (statistics.median(creates[way]) for way in ways)
    report.add(f"`server create` to ACTIVE, median of {rounds}", ours, "s", 20)
    report.add(f"the same with the stock client, median of {rounds}", hand, "s")
    report.add("ratio", ours / hand, "times", 1.1)
    report.add("release to available, median", statistics.median(releases), "s", 13)


def sizes(report: Report, cloud: Cloud) -> None:
    report.add("resident memory of everything, 8 servers", cloud.rss_mb() / 1000, "GB", 1.4)
    rack = cloud.rss_mb("steelyard.embedded.rack")
    cloud.steelyard("down")
    cloud.steelyard("up", "--nodes", "300")
    time.sleep(5)
    report.add("the rack's memory, 8 servers", rack, "MB")
    report.add("more for 300 servers", cloud.rss_mb("steelyard.embedded.rack") - rack, "MB", 300)
    state = json.loads((cloud.home / "home.json").read_text())
    with clock() as took:
        cloud.steelyard(
            "--os-cloud", "admin", "discover", f"{state['rack_network']}.0.0/22", "--port", str(state["ports"]["bmc"]),
            "--credentials", cloud.home / "rack/credentials.yaml", "--wait",
        )  # fmt: skip
    report.add("sweep of a /22 with 300 BMCs", took(), "s")
    report.add("more for 300 servers, after the sweep", cloud.rss_mb("steelyard.embedded.rack") - rack, "MB", 300)


def command_line(report: Report) -> None:
    def cpu(*command: str | Path) -> float:
        def once() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run(*command)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        return statistics.median(once() for _ in range(5))

    report.add("`steelyard --help`, CPU", cpu(STEELYARD, "--help"), "s", 0.3)
    report.add("`steelyard node list --help`, CPU", cpu(STEELYARD, "node", "list", "--help"), "s")
    report.add("`openstack --help`, CPU", cpu(OPENSTACK, "--help"), "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["setup", "starts", "deploy", "sizes", "cli"], help="one group")
    parser.add_argument("--rounds", type=int, default=3, help="deploys by each way (default 3)")
    options = parser.parse_args()
    report = Report()
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load before {os.getloadavg()[0]:.2f}", flush=True
    )
    wanted = {options.only} if options.only else {"setup", "starts", "deploy", "sizes", "cli"}
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as directory:
        scratch = Path(directory)
        cloud = Cloud(scratch / "home")
        if "cli" in wanted:
            command_line(report)
        if "setup" in wanted:
            set_up(report, scratch)
        try:
            if "starts" in wanted:
                starts(report, cloud)
            elif wanted & {"deploy", "sizes"}:
                cloud.steelyard("up", "--nodes", "8")
            if "deploy" in wanted:
                onboard(report, cloud)
                tenant_things(cloud)
                deploys(report, cloud, options.rounds)
            if "sizes" in wanted:
                sizes(report, cloud)
        finally:
            if cloud.home.exists():
                cloud.steelyard("down")
    print(f"\nload after {os.getloadavg()[0]:.2f}\n\n{report.table()}")


if __name__ == "__main__":
    main()
