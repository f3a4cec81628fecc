"""The topology of 10,000 ports, as an administrator asks for it; for docs/benchmarks.md.

    .venvs/steelyard/bin/python benchmarks/topology.py

The fleet is a fake cloud's, its lists in memory: what is measured is Steelyard's own time for one `GET /v1/topology`,
the answer written out, not the time that the services take for their lists. Then the same again for the graph file.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient
from isolation import build

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.clouds.observing import Observer
from steelyard.networks.graph import as_dot
from steelyard.networks.service import TopologyService
from steelyard.networks.topology_routes import router
from steelyard.settings import Settings
from steelyard.web.app import build_app

WANTED = 500.0
"""Milliseconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="ports")
    parser.add_argument("--times", type=int, default=5)
    chosen = parser.parse_args()
    world = FakeWorld()
    build(world, chosen.size, 0)
    clouds = FakeClouds(world)
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as scratch:
        app = build_app(
            [router(TopologyService(Observer(clouds, fresh=0.0)))],
            validate=clouds.identity.validate,
            checks={},
            settings=Settings(home=Path(scratch)),
        )
        client = TestClient(app)
        headers = {"x-auth-token": world.token(project="admin", roles={"admin"})}
        took, drawn = [], []
        for _ in range(chosen.times):
            began = time.perf_counter()
            answer = client.get("/v1/topology", headers=headers)
            took.append((time.perf_counter() - began) * 1000)
            rows = answer.json()["cables"]
            assert len(rows) == chosen.size, len(rows)
            began = time.perf_counter()
            text = as_dot(rows)
            drawn.append((time.perf_counter() - began) * 1000)
            assert text.count("--") >= chosen.size
    print("| what | measured | wanted |\n|---|---|---|")
    what = f"`GET /v1/topology` of {chosen.size} ports, median of {chosen.times}"
    print(f"| {what} | {statistics.median(took):.0f} ms | at most {WANTED:.0f} ms |")
    print(f"| the graph file (DOT) made of it | {statistics.median(drawn):.0f} ms |  |")


if __name__ == "__main__":
    main()
