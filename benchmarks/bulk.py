"""Onboarding many simulated servers: by Steelyard, by a plain script on the SDK, by a shell loop over the stock client.

All three work on the same cloud in the same run, each on servers of its own, from a BMC address to `available`. The
plain script knows everything beforehand (addresses, passwords, MACs) and works on as many at a time as Steelyard does;
the shell loop does one after the other, as such loops do, on a few servers only; what is compared is time per server.
They take turns, a third of their servers each time, and what script and loop have made is deleted after each: so all meet
the same machine and the same number of nodes that are there already.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from embedded import OPENSTACK, Cloud, Report, clock

AT_A_TIME = 10
"""As `discovery.work.ONBOARD_AT_A_TIME`."""
POLL = 1.0
PLAIN, SHELL = "plain-", "shell-"
"""How the names begin of the nodes that the script and the loop make."""
TURNS = 3

Json = dict[str, Any]


def driver_info(cloud: Cloud, server: Json, port: int, iso: str) -> dict[str, str]:
    return {
        "redfish_address": f"https://{server['bmc_address']}:{port}",
        "redfish_username": server["bmc_username"],
        "redfish_password": server["bmc_password"],
        "redfish_verify_ca": str(cloud.home / "rack/ca.pem"),
        "deploy_iso": iso,
    }


def plainly(metal: Any, server: Json, info: dict[str, str]) -> None:
    """One server from nothing to available, as somebody would script it with openstacksdk."""

    def state(*wanted: str) -> None:
        while (now := metal.get_node(node.id)).provision_state not in wanted:
            if "failed" in now.provision_state:
                sys.exit(f"bench: {server['name']} is {now.provision_state}: {now.last_error}")
            time.sleep(POLL)

    node = metal.create_node(
        name=PLAIN + server["name"], driver="redfish", driver_info=info, resource_class="bench",
        boot_interface="redfish-virtual-media", inspect_interface="agent", network_interface="noop",
        properties={"capabilities": "boot_mode:uefi"},
    )  # fmt: skip
    ports = {
        nic["mac"]: metal.create_port(node_id=node.id, address=nic["mac"], is_pxe_enabled=True)
        for nic in server["nics"]
    }
    metal.set_node_provision_state(node.id, "manage")
    state("manageable")
    metal.set_node_provision_state(node.id, "inspect")
    state("inspecting", "inspect wait")
    state("manageable")
    for nic in server["nics"]:
        link = {"switch_id": nic["switch_mac"], "switch_info": nic["switch"], "port_id": nic["port"]}
        metal.update_port(ports[nic["mac"]].id, local_link_connection=link, physical_network="physnet1")
    metal.update_node(node.id, network_interface="neutron")
    metal.set_node_provision_state(node.id, "provide")
    state("available")


LOOP = """
node=$(openstack baremetal node create --driver redfish --name "$1" --resource-class bench {info} \
  --boot-interface redfish-virtual-media --inspect-interface agent --network-interface noop \
  --property capabilities=boot_mode:uefi -f value -c uuid)
{ports}
openstack baremetal node manage --wait 0 "$node"
openstack baremetal node inspect --wait 0 "$node"
{links}
openstack baremetal node set "$node" --network-interface neutron
openstack baremetal node provide --wait 0 "$node"
"""


def by_shell(cloud: Cloud, server: Json, info: dict[str, str]) -> None:
    """One turn of the loop, with the stock client alone."""
    words = " ".join("--driver-info " + shlex.quote(f"{key}={value}") for key, value in info.items())
    ports = [
        f"openstack baremetal port create {nic['mac']} --node $node --pxe-enabled true -f value -c uuid >/dev/null"
        for nic in server["nics"]
    ]
    links = [
        f"openstack baremetal port set $(openstack baremetal port list --address {nic['mac']} -f value -c UUID)"
        f" --physical-network physnet1 --local-link-connection switch_id={nic['switch_mac']}"
        f" --local-link-connection port_id={nic['port']} --local-link-connection switch_info={nic['switch']}"
        for nic in server["nics"]
    ]
    script = LOOP.format(info=words, ports="\n".join(ports), links="\n".join(links))
    path = f"{OPENSTACK.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script, "loop", SHELL + server["name"]],
        env={**cloud.env, "PATH": path, "OS_CLOUD": "system"}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:  # the command itself holds a password, which an exception would show
        sys.exit(f"bench: the shell loop ended with {done.returncode}: {done.stderr}")


def ironic_cpu(cloud: Cloud) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in cloud.processes() if "ironic" in " ".join(p.cmdline()))


def our_cpu(cloud: Cloud) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in cloud.processes() if "steelyard.main" in " ".join(p.cmdline()))


@dataclass
class Tally:
    """What one way took, of all its turns."""

    servers: int = 0
    seconds: float = 0.0
    ironic: float = 0.0
    """CPU seconds; the next too."""
    steelyard: float = 0.0

    @property
    def each(self) -> float:
        return self.seconds / self.servers

    def turn(self, cloud: Cloud, count: int, work: Callable[[], None]) -> None:
        ironic, ours = ironic_cpu(cloud), our_cpu(cloud)
        with clock() as took:
            work()
        self.servers += count
        self.seconds += took()
        self.ironic += ironic_cpu(cloud) - ironic
        self.steelyard += our_cpu(cloud) - ours
        print(f"  {count} servers in {took():.0f} s", flush=True)

    def tell(self, report: Report, what: str) -> None:
        report.add(f"{what}: {self.servers} servers", self.seconds, "s")
        report.add(f"{what}: per server", self.each, "s")
        report.add("  of one core, Ironic takes meanwhile", 100 * self.ironic / self.seconds, "%")
        report.add("  CPU of Ironic per server", self.ironic / self.servers, "s")
        report.add("  CPU of Steelyard per server", self.steelyard / self.servers, "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=40, help="how many by each of the first two ways (default 40)")
    parser.add_argument("--loop", type=int, default=3, help="how many by the shell loop (default 3)")
    options = parser.parse_args()
    report = Report()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))  # what was started is stopped
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.2f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as directory:
        cloud = Cloud(Path(directory) / "home")
        cloud.steelyard("up", "--nodes", str(2 * options.servers + options.loop))
        try:
            compare(report, cloud, options.servers, options.loop)
        finally:
            cloud.steelyard("down")
    print(f"\nload after {os.getloadavg()[0]:.2f}\n\n{report.table()}")


def compare(report: Report, cloud: Cloud, count: int, loop: int) -> None:
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(cloud.home / "clouds.yaml")
    import openstack

    state = json.loads((cloud.home / "home.json").read_text())
    rack = iter(json.loads((cloud.home / "rack/rack.json").read_text())["servers"])
    port, iso = state["ports"]["bmc"], f"http://127.0.0.1:{state['ports']['http']}/ipa.iso"

    def loop_over(servers: list[Json]) -> None:
        for server in servers:
            by_shell(cloud, server, driver_info(cloud, server, port, iso))

    def script(plain: list[Json]) -> None:
        metal = openstack.connect(cloud="system").baremetal
        metal.connect_retries = 3  # a kept connection that the service has closed meanwhile
        workers = ThreadPoolExecutor(AT_A_TIME)
        try:
            work = [workers.submit(plainly, metal, each, driver_info(cloud, each, port, iso)) for each in plain]
            for done in work:
                done.result()
        finally:
            workers.shutdown(cancel_futures=True)  # or who ends the bench waits for all of them

    def steelyard(ours: list[Json]) -> None:
        targets = [each["bmc_address"] for each in ours]
        cloud.steelyard(
            "--os-cloud", "admin", "discover", *targets, "--port", str(port),
            "--credentials", cloud.home / "rack/credentials.yaml", "--wait",
        )  # fmt: skip
        patience = 900.0 + 30.0 * len(ours)
        cloud.steelyard("--os-cloud", "admin", "node", "onboard", "--all", "--wait", timeout=patience)

    def delete(begins: str) -> None:
        metal = openstack.connect(cloud="system").baremetal
        for node in [each for each in metal.nodes() if (each.name or "").startswith(begins)]:
            metal.delete_node(node)

    looped, scripted, onboarded = Tally(), Tally(), Tally()
    for size, few in itertools.zip_longest(turns(count), turns(loop), fillvalue=0):
        if few:
            looped.turn(cloud, few, partial(loop_over, list(itertools.islice(rack, few))))
            delete(SHELL)
        scripted.turn(cloud, size, partial(script, list(itertools.islice(rack, size))))
        delete(PLAIN)
        onboarded.turn(cloud, size, partial(steelyard, list(itertools.islice(rack, size))))
    looped.tell(report, "shell loop over the stock client")
    scripted.tell(report, f"plain script, {AT_A_TIME} at a time")
    onboarded.tell(report, "Steelyard, bulk onboarding")
    report.add("Steelyard's time per server to the plain script's", onboarded.each / scripted.each, "times")
    report.add("the shell loop's to Steelyard's (wanted: at least 10)", looped.each / onboarded.each, "times")


def turns(count: int) -> list[int]:
    """Three turns of about the same size; fewer where there are too few servers for them."""
    sizes = [count // TURNS + (turn < count % TURNS) for turn in range(TURNS)]
    return [size for size in sizes if size]


if __name__ == "__main__":
    main()
