"""Which address a network hands out: the walk that remembers where it was gives what a walk from the start would."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from steelyard.embedded.contrail import addresses
from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.database import Database, Thing
from steelyard.embedded.contrail.hardware import seed
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.schema import TYPES
from steelyard.embedded.contrail.service import rules
from steelyard.embedded.contrail.visibility import INTERNAL

PROJECT = ["default-domain", "default-project"]
POOLS = [{"start": "10.0.0.20", "end": "10.0.0.23"}, {"start": "10.0.0.3", "end": "10.0.0.5"}]


def _network(resources: Resources, **entry: object) -> Thing:
    subnet = {"subnet": {"ip_prefix": "10.0.0.0", "ip_prefix_len": 27}, **entry}
    refs = [{"to": [*PROJECT, "default-network-ipam"], "attr": {"ipam_subnets": [subnet]}}]
    body = {"fq_name": [*PROJECT, "n"], "network_ipam_refs": refs}
    return resources.create(INTERNAL, TYPES["virtual-network"], body)


def _expected(subnet: addresses.Subnet, taken: dict[str, str]) -> str | None:
    return next((str(address) for _, address in subnet.candidates() if str(address) not in taken), None)


@pytest.mark.parametrize("from_start", [False, True])
@pytest.mark.parametrize("pools", [[], POOLS])
@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(steps=strategies.lists(strategies.integers(-1, 31), max_size=60))
def test_the_next_address_is_that_of_a_walk_from_the_start(
    from_start: bool, pools: list[dict[str, str]], steps: list[int]
) -> None:
    """-1 allocates; another number frees that address, or takes it when it is free."""
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / "state.sqlite")
        resources = Resources(database, rules())
        seed(resources)
        network = _network(resources, addr_from_start=from_start, allocation_pools=pools)
        (subnet,) = addresses.subnets_of(network)
        for step in steps:
            taken, asked = database.addresses(network.uuid), f"10.0.0.{step}"
            with database.transaction():
                if step >= 0 and asked in taken:
                    addresses.free(database, network.uuid, asked, "somebody")
                elif step >= 0:
                    addresses.allocate(database, network, "somebody", asked=asked)
                elif (expected := _expected(subnet, taken)) is None:
                    with pytest.raises(ApiError, match="exhausted"):
                        addresses.allocate(database, network, "somebody")
                else:
                    assert addresses.allocate(database, network, "somebody")[0] == expected
        database.close()


def test_an_allocation_that_is_undone_is_given_again(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.sqlite")
    resources = Resources(database, rules())
    seed(resources)
    network = _network(resources)
    with database.transaction():
        first, _ = addresses.allocate(database, network, "a")
    with pytest.raises(RuntimeError), database.transaction():
        second, _ = addresses.allocate(database, network, "b")
        raise RuntimeError
    with database.transaction():
        assert addresses.allocate(database, network, "c")[0] == second
    assert set(database.addresses(network.uuid)) == {first, second}
    database.close()
