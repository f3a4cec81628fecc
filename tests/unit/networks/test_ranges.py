from __future__ import annotations

import ipaddress
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import Invalid
from steelyard.networks.model import OperatorNetworks, new_network
from steelyard.networks.ranges import place_pools, place_routes
from steelyard.nouns import HostRoute

BLUE, SIX = ipaddress.ip_network("10.1.0.0/24"), ipaddress.ip_network("fd00:1::/64")


def new(**changes: Any) -> Any:
    return new_network("blue", ["10.1.0.0/24", "fd00:1::/64"], operators=OperatorNetworks({}), **changes)


def test_each_pool_goes_to_the_subnet_that_it_is_in() -> None:
    made = new(pools=[("fd00:1::10", "fd00:1::20"), ("10.1.0.200", "10.1.0.210"), ("10.1.0.100", "10.1.0.110")])
    four, six = made.subnets
    assert four.pools == (("10.1.0.100", "10.1.0.110"), ("10.1.0.200", "10.1.0.210"))
    assert six.pools == (("fd00:1::10", "fd00:1::20"),)


@pytest.mark.parametrize(
    "pool",
    [
        ("10.2.0.5", "10.2.0.9"), ("10.1.0.9", "10.1.0.5"), ("10.1.0.250", "10.2.0.1"), ("x", "10.1.0.5"),
        ("10.1.0.1", "10.1.0.9"), ("10.1.0.0", "10.1.0.0"), ("10.1.0.250", "10.1.0.255"), ("10.1.0.50", "10.1.0.60"),
        ("10.1.0.5", "fd00:1::5"),
    ],
)  # fmt: skip
def test_a_pool_that_cannot_be_is_refused(pool: tuple[str, str]) -> None:
    with pytest.raises(Invalid) as refusal:
        new(pools=[pool], dns_servers=["10.1.0.53"])
    assert refusal.value.code == "invalid_pool"


def test_pools_do_not_overlap() -> None:
    with pytest.raises(Invalid, match="overlap"):
        place_pools([BLUE], [("10.1.0.10", "10.1.0.20"), ("10.1.0.20", "10.1.0.30")], {})


@given(st.lists(st.tuples(st.integers(2, 254), st.integers(2, 254)), min_size=1, max_size=6))
def test_pools_that_are_taken_are_in_order_and_apart(bounds: list[tuple[int, int]]) -> None:
    pools = [(f"10.1.0.{first}", f"10.1.0.{last}") for first, last in bounds]
    try:
        placed = place_pools([BLUE], pools, {BLUE: ["10.1.0.1"]})[BLUE]
    except Invalid:
        ordered = sorted(bounds)
        assert any(first > last for first, last in bounds) or any(
            one[1] >= other[0] for one, other in itertools.pairwise(ordered)
        )
        return
    ends = [int(ipaddress.ip_address(end)) for pool in placed for end in pool]
    assert ends == sorted(ends)
    assert sorted(placed) == sorted(pools)


def test_each_route_goes_to_the_subnet_of_its_next_hop() -> None:
    routes = [("10.9.0.0/16", "10.1.0.2"), ("fd00:9::/48", "fd00:1::2")]
    assert place_routes([BLUE, SIX], routes) == {
        BLUE: (HostRoute("10.9.0.0/16", "10.1.0.2"),), SIX: (HostRoute("fd00:9::/48", "fd00:1::2"),)
    }  # fmt: skip


@pytest.mark.parametrize(
    "route",
    [
        ("10.9.0.1/16", "10.1.0.2"), ("10.9.0.0/16", "10.2.0.2"), ("fd00:9::/48", "10.1.0.2"), ("x", "10.1.0.2"),
        ("10.9.0.0/16", "x"),
    ],
)  # fmt: skip
def test_a_route_that_cannot_be_is_refused(route: tuple[str, str]) -> None:
    with pytest.raises(Invalid) as refusal:
        new(routes=[route])
    assert refusal.value.code == "invalid_route"


def test_two_routes_to_one_destination_are_refused() -> None:
    with pytest.raises(Invalid, match="two routes"):
        new(routes=[("10.9.0.0/16", "10.1.0.2"), ("10.9.0.0/16", "10.1.0.3")])
