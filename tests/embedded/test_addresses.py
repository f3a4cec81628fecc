"""One address plan for virtual machines and bare metal, on the real services."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from openstack.connection import Connection
from openstack.exceptions import SDKException

from .cloud_at_hand import until
from .local_cloud import LocalCloud
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
BY_HAND, VIRTUAL, PHYSICAL = 158, 40, 2


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud for these alone: they take long, and so run beside those of the session's."""
    with LocalCloud(tmp_path_factory.mktemp("addresses")).running("--nodes", str(PHYSICAL)) as made:
        yield made


class Machines:
    """Virtual machines of the demo tenant, on the host with Nova's fake driver, by the stock client."""

    def __init__(self, cloud: LocalCloud, after: ExitStack) -> None:
        self.nova: Connection = cloud.connect("demo")
        admin = cloud.connect("admin")
        self.flavor = admin.compute.create_flavor(name=unique("vm"), vcpus=1, ram=64, disk=1)
        after.callback(admin.compute.delete_flavor, self.flavor.id)
        self.made: list[str] = []
        after.callback(self.delete_all)

    def ask(self, image: Json, network: Json, **more: Any) -> str:
        """The id of one that Nova has accepted; it is deleted when the test is over."""
        networks = more.pop("networks", [{"uuid": network["id"]}])
        made = self.nova.compute.create_server(
            name=unique("vm"), flavor_id=self.flavor.id, image_id=image["id"], networks=networks, **more
        )
        self.made.append(str(made.id))
        return str(made.id)

    def settled(self, *ids: str, seconds: float = 240.0) -> dict[str, Any]:
        """Those that are ACTIVE or in ERROR, once all are."""

        def look() -> dict[str, Any] | None:
            try:
                found = {one: self.nova.compute.get_server(one) for one in ids}
            except SDKException:
                return None
            return found if all(one.status in ("ACTIVE", "ERROR") for one in found.values()) else None

        return until("the virtual machines are built", look, seconds=seconds, every=1.0)

    def delete_all(self) -> None:
        for server_id in self.made:
            self.nova.compute.delete_server(server_id, ignore_missing=True)
        until("all virtual machines are gone", lambda: not self._left(), seconds=240.0, every=1.0)

    def _left(self) -> set[str]:
        return {server.id for server in self.nova.compute.servers(details=False)} & set(self.made)

    def delete(self, server_id: str) -> None:
        self.nova.compute.delete_server(server_id, ignore_missing=True)
        self.nova.compute.wait_for_delete(self.nova.compute.find_server(server_id) or _Gone(server_id), wait=120)


class _Gone:
    def __init__(self, id: str) -> None:
        self.id = id

    def fetch(self, *_: Any, **__: Any) -> None:
        from openstack.exceptions import NotFoundException

        raise NotFoundException()


def addresses(cloud: LocalCloud, network: Json, who: str = "demo", *words: str) -> list[Json]:
    return list(cloud.steelyard(who, "ipam", "list", network["id"], *words, "-f", "json").json)


def in_neutron(cloud: LocalCloud, network: Json) -> Counter[str]:
    """How many ports have each address, for the controller itself."""
    ports = cloud.connect("admin").network.ports(network_id=network["id"])
    return Counter(fixed["ip_address"] for port in ports for fixed in port.fixed_ips)


def test_virtual_and_physical_stand_in_one_list(
    cloud: LocalCloud, things: Things, after: ExitStack, tmp_path: Path
) -> None:
    image, network, flavor = things.image(), things.network("10.97.0.0/24"), things.flavor()
    machines = Machines(cloud, after)
    server = things.server(flavor, image, network, wait=False)
    machine = machines.ask(image, network)
    assert machines.settled(machine)[machine].status == "ACTIVE"

    kept = cloud.steelyard(
        "demo", "ipam", "reserve", network["id"], "10.97.0.200-10.97.0.203", "--note", "load balancers", "-f", "json"
    ).json
    after.callback(cloud.steelyard, "demo", "ipam", "release", network["id"], "10.97.0.1-10.97.0.254")
    assert [row["changed"] for row in kept] == [True] * 4
    (taken,) = cloud.steelyard("demo", "ipam", "allocate", network["id"], "--note", "for a server", "-f", "json").json
    after.callback(cloud.steelyard, "demo", "ipam", "release", network["id"], taken["address"])
    brownfield = ("ipam", "reserve", network["id"], "10.97.0.210", "--brownfield", "--note", "old database")
    cloud.steelyard("admin", *brownfield).ok()
    after.callback(cloud.steelyard, "admin", "ipam", "release", network["id"], "10.97.0.210")

    until(
        "the server is active",
        lambda: cloud.steelyard("demo", "server", "show", server["id"], "-f", "json").json["phase"] == "active",
        seconds=240,
    )
    rows = {row["address"]: row for row in addresses(cloud, network, "demo", "--all")}
    owners = Counter((row["state"], row["owner"]) for row in rows.values() if row["state"] != "free")
    assert owners == {
        ("gateway", "gateway"): 1, ("allocated", "bare metal"): 1, ("allocated", "virtual machine"): 1,
        ("allocated", "by hand"): 1, ("reserved", "by hand"): 4, ("brownfield", "by hand"): 1,
    }  # fmt: skip
    assert any(row["state"] == "free" and row["last"] for row in rows.values())
    assert all(row["since"] for row in rows.values() if row["port_id"])

    # A server takes the address that was allocated, by its port; then it is the server's, and not to be released.
    second = machines.ask(image, network, networks=[{"port": taken["port_id"]}])
    assert machines.settled(second)[second].status == "ACTIVE"
    row = next(row for row in addresses(cloud, network) if row["address"] == taken["address"])
    assert (row["owner"], row["instance_id"]) == ("virtual machine", second)
    refused = cloud.steelyard("demo", "ipam", "release", network["id"], taken["address"])
    assert refused.code == 5, str(refused)
    assert cloud.steelyard("admin", "ipam", "check", network["subnets"][0]["id"]).code == 0

    # What somebody does with the stock client is found.
    neutron = cloud.connect("admin").network
    (port,) = neutron.ports(network_id=network["id"], fixed_ips="ip_address=10.97.0.210")
    neutron.delete_port(port)
    found = cloud.steelyard("admin", "ipam", "check", network["subnets"][0]["id"], "-f", "json")
    assert found.code == 7, str(found)
    (conflict,) = json.loads(found.out)["conflicts"]
    assert conflict["kind"] == "brownfield_in_pool"
    cloud.steelyard("admin", *brownfield).ok()  # what it advises
    assert cloud.steelyard("admin", "ipam", "check", network["subnets"][0]["id"]).code == 0

    # A file out and in again: nothing changes; and who had an address is remembered.
    file = tmp_path / "in.csv"
    file.write_text("address,note,state\n10.97.0.200-10.97.0.203,load balancers,reserved\n10.97.0.220,spare,\n")
    cloud.steelyard("demo", "ipam", "import", network["id"], file).ok()
    assert "10.97.0.220" in in_neutron(cloud, network)
    address = machines.nova.compute.get_server(machine).addresses[network["name"]][0]["addr"]
    cloud.steelyard("admin", "reconciler", "run", "ipam.history").ok()
    machines.delete(machine)

    def over() -> list[Json]:
        cloud.steelyard("admin", "reconciler", "run", "ipam.history").ok()
        told = cloud.steelyard("demo", "ipam", "history", network["id"], address, "-f", "json").json
        return [row for row in told if row["until"]]

    (interval,) = until("the history tells that it is over", over)
    assert (interval["owner"], interval["owner_id"]) == ("virtual machine", machine)


class Takers:
    """Many who take an address each at the same time, and ask again, with the same key, until they have it."""

    def __init__(self, cloud: LocalCloud, subnet_id: str) -> None:
        self.url = f"{cloud.api}/v1/ipam/subnets/{subnet_id}/allocations"
        self.token = cloud.token("demo")
        self.answers = 0
        self.refusals: Counter[int] = Counter()
        self._guard = threading.Lock()

    def have(self, number: int) -> bool:
        """Whether so many got theirs."""
        return self.answers >= number

    def take(self, number: int) -> tuple[str, str]:
        """The key, and the address that was promised."""
        key = f"{number}-{secrets.token_hex(8)}"
        headers = {"X-Auth-Token": self.token, "Idempotency-Key": key}
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(self.url, json={"note": key}, headers=headers, timeout=60)
            except httpx.TransportError:
                time.sleep(1.0)
                continue
            with self._guard:
                self.answers += answer.is_success
                self.refusals[answer.status_code] += not answer.is_success
            if answer.is_success:
                return key, answer.json()["addresses"][0]["address"]
            # The controller, or Steelyard, is away for a moment; a Neutron that has just been started shows nobody
            # anything, and lets nobody do anything, until it has read its policies.
            not_yet = answer.status_code >= 500 or answer.json()["code"] in ("subnet_not_found", "forbidden")
            assert not_yet, answer.text
            time.sleep(1.0)
        raise AssertionError(f"{key} got no address")


def test_two_hundred_at_once_and_crashes_in_the_middle(cloud: LocalCloud, things: Things, after: ExitStack) -> None:
    """No address twice, and none that was promised is lost."""
    image, network = things.image(), things.network("10.98.0.0/23")
    flavor = things.flavor(free=PHYSICAL)
    machines = Machines(cloud, after)
    subnet_id = network["subnets"][0]["id"]
    takers = Takers(cloud, subnet_id)
    after.callback(
        lambda: [
            cloud.connect("admin").network.delete_port(port)
            for port in cloud.connect("admin").network.ports(network_id=network["id"])
            if str(port.device_owner).startswith("steelyard:")
        ]
    )
    names = [unique("server") for _ in range(PHYSICAL)]

    def virtual(_: int) -> str | None:
        try:
            machine = machines.ask(image, network)
        except SDKException:
            return None  # Nova asks Neutron before it accepts
        machines.settled(machine)
        return machine

    def physical(name: str) -> int:
        return things.start(name, flavor, image, network, wait=False).code

    # Few virtual machines at a time: all claim of one provider in Placement, whose database here is SQLite.
    with ThreadPoolExecutor(40) as pool, ThreadPoolExecutor(6) as few:
        metal = [pool.submit(physical, name) for name in names]
        guests = [few.submit(virtual, number) for number in range(VIRTUAL)]
        promised = [pool.submit(takers.take, number) for number in range(BY_HAND)]
        for victim, answers in (("neutron", BY_HAND // 4), ("steelyard", BY_HAND // 2)):
            until("some have got theirs", partial(takers.have, answers), seconds=180, every=0.1)
            before = cloud.services()[victim]["pid"]
            os.kill(before, signal.SIGKILL)
            until(f"{victim} is up again", partial(_again, cloud, victim, before), seconds=180)
        held = dict(future.result() for future in promised)
        asked = [one for one in (future.result() for future in guests) if one is not None]
        codes = [future.result() for future in metal]
    if 0 not in codes:  # nobody knew their network while Neutron was away
        codes = [physical(name) for name in names]
    assert takers.refusals, "nobody was in the middle of it"
    built = machines.settled(*asked)
    assert len(held) == BY_HAND
    assert len(set(held.values())) == BY_HAND, "an address was promised twice"

    def at_rest() -> bool:
        shown = cloud.steelyard("demo", "server", "list", "-f", "json").json
        mine = [one for one in shown if one["name"] in names]
        return all(one["phase"] in ("active", "quarantined", "error") or one["status"] == "ERROR" for one in mine)

    until("the physical ones are built, or have failed", at_rest, seconds=400, every=2.0)
    ports = in_neutron(cloud, network)
    assert max(ports.values()) == 1, "an address twice"
    by_address = {row["address"]: row for row in addresses(cloud, network)}
    for key, address in held.items():
        assert by_address[address]["port_name"] == key, "an address that was promised is somebody else's, or nobody's"
    for one in built.values():
        if one.status == "ACTIVE":
            mine = [each["addr"] for each in one.addresses[network["name"]]]
            assert [by_address[address]["instance_id"] for address in mine] == [one.id]
    rows = Counter(row["owner"] for row in by_address.values())
    assert rows["by hand"] == BY_HAND, "asked twice with one key, and two were taken"
    active = sum(one.status == "ACTIVE" for one in built.values())
    assert active >= VIRTUAL // 2, Counter(one.status for one in built.values())
    assert rows["virtual machine"] >= active
    assert codes.count(0) > 0
    found = cloud.steelyard("admin", "ipam", "check", subnet_id, "-f", "json")
    told = json.loads(found.out)["conflicts"]
    assert {each["kind"] for each in told} <= {"port_without_server", "port_left_behind"}, told


def _again(cloud: LocalCloud, service: str, before: int) -> bool:
    """Whether it is up, in another process than before."""
    unit = cloud.services()[service]
    return unit["state"] == "up" and unit["pid"] != before
