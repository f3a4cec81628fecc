"""What a user types, read strictly."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from steelyard.discovery.targets import addresses, from_secret, parse_credentials, parse_targets, to_secret
from steelyard.errors import Invalid


def test_addresses_and_ranges_overlap_once() -> None:
    ranges = parse_targets(["10.0.0.0/30", "10.0.0.1", "2001:db8::7"])
    assert [str(a) for a in addresses(ranges)] == ["10.0.0.1", "10.0.0.2", "2001:db8::7"]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([], "at least one"),
        (["10.0.0.0/33"], "neither an address nor a CIDR"),
        (["bmc.example.org"], "neither an address nor a CIDR"),
        (["10.0.0.1/24"], "host bits"),
        ([""], "neither"),
        (["224.0.0.0/24"], "not where a BMC can be"),
        (["10.0.0.0/15"], "131,072 addresses"),
        (["10.0.0.0/16", "10.2.0.0/24"], "65,792 addresses"),
        (["2001:db8::/64"], "at most 65,536"),
        (["10.0.0.1\x1b[31m"], "neither"),
    ],
)
def test_bad_targets(targets: list[str], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_targets(targets)
    assert words in caught.value.detail
    assert caught.value.next
    assert "\x1b" not in caught.value.detail


def test_host_bits_get_a_proposal() -> None:
    with pytest.raises(Invalid) as caught:
        parse_targets(["10.0.8.17/24"])
    assert caught.value.next == "perhaps 10.0.8.0/24"


@pytest.mark.parametrize(
    "given",
    [
        [], [{}], [{"username": "a"}], [{"username": "a", "password": 7}], [{"username": "", "password": "x"}],
        [{"username": "a:b", "password": "x"}], [{"username": "a", "password": "x" * 256}],
        [{"username": "a", "password": "x", "adresses": []}], [{"username": "a", "password": "x", "addresses": 7}],
        [{"username": "a", "password": "x", "addresses": ["here"]}],
    ],
)  # fmt: skip
def test_bad_credentials(given: list[dict[str, Any]]) -> None:
    with pytest.raises(Invalid) as caught:
        parse_credentials(given)
    assert caught.value.code in ("invalid_credentials", "invalid_target")


def test_credentials_survive_the_safe() -> None:
    given = parse_credentials([{"username": "a", "password": "s3cret", "addresses": ["10.0.0.0/24"]}])
    assert from_secret(to_secret(given)) == given
    assert given[0].ranges == (ipaddress.ip_network("10.0.0.0/24"),)
    assert "s3cret" not in repr(given)
