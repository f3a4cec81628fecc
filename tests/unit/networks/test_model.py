from __future__ import annotations

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steelyard.errors import Duplicate, Forbidden, Invalid, Refused
from steelyard.networks import model
from steelyard.networks.model import NetworkRole, OperatorNetworks
from steelyard.nouns import Actor, Network, NetworkPort

OPERATORS = OperatorNetworks({NetworkRole.CLEANING: "cleaning", NetworkRole.PROVISIONING: "id-of-provisioning"})
TENANT = Actor("u", "user", "p", "project", frozenset({"member"}))
ADMIN = Actor("a", "admin", "admin-project", "admin", frozenset({"admin", "member"}))


def network(name: str, project: str, *, id: str | None = None, shared: bool = False) -> Network:
    return Network(id or f"id-{name}", name, project, shared, "ACTIVE", 100, "vlan", "physnet1")


@pytest.mark.parametrize(
    ("name", "is_one"), [("segment-001", True), ("segment-1", False), ("my-segment-001", False), ("other", False)]
)
def test_segments_are_the_operators_by_pattern_or_id(name: str, is_one: bool) -> None:
    operators = OperatorNetworks({}, ["segment-[0-9][0-9][0-9]", "id-of-one"])
    assert (operators.role_of(network(name, "service")) is NetworkRole.SEGMENT) is is_one
    assert operators.role_of(network("x", "service", id="id-of-one")) is NetworkRole.SEGMENT
    assert operators.reserves(name) is is_one
    if is_one:
        with pytest.raises(Forbidden, match="the operator's segment network"):
            model.check_attachable(network(name, "service"), operators)
        assert not model.visible(network(name, "service", shared=True), TENANT, operators)


def port(device_id: str | None, device_owner: str | None, name: str = "") -> NetworkPort:
    return NetworkPort(
        "port-1", name, "n", "p", "aa:bb:cc:00:00:01", (), device_id, device_owner, None, None, None, None
    )


@given(st.ip_addresses(v=4), st.integers(1, 30))
def test_a_subnet_is_taken_and_an_address_in_it_is_explained(address: ipaddress.IPv4Address, length: int) -> None:
    meant = ipaddress.ip_network((address, length), strict=False)
    assume(not (meant.is_multicast or meant.is_loopback or meant.is_link_local or meant.is_reserved))
    assert model.parse_cidr(str(meant)) == meant
    if address != meant.network_address:
        with pytest.raises(Invalid) as refusal:
            model.parse_cidr(f"{address}/{length}")
        assert str(meant) in refusal.value.detail
        assert refusal.value.next == f"--subnet {meant}"


@pytest.mark.parametrize("text", ["10.0.0.0/8", "192.0.2.0/30", "fd00::/64", "2001:db8::/126", "8.8.8.0/24"])
def test_public_and_private_subnets_of_either_version_are_taken(text: str) -> None:
    assert str(model.parse_cidr(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/24", "ten/24", "010.0.0.0/8",
        "10.0.0.0/24/24", "10.0.0.0/255.255.255.0",
        "10.0.0.1/24", "10.0.0.0/31", "10.0.0.1/32", "0.0.0.0/0", "::/0", "fd00::/127",
        "fd00::/129", "127.0.0.0/8", "224.0.0.0/8", "169.254.0.0/16", "240.0.0.0/8", "fe80::/64", "ff00::/16",
        "fe80::%eth0/64", "10.0.0.0/24\n", " 10.0.0.0/24", "10.0.0.0/٢٤",
    ],
)  # fmt: skip
def test_what_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        model.parse_cidr(text)
    assert refusal.value.code == "invalid_cidr"
    assert refusal.value.detail.isprintable()


def test_each_gateway_and_server_goes_where_it_belongs() -> None:
    made = model.new_network(
        "blue",
        ["10.1.0.0/24", "fd00:1::/64"],
        operators=OPERATORS,
        gateways=["10.1.0.254"],
        dns_servers=["9.9.9.9", "2620:fe::fe", "9.9.9.9"],
    )
    four, six = made.subnets
    assert (four.gateway, four.dns_servers) == ("10.1.0.254", ("9.9.9.9",))
    assert (six.gateway, six.dns_servers) == (None, ("2620:fe::fe",))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": ""}, "invalid_name"),
        ({"name": "x\u202e"}, "invalid_name"),
        ({"name": "cleaning"}, "reserved_name"),
        ({"cidrs": []}, "invalid_cidr"),
        ({"cidrs": [f"10.{n}.0.0/24" for n in range(11)]}, "invalid_cidr"),
        ({"cidrs": ["10.1.0.0/24", "10.1.0.0/25"]}, "overlapping_subnets"),
        ({"cidrs": ["10.1.0.0/24", "10.1.0.0/24"]}, "overlapping_subnets"),
        ({"cidrs": ["10.1.0.128/25", "fd00::/64", "10.0.0.0/8"]}, "overlapping_subnets"),
        ({"gateways": ["x"]}, "invalid_gateway"),
        ({"gateways": ["10.2.0.1"]}, "invalid_gateway"),
        ({"gateways": ["10.1.0.0"]}, "invalid_gateway"),
        ({"gateways": ["10.1.0.255"]}, "invalid_gateway"),
        ({"gateways": ["10.1.0.1", "10.1.0.2"]}, "invalid_gateway"),
        ({"gateways": ["fd00::1"]}, "invalid_gateway"),
        ({"dns_servers": ["dns.example"]}, "invalid_dns"),
        ({"dns_servers": ["::"]}, "invalid_dns"),
        ({"dns_servers": ["224.0.0.1"]}, "invalid_dns"),
        ({"dns_servers": ["2620:fe::fe"]}, "invalid_dns"),
        ({"dns_servers": ["9.9.9.9"] * 6}, "invalid_dns"),
        ({"cidrs": ["10.1.0.0/30"], "dns_servers": ["10.1.0.2"]}, "invalid_cidr"),
    ],
)
def test_bad_input_names_what_is_wrong(change: dict[str, object], code: str) -> None:
    arguments: dict[str, object] = {"name": "blue", "cidrs": ["10.1.0.0/24"], **change}
    with pytest.raises(Invalid) as refusal:
        model.new_network(operators=OPERATORS, **arguments)  # type: ignore[arg-type]
    assert refusal.value.code == code


CIDRS = st.tuples(st.integers(0, 255), st.integers(8, 26)).map(
    lambda pair: str(ipaddress.ip_network((f"10.{pair[0]}.0.0", pair[1]), strict=False))
)


@given(st.lists(CIDRS, min_size=2, max_size=8))
def test_subnets_of_a_network_never_overlap(cidrs: list[str]) -> None:
    nets = [ipaddress.IPv4Network(cidr) for cidr in cidrs]
    overlap = any(a.overlaps(b) for n, a in enumerate(nets) for b in nets[n + 1 :])
    if not overlap:
        assert len(model.new_network("blue", cidrs, operators=OPERATORS).subnets) == len(nets)
        return
    with pytest.raises(Invalid) as refusal:
        model.new_network("blue", cidrs, operators=OPERATORS)
    assert refusal.value.code == "overlapping_subnets"


@given(st.integers(24, 30), st.data())
def test_no_server_is_given_the_address_of_gateway_or_dns(length: int, data: st.DataObject) -> None:
    cidr = ipaddress.IPv4Network((0x0A010000, length))
    hosts = [str(host) for host in cidr.hosts()]
    gateway = data.draw(st.none() | st.sampled_from(hosts))
    inside = data.draw(st.lists(st.sampled_from(hosts), max_size=4))
    subnet = model.NewSubnet(cidr, gateway, ("9.9.9.9", *inside))
    given_out = [
        str(ipaddress.IPv4Address(number))
        for first, last in subnet.pools
        for number in range(int(ipaddress.IPv4Address(first)), int(ipaddress.IPv4Address(last)) + 1)
    ]
    if not inside:
        assert subnet.pools == ()
        return
    assert given_out == [host for host in hosts if host not in {*inside, subnet.gateway_address}]


def test_dns_in_an_ipv6_subnet_is_kept_out_too() -> None:
    subnet = model.NewSubnet(ipaddress.IPv6Network("fd00::/64"), None, ("fd00::53", "2620:fe::fe"))
    assert subnet.pools == (("fd00::2", "fd00::52"), ("fd00::54", "fd00::ffff:ffff:ffff:ffff"))


def test_the_operators_networks_do_not_exist_for_tenants() -> None:
    for theirs in (
        network("cleaning", "service"),
        network("cleaning", "service", shared=True),
        network("renamed", "service", id="id-of-provisioning", shared=True),
    ):
        assert not model.visible(theirs, TENANT, OPERATORS)
        assert model.visible(theirs, ADMIN, OPERATORS)
        assert model.role(theirs, ADMIN, OPERATORS) is not NetworkRole.TENANT
        with pytest.raises(Forbidden) as refusal:
            model.check_attachable(theirs, OPERATORS)
        assert refusal.value.code == "operator_network"


def test_a_tenants_own_networks_do() -> None:
    for own in (network("blue", "p"), network("cleaning", "p"), network("public", "other", shared=True)):
        assert model.visible(own, TENANT, OPERATORS)
        assert model.role(own, TENANT, OPERATORS) is NetworkRole.TENANT
    model.check_attachable(network("blue", "p"), OPERATORS)


def test_a_name_is_used_once_in_a_project() -> None:
    model.require_free_name("blue", "p", [network("blue", "other"), network("red", "p")])
    with pytest.raises(Duplicate):
        model.require_free_name("blue", "p", [network("blue", "p")])


@pytest.mark.parametrize(
    ("ports", "says", "next"),
    [
        (
            [port("i1", "compute:nova")],
            "1 attachment is on the network blue: server web",
            "steelyard server delete web",
        ),
        ([port("i2", "compute:nova")], "server my server", "steelyard server delete 'my server'"),
        ([port("r", "network:router_interface")], "router r", "openstack port list --network id-blue"),
        ([port("", "", "kept")], "reserved port kept", "openstack port list"),
        ([port("n", "baremetal:none")] * 9, "9 attachments are", "openstack port list"),
    ],
)
def test_a_network_in_use_says_by_whom(ports: list[NetworkPort], says: str, next: str) -> None:
    names = {"i1": "web", "i2": "my server"}
    with pytest.raises(Refused) as refusal:
        model.require_deletable(network("blue", "p"), NetworkRole.TENANT, ports, names)
    assert refusal.value.code == "network_in_use"
    assert says in refusal.value.detail
    assert (refusal.value.next or "").startswith(next)


def test_dhcp_does_not_hold_a_network_and_an_operators_never_goes() -> None:
    model.require_deletable(network("blue", "p"), NetworkRole.TENANT, [port("d", "network:dhcp")], {})
    with pytest.raises(Refused) as refusal:
        model.require_deletable(network("cleaning", "service"), NetworkRole.CLEANING, [], {})
    assert refusal.value.code == "operator_network"
