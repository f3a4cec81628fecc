"""Addresses: the list of a /16 with 50,000 of them, the checks over them, and taking one; for docs/benchmarks.md.

    .venvs/steelyard/bin/python benchmarks/ipam.py
    STEELYARD_TEST_HOME=~/.steelyard .venvs/steelyard/bin/python benchmarks/ipam.py --only allocate

The list and the checks run over a fake cloud: what is measured is Steelyard's own time, from the controller's bulk list
in memory to the answer as it leaves the server, not the time that the controller takes for its list. Taking an address
is measured against the embedded cloud of a home (STEELYARD_TEST_HOME, or one that is started for it): the controller
alone is asked as a client would ask it, in turn with Steelyard.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.ipam import routes
from steelyard.ipam.checking import IpamCheck
from steelyard.ipam.service import IpamService
from steelyard.nouns import FixedAddress, Flavor, Instance, Network, NetworkPort, SwitchLink
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.web.app import build_app

LIST_WANTED = 0.3
CHECK_WANTED = 3.0
RATIO_WANTED = 1.2
Rows = list[tuple[str, str, str]]


def build(world: FakeWorld, size: int, nodes: int) -> Network:
    """A /16 with virtual machines, and every tenth address a server's NIC, in one project."""
    network = world.add_network("big", project="demo", cidr="10.128.0.0/16")
    subnet_id, project = network.subnet_ids[0], world.project("demo")
    metal = [world.add_node(f"bm-{number:04d}", nics=0) for number in range(nodes)]
    world.flavors["vm"] = Flavor("vm", "vm", 1, 512, 1, None, frozenset())
    for number in range(size):
        address = f"10.128.{(number + 2) >> 8}.{(number + 2) & 255}"
        mac = f"fa:16:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        instance_id = str(uuid.UUID(int=number))
        node = metal[number % nodes] if number % 10 == 0 else None
        host = node.id if node else "virtual-1"
        world.instances[instance_id] = Instance(
            instance_id, f"web-{number}", "ACTIVE", None, "on", project, "u", "vm", "i", host, (address,), world.now
        )
        port = NetworkPort(
            str(uuid.UUID(int=1 << 64 | number)), "", network.id, project, mac, (FixedAddress(subnet_id, address),),
            instance_id, "compute:nova", host, "baremetal" if node else "normal", "ACTIVE",
            SwitchLink("02:00:00:00:00:01", f"Ethernet{number}") if node else None, world.now,
        )  # fmt: skip
        world.fabric.ports[port.id] = port
    return network


def from_memory(clouds: FakeClouds, world: FakeWorld) -> None:
    """The controller's and Nova's lists as they are in memory: the fake's own work, of showing each to whoever asks, is
    no part of what is measured."""
    own: Any = clouds.own
    own.attachments.all = lambda **_: list(world.fabric.ports.values())
    own.compute.all = lambda **_: list(world.instances.values())


def best(function: Callable[[], object], times: int = 5) -> float:
    """Seconds of CPU of the median run."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def plan(folder: Path, size: int) -> Rows:
    world = FakeWorld()
    build(world, size, 500)
    clouds, settings = FakeClouds(world), Settings(home=folder)
    from_memory(clouds, world)
    store = Store.open(f"sqlite:///{folder}/steelyard.sqlite", key_file=folder / "keys")
    ipam = IpamService(clouds=clouds, store=store)
    token = world.token(project="admin", roles={"admin"})
    actor = clouds.identity.validate(token)
    app = build_app([routes.router(ipam)], validate=clouds.identity.validate, checks={}, settings=settings)
    rows: Rows = []
    what = f"a /16 with {size} addresses"
    with TestClient(app, headers={"X-Auth-Token": token}) as client:

        def get(path: str, needle: bytes) -> None:
            answer = client.get(f"/v1/ipam/subnets/big/{path}")
            assert answer.status_code == 200
            assert needle in answer.content

        first = "10.128.0.2"
        get("addresses?limit=1000", first.encode())
        whole = ipam.addresses(actor, token, "big", free=True)
        assert len(whole.addresses) == size + 2, "the gateway, and one range that is free"
        rows.append(
            (f"list of {what}, every row and the free ranges", _ms(best(lambda: ipam.addresses(
                actor, token, "big", free=True))), f"at most {LIST_WANTED * 1000:.0f} ms")
        )  # fmt: skip
        rows.append(
            (f"list of {what}, first page of 1000 by HTTP",
             _ms(best(lambda: get("addresses?limit=1000", first.encode()))), f"at most {LIST_WANTED * 1000:.0f} ms")
        )  # fmt: skip
        marker = f"10.128.{(size // 2 + 2) >> 8}.{(size // 2 + 2) & 255}"
        rows.append(
            (f"list of {what}, a page of 1000 from its middle, by HTTP",
             _ms(best(lambda: get(f"addresses?limit=1000&marker={marker}", b'"next":"'))), "")
        )  # fmt: skip
        rows.append((f"list of {what} as CSV, by HTTP", _ms(best(lambda: get("export", first.encode()), 3)), ""))
    check = IpamCheck(clouds=clouds, store=store, settings=settings, sleep=lambda _: None)

    def look() -> None:
        assert not check.check().conflicts

    rows.append((f"`ipam check` over {size} addresses, nothing wrong", f"{best(look, 3):.2f} s",
                 f"at most {CHECK_WANTED:.0f} s"))  # fmt: skip
    for number, port in enumerate(list(world.fabric.ports.values())):
        if number % 1000 == 0 and port.addresses and number > 1000:
            twin = NetworkPort(
                str(uuid.uuid4()), "", port.network_id, port.project_id,
                f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", port.addresses, "", "", None, "normal", "DOWN", None, world.now,
            )  # fmt: skip
            world.fabric.ports[twin.id] = twin
    found = check.check().conflicts
    assert {each.kind for each in found} == {"address_twice"}
    rows.append((f"the same, {len(found)} wrong, which is looked at twice, without the {2:.0f} s between",
                 f"{best(lambda: check.check(), 3):.2f} s", f"at most {CHECK_WANTED:.0f} s"))  # fmt: skip
    began = time.process_time()
    first_run = check.remember()
    wrote = time.process_time() - began
    assert first_run.changed >= size
    rows.append((f"`ipam.history`, first look at {size} addresses, which writes them all", f"{wrote:.2f} s", ""))
    rows.append(("`ipam.history`, a look in which nothing changed", f"{best(lambda: check.remember(), 3):.2f} s", ""))
    store.close()
    return rows


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


# Against the real controller


def allocate(home: Path, rounds: int) -> Rows:
    """One address after the other, in turn by the controller alone and through Steelyard, in one subnet."""
    import httpx

    from steelyard.client.rest import Client

    os.environ["OS_CLIENT_CONFIG_FILE"] = str(home / "clouds.yaml")
    client = Client.from_environment("demo")
    session: Any = client._session
    token = session.token()
    network_url = session.connection().endpoint("network") if hasattr(session, "connection") else None
    if network_url is None:
        import yaml

        described = yaml.safe_load((home / "clouds.yaml").read_text())["clouds"]["demo"]
        auth = httpx.post(
            f"{described['auth']['auth_url'].rstrip('/')}/auth/tokens",
            json={"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}}, timeout=30,
        ).json()  # fmt: skip
        network_url = next(
            end["url"] for each in auth["token"]["catalog"] if each["type"] == "network"
            for end in each["endpoints"] if end["interface"] == "public"
        )  # fmt: skip
    name = f"bench-{uuid.uuid4().hex[:8]}"
    network = client.post("/v1/networks", {"name": name, "subnets": ["10.99.0.0/20"]})["network"]
    subnet_id = network["subnets"][0]["id"]
    neutron = httpx.Client(base_url=network_url.rstrip("/"), headers={"X-Auth-Token": token}, timeout=60)
    base = "" if network_url.rstrip("/").endswith("v2.0") else "/v2.0"
    direct: list[float] = []
    through: list[float] = []
    try:
        for number in range(rounds + 3):
            mac = f"0e:00:00:00:{number >> 8:02x}:{number & 255:02x}"
            body = {"port": {
                "network_id": network["id"], "name": "bench", "device_owner": "steelyard:allocated",
                "fixed_ips": [{"subnet_id": subnet_id}], "mac_address": mac,
            }}  # fmt: skip
            began = time.perf_counter()
            answer = neutron.post(f"{base}/ports", json=body)
            took = time.perf_counter() - began
            assert answer.status_code == 201, answer.text
            began = time.perf_counter()
            client.post(f"/v1/ipam/subnets/{subnet_id}/allocations", {"note": "bench"}, key=str(uuid.uuid4()))
            took_through = time.perf_counter() - began
            if number >= 3:  # connections and tokens are warm
                direct.append(took)
                through.append(took_through)
        listed = client.list_all(f"/v1/ipam/subnets/{subnet_id}/addresses", {"state": "allocated"})
        assert len(listed) == 2 * (rounds + 3)
    finally:
        for port in neutron.get(f"{base}/ports", params={"network_id": network["id"], "fields": "id"}).json()["ports"]:
            neutron.delete(f"{base}/ports/{port['id']}")
        client.delete(f"/v1/networks/{network['id']}")
        neutron.close()
        client.close()
    alone, ours = statistics.median(direct), statistics.median(through)
    return [
        (f"an address, by the controller alone, median of {rounds}", _ms(alone), ""),
        (f"an address through Steelyard, median of {rounds}", _ms(ours), ""),
        ("the one over the other", f"{ours / alone:.2f}", f"at most {RATIO_WANTED}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=50_000, help="addresses")
    parser.add_argument("--rounds", type=int, default=40, help="addresses to take")
    parser.add_argument("--only", choices=["plan", "allocate"])
    chosen = parser.parse_args()
    rows: Rows = []
    if chosen.only != "allocate":
        with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as scratch:
            rows += plan(Path(scratch), chosen.size)
    if chosen.only != "plan":
        named = os.environ.get("STEELYARD_TEST_HOME")
        if named:
            rows += allocate(Path(named).expanduser(), chosen.rounds)
        else:
            with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as scratch:
                home = Path(scratch, "home")
                command = [str(Path(sys.executable).with_name("steelyard"))]
                environment = {**os.environ, "STEELYARD_HOME": str(home)}
                subprocess.run([*command, "up", "--nodes", "2"], env=environment, check=True, stdout=subprocess.DEVNULL)
                try:
                    rows += allocate(home, chosen.rounds)
                finally:
                    subprocess.run([*command, "down"], env=environment, check=True, stdout=subprocess.DEVNULL)
    for what, measured, wanted in rows:
        print(f"| {what} | {measured} | {wanted} |")


if __name__ == "__main__":
    main()
