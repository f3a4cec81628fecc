from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import Duplicate, Forbidden, Invalid
from steelyard.images import model
from steelyard.nouns import Actor, Image

MEMBER = Actor("u", "user", "p", "project", frozenset({"member", "reader"}))
ADMIN = Actor("a", "admin", "p", "project", frozenset({"admin", "member", "reader"}))


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_a_checksum_is_read_as_it_is_written(data: bytes, algorithm: str) -> None:
    digest = hashlib.new(algorithm, data).hexdigest()
    checksum = model.parse_checksum(f"{algorithm.upper()}:{digest.upper()}")
    assert str(checksum) == f"{algorithm}:{digest}"
    model.require_checksum(checksum, digest)


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", "md5:" + "0" * 32, "sha1:" + "0" * 40, "sha256:" + "0" * 63, "sha256:" + "g" * 64]
)
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        model.parse_checksum(text)
    assert refusal.value.code == "invalid_checksum"
    assert refusal.value.next


def test_one_wrong_digit_is_a_mismatch() -> None:
    wanted = model.parse_checksum("sha256:" + "0" * 64)
    with pytest.raises(Invalid) as refusal:
        model.require_checksum(wanted, "0" * 63 + "1")
    assert refusal.value.code == "checksum_mismatch"


@pytest.mark.parametrize("text", ["vmdk", "", "RAW", "vhd", "raw "])
def test_an_unknown_format_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refusal:
        model.parse_disk_format(text)
    assert refusal.value.code == "unknown_format"
    assert "raw, qcow2, iso" in refusal.value.detail


def test_only_administrators_publish() -> None:
    assert model.check_visibility(ADMIN, "public") == "public"
    assert model.check_visibility(MEMBER, "private") == "private"
    with pytest.raises(Forbidden):
        model.check_visibility(MEMBER, "public")
    with pytest.raises(Invalid):
        model.check_visibility(ADMIN, "community")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/image.raw",
        "https://example.org:8443/a/b?c=d",
        "HTTPS://EXAMPLE.ORG/",
        "http://[2001:db8::1]/x",
    ],
)
def test_a_web_address_is_taken(url: str) -> None:
    assert model.parse_url(url).hostname


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/shadow",
        "FILE:///etc/shadow",
        "ftp://example.org/x",
        "gopher://example.org/x",
        "data:text/plain,x",
        "//example.org/x",
        "example.org/x",
        "http:///x",
        "http://",
        "https://user:password@example.org/x",
        "https://token@example.org/x",
        "https://@example.org/x",
        "http://example.org/a b",
        "http://example.org/\r\nX-Auth-Token: stolen",
        "http://example.org\\@10.0.0.1/",
        "http://ex\u00e4mple.org/",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://example.org:port/",
        "http://[::1/",
        "https://example.org/" + "a" * 3000,
    ],
)
def test_what_the_server_must_not_fetch_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        model.parse_url(url)
    assert refusal.value.code == "invalid_url"
    assert "password@" not in refusal.value.detail


INSIDE = [
    "127.0.0.1", "127.77.1.1", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
    "2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not model.may_fetch_from(ip_address(address), ())


@pytest.mark.parametrize("address", ["9.9.9.9", "193.0.6.139", "2620:fe::fe", "2a00:1450:4001:80b::200e"])
def test_public_addresses_are_fetched_from(address: str) -> None:
    assert model.may_fetch_from(ip_address(address), ())


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_judged_as_itself(address: IPv4Address) -> None:
    for dressed in (
        IPv6Address(f"::ffff:{address}"),
        IPv6Address(int(IPv6Address("64:ff9b::")) | int(address)),
        IPv6Address(int(IPv6Address("2002::")) | int(address) << 80),
    ):
        assert model.may_fetch_from(dressed, ()) == model.may_fetch_from(address, ())


def test_the_operator_may_allow_a_private_network() -> None:
    allowed = model.parse_networks(["127.0.0.0/8", "fd00::/8"])
    assert model.may_fetch_from(ip_address("127.0.0.1"), allowed)
    assert model.may_fetch_from(ip_address("::ffff:127.0.0.1"), allowed)
    assert model.may_fetch_from(ip_address("fd00::1"), allowed)
    assert not model.may_fetch_from(ip_address("10.0.0.1"), allowed)
    with pytest.raises(Invalid):
        model.parse_networks(["10.0.0.0/33"])


def test_one_forbidden_address_spoils_the_name_and_is_not_told() -> None:
    assert model.check_source("good", ["9.9.9.9", "2620:fe::fe"], ()) == ["9.9.9.9", "2620:fe::fe"]
    with pytest.raises(Forbidden) as refusal:
        model.check_source("rebinding", ["9.9.9.9", "10.11.12.13"], ())
    assert "10.11.12.13" not in refusal.value.detail
    with pytest.raises(Forbidden):
        model.check_source("scoped", ["fe80::1%eth0"], ())


def _image(name: str, project: str, status: str = "active") -> Image:
    return Image("id-" + name, name, status, 1, "raw", None, "private", project, None)


def test_a_name_is_used_once_in_a_project() -> None:
    images = [_image("a", "p"), _image("b", "other"), _image("c", "p", "killed")]
    model.require_free_name("b", "p", images)
    model.require_free_name("c", "p", images)
    with pytest.raises(Duplicate) as refusal:
        model.require_free_name("a", "p", images)
    assert "id-a" in refusal.value.detail
