from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.ipam import model
from steelyard.ipam.model import AddressState, OwnerKind
from steelyard.nouns import FixedAddress, Instance, Network, NetworkPort, Node, NodePort, Subnet

SUBNET = Subnet("s", "blue", "n", "p", "10.1.0.0/24", "10.1.0.1", (("10.1.0.2", "10.1.0.254"),), True)
NODE = Node(
    id="node-1", name="bm-001", driver="redfish", provision_state="active", target_provision_state=None,
    power_state="on", maintenance=False, maintenance_reason=None, last_error=None, resource_class="bm",
    traits=frozenset(), instance_id="i-metal", bmc_address=None, owner=None, lessee=None, retired=False,
    protected=False, provision_updated_at=None, created_at=None,
)  # fmt: skip
NIC = NodePort("np", "node-1", "AA:BB:CC:00:00:01", True, "physnet1", None)


def instance(id: str, name: str, node_id: str | None = None) -> Instance:
    return Instance(id, name, "ACTIVE", None, "on", "p", None, None, None, node_id, (), None)


def port(
    address: str,
    *,
    id: str = "port",
    owner: str | None = None,
    device: str | None = None,
    host: str | None = None,
    vnic: str | None = "normal",
    mac: str = "fa:16:3e:00:00:01",
    subnet: str = "s",
    name: str = "",
) -> NetworkPort:
    return NetworkPort(
        id, name, "n", "p", mac, (FixedAddress(subnet, address),), device, owner, host, vnic, "ACTIVE", None
    )


WHO = model.owners(
    [instance("i-metal", "db"), instance("i-vm", "web", "host-1"), instance("i-new", "new")], [NODE], [NIC]
)


def only(use: NetworkPort, subnet: Subnet = SUBNET, who: model.Owners = WHO) -> model.AddressUse:
    uses = [found for found in model.addresses(subnet, [use], who) if found.port_id]
    assert len(uses) == 1
    return uses[0]


@pytest.mark.parametrize(
    ("the_port", "state", "owner", "instance_name", "node_name"),
    [
        (port("10.1.0.5", owner="compute:nova", device="i-vm"), "allocated", "virtual machine", "web", None),
        (port("10.1.0.5", owner="compute:nova", device="i-metal"), "allocated", "bare metal", "db", "bm-001"),
        (port("10.1.0.5", owner="compute:a", device="far", host="node-1"), "allocated", "bare metal", None, "bm-001"),
        (port("10.1.0.5", owner="compute:az", device="unseen"), "allocated", "virtual machine", None, None),
        (port("10.1.0.5", owner="compute:a", device="unseen", vnic="baremetal"), "allocated", "bare metal", None, None),
        (port("10.1.0.5", owner="baremetal:none", device="node-1"), "allocated", "bare metal", None, "bm-001"),
        (
            port("10.1.0.5", owner="compute:nova", device="x", mac="aa:bb:cc:00:00:01"),
            "allocated", "bare metal", None, "bm-001",
        ),
        (port("10.1.0.2", owner="network:dhcp", device="dhcp-1"), "service", "dhcp", None, None),
        (port("10.1.0.3", owner="network:router_interface", device="r"), "service", "router", None, None),
        (port("10.1.0.1", owner="network:router_interface", device="r"), "gateway", "router", None, None),
        (port("10.1.0.3", owner="network:local_ip", device="x"), "service", "service", None, None),
        (port("10.1.0.9", owner="", device=""), "reserved", "nobody", None, None),
        (port("10.1.0.9", owner=None, device=None, mac="aa:bb:cc:00:00:01"), "reserved", "nobody", None, None),
        (port("10.1.0.9", owner="trunk:subport", device="t"), "allocated", "unknown", None, None),
        # In the making: Nova says in a second call that a port is its own.
        (port("10.1.0.9", owner="", device="i-vm"), "allocated", "virtual machine", "web", None),
        (port("10.1.0.9", owner="", device="i-metal"), "allocated", "bare metal", "db", "bm-001"),
        (port("10.1.0.9", owner="", device="i-new"), "allocated", "unknown", "new", None),
        (port("10.1.0.9", owner="", device="unseen"), "allocated", "unknown", None, None),
    ],
)  # fmt: skip
def test_every_port_has_an_owner(
    the_port: NetworkPort, state: str, owner: str, instance_name: str | None, node_name: str | None
) -> None:
    use = only(the_port)
    assert (use.state, use.owner, use.instance_name, use.node_name) == (state, owner, instance_name, node_name)
    assert not use.collides
    hidden = model.without_nodes(use)
    assert (hidden.node_id, hidden.node_name, hidden.owner) == (None, None, use.owner)


def test_a_node_is_found_through_nova_too() -> None:
    who = model.owners([instance("i", "x", "node-1")], [replace(NODE, instance_id=None)], [])
    assert only(port("10.1.0.5", owner="compute:nova", device="i"), who=who).node_name == "bm-001"


def test_gateway_and_dns_without_a_port_are_listed() -> None:
    subnet = replace(SUBNET, dns_servers=("10.1.0.53", "9.9.9.9", "fd00::1"))
    uses = {use.address: use for use in model.addresses(subnet, [], WHO)}
    assert {address: (use.state.value, use.owner.value) for address, use in uses.items()} == {
        "10.1.0.1": ("gateway", "gateway"),
        "10.1.0.53": ("service", "dns"),
    }
    assert model.addresses(replace(SUBNET, gateway=None), [], WHO) == []
    assert model.addresses(replace(SUBNET, gateway="192.0.2.1"), [], WHO) == []


def test_two_owners_of_one_address_are_shown_as_such() -> None:
    twins = [
        port("10.1.0.5", id="a", owner="compute:nova", device="i-vm"),
        port("10.1.0.5", id="b", owner="compute:nova", device="i-metal"),
    ]
    uses = [use for use in model.addresses(SUBNET, twins, WHO) if use.port_id]
    assert [use.collides for use in uses] == [True, True]
    assert len({use.id for use in uses}) == 2
    assert model.utilisation(SUBNET, uses).allocated == 1
    thief = only(port("10.1.0.1", owner="compute:nova", device="i-vm"))
    assert thief.collides
    assert thief.state is AddressState.ALLOCATED


def test_addresses_come_in_the_order_of_numbers() -> None:
    ports = [port(f"10.1.0.{n}", id=str(n), owner="compute:a", device="x") for n in (100, 20, 3)]
    assert [use.address for use in model.addresses(SUBNET, ports, WHO)] == [
        "10.1.0.1",
        "10.1.0.3",
        "10.1.0.20",
        "10.1.0.100",
    ]


PORTS = st.lists(
    st.tuples(
        st.integers(1, 254),
        st.sampled_from(
            [("compute:nova", "i-vm"), ("compute:nova", "i-metal"), ("network:dhcp", "d"), ("", ""), ("x", "y")]
        ),
        st.sampled_from(["s", "another"]),
    ),
    max_size=40,
)


@given(PORTS)
def test_the_counts_add_up_and_nothing_is_lost(drawn: list[tuple[int, tuple[str, str], str]]) -> None:
    ports = [
        port(f"10.1.0.{last}", id=str(number), owner=owner, device=device, subnet=subnet)
        for number, (last, (owner, device), subnet) in enumerate(drawn)
    ]
    uses = model.addresses(SUBNET, ports, WHO)
    counts = model.utilisation(SUBNET, uses)
    assert counts.allocated + counts.reserved + counts.gateway + counts.service + counts.free == counts.total == 254
    assert {use.port_id for use in uses if use.port_id} == {p.id for p in ports if p.addresses[0].subnet_id == "s"}
    assert len({use.id for use in uses}) == len(uses)
    for use in uses:
        assert use.collides == (
            sum(1 for other in uses if other.address == use.address) > 1
            or (use.address == "10.1.0.1" and use.state in (AddressState.ALLOCATED,))
        )


@given(st.integers(1, 30), st.integers(64, 126))
def test_what_is_usable_is_what_a_port_can_have(four: int, six: int) -> None:
    net = ipaddress.IPv4Network((0x0A000000, max(four, 8)), strict=False)
    assert model.usable(net) == net.num_addresses - 2
    assert model.usable(ipaddress.IPv6Network(f"fd00::/{six}")) == 2 ** (128 - six) - 1


def test_ipv6_is_counted_and_never_listed() -> None:
    subnet = replace(SUBNET, cidr="fd00:1::/64", gateway="fd00:1::1", dns_servers=("fd00:1::53",))
    uses = model.addresses(subnet, [port("fd00:1::f816:3eff:fe00:1", owner="compute:a", device="i-metal")], WHO)
    assert [(use.address, use.owner) for use in uses] == [
        ("fd00:1::1", OwnerKind.GATEWAY),
        ("fd00:1::53", OwnerKind.DNS),
        ("fd00:1::f816:3eff:fe00:1", OwnerKind.BARE_METAL),
    ]
    assert model.utilisation(subnet, uses).free == 2**64 - 1 - 3


def test_a_port_with_both_versions_counts_in_both_subnets() -> None:
    six = Subnet("six", "blue-2", "n", "p", "fd00::/64", "fd00::1", (), True)
    both = replace(
        port("10.1.0.5", owner="compute:a", device="i-vm"),
        addresses=(FixedAddress("s", "10.1.0.5"), FixedAddress("six", "fd00::5")),
    )
    plans = model.plan([SUBNET, six], [Network("n", "blue", "p", False, None, None, None, None)], [both], WHO)
    assert [(p.network_name, p.utilisation.allocated) for p in plans] == [("blue", 1), ("blue", 1)]


def test_a_full_sixteen_is_listed_and_counted() -> None:
    subnet = replace(SUBNET, cidr="10.1.0.0/16")
    ports = [port(f"10.1.{n >> 8}.{n & 255}", id=str(n), owner="compute:nova", device="i-vm") for n in range(2, 65_000)]
    uses = model.addresses(subnet, ports, WHO)
    counts = model.utilisation(subnet, uses)
    assert (len(uses), counts.allocated, counts.free) == (64_999, 64_998, 65_534 - 64_999)
