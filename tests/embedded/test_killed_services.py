"""Any one service is killed while servers are onboarded or deployed: it comes back, and the work ends well or clearly.

"Clearly" is: the operation has failed with a reason and a next command, that command works, and the node is available
again in the end. The kills are spread over few rounds, each at another moment of the work.
"""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
from openstack.exceptions import SDKException

from .cloud_at_hand import until
from .local_cloud import LocalCloud
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]


def _kill(cloud: LocalCloud, service: str) -> Callable[[], None]:
    """SIGKILL the service; gives a check that it has come back."""
    unit = cloud.services()[service]
    assert unit["state"] == "up", unit
    os.kill(unit["pid"], signal.SIGKILL)
    return _back(cloud, service, unit)


def _back(cloud: LocalCloud, service: str, unit: Json) -> Callable[[], None]:
    """A check that the service has come back after this unit of it was killed."""

    def is_back() -> None:
        def restarted() -> bool:
            now = cloud.services()[service]
            return bool(now["restarts"] > unit["restarts"] and now["state"] == "up" and now["pid"] != unit["pid"])

        until(f"{service} is up again", restarted, seconds=120)

    return is_back


def _ironic_is(cloud: LocalCloud, node: str, *states: str) -> bool:
    """Whether Ironic (asked directly) has the node in one of the states."""
    try:
        return cloud.connect("system").baremetal.get_node(node).provision_state in states
    except SDKException:
        return False


def _placed(cloud: LocalCloud, server_id: str) -> str | None:
    """The node that a server was put on."""
    nodes = cloud.connect("system").baremetal.nodes(instance_id=server_id)
    return next((str(node.id) for node in nodes), None)


@pytest.mark.parametrize(
    ("at", "services"),
    [
        pytest.param("chosen", ("placement", "keystone"), id="a node is chosen: placement, keystone"),
        pytest.param("deploying", ("neutron", "rack-switch"), id="its network is prepared: neutron, rack-switch"),
        pytest.param("booting", ("glance", "steelyard"), id="the agent boots: glance, steelyard"),
        pytest.param("booting", ("nova",), id="the agent boots: nova"),
        pytest.param("booting", ("ironic",), id="the agent boots: ironic"),
    ],
)
def test_killed_while_a_server_is_deployed(
    cloud: LocalCloud, things: Things, at: str, services: tuple[str, ...]
) -> None:
    image, network, flavor = things.image(), things.network("10.96.0.0/24"), things.flavor()
    name = unique("server")
    server: Json = things.start(name, flavor, image, network, wait=False).json
    node = until("a node is chosen", lambda: _placed(cloud, server["id"]), seconds=90, every=0.2)
    if at == "deploying":
        until("the deployment has begun", lambda: _ironic_is(cloud, node, "deploying", "wait call-back"), every=0.2)
    if at == "booting":
        until("the agent boots", lambda: _ironic_is(cloud, node, "wait call-back", "active"), seconds=120, every=0.2)

    back = [_kill(cloud, service) for service in services]
    for is_back in back:
        is_back()
    until("all is up", lambda: cloud.status()["phase"] == "up", seconds=120)

    operation = _operation_of(cloud, server["id"])
    ended = cloud.operation("demo", operation["id"], seconds=420)
    shown = cloud.steelyard("demo", "server", "show", name, "-f", "json").json
    if ended["phase"] == "succeeded":
        assert shown["phase"] == "active"
        where = things.node_of(shown)
        assert cloud.steelyard("admin", "isolation", "show", where, "-f", "json").json["agrees"]
        assert [disk["image"]["id"] for disk in cloud.rack.disks(where).values()] == [image["id"]]
    else:
        assert ended["phase"] == "failed"
        assert ended["error"]["detail"], ended
        assert ended["error"]["next"] == f"steelyard server delete {server['id']} --wait"
    # What is advised then, or what the tenant does in the end anyway, works.
    cloud.steelyard("demo", "server", "delete", server["id"], "--wait", within=300).ok()
    _all_available(cloud)


def test_a_request_that_was_cut_off_is_asked_again_with_its_key(cloud: LocalCloud, things: Things) -> None:
    """Steelyard is killed after Nova has accepted the server and before the operation is written down.

    The test holds the database's write lock in between, so that the kill is in time.
    """
    image, network, flavor = things.image(), things.network("10.96.0.0/24"), things.flavor()
    name, key = unique("server"), secrets.token_hex(8)
    things.after.callback(things.release, name)
    nova, unit = cloud.connect("demo").compute, cloud.services()["steelyard"]
    order = {"name": name, "flavor": flavor["id"], "image": image["id"], "networks": [network["id"]]}

    def ask() -> httpx.Response | None:
        with cloud.rest(cloud.token("demo")) as client:
            try:
                return client.post("/v1/servers", json=order, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                return None

    def named() -> list[str]:
        return [server.id for server in nova.servers(name=f"^{name}$")]

    [database] = (cloud.home / "steelyard").glob("steelyard*.sqlite")
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10.0)) as records:

        def intent() -> bool:
            return bool(records.execute("SELECT 1 FROM intents WHERE key = ?", (key,)).fetchone())

        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(ask)
            until("the intent is written down", intent, seconds=60, every=0.002)
            records.execute("BEGIN IMMEDIATE")
            [made] = until("Nova has it", named, seconds=60, every=0.1)
            os.kill(unit["pid"], signal.SIGKILL)
            records.execute("ROLLBACK")
            assert asked.result(timeout=60) is None
    _back(cloud, "steelyard", unit)()
    assert cloud.get("demo", "/v1/operations", subject=f"server:{made}")["operations"] == []

    answer = ask()
    assert answer is not None
    assert answer.status_code == 202, answer.text
    assert answer.json()["server"]["id"] == made
    assert cloud.operation("demo", answer.json()["operation"]["id"], seconds=420)["phase"] == "succeeded"
    assert named() == [made]
    assert len(cloud.get("demo", "/v1/operations", subject=f"server:{made}")["operations"]) == 1
    # Whoever comes with another key is told that the name is taken.
    key = secrets.token_hex(8)
    refused = ask()
    assert refused is not None
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate_name")


def _operation_of(cloud: LocalCloud, server_id: str) -> Json:
    listed = cloud.get("demo", "/v1/operations", subject=f"server:{server_id}")["operations"]
    return dict(next(each for each in listed if each["kind"] == "servers.create"))


def test_killed_while_a_server_is_onboarded(cloud: LocalCloud) -> None:
    """The hardware's processes and Steelyard's own server, each in another step of the onboarding."""
    cloud.pool_with(1)
    node = max(name for name, found in cloud.nodes().items() if found["phase"] == "available")
    cloud.steelyard("admin", "node", "delete", node, "--reason", "to be onboarded again", "--wait").ok()
    (started,) = cloud.steelyard("admin", "node", "onboard", node, "-f", "json").json

    _kill(cloud, "rack-bmc")()
    until(
        "the agent inspects",
        lambda: _ironic_is(cloud, node, "inspect wait", "inspecting", "inspect failed", "cleaning", "clean wait"),
        seconds=120,
    )
    _kill(cloud, "steelyard")()
    _kill(cloud, "rack-agents")()
    ended = cloud.operation("admin", started["id"], seconds=420)
    if ended["phase"] != "succeeded":
        assert ended["error"]["detail"]
        assert ended["error"]["next"], ended
        assert cloud.steelyard("admin", "candidate", "show", node, "-f", "json").json["state"] == "failed"
        again = cloud.steelyard("admin", "node", "onboard", node, "--wait", within=600)
        assert again.code == 0, str(again)
    until(f"{node} is available", lambda: cloud.nodes()[node]["phase"] == "available", seconds=60)
    assert cloud.status()["phase"] == "up"


def _all_available(cloud: LocalCloud) -> None:
    """Nothing is left behind: every node is available, clean and off every network, or gets there as it is advised."""
    cloud.follow_the_advice()
    for name, node in cloud.nodes().items():
        assert node["phase"] == "available", f"{name} is {node['phase']} ({node['provision_state']})"
        assert cloud.rack.disks(name) == {}
        assert cloud.rack.vlan_of(name) is None
