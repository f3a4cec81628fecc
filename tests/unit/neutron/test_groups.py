"""The plugin of security groups in a real Neutron, asked over its API, beside really started switches."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from steelyard.embedded.rack.standalone import StandaloneRack

from .conftest import PYTHON
from .groups_scene import OLD_SWITCH, OPTED_OUT, RAMDISK, Groups, RefusedError, binding

ONE, OTHER, THIRD, FOURTH = "leaf1/Ethernet1", "leaf2/Ethernet1", "leaf1/Ethernet2", "leaf2/Ethernet2"
BOND = (ONE, OTHER)
HTTPS = {"protocol": "tcp", "port_range_min": 443, "port_range_max": 443}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Groups]:
    if not PYTHON.exists():
        pytest.skip(f"the plugin runs inside Neutron, and the OpenStack environment is not installed: {PYTHON}")
    home = tmp_path_factory.mktemp("groups")
    with StandaloneRack.make(home / "rack", nodes=8).running("switch") as rack:
        (home / "neutron").mkdir()
        groups = Groups(home / "neutron", rack)
        groups.start()
        try:
            yield groups
        finally:
            groups.stop()


@pytest.fixture
def neutron(shared: Groups) -> Iterator[Groups]:
    yield shared
    shared.clean()


def test_every_link_of_a_bond_has_the_groups_and_the_default_group_is_one(neutron: Groups) -> None:
    network = neutron.network()
    vlan = network["provider:segmentation_id"]
    port = neutron.port(network)
    default = neutron.default_group()
    assert port["security_groups"] == [default]
    assert neutron.bind(port, *BOND)["binding:vif_type"] == "other"
    assert neutron("GET", f"/ports/{port['id']}")["status"] == "ACTIVE"
    assert [neutron.at(place) for place in BOND] == [(vlan, [default])] * 2
    neutron.bind(port)
    assert [neutron.at(place) for place in BOND] == [(None, [])] * 2


def test_groups_go_along_when_a_port_is_bound_elsewhere(neutron: Groups) -> None:
    network, group = neutron.network(), neutron.group()
    vlan = network["provider:segmentation_id"]
    port = neutron.port(network, security_groups=[group])
    neutron.bind(port, *BOND)
    neutron.bind(port, ONE, THIRD)
    assert [neutron.at(place) for place in (ONE, THIRD)] == [(vlan, [group])] * 2
    assert neutron.at(OTHER) == (None, [])
    neutron.bind(port, FOURTH)
    assert neutron.at(FOURTH) == (vlan, [group])
    assert [neutron.at(place) for place in (ONE, THIRD)] == [(None, [])] * 2
    neutron("DELETE", f"/ports/{port['id']}")
    assert neutron.at(FOURTH) == (None, [])


def test_the_groups_of_a_bound_port_are_changed_and_may_be_several(neutron: Groups) -> None:
    port = neutron.port(neutron.network(), security_groups=[])
    first, second, third = (neutron.group() for _ in range(3))
    neutron.bind(port, *BOND)
    for wanted in ([first, second], [second, third], [third], []):
        neutron.update(port, security_groups=wanted)
        assert [neutron.at(place)[1] for place in BOND] == [sorted(wanted)] * 2


def test_a_port_is_never_on_its_network_without_its_groups(neutron: Groups) -> None:
    """The log of the switches says what was when."""
    network, group = neutron.network(), neutron.group()
    port = neutron.port(network, security_groups=[group])
    mark = max([0, *(entry["sequence"] for entry in neutron.rack.call("switch", "GET", "/log")["log"])])
    neutron.bind(port, ONE)
    neutron.bind(port, *BOND)
    neutron.bind(port)
    neutron.bind(port, THIRD)
    neutron("DELETE", f"/ports/{port['id']}")
    changes = [entry["after"] for entry in neutron.rack.call("switch", "GET", f"/log?after={mark}")["log"]]
    vlan = network["provider:segmentation_id"]
    on_it = [change["filters"] for change in changes if change["untagged_vlan"] == vlan]
    assert len(on_it) >= 4
    assert on_it == [[group]] * len(on_it)


def test_a_port_that_has_left_has_no_groups_whatever_vlan_it_was_put_on_by_hand(neutron: Groups) -> None:
    group = neutron.group()
    port = neutron.port(neutron.network(), security_groups=[group])
    neutron.bind(port, ONE)
    neutron.rack.call("switch", "PATCH", f"/switches/{ONE.replace('/', '/ports/')}", {"untagged_vlan": 4000})
    neutron.bind(port)
    assert neutron.at(ONE) == (4000, [])


def test_rules_reach_every_switch_when_they_come_and_when_they_go(neutron: Groups) -> None:
    group = neutron.group()
    port = neutron.port(neutron.network(), security_groups=[group])
    neutron.bind(port, *BOND)
    web = neutron.rule(group, **HTTPS, remote_ip_prefix="192.0.2.7")
    neutron.rule(group, ethertype="IPv6", remote_group_id=group)
    told = [
        {"direction": "ingress", "ethertype": "IPv4", **HTTPS, "remote_ip_prefix": "192.0.2.7/32"},
        {"direction": "ingress", "ethertype": "IPv6", "remote_group_id": group},
    ]
    assert [neutron.filters(switch)[group] for switch in ("leaf1", "leaf2")] == [told] * 2
    neutron("DELETE", f"/security-group-rules/{web}")
    assert [neutron.filters(switch)[group] for switch in ("leaf1", "leaf2")] == [told[1:]] * 2
    neutron.update(port, security_groups=[])
    neutron("DELETE", f"/security-groups/{group}")
    assert [group in neutron.filters(switch) for switch in ("leaf1", "leaf2")] == [False, False]


def test_a_group_that_a_switch_never_heard_of_is_put_there_first(neutron: Groups) -> None:
    """A switch that is new, or was away, or a group that is older than the plugin."""
    group = neutron.group(HTTPS)
    neutron.rack.call("switch", "DELETE", f"/switches/leaf1/filters/{group}")
    port = neutron.port(neutron.network(), security_groups=[group])
    neutron.bind(port, ONE)
    assert neutron.at(ONE)[1] == [group]
    assert neutron.filters("leaf1")[group] == [{"direction": "ingress", "ethertype": "IPv4", **HTTPS}]


def test_a_ramdisk_s_port_has_no_groups_and_finds_none(neutron: Groups) -> None:
    network, group = neutron.network(), neutron.group()
    port = neutron.port(network, RAMDISK, security_groups=[group])
    neutron.rack.call("switch", "PATCH", f"/switches/{ONE.replace('/', '/ports/')}", {"filters": [group]})
    neutron.bind(port, ONE)
    assert neutron.at(ONE) == (network["provider:segmentation_id"], []), "also not what a crash has left"
    neutron.update(port, security_groups=[])
    neutron.update(port, security_groups=[group])
    assert neutron.at(ONE)[1] == []
    neutron.update(port, device_owner="compute:nova")
    assert neutron.at(ONE)[1] == [group], "it is a server's now"
    neutron.update(port, device_owner=RAMDISK)
    assert neutron.at(ONE)[1] == []


def test_a_port_that_leaves_late_takes_nothing_from_its_successor(neutron: Groups) -> None:
    first, second, group = neutron.network(), neutron.network(), neutron.group()
    old = neutron.port(first, security_groups=[group])
    neutron.bind(old, ONE)
    new = neutron.port(second, security_groups=[group])
    neutron.bind(new, ONE)
    neutron("DELETE", f"/ports/{old['id']}")
    assert neutron.at(ONE) == (second["provider:segmentation_id"], [group])


def test_a_port_is_not_put_on_its_network_without_its_groups(neutron: Groups) -> None:
    network, group = neutron.network(), neutron.group()
    port = neutron.port(network, security_groups=[group])
    neutron.fault(OTHER)
    with pytest.raises(RefusedError, match="A switch did not take the security groups") as refused:
        neutron.bind(port, *BOND)
    assert refused.value.status == 503
    assert "leaf" not in str(refused.value), "no tenant is told how the racks are wired"
    assert "Ethernet" not in str(refused.value)
    vlan = network["provider:segmentation_id"]
    assert [neutron.at(place)[0] == vlan for place in BOND] == [False, False]
    neutron.mend()
    neutron.bind(port, *BOND)
    assert [neutron.at(place) for place in BOND] == [(vlan, [group])] * 2, "asked again, it is"


def test_a_change_of_groups_that_a_switch_does_not_take_is_told_and_can_be_asked_again(neutron: Groups) -> None:
    group = neutron.group()
    port = neutron.port(neutron.network(), security_groups=[])
    neutron.bind(port, *BOND)
    neutron.fault(ONE, "drop")
    with pytest.raises(RefusedError):
        neutron.update(port, security_groups=[group])
    assert [neutron.at(place)[1] for place in BOND] == [[], [group]], "the other link has it all the same"
    neutron.mend()
    neutron.update(port, security_groups=[group])
    assert [neutron.at(place)[1] for place in BOND] == [[group]] * 2


def test_a_port_leaves_its_network_whatever_becomes_of_its_groups(neutron: Groups) -> None:
    group = neutron.group()
    port = neutron.port(neutron.network(), security_groups=[group])
    neutron.bind(port, ONE)
    neutron.fault(ONE)
    neutron.bind(port)
    assert neutron.at(ONE) == (None, []), "unplugging takes them off too"


def test_one_switch_that_is_away_keeps_no_rule_from_the_others(neutron: Groups) -> None:
    group = neutron.group()
    port = neutron.port(neutron.network(), security_groups=[group])
    neutron.bind(port, OTHER)
    neutron.fault("leaf1")
    neutron.rule(group, **HTTPS)
    assert [len(neutron.filters(switch)[group]) for switch in ("leaf1", "leaf2")] == [0, 1]
    neutron.mend()
    neutron.fault("leaf2")
    with pytest.raises(RefusedError, match=f"A switch did not take the rules of security group {group}"):
        neutron.rule(group, protocol="udp")
    assert [len(neutron.filters(switch)[group]) for switch in ("leaf1", "leaf2")] == [2, 1]
    neutron.mend()
    neutron.rule(group, protocol="icmp")
    assert [len(neutron.filters(switch)[group]) for switch in ("leaf1", "leaf2")] == [3, 3]


def test_changes_at_the_same_time_end_as_neutron_says(neutron: Groups) -> None:
    groups = [neutron.group() for _ in range(4)]
    port = neutron.port(neutron.network(), security_groups=[])
    neutron.bind(port, *BOND)
    for _ in range(3):
        neutron.fault(ONE, "slow", seconds=0.6, times=1)  # the first change gets there after the others
        wanted = [groups[: 1 + turn] for turn in range(4)]
        neutron.at_once([("PUT", f"/ports/{port['id']}", {"port": {"security_groups": each}}) for each in wanted])
        now = sorted(neutron("GET", f"/ports/{port['id']}")["security_groups"])
        assert [neutron.at(place)[1] for place in BOND] == [now] * 2


def test_a_second_group_is_refused_where_the_switch_has_one_access_list_for_a_port(neutron: Groups) -> None:
    first, second = neutron.group(), neutron.group()
    place, name = f"{OLD_SWITCH}/{uuid.uuid4().hex}", "ngs-{}".format
    port = neutron.port(neutron.network(), security_groups=[first, second])
    with pytest.raises(RefusedError, match="would have 2 security groups: its switch can enforce one") as refused:
        neutron.bind(port, place)
    assert refused.value.status == 409
    assert neutron("GET", f"/ports/{port['id']}")["binding:vif_type"] == "unbound"
    with pytest.raises(RefusedError, match="can enforce one"):
        neutron.port(neutron.network(), security_groups=[first, second], **binding(place))

    neutron.bind(port, place, security_groups=[first])
    with pytest.raises(RefusedError, match="can enforce one"):
        neutron.update(port, security_groups=[first, second])
    neutron.update(port, security_groups=[second])
    neutron.bind(port)
    switch_port = place.split("/")[1]
    assert [line for line in neutron.told_old_switch() if line.endswith(f"port {switch_port}") and "group" in line] == [
        f"apply security group {name(first)} to port {switch_port}",
        f"remove security group {name(first)} from port {switch_port}",
        f"apply security group {name(second)} to port {switch_port}",
        f"remove security group {name(second)} from port {switch_port}",
    ]


def test_a_switch_whose_section_opts_out_is_told_of_no_group(neutron: Groups) -> None:
    port_name, group = uuid.uuid4().hex, neutron.group()
    port = neutron.port(neutron.network(), security_groups=[group, neutron.group()])
    assert neutron.bind(port, f"{OPTED_OUT}/{port_name}")["binding:vif_type"] == "other"
    told = neutron.told_old_switch()
    assert any(line.startswith(f"plug port {port_name} ") for line in told)
    assert not any("security group" in line and port_name in line for line in told)
