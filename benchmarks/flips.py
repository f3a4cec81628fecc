"""What verifying costs: create to ACTIVE with Ironic's own network interface and with Steelyard's (docs/benchmarks.md).

The same nodes of one embedded cloud, the same flavor, image and network, by Nova, turn about in one run: what the
machine does beside hits both alike. The figure is the ratio of the two medians.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from embedded import POLL, Cloud, Report, clock, onboard, tenant_things

NODES = 2
INTERFACES = ("neutron", "steelyard")
"""Ironic's own, and the one that has each flip verified."""
PLACEMENT_FOLLOWS = 7.0
"""Seconds: Nova reports a free node to Placement every five."""


def deployments(report: Report, cloud: Cloud, rounds: int) -> None:
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(cloud.home / "clouds.yaml")
    import openstack

    compute = openstack.connect(cloud="demo").compute
    metal = openstack.connect(cloud="system").baremetal
    network = openstack.connect(cloud="demo").network.find_network("bench", ignore_missing=False)
    image = openstack.connect(cloud="demo").image.find_image("bench", ignore_missing=False)
    flavor = compute.find_flavor("bench", ignore_missing=False)
    seconds: dict[str, list[float]] = {interface: [] for interface in INTERFACES}

    def once(interface: str, name: str) -> None:
        for node in metal.nodes():
            metal.update_node(node, network_interface=interface)
        with clock() as took:
            server = compute.create_server(
                name=name, flavor_id=flavor.id, image_id=image.id, networks=[{"uuid": network.id}]
            )
            while (status := compute.get_server(server.id).status) != "ACTIVE":
                if status == "ERROR":
                    sys.exit(f"bench: {name} went into ERROR")
                time.sleep(POLL)
        seconds[interface].append(took())
        cloud.steelyard("--os-cloud", "demo", "server", "delete", name)
        while compute.find_server(name) or any(node.provision_state != "available" for node in metal.nodes()):
            time.sleep(POLL)
        time.sleep(PLACEMENT_FOLLOWS)

    for turn, interface in itertools.product(range(rounds), INTERFACES):
        once(interface, f"{interface}-{turn}")
    for interface, took in seconds.items():
        report.add(
            f"create to ACTIVE, `{interface}` (median of {min(took):.1f} to {max(took):.1f} s)",
            statistics.median(took), "s",
        )  # fmt: skip
    plain, verified = (statistics.median(seconds[interface]) for interface in INTERFACES)
    report.add("verified to plain", verified / plain, "times", 1.15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="deployments with each interface (default 6)")
    options = parser.parse_args()
    report = Report()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))  # what was started is stopped
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.2f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as directory:
        cloud = Cloud(Path(directory) / "home")
        cloud.steelyard("up", "--nodes", str(NODES))
        try:
            onboard(report, cloud)
            tenant_things(cloud)
            deployments(report, cloud, options.rounds)
        finally:
            cloud.steelyard("down")
    print(f"\nload after {os.getloadavg()[0]:.2f}\n\n{report.table()}")


if __name__ == "__main__":
    main()
