"""Seeding networks: what is missing is made, in two requests, and what is there is left alone."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

import pytest

from steelyard.embedded import networks
from steelyard.errors import Conflict, Unavailable

SEGMENTS = range(2101, 2165)


class Neutron:
    """Keeps what it is asked to make, and counts the requests that make something."""

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {"networks": [], "subnets": []}
        self.asked: list[str] = []

    def request(self, port: int, method: str, path: str, *, body: Any = None) -> dict[str, Any]:
        kind = path.rsplit("/", 1)[1]
        if method == "GET":
            return {kind: self.kept[kind]}
        self.asked.append(kind)
        made = [{**one, "id": f"{kind}-{one['name']}", "project_id": "service"} for one in body[kind]]
        self.kept[kind] += made
        return {kind: made}


@pytest.fixture
def neutron() -> Any:
    return Neutron()


def test_all_are_made_in_two_requests_and_nothing_twice(neutron: Any) -> None:
    ids = networks.seed(neutron, 1, SEGMENTS)
    assert neutron.asked == ["networks", "subnets"]
    assert len(ids) == len(neutron.kept["subnets"]) == 5 + 64
    assert {"cleaning", "quarantine", "segment-001", "segment-064"} <= ids.keys()
    assert networks.seed(neutron, 1, SEGMENTS) == ids
    assert neutron.asked == ["networks", "subnets"]


def test_a_neutron_that_cannot_yet_is_asked_again_and_not_for_ever(
    neutron: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, waited = iter([True, True, False]), list[float]()

    def request(*arguments: Any, **more: Any) -> Any:
        if arguments[1] == "POST" and next(answers, False):
            raise Unavailable("POST /v2.0/networks: 503")
        return Neutron.request(neutron, *arguments, **more)

    monkeypatch.setattr(neutron, "request", request)
    assert len(networks.seed_patiently(neutron, 1, SEGMENTS, sleep=waited.append)) == 5 + 64
    assert len(waited) == 2
    answers = iter([True] * 100)
    neutron.kept["networks"].clear()
    with pytest.raises(Unavailable):
        networks.seed_patiently(neutron, 1, SEGMENTS, sleep=waited.append)


def test_a_larger_rack_gets_what_is_missing(neutron: Any) -> None:
    networks.seed(neutron, 1, SEGMENTS[:4])
    networks.seed(neutron, 1, SEGMENTS[:6])
    assert [one["name"] for one in neutron.kept["networks"][-2:]] == ["segment-005", "segment-006"]


def test_no_two_share_a_vlan_or_an_address(neutron: Any) -> None:
    networks.seed(neutron, 1, SEGMENTS)
    vlans = [one["provider:segmentation_id"] for one in neutron.kept["networks"]]
    assert len(set(vlans)) == len(vlans)
    assert not any(one["shared"] for one in neutron.kept["networks"])
    ranges = sorted(ipaddress.ip_network(one["cidr"]) for one in neutron.kept["subnets"])
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(ranges))


def test_a_tenants_network_of_the_same_name_is_left_alone(neutron: Any) -> None:
    theirs = {"name": "segment-001", "id": "theirs", "provider:segmentation_id": 100, "project_id": "demo"}
    neutron.kept["networks"].append(theirs)
    assert networks.seed(neutron, 1, SEGMENTS)["segment-001"] != "theirs"


def test_one_on_anothers_vlan_is_told_of(neutron: Any) -> None:
    wrong = {"name": "segment-001", "id": "x", "provider:segmentation_id": 2102, "project_id": "service"}
    neutron.kept["networks"].append(wrong)
    with pytest.raises(Conflict, match="segment-001 exists on VLAN 2102 instead of 2101"):
        networks.seed(neutron, 1, SEGMENTS)
