"""The config API of our controller: hostile requests, many at once, faults on demand, and what outlives its process."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from steelyard.embedded.contrail.frame import MAX_BODY, MAX_DEPTH
from steelyard.errors import Unavailable

from .requests import ADMIN, VMI, Requests, eventually


def _raw(requests: Requests, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """One request byte by byte; 0 when the connection was closed without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", requests.controller.port, timeout=30)
    try:
        token = {"X-Auth-Token": requests.controller.tokens["admin"]}
        connection.request(method, path, body, {"Content-Type": "application/json", **token, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (http.client.HTTPException, OSError):
        return 0, b""
    finally:
        connection.close()


# -- hostile requests --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from steelyard.embedded.contrail.standalone import StandaloneController

    with StandaloneController.make(tmp_path_factory.mktemp("contrail")).running() as controller:
        yield Requests(controller)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\x00\xff\xfe",
        b'{"virtual-network": []}',
        b'{"virtual-network": {"fq_name": "text"}}',
        b'{"virtual-network": {"fq_name": [1, 2, 3]}}',
        b'{"virtual-network": {"fq_name": [""]}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "a:b"]}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "\\u0000"]}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "\\ud800"]}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "n"], "is_shared": NaN}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "n"], "network_ipam_refs": {}}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "n"], "network_ipam_refs": [1]}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "n"], "network_ipam_refs": [{"attr": []}]}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "n"], "perms2": {"global_access": 7}}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "n"], "perms2": []}}',
        b'{"virtual-network": {"fq_name": ["default-domain", "admin", "n"], "uuid": 5}}',
        b"[" * 100_000,
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
)
def test_a_body_that_makes_no_sense_is_answered_400(shared: Requests, body: bytes) -> None:
    shared.ok("GET", "/projects")
    status, text = _raw(shared, "POST", "/virtual-networks", body)
    assert status == 400, text
    assert b"Traceback" not in text
    assert shared.ok("GET", "/virtual-networks")["virtual-networks"] == []


def test_a_body_that_is_too_large_is_answered_413(shared: Requests) -> None:
    status, text = _raw(shared, "POST", "/virtual-networks", b" " * (MAX_BODY + 1))
    assert (status, text) == (413, b"Request entity too large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PATCH", "/virtual-networks", 405),
        ("POST", "/", 405),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/virtual-network/" + "x" * 4000, 404),
        ("DELETE", "/virtual-network/%00", 404),
        ("GET", "/virtual-networks?filters=nonsense", 400),
        ("GET", "/virtual-networks?obj_uuids=", 200),
        ("GET", "/prop-collection-get", 400),
        ("POST", "/ref-update", 400),
    ],
)
def test_a_path_that_makes_no_sense(shared: Requests, method: str, path: str, status: int) -> None:
    assert _raw(shared, method, path)[0] == status


@pytest.mark.parametrize("seed", range(20))
def test_nonsense_in_every_value_never_breaks_the_server(shared: Requests, seed: int) -> None:
    """Every value of a good request replaced, one after another: never a 500, and the good request still works."""
    chance = random.Random(seed)
    network = shared.network()
    name = shared.show("virtual-network", network)["fq_name"]
    profile = {"local_link_information": [{"switch_info": "leaf1", "port_id": "Ethernet1"}]}
    pairs = [{"key": "vnic_type", "value": "baremetal"}, {"key": "profile", "value": json.dumps(profile)}]
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/virtual-networks", {"virtual-network": {
            "fq_name": [*ADMIN, f"n{seed}"], "parent_type": "project", "is_shared": False,
            "provider_properties": {"segmentation_id": 5, "physical_network": "p"},
            "network_ipam_refs": [{"to": ["default-domain", "default-project", "default-network-ipam"], "attr": {
                "ipam_subnets": [{"subnet": {"ip_prefix": "10.0.0.0", "ip_prefix_len": 24},
                                  "allocation_pools": [{"start": "10.0.0.5", "end": "10.0.0.9"}],
                                  "default_gateway": "10.0.0.1", "addr_from_start": True}]}}]}}),
        (f"/{VMI}s", {VMI: {
            "fq_name": [*ADMIN, f"i{seed}"], "parent_type": "project", "virtual_network_refs": [{"to": name}],
            "virtual_machine_interface_mac_addresses": {"mac_address": ["02:00:00:00:00:01"]},
            "virtual_machine_interface_properties": {"sub_interface_vlan_tag": 5},
            "virtual_machine_interface_bindings": {"key_value_pair": pairs}}}),
        ("/instance-ips", {"instance-ip": {
            "fq_name": [f"a{seed}"], "virtual_network_refs": [{"to": name}], "instance_ip_address": "10.0.0.7",
            "instance_ip_family": "v4", "subnet_uuid": "x"}}),
        ("/ref-update", {"type": "virtual-network", "uuid": network, "ref-type": "network-ipam", "operation": "ADD",
                         "ref-fq-name": ["default-domain", "default-project", "default-network-ipam"], "attr": None}),
        ("/prop-collection-update", {"uuid": network, "updates": [
            {"field": "annotations", "operation": "set", "value": {"key": "a", "value": "b"}, "position": "a"}]}),
        (f"/virtual-network/{network}/ip-alloc", {"subnet": None, "count": 1, "family": "v4"}),
        ("/list-bulk-collection", {"type": "instance-ip", "obj_uuids": network, "detail": True, "fields": "a",
                                   "filters": "a==1", "page_limit": 1, "page_marker": network}),
    ]  # fmt: skip
    for path, body in bodies:
        for _ in range(12):
            status, text = _raw(shared, "POST", path, json.dumps(_spoiled(body, chance)).encode())
            assert status in (200, 400, 403, 404, 409), (path, status, text)
    shared.network()


_NONSENSE: tuple[Any, ...] = (None, True, -1, 1 << 70, 0.5, "", "x", "\u0000", [], [None], {}, {"a": {}}, ["a"] * 100)


def _spoiled(value: Any, chance: random.Random) -> Any:
    """A copy with one value, somewhere, replaced by nonsense."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value))
        return {**value, key: _spoiled(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        index = chance.randrange(len(value))
        return [*value[:index], _spoiled(value[index], chance), *value[index + 1 :]]
    return chance.choice(_NONSENSE)


def test_nobody_gets_in_without_a_good_token(shared: Requests) -> None:
    for headers in ({"X-Auth-Token": ""}, {"X-Auth-Token": "nonsense"}, {"X-Auth-Token": "\xff" * 50}):
        status, text = _raw(shared, "GET", "/virtual-networks", **headers)
        assert status == 401
        assert json.loads(text)["error"]["code"] == 401


def test_the_control_needs_its_own_token(shared: Requests) -> None:
    for path in ("/control/faults", "/control/health", "/control/fabric"):
        assert _raw(shared, "GET", path)[0] == 401
    assert shared.controller.control("GET", "/health")["status"] == "ok"


def test_a_hostile_host_header_is_not_shown(shared: Requests) -> None:
    _, text = _raw(shared, "GET", "/", Host='"><script>')
    assert b"script" not in text


# -- many at once ------------------------------------------------------------------------------------------------------


def _at_once(count: int, call: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            call(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[:3]


def test_200_addresses_at_once_are_200_addresses(shared: Requests) -> None:
    network = shared.network("10.60.0.0/22")
    name = shared.show("virtual-network", network)["fq_name"]
    given: list[str] = []

    def take(number: int) -> None:
        for each in range(10):
            made = shared.create("instance-ip", [f"at-once-{number}-{each}"], virtual_network_refs=[{"to": name}])
            given.append(shared.show("instance-ip", made)["instance_ip_address"])

    _at_once(20, take)
    assert len(set(given)) == len(given) == 200


def test_of_many_with_one_name_one_wins(shared: Requests) -> None:
    shared.ok("GET", "/projects")
    statuses: list[int] = []

    def create(_: int) -> None:
        body = {"network-ipam": {"fq_name": [*ADMIN, "one-name"], "parent_type": "project"}}
        statuses.append(shared.controller.call("POST", "/network-ipams", body)[0])

    _at_once(16, create)
    assert sorted(statuses) == [200] + [409] * 15


# -- what outlives the process -----------------------------------------------------------------------------------------


def test_everything_is_there_after_a_kill(alone: Requests) -> None:
    network = alone.network("10.61.0.0/29")
    name = alone.show("virtual-network", network)["fq_name"]
    interface = alone.interface(network)
    refs = [{"to": alone.show(VMI, interface)["fq_name"]}]
    gone = alone.create("instance-ip", ["gone"], virtual_network_refs=[{"to": name}])
    alone.create("instance-ip", ["kept"], virtual_network_refs=[{"to": name}], virtual_machine_interface_refs=refs)
    alone.ok("DELETE", f"/instance-ip/{gone}")
    alone.ok("POST", f"/virtual-network/{network}/ip-alloc", {"subnet": None, "count": 1})

    def everything() -> list[Any]:
        types = ("virtual-network", "network-ipam", VMI, "instance-ip", "routing-instance", "project")
        return [alone.show(type, each["uuid"]) for type in types for each in alone.ok("GET", f"/{type}s")[f"{type}s"]]

    before = everything()
    alone.controller.kill()
    alone.controller.start()
    assert everything() == before
    taken = {alone.ok("POST", f"/virtual-network/{network}/ip-alloc", {"subnet": None, "count": 1})["ip_addr"][0]
             for _ in range(2)}  # fmt: skip
    assert len(taken) == 2
    assert alone.controller.call("POST", f"/virtual-network/{network}/ip-alloc", {"count": 1})[0] == 409


def test_what_was_answered_survives_a_kill_in_the_middle(alone: Requests) -> None:
    alone.ok("GET", "/projects")
    answered: list[str] = []
    stop = threading.Event()

    def create(number: int) -> None:
        for each in range(1000):
            if stop.is_set():
                return
            chosen = str(uuid.uuid4())
            body = {"fq_name": [*ADMIN, f"{number}-{each}"], "parent_type": "project", "uuid": chosen}
            try:
                if alone.controller.call("POST", "/network-ipams", {"network-ipam": body})[0] == 200:
                    answered.append(chosen)
            except Unavailable:
                return

    def kill(_: int) -> None:
        eventually(lambda: len(answered) > 40)
        alone.controller.kill()
        stop.set()

    _at_once(5, lambda number: kill(number) if number == 4 else create(number))
    alone.controller.start()
    there = {each["uuid"] for each in alone.ok("GET", "/network-ipams")["network-ipams"]}
    assert set(answered) <= there


# -- faults on demand --------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(shared: Requests) -> Any:
    yield shared
    shared.controller.control("DELETE", "/faults")


def test_an_answer_is_lost_and_the_work_is_done(faulty: Requests) -> None:
    faulty.ok("GET", "/projects")
    faulty.fault(target="network-ipam", kind="answer_lost", match="create", times=1)
    body = {"network-ipam": {"fq_name": [*ADMIN, "lost"], "parent_type": "project"}}
    with pytest.raises(Unavailable):
        faulty.controller.call("POST", "/network-ipams", body)
    status, text, _ = faulty.controller.call("POST", "/network-ipams", body)
    assert status == 409
    assert "already exists with uuid" in text


def test_a_request_is_dropped_and_nothing_is_done(faulty: Requests) -> None:
    faulty.fault(target="network-ipam", kind="drop", match="create", times=1)
    body = {"network-ipam": {"fq_name": [*ADMIN, "dropped"], "parent_type": "project"}}
    with pytest.raises(Unavailable):
        faulty.controller.call("POST", "/network-ipams", body)
    assert faulty.controller.call("POST", "/network-ipams", body)[0] == 200


def test_a_create_that_is_only_said_to_be_done(faulty: Requests) -> None:
    faulty.fault(target="network-ipam", kind="not_applied", match="create", times=1)
    chosen = faulty.create("network-ipam", [*ADMIN, "said"], parent_type="project")
    assert faulty.controller.call("GET", f"/network-ipam/{chosen}")[0] == 404


def test_a_create_that_is_done_later(faulty: Requests) -> None:
    faulty.fault(target="network-ipam", kind="late", match="create", seconds=0.3, times=1)
    chosen = str(uuid.uuid4())
    faulty.create("network-ipam", [*ADMIN, "later"], parent_type="project", uuid=chosen)
    assert faulty.controller.call("GET", f"/network-ipam/{chosen}")[0] == 404
    eventually(lambda: faulty.controller.call("GET", f"/network-ipam/{chosen}")[0] == 200)


def test_faults_of_answers(faulty: Requests) -> None:
    network = faulty.network()
    path = f"/virtual-network/{network}"
    faulty.fault(target=network, kind="refuse", match="read", times=1)
    assert faulty.controller.call("GET", path)[0] == 503
    faulty.fault(target=network, kind="garbage", match="read", times=1)
    assert faulty.controller.call("GET", path)[2] is None
    faulty.fault(target=network, kind="wrong_answer", match="read", times=1)
    assert "network_ipam_refs" not in faulty.ok("GET", path)["virtual-network"]
    faulty.fault(target=network, kind="slow", match="read", seconds=0.3, times=1)
    began = time.monotonic()
    assert faulty.ok("GET", path)["virtual-network"]["network_ipam_refs"]
    assert time.monotonic() - began >= 0.3


def test_an_unknown_fault_is_refused(faulty: Requests) -> None:
    with pytest.raises(Unavailable, match="400"):
        faulty.fault(target="*", kind="explode")
