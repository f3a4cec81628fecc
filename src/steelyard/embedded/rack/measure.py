"""What a rack costs: memory and idle CPU of its three processes, and how long a sweep of all BMCs takes.

    python -m steelyard.embedded.rack.measure [--nodes 300]

Starts a rack of 8 and one of N servers, one after the other, each by itself in a temporary home, and prints JSON:
memory (RSS, MiB) per process at rest and after every BMC has been asked for its system once, over TLS, with its own
credentials; CPU seconds per process over ten seconds of rest. Ends by itself in well under a minute, and stops
everything that it started.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from steelyard.embedded.rack.bmc.makes import MAKES
from steelyard.embedded.rack.plan import Server
from steelyard.embedded.rack.standalone import PROCESSES, StandaloneRack

_REST_SECONDS = 10.0
_AT_ONCE = 64
_BASELINE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description="What a rack costs.")
    parser.add_argument("--nodes", type=int, default=300)
    nodes = parser.parse_args().nodes
    small, large = _measure(_BASELINE), _measure(nodes)
    more = sum(large["swept_mib"].values()) - sum(small["swept_mib"].values())
    print(json.dumps({"load": os.getloadavg(), "racks": [small, large], "more_mib": round(more, 1)}, indent=1))


def _measure(nodes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="steelyard-rack-") as directory:
        started = time.perf_counter()
        with StandaloneRack.make(Path(directory) / "home", nodes=nodes).running(*PROCESSES) as rack:
            ready = time.perf_counter() - started
            at_rest = {name: _rss(rack, name) for name in PROCESSES}
            started = time.perf_counter()
            asyncio.run(_sweep(rack))
            sweep = time.perf_counter() - started
            swept = {name: _rss(rack, name) for name in PROCESSES}
            before = {name: _cpu(rack, name) for name in PROCESSES}
            time.sleep(_REST_SECONDS)
            idle = {name: round(_cpu(rack, name) - before[name], 2) for name in PROCESSES}
    return {
        "nodes": nodes,
        "ready_seconds": round(ready, 1),
        "rest_mib": at_rest,
        "sweep_seconds": round(sweep, 2),
        "swept_mib": swept,
        "idle_cpu_seconds_in_10": idle,
    }


async def _sweep(rack: StandaloneRack) -> None:
    context = ssl.create_default_context(cafile=str(rack.home / "rack" / "ca.pem"))
    turn = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=context)) as client:

        async def ask(server: Server) -> None:
            system = MAKES[server.vendor].system_id
            url = f"https://{server.bmc_address}:{rack.rack.bmc_port}/redfish/v1/Systems/{system}"
            login = base64.b64encode(f"{server.bmc_username}:{server.bmc_password}".encode()).decode()
            async with turn, client.get(url, headers={"Authorization": f"Basic {login}"}) as answer:
                document = await answer.json()
            if document["UUID"] != server.uuid:
                raise RuntimeError(f"{server.name} is not itself")

        await asyncio.gather(*(ask(server) for server in rack.rack.servers))


def _rss(rack: StandaloneRack, process: str) -> float:
    status = Path(f"/proc/{rack.running_processes[process].pid}/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return round(kib / 1024, 1)


def _cpu(rack: StandaloneRack, process: str) -> float:
    fields = Path(f"/proc/{rack.running_processes[process].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


if __name__ == "__main__":
    main()
