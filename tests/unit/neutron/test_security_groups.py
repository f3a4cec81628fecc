"""Security groups: what Neutron, the controller and the switch say of a server's port."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Json, NeutronError, Scene

HERE, OTHER_LEAF = ("leaf1", "Ethernet5"), ("leaf2", "Ethernet5")
ALL_PORTS = [{"start_port": 0, "end_port": 65535}]
LOCAL = [{"security_group": "local"}]
AGREES = {"repaired": [], "failed": [], "suspected": []}


def default(scene: Scene) -> str:
    [group] = [one for one in scene.neutron("get_security_groups") if one["name"] == "default"]
    return str(group["id"])


def rules_of(scene: Scene, group: str) -> list[Json]:
    """Those at the controller."""
    found = scene.read("security-group", group)
    assert found is not None
    rules: list[Json] = found["security_group_entries"]["policy_rule"]
    return rules


def incoming(scene: Scene, group: str, **given: Any) -> tuple[str, Json]:
    """A rule for what comes in: its id, and what the controller has of it."""
    rule = scene.neutron("rule", security_group_id=group, **given)
    [there] = [one for one in rules_of(scene, group) if one["rule_uuid"] == rule["id"]]
    return rule["id"], there


def refs(scene: Scene, port: str) -> list[str]:
    """The groups of an interface."""
    interface = scene.read("virtual-machine-interface", port)
    assert interface is not None
    return sorted(one["uuid"] for one in interface.get("security_group_refs", []))


def update(scene: Scene, port: str, **change: Any) -> Json:
    changed: Json = scene.neutron("update_port", id=port, port={"port": change})
    return changed


@pytest.fixture
def web(scene: Scene) -> str:
    """A group whose servers are asked on port 80."""
    group: str = scene.neutron("group", name="web")["id"]
    scene.neutron("rule", security_group_id=group, protocol="tcp", port_range_min=80, port_range_max=80)
    return group


def test_groups_and_their_rules_are_at_the_controller(scene: Scene, web: str) -> None:
    group = scene.read("security-group", web)
    assert group is not None
    assert (group["display_name"], group["fq_name"][-1]) == ("web", f"neutron-{web}")
    said = sorted((one["ethertype"], one["protocol"], one["dst_addresses"] == LOCAL) for one in rules_of(scene, web))
    assert said == [("IPv4", "any", False), ("IPv4", "tcp", True), ("IPv6", "any", False)]
    [tcp] = [one for one in rules_of(scene, web) if one["protocol"] == "tcp"]
    assert tcp["src_addresses"] == [{"subnet": {"ip_prefix": "0.0.0.0", "ip_prefix_len": 0}}]  # noqa: S104 - a prefix
    assert (tcp["src_ports"], tcp["dst_ports"]) == (ALL_PORTS, [{"start_port": 80, "end_port": 80}])

    scene.neutron("update_security_group", id=web, security_group={"security_group": {"name": "shop"}})
    renamed = scene.read("security-group", web)
    assert renamed is not None
    assert renamed["display_name"] == "shop"
    scene.neutron("delete_security_group_rule", sgrid=tcp["rule_uuid"])
    assert {one["protocol"] for one in rules_of(scene, web)} == {"any"}
    assert scene.neutron("compare") == AGREES
    scene.neutron("delete_security_group", id=web)
    assert scene.read("security-group", web) is None


@pytest.mark.parametrize(
    ("given", "protocol", "ports"),
    [
        ({}, "any", (0, 65535)),
        ({"protocol": "udp", "port_range_min": 53, "port_range_max": 54}, "udp", (53, 54)),
        ({"protocol": "6", "port_range_min": 1, "port_range_max": 2}, "tcp", (1, 2)),
        ({"protocol": "icmp"}, "icmp", (0, 65535)),
        ({"protocol": "icmp", "port_range_min": 8}, "icmp", (8, 65535)),
        ({"protocol": "icmp", "port_range_min": 3, "port_range_max": 4}, "icmp", (3, 4)),
        ({"protocol": "icmp", "port_range_min": 0}, "icmp", (0, 0)),
        ({"protocol": "ipv6-icmp", "ethertype": "IPv6"}, "icmp6", (0, 65535)),
        ({"protocol": "vrrp"}, "112", (0, 65535)),
    ],
)
def test_protocols_and_ports_are_in_the_controllers_words(
    scene: Scene, given: Json, protocol: str, ports: tuple[int, int]
) -> None:
    group = scene.neutron("group", name="words")["id"]
    _, there = incoming(scene, group, **given)
    span = {"start_port": ports[0], "end_port": ports[1]}
    assert (there["protocol"], there["dst_ports"], there["ethertype"]) == (
        protocol, [span], given.get("ethertype", "IPv4"),
    )  # fmt: skip
    assert scene.neutron("compare") == AGREES


def test_the_other_side_is_a_prefix_a_group_or_each_address_of_a_list(scene: Scene, web: str) -> None:
    group = scene.neutron("group", name="peers")["id"]
    _, prefix = incoming(scene, group, remote_ip_prefix="10.1.2.0/24")
    assert prefix["src_addresses"] == [{"subnet": {"ip_prefix": "10.1.2.0", "ip_prefix_len": 24}}]
    _, remote = incoming(scene, group, remote_group_id=web)
    there = scene.read("security-group", web)
    assert there is not None
    assert remote["src_addresses"] == [{"security_group": ":".join(there["fq_name"])}]

    many = scene.neutron("address_group", addresses=["192.0.2.0/28", "198.51.100.7/32", "2001:db8::/64"])["id"]
    scene.neutron("rule", security_group_id=group, remote_address_group_id=many)  # for IPv4

    def prefixes() -> set[str]:
        remotes = [one["src_addresses"][0].get("subnet", {}) for one in rules_of(scene, group)]
        return {one["ip_prefix"] for one in remotes if one} - {"10.1.2.0"}

    assert prefixes() == {"192.0.2.0", "198.51.100.7"}
    scene.neutron("add_addresses", address_group_id=many, addresses={"addresses": ["203.0.113.1/32"]})
    assert prefixes() == {"192.0.2.0", "198.51.100.7", "203.0.113.1"}
    assert scene.neutron("compare") == AGREES

    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], security_groups=[group])
    scene.neutron.bind(port["id"], HERE)
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [group])
    said = scene.rules("leaf1", group)
    assert {"direction": "ingress", "ethertype": "IPv4", "remote_group_id": web} in said
    assert {"direction": "ingress", "ethertype": "IPv4", "remote_ip_prefix": "203.0.113.1/32"} in said
    scene.neutron("delete_port", id=port["id"])
    scene.neutron("delete_security_group", id=group)
    scene.neutron("delete_address_group", id=many)


def test_a_bond_has_the_filters_of_all_groups_on_both_cables_and_none_after_unbinding(scene: Scene, web: str) -> None:
    usual = default(scene)
    network = scene.neutron.network()
    port = scene.neutron("server_port", network_id=network["id"], security_groups=[web, usual])
    assert refs(scene, port["id"]) == sorted([web, usual])
    assert scene.neutron.bind(port["id"], HERE, OTHER_LEAF)["status"] == "ACTIVE"
    for place in ("leaf1/Ethernet5", "leaf2/Ethernet5"):
        scene.soon(lambda place=place: scene.vlan(place) == network["provider:segmentation_id"])
        assert scene.filters(place) == sorted([web, usual])
    http = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
    for leaf in ("leaf1", "leaf2"):
        assert http in scene.rules(leaf, web)
        # Neutron's default group: from its own members, and to everybody.
        assert sorted(one.get("remote_group_id", "") for one in scene.rules(leaf, usual)) == ["", "", usual, usual]

    scene.neutron.bind(port["id"])
    for place in ("leaf1/Ethernet5", "leaf2/Ethernet5"):
        scene.soon(lambda place=place: scene.vlan(place) is None)
        assert scene.filters(place) == []
    assert refs(scene, port["id"]) == sorted([web, usual]), "for the next switch port"


def test_a_server_that_is_given_other_groups_has_them_on_its_switch_port(scene: Scene, web: str) -> None:
    usual = default(scene)
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"])
    assert (port["security_groups"], refs(scene, port["id"])) == ([usual], [usual])
    scene.neutron.bind(port["id"], HERE)
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [usual])
    update(scene, port["id"], security_groups=[web])
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [web])
    update(scene, port["id"], security_groups=[], port_security_enabled=False)
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [])
    assert refs(scene, port["id"]) == []


def test_a_rule_that_changes_is_on_the_switch(scene: Scene, web: str) -> None:
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], security_groups=[web])
    scene.neutron.bind(port["id"], HERE)
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [web])
    rule, _ = incoming(scene, web, protocol="tcp", port_range_min=443, port_range_max=443)
    https = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 443,
             "port_range_max": 443}  # fmt: skip
    scene.soon(lambda: https in scene.rules("leaf1", web))
    scene.neutron("delete_security_group_rule", sgrid=rule)
    scene.soon(lambda: https not in scene.rules("leaf1", web))
    assert scene.rules("leaf1", web), "the others stay"


@pytest.mark.parametrize("owner", ["", "baremetal:none", "network:dhcp"])
def test_a_port_that_is_no_server_s_has_none_until_it_is(scene: Scene, owner: str) -> None:
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], device_owner=owner)
    assert refs(scene, port["id"]) == []
    scene.neutron.bind(port["id"], HERE)
    scene.soon(lambda: scene.vlan("leaf1/Ethernet5") is not None)
    assert scene.filters("leaf1/Ethernet5") == []
    assert scene.neutron("compare") == AGREES
    if owner == "":
        update(scene, port["id"], device_owner="compute:nova", device_id="a-server")
        scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [default(scene)])
        update(scene, port["id"], device_owner="", device_id="")
        scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [])


def test_a_virtual_machine_s_interface_has_its_groups(scene: Scene, web: str) -> None:
    network = scene.neutron.network()
    port = scene.neutron(
        "server_port", network_id=network["id"], security_groups=[web], **{"binding:vnic_type": "normal"}
    )
    assert refs(scene, port["id"]) == [web]


def test_a_subport_has_none_and_its_parent_keeps_its_own(scene: Scene, web: str) -> None:
    network, below = scene.neutron.network(), scene.neutron.network("10.1.0.0/24")
    parent = scene.neutron("server_port", network_id=network["id"], security_groups=[web])
    tagged = scene.neutron("server_port", network_id=below["id"], device_owner="")
    trunk = scene.neutron("trunk", port_id=parent["id"])
    scene.neutron.bind(parent["id"], HERE)
    tag = below["provider:segmentation_id"]
    scene.neutron("add_subport", trunk_id=trunk["id"], port_id=tagged["id"], tag=tag)
    scene.soon(lambda: scene.rack.port("leaf1/Ethernet5")["tagged_vlans"] == [tag])
    assert (refs(scene, tagged["id"]), scene.filters("leaf1/Ethernet5")) == ([], [web])
    assert scene.neutron("compare") == AGREES


def test_a_group_that_the_controller_has_lost_is_there_again(scene: Scene, web: str) -> None:
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], security_groups=[web])
    scene.neutron.bind(port["id"], HERE)
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [web])
    lose(scene, port["id"], web)
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [])
    outcome = scene.compared()
    assert (len(outcome["repaired"]), outcome["failed"]) == (2, [])
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [web])
    assert len(scene.rules("leaf1", web)) == 3
    scene.settled()


def lose(scene: Scene, port: str, group: str) -> None:
    change = {"virtual-machine-interface": {"security_group_refs": []}}
    assert scene.controller.call("PUT", f"/virtual-machine-interface/{port}", change)[0] == 200
    assert scene.controller.call("DELETE", f"/security-group/{group}")[0] == 200


def test_a_lost_group_is_made_before_the_interface_that_needs_it(scene: Scene, web: str) -> None:
    """Without a comparison in between: by the binding, and by the update."""
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], security_groups=[web])
    lose(scene, port["id"], web)
    assert scene.neutron.bind(port["id"], HERE)["status"] == "ACTIVE"
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [web])
    other = scene.neutron("group", name="other")["id"]
    assert scene.controller.call("DELETE", f"/security-group/{other}")[0] == 200
    update(scene, port["id"], security_groups=[other])
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [other])


@pytest.mark.parametrize("what", ["rule", "name", "refs", "twice"])
def test_what_somebody_has_changed_at_the_controller_is_repaired(scene: Scene, web: str, what: str) -> None:
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], security_groups=[web])
    before = rules_of(scene, web)
    changes: dict[str, tuple[str, str, Json]] = {
        "rule": ("security-group", web, {"security_group_entries": {"policy_rule": before[1:]}}),
        "name": ("security-group", web, {"display_name": "another"}),
        "twice": ("security-group", web, {"security_group_entries": {"policy_rule": [*before, before[0]]}}),
        "refs": ("virtual-machine-interface", port["id"], {"security_group_refs": []}),
    }
    kind, uuid, change = changes[what]
    assert scene.controller.call("PUT", f"/{kind}/{uuid}", {kind: change})[0] == 200
    [repaired] = scene.compared()["repaired"]
    assert uuid in repaired
    group = scene.read("security-group", web)
    assert group is not None
    assert (group["display_name"], rules_of(scene, web), refs(scene, port["id"])) == ("web", before, [web])


def test_a_group_that_only_the_controller_has_is_removed(scene: Scene, web: str) -> None:
    stray = "11111111-2222-4333-8444-666666666666"
    ours = scene.read("security-group", web)
    assert ours is not None
    content = {"uuid": stray, "fq_name": [*ours["fq_name"][:-1], f"neutron-{stray}"], "parent_type": "project"}
    assert scene.controller.call("POST", "/security-groups", {"security-group": content})[0] == 200
    by_hand = {"fq_name": [*ours["fq_name"][:-1], "by-hand"], "parent_type": "project"}
    _, _, made = scene.controller.call("POST", "/security-groups", {"security-group": by_hand})
    assert len(scene.compared()["repaired"]) == 1
    assert scene.read("security-group", stray) is None
    kept = made["security-group"]["uuid"]
    assert scene.read("security-group", kept) is not None, "somebody else's"
    scene.controller.call("DELETE", f"/security-group/{kept}")


def test_a_controller_that_is_away_while_groups_change_is_caught_up(scene: Scene, web: str) -> None:
    gone = scene.neutron("group", name="gone")["id"]
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], security_groups=[web])
    scene.neutron.bind(port["id"], HERE)
    scene.soon(lambda: scene.filters("leaf1/Ethernet5") == [web])
    scene.controller.stop()
    rule = scene.neutron("rule", security_group_id=web, protocol="tcp", port_range_min=22, port_range_max=22)
    made = scene.neutron("group", name="made")["id"]
    scene.neutron("delete_security_group", id=gone)
    scene.controller.start()
    scene.mend()
    assert [one for one in rules_of(scene, web) if one["rule_uuid"] == rule["id"]] == []
    scene.settled()
    assert [one for one in rules_of(scene, web) if one["rule_uuid"] == rule["id"]] != []
    assert (scene.read("security-group", made) is None, scene.read("security-group", gone)) == (False, None)
    scene.soon(lambda: "22" in str([one.get("port_range_min") for one in scene.rules("leaf1", web)]))
    assert scene.filters("leaf1/Ethernet5") == [web]


def test_a_binding_whose_groups_cannot_be_made_is_none(scene: Scene, web: str) -> None:
    port = scene.neutron("server_port", network_id=scene.neutron.network()["id"], security_groups=[web])
    lose(scene, port["id"], web)
    scene.fault("security-group", "refuse", match="create")
    before = scene.vlan("leaf1/Ethernet5")
    assert scene.neutron.bind(port["id"], HERE)["binding:vif_type"] == "binding_failed"
    assert (scene.vlan("leaf1/Ethernet5"), scene.filters("leaf1/Ethernet5")) == (before, [])
    scene.mend()
    scene.settled()


def test_a_port_whose_groups_cannot_be_made_is_not_made(scene: Scene) -> None:
    network = scene.neutron.network()
    group = scene.neutron("group", name="fresh")["id"]
    assert scene.controller.call("DELETE", f"/security-group/{group}")[0] == 200
    scene.fault("security-group", "refuse", match="create")
    with pytest.raises(NeutronError):
        scene.neutron("server_port", network_id=network["id"], security_groups=[group])
    assert scene.neutron("get_ports") == []
    scene.mend()
