"""Security groups in the config become filters of the simulated switches' ports, before the port has its VLAN."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from steelyard.embedded.contrail.database import Database
from steelyard.embedded.contrail.fabric import UNUSED_SECONDS
from steelyard.embedded.contrail.filters import rules_of
from steelyard.embedded.contrail.hardware import seed
from steelyard.embedded.contrail.port_config import restored
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.schema import TYPES
from steelyard.embedded.contrail.service import rules
from steelyard.embedded.contrail.standalone import StandaloneController
from steelyard.embedded.contrail.visibility import INTERNAL
from steelyard.embedded.rack.standalone import StandaloneRack

from .conftest import Scene
from .requests import ADMIN, VMI, Requests, eventually

ALL_PORTS = [{"start_port": 0, "end_port": 65535}]
LOCAL = [{"security_group": "local"}]
EVERYBODY = [{"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}]  # noqa: S104 - a prefix
PROJECT = ["default-domain", "default-project"]


def entry(port: int | None = None, **more: Any) -> dict[str, Any]:
    """A rule that lets everybody in, to a TCP port or to all of every protocol."""
    span = ALL_PORTS if port is None else [{"start_port": port, "end_port": port}]
    return {
        "direction": ">", "protocol": "any" if port is None else "tcp", "ethertype": "IPv4",
        "src_addresses": EVERYBODY, "src_ports": ALL_PORTS, "dst_addresses": LOCAL, "dst_ports": span, **more,
    }  # fmt: skip


def group(requests: Requests, *entries: dict[str, Any]) -> str:
    requests.ok("GET", "/projects")
    name = [*ADMIN, f"group-{secrets.token_hex(4)}"]
    entered = {"policy_rule": list(entries)}
    return requests.create("security-group", name, parent_type="project", security_group_entries=entered)


def refer(requests: Requests, interface: str, *groups: str) -> None:
    refs = [{"uuid": each, "to": requests.show("security-group", each)["fq_name"]} for each in groups]
    requests.ok("PUT", f"/{VMI}/{interface}", {VMI: {"security_group_refs": refs}})


def filters(rack: StandaloneRack, key: str) -> list[str]:
    """Those that a switch port really has."""
    found: list[str] = rack.port(key)["filters"]
    return found


def on_switch(rack: StandaloneRack, switch: str) -> dict[str, list[dict[str, Any]]]:
    """What a switch has, by name."""
    found: dict[str, list[dict[str, Any]]] = rack.call("switch", "GET", f"/switches/{switch}/filters")["filters"]
    return found


def changes(rack: StandaloneRack, switch: str, port: str) -> list[dict[str, Any]]:
    log = rack.call("switch", "GET", "/log")["log"]
    return [each["after"] for each in log if (each["switch"], each["port"]) == (switch, port)]


def test_a_port_has_the_filters_of_its_groups_from_the_moment_at_which_it_has_its_vlan(scene: Scene) -> None:
    web, ssh = group(scene, entry(80)), group(scene, entry(22))
    interface = scene.interface(scene.network())
    refer(scene, interface, web, ssh)
    scene.bind(interface, "leaf1/Ethernet1", vlan=31)
    eventually(lambda: scene.port("leaf1/Ethernet1") == (31, []))
    assert filters(scene.rack, "leaf1/Ethernet1") == sorted([web, ssh])
    http = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
    assert on_switch(scene.rack, "leaf1")[web] == [http]
    [after] = changes(scene.rack, "leaf1", "Ethernet1")
    assert (after["untagged_vlan"], after["filters"]) == (31, sorted([web, ssh])), "in one change"

    refer(scene, interface, ssh)
    eventually(lambda: filters(scene.rack, "leaf1/Ethernet1") == [ssh])
    scene.bind(interface)
    eventually(lambda: scene.port("leaf1/Ethernet1") == (None, []))
    assert changes(scene.rack, "leaf1", "Ethernet1")[-1]["filters"] == []


def test_every_port_of_a_bond_has_the_filters_of_all_interfaces_on_it(scene: Scene) -> None:
    one, other = group(scene, entry()), group(scene)
    interface = scene.interface(scene.network())
    refer(scene, interface, one)
    scene.bind(interface, "leaf1/Ethernet2", "leaf2/Ethernet2", vlan=32)
    for key in ("leaf1/Ethernet2", "leaf2/Ethernet2"):
        eventually(lambda key=key: filters(scene.rack, key) == [one])
    below = scene.interface(scene.network())
    refer(scene, below, other, one)
    scene.bind(below, "leaf1/Ethernet2", "leaf2/Ethernet2", tag=132)
    for key in ("leaf1/Ethernet2", "leaf2/Ethernet2"):
        eventually(lambda key=key: filters(scene.rack, key) == sorted([one, other]))
    scene.ok("DELETE", f"/{VMI}/{below}")
    scene.bind(interface, "leaf1/Ethernet2", vlan=32)
    eventually(lambda: filters(scene.rack, "leaf2/Ethernet2") == [])
    eventually(lambda: filters(scene.rack, "leaf1/Ethernet2") == [one])


def test_rules_that_change_reach_the_switch_and_filters_without_a_port_leave_it(scene: Scene) -> None:
    changed = group(scene, entry(80))
    interface = scene.interface(scene.network())
    refer(scene, interface, changed)
    scene.bind(interface, "leaf2/Ethernet3", vlan=33)
    eventually(lambda: filters(scene.rack, "leaf2/Ethernet3") == [changed])
    entered = {"security_group_entries": {"policy_rule": [entry(81), entry(80)]}}
    scene.ok("PUT", f"/security-group/{changed}", {"security-group": entered})
    ports = lambda: [each["port_range_min"] for each in on_switch(scene.rack, "leaf2")[changed]]  # noqa: E731
    eventually(lambda: ports() == [80, 81])
    scene.ok("PUT", f"/security-group/{changed}", {"security-group": {"security_group_entries": None}})
    eventually(lambda: on_switch(scene.rack, "leaf2")[changed] == [])
    assert filters(scene.rack, "leaf2/Ethernet3") == [changed], "without rules nothing passes"

    scene.ok("DELETE", f"/{VMI}/{interface}")
    eventually(lambda: filters(scene.rack, "leaf2/Ethernet3") == [])
    eventually(lambda: changed not in on_switch(scene.rack, "leaf2"), seconds=UNUSED_SECONDS + 10)
    eventually(lambda: f"leaf2/{changed}" not in scene.controller.control("GET", "/fabric")["filters"])


def test_a_filter_that_somebody_s_port_still_has_stays(scene: Scene) -> None:
    """One that the manager never wrote to: the switch refuses (409), and the filter stays for good."""
    kept = group(scene, entry(80))
    interface = scene.interface(scene.network())
    refer(scene, interface, kept)
    scene.bind(interface, "leaf2/Ethernet4", vlan=34)
    eventually(lambda: filters(scene.rack, "leaf2/Ethernet4") == [kept])
    scene.rack.call("switch", "PATCH", "/switches/leaf2/ports/Ethernet16", {"filters": [kept]})
    scene.ok("DELETE", f"/{VMI}/{interface}")
    eventually(lambda: filters(scene.rack, "leaf2/Ethernet4") == [])
    scene.rack.call("switch", "POST", "/faults", {"target": "leaf2", "kind": "slow", "match": "filter", "seconds": 0})
    eventually(lambda: _fired(scene), seconds=UNUSED_SECONDS + 10, what="the attempt to remove it")
    assert kept in on_switch(scene.rack, "leaf2")
    scene.rack.call("switch", "PATCH", "/switches/leaf2/ports/Ethernet16", {"filters": []})
    eventually(lambda: kept not in on_switch(scene.rack, "leaf2"), seconds=15)


def _fired(scene: Scene) -> bool:
    return any(each["hits"] for each in scene.rack.call("switch", "GET", "/faults")["faults"])


@pytest.mark.parametrize("kind", ["refuse", "garbage", "not_applied"])
def test_a_switch_that_does_not_take_a_filter_does_not_get_the_vlan_either(scene: Scene, kind: str) -> None:
    wanted = group(scene, entry(80))
    before = scene.port("leaf1/Ethernet5")
    scene.rack.call("switch", "POST", "/faults", {"target": "leaf1", "kind": kind, "match": "filter"})
    interface = scene.interface(scene.network())
    refer(scene, interface, wanted)
    scene.bind(interface, "leaf1/Ethernet5", vlan=35)
    pending = lambda: scene.controller.control("GET", "/fabric")["pending"]  # noqa: E731
    eventually(lambda: pending().get("leaf1/Ethernet5", {}).get("attempts", 0) > 1)
    assert (scene.port("leaf1/Ethernet5"), filters(scene.rack, "leaf1/Ethernet5")) == (before, [])
    scene.rack.call("switch", "DELETE", "/faults")
    eventually(lambda: scene.port("leaf1/Ethernet5") == (35, []))
    assert filters(scene.rack, "leaf1/Ethernet5") == [wanted]
    scene.ok("DELETE", f"/{VMI}/{interface}")
    scene.settled()


def test_a_filter_that_the_switch_has_lost_is_told_again(scene: Scene) -> None:
    lost = group(scene, entry(80))
    first, second = scene.interface(scene.network()), scene.interface(scene.network())
    refer(scene, first, lost)
    scene.bind(first, "leaf1/Ethernet6", vlan=36)
    eventually(lambda: filters(scene.rack, "leaf1/Ethernet6") == [lost])
    scene.rack.call("switch", "PATCH", "/switches/leaf1/ports/Ethernet6", {"filters": []})
    scene.rack.call("switch", "DELETE", f"/switches/leaf1/filters/{lost}")
    refer(scene, second, lost)
    scene.bind(second, "leaf1/Ethernet7", vlan=37)
    eventually(lambda: scene.port("leaf1/Ethernet7") == (37, []))
    assert filters(scene.rack, "leaf1/Ethernet7") == [lost]
    for interface in (first, second):
        scene.ok("DELETE", f"/{VMI}/{interface}")
    scene.settled()


def test_what_a_killed_controller_left_on_a_switch_is_removed_by_the_next(tmp_path: Path) -> None:
    with StandaloneRack.make(tmp_path / "rack", nodes=2).running("switch") as rack:
        controller = StandaloneController.make(tmp_path / "contrail", rack=rack.home)
        with controller.running():
            requests = Requests(controller)
            stays, goes = group(requests, entry(80)), group(requests, entry(22))
            interface = requests.interface(requests.network())
            refer(requests, interface, stays, goes)
            requests.bind(interface, "leaf1/Ethernet1", vlan=38)
            eventually(lambda: filters(rack, "leaf1/Ethernet1") == sorted([stays, goes]))
            refer(requests, interface, stays)
            requests.settled()
            controller.kill()
            assert goes in on_switch(rack, "leaf1")
            controller.start()
            eventually(lambda: goes not in on_switch(rack, "leaf1"), seconds=UNUSED_SECONDS + 10)
            assert filters(rack, "leaf1/Ethernet1") == [stays]


def test_switches_of_a_model_that_filters_nothing_are_given_no_filters(tmp_path: Path) -> None:
    with StandaloneRack.make(tmp_path / "rack", nodes=2).running("switch") as rack:
        home = rack.home / "home.json"
        home.write_text(json.dumps({**json.loads(home.read_text()), "filters": False}))
        with StandaloneController.make(tmp_path / "contrail", rack=rack.home).running() as controller:
            requests = Requests(controller)
            interface = requests.interface(requests.network())
            refer(requests, interface, group(requests, entry(80)))
            requests.bind(interface, "leaf1/Ethernet1", vlan=39)
            eventually(lambda: rack.port("leaf1/Ethernet1")["untagged_vlan"] == 39)
            requests.settled()
            assert (filters(rack, "leaf1/Ethernet1"), on_switch(rack, "leaf1")) == ([], {})


# Rules and records, without a switch


@pytest.fixture
def resources(tmp_path: Path) -> Any:
    database = Database(tmp_path / "state.sqlite")
    made = Resources(database, rules())
    seed(made)
    yield made
    database.close()


def translated(resources: Resources, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    body = {"fq_name": [*PROJECT, "g"], "security_group_entries": {"policy_rule": list(entries)}}
    made = resources.create(INTERNAL, TYPES["security-group"], body)
    return [dict(rule) for rule in rules_of(resources.database, made)]


def test_direction_is_that_of_local(resources: Resources) -> None:
    out = entry(src_addresses=LOCAL, dst_addresses=EVERYBODY)
    back = entry(direction="<", src_addresses=LOCAL, dst_addresses=EVERYBODY)
    both = entry(direction="<>", ethertype="IPv6")
    nobody = entry(dst_addresses=EVERYBODY)
    said = [(rule["direction"], rule["ethertype"]) for rule in translated(resources, out, back, both, nobody)]
    assert said == [("egress", "IPv4"), ("egress", "IPv6"), ("ingress", "IPv4"), ("ingress", "IPv6")]


@pytest.mark.parametrize(
    ("protocol", "span", "expected"),
    [
        ("any", (0, 65535), {}),
        ("any", (-1, -1), {}),
        ("tcp", (22, 22), {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}),
        ("udp", (1024, 65535), {"protocol": "udp", "port_range_min": 1024, "port_range_max": 65535}),
        ("icmp", (0, 65535), {"protocol": "icmp"}),
        ("icmp", (8, 65535), {"protocol": "icmp", "port_range_min": 8}),
        ("icmp", (0, 0), {"protocol": "icmp", "port_range_min": 0, "port_range_max": 0}),
        ("icmp6", (128, 0), {"protocol": "ipv6-icmp", "port_range_min": 128, "port_range_max": 0}),
        ("112", (0, 65535), {"protocol": "112"}),
    ],
)
def test_protocols_and_ports_are_in_neutrons_words(
    resources: Resources, protocol: str, span: tuple[int, int], expected: dict[str, Any]
) -> None:
    ports = [{"start_port": span[0], "end_port": span[1]}]
    [rule] = translated(resources, entry(protocol=protocol, dst_ports=ports))
    assert rule == {"direction": "ingress", "ethertype": "IPv4", **expected}


def test_the_other_side_is_a_prefix_or_a_group_or_everybody(resources: Resources) -> None:
    friends = resources.create(INTERNAL, TYPES["security-group"], {"fq_name": [*PROJECT, "friends"]})
    subnet = {"subnet": {"ip_prefix": "10.0.0.0", "ip_prefix_len": 8}}
    more = {"subnet_list": [{"ip_prefix": "192.0.2.1", "ip_prefix_len": 32}]}
    there, gone = [{"security_group": ":".join([*PROJECT, each])} for each in ("friends", "gone")]
    open_ = translated(resources, entry(src_addresses=[subnet, more, there, gone]))
    others = [{key: rule[key] for key in rule if key.startswith("remote")} for rule in open_]
    assert sorted(others, key=repr) == [
        {"remote_group_id": friends.uuid}, {"remote_ip_prefix": "10.0.0.0/8"}, {"remote_ip_prefix": "192.0.2.1/32"},
    ], "a group that is gone has nobody in it"  # fmt: skip


def test_any_is_everybody(resources: Resources) -> None:
    [rule] = translated(resources, entry(src_addresses=[{"security_group": "any"}, *EVERYBODY]))
    assert rule == {"direction": "ingress", "ethertype": "IPv4"}


def test_what_cannot_be_said_lets_nothing_pass(resources: Resources) -> None:
    from_port_53 = entry(src_ports=[{"start_port": 53, "end_port": 53}])
    from_network = entry(src_addresses=[{"virtual_network": "default-domain:p:n"}])
    assert translated(resources, from_port_53, from_network) == []


def test_the_order_of_rules_does_not_count(resources: Resources) -> None:
    there = translated(resources, entry(80), entry(22), entry())
    resources.delete(INTERNAL, TYPES["security-group"], resources.named(TYPES["security-group"], [*PROJECT, "g"]).uuid)
    assert translated(resources, entry(), entry(80), entry(22), entry(80)) == there


def test_a_record_from_before_there_were_filters_is_read() -> None:
    old = restored({"untagged": 5, "tagged": [6], "lacp": True, "sure": True})
    assert (old.untagged, old.tagged, old.lacp, old.filters) == (5, (6,), True, ())
    assert restored(json.loads(json.dumps(old.stored()))) == old


def test_a_record_with_filters_is_read_as_it_was(resources: Resources) -> None:
    [rule] = translated(resources, entry(80))
    content = {"untagged": 5, "tagged": [], "lacp": False, "filters": {"g": [rule]}}
    assert restored(json.loads(json.dumps(restored(content).stored()))) == restored(content)
