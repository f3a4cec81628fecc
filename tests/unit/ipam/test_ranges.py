from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import Invalid
from steelyard.ipam import model, ranges
from steelyard.nouns import FixedAddress, NetworkPort, Subnet


def subnet(cidr: str, *pools: tuple[str, str]) -> Subnet:
    return Subnet("s", "blue", "n", "p", cidr, None, pools, True)


def uses(where: Subnet, *addresses: str) -> list[model.AddressUse]:
    ports = [
        NetworkPort(str(n), "", "n", "p", "m", (FixedAddress("s", a),), None, None, None, "normal", "DOWN", None)
        for n, a in enumerate(addresses)
    ]
    return model.addresses(where, ports, model.owners([], [], []))


def free(where: Subnet, *addresses: str) -> list[tuple[str, str | None, bool]]:
    return [(use.address, use.last, use.pool) for use in ranges.free_ranges(where, uses(where, *addresses))]


@pytest.mark.parametrize(
    ("text", "first", "last", "count"),
    [
        ("10.1.0.5", "10.1.0.5", "10.1.0.5", 1),
        (" 10.1.0.5 - 10.1.0.9 ", "10.1.0.5", "10.1.0.9", 5),
        ("fd00::1-fd00::ff", "fd00::1", "fd00::ff", 255),
        ("FD00:0::1", "fd00::1", "fd00::1", 1),
    ],
)
def test_what_people_type(text: str, first: str, last: str, count: int) -> None:
    found = ranges.parse(text)
    assert (str(found.first), str(found.last), found.count, len(list(found))) == (first, last, count, count)
    assert ranges.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "-", "10.1.0.5-", "-10.1.0.5", "10.1.0", "10.1.0.9-10.1.0.5", "10.1.0.5-fd00::1", "10.1.0.0/24", "x", "١",
     "fe80::1%eth0", "10.1.0.5-10.1.0.6-10.1.0.7", "010.1.0.5", "\ud800"],
)  # fmt: skip
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        ranges.parse(text)
    assert refusal.value.code == "invalid_address"


def test_each_address_once_and_not_too_many() -> None:
    assert ranges.parse_all(["10.1.0.5", "10.1.0.4-10.1.0.6"]) == ["10.1.0.5", "10.1.0.4", "10.1.0.6"]
    assert len(ranges.parse_all(["10.0.0.0-10.0.3.255"])) == ranges.MOST
    for texts in (["10.0.0.0-10.0.4.0"], ["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], []):
        with pytest.raises(Invalid):
            ranges.parse_all(texts)


def test_ranges_end_where_a_pool_does() -> None:
    where = subnet("10.1.0.0/24", ("10.1.0.10", "10.1.0.20"), ("10.1.0.100", "10.1.0.254"))
    assert free(where, "10.1.0.1", "10.1.0.15") == [
        ("10.1.0.2", "10.1.0.9", False),
        ("10.1.0.10", "10.1.0.14", True),
        ("10.1.0.16", "10.1.0.20", True),
        ("10.1.0.21", "10.1.0.99", False),
        ("10.1.0.100", "10.1.0.254", True),
    ]


def test_the_edges() -> None:
    assert free(subnet("10.1.0.0/30")) == [("10.1.0.1", "10.1.0.2", False)]
    assert free(subnet("10.1.0.0/30", ("10.1.0.2", "10.1.0.2")), "10.1.0.1", "10.1.0.2") == []
    assert free(subnet("10.1.0.0/31")) == [("10.1.0.0", "10.1.0.1", False)]
    assert free(subnet("fd00::/64", ("fd00::1", "fd00::ffff:ffff:ffff:ffff")), "fd00::1") == [
        ("fd00::2", "fd00::ffff:ffff:ffff:ffff", True)
    ]
    (whole,) = ranges.free_ranges(subnet("fd00::/64"), [])
    assert ranges.count(whole) == 2**64 - 1


NUMBERS = st.integers(1, 254)


@given(st.sets(NUMBERS, max_size=60), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4))
def test_taken_and_free_are_everything_once(taken: set[int], drawn: list[tuple[int, int]]) -> None:
    bounds = sorted({n for pair in drawn for n in pair})
    pools = [(low, high) for low, high in zip(bounds[::2], bounds[1::2], strict=False)]
    where = subnet("10.1.0.0/24", *((f"10.1.0.{low}", f"10.1.0.{high}") for low, high in pools))
    used = uses(where, *(f"10.1.0.{n}" for n in taken))
    seen: set[int] = set()
    for row in ranges.free_ranges(where, used):
        first = int(ipaddress.ip_address(row.address))
        numbers = {n & 255 for n in range(first, first + ranges.count(row))}
        assert not numbers & seen
        assert {any(low <= n <= high for low, high in pools) for n in numbers} == {row.pool}
        seen |= numbers
    assert seen == set(range(1, 255)) - taken
    assert len(seen) == model.utilisation(where, used).free
    for use in used:
        assert use.pool == any(low <= int(use.address.rsplit(".")[-1]) <= high for low, high in pools)
