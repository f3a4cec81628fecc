"""What an image may be, and from where it may be fetched. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from steelyard.errors import Duplicate, Forbidden, Invalid
from steelyard.naming import check_name, shown
from steelyard.nouns import Actor, Image

Address = IPv4Address | IPv6Address
Net = IPv4Network | IPv6Network

MAX_URL = 2048
MAX_REDIRECTS = 3


class DiskFormat(StrEnum):
    """The formats that a server can be deployed or booted from (Image API v2, `disk_format`)."""

    RAW = "raw"
    """A disk or partition as it is, byte for byte."""
    QCOW2 = "qcow2"
    """QEMU's format; whole in itself, so without backing or data file."""
    ISO = "iso"
    """A CD image (ISO 9660 or UDF) to boot from."""


def parse_disk_format(text: str) -> DiskFormat:
    """Raises `Invalid` (`unknown_format`)."""
    try:
        return DiskFormat(text)
    except ValueError:
        raise Invalid(
            f"{shown(text)} is not an image format that servers can be deployed from; known are "
            f"{', '.join(DiskFormat)}.",
            code="unknown_format",
            next="qemu-img convert -O qcow2 FILE FILE.qcow2",
        ) from None


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest of the image's bytes, and how it was made."""

    algorithm: str
    """sha256 or sha512."""
    digest: str
    """Lower-case hex."""

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"

    def matches(self, digest: str) -> bool:
        return hmac.compare_digest(self.digest, digest)


_DIGEST_LENGTH = {"sha256": 64, "sha512": 128}


def parse_checksum(text: str) -> Checksum:
    """`sha256:<64 hex>` or `sha512:<128 hex>`; upper case is taken too.

    Weak algorithms (md5, sha1) are refused: a checksum that anybody can make a second file for proves nothing.
    Raises `Invalid` (`invalid_checksum`).
    """
    algorithm, colon, digest = text.strip().lower().partition(":")
    how = "sha256sum FILE, then --checksum sha256:<the 64 digits>"
    if not colon or algorithm not in _DIGEST_LENGTH:
        raise Invalid(
            f"The checksum {shown(text)} must start with sha256: or sha512:.", code="invalid_checksum", next=how
        )
    if not re.fullmatch(rf"[0-9a-f]{{{_DIGEST_LENGTH[algorithm]}}}", digest):
        raise Invalid(
            f"A {algorithm} checksum has {_DIGEST_LENGTH[algorithm]} hexadecimal digits; {shown(text)} has not.",
            code="invalid_checksum",
            next=how,
        )
    return Checksum(algorithm, digest)


def require_checksum(wanted: Checksum, found: str) -> None:
    """Raises `Invalid` (`checksum_mismatch`) unless the digest that was computed is the one that was demanded."""
    if not wanted.matches(found):
        raise Invalid(
            f"The data has the checksum {wanted.algorithm}:{found}, not {wanted}: it was damaged on its way, or it is "
            "another file. Nothing was stored.",
            code="checksum_mismatch",
            next=f"{wanted.algorithm}sum FILE",
        )


def new_digest(checksum: Checksum) -> hashlib._Hash:
    return hashlib.new(checksum.algorithm)


def check_visibility(actor: Actor, visibility: str) -> str:
    """`private` for everybody, `public` for administrators. Raises `Invalid` or `Forbidden`."""
    if visibility not in ("private", "public"):
        raise Invalid(f"The visibility is private or public, not {shown(visibility)}.", code="unknown_visibility")
    if visibility == "public" and not actor.is_admin:
        raise Forbidden("Only administrators may publish an image to all projects.", next="leave out --public")
    return visibility


def parse_url(text: str) -> SplitResult:
    """A URL that the server may fetch, as far as the text shows.

    Only http and https (`file:` and the like read the server's own files), no user name or password (they would end
    in logs and records), no control characters (they split headers). Raises `Invalid` (`invalid_url`).
    """
    if len(text) > MAX_URL:
        raise Invalid(f"The URL is longer than {MAX_URL} characters.", code="invalid_url")
    if any(not "!" <= character <= "~" or character == "\\" for character in text):
        raise Invalid(
            "The URL has a character that must be percent-encoded (or, in the host name, written as xn--…).",
            code="invalid_url",
        )
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise Invalid("The URL cannot be read.", code="invalid_url") from None
    if url.scheme not in ("http", "https"):
        raise Invalid("Only http:// and https:// URLs can be fetched.", code="invalid_url")
    if "@" in url.netloc:
        raise Invalid(
            "The URL holds a user name or password; they would be kept in records.",
            code="invalid_url",
            next="download the file, then: steelyard image add NAME FILE",
        )
    if not url.hostname:
        raise Invalid("The URL names no host.", code="invalid_url")
    if port == 0:
        raise Invalid("The URL names port 0.", code="invalid_url")
    return url


def parse_networks(texts: Sequence[str], *, setting: str = "image_sources") -> tuple[Net, ...]:
    """The networks of a setting. Raises `Invalid` (`invalid_setting`)."""
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise Invalid(f"{setting}: {error}.", code="invalid_setting") from None


def may_fetch_from(address: Address, allowed: Sequence[Net]) -> bool:
    """Whether the server may open a connection to this address on a user's behalf.

    Public unicast addresses only, unless the operator allowed the network. An IPv6 address that carries an IPv4 one
    (mapped, 6to4, Teredo, NAT64) is judged by the one that it carries too, since that is where packets may end.
    """
    if any(address.version == network.version and address in network for network in allowed):
        return True
    carried = _carried_ipv4(address)
    if carried is not None:
        return may_fetch_from(carried, allowed)
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


_GLOBAL_UNICAST = ip_network("2000::/3")
"""All that IANA has given out; what lies outside (site-local, for one) is not always known to `is_global`."""
_NAT64 = ip_network("64:ff9b::/96")
_NAT64_LOCAL = ip_network("64:ff9b:1::/48")
_IPV4_COMPATIBLE = ip_network("::/96")


def _carried_ipv4(address: Address) -> IPv4Address | None:
    if not isinstance(address, IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or address in _NAT64_LOCAL or address in _IPV4_COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def check_source(host: str, addresses: Sequence[str], allowed: Sequence[Net]) -> list[str]:
    """The addresses of the host that may be connected to: all of them, or none.

    One forbidden address among good ones is how a name is made to point inside, so it spoils the name.
    Raises `Forbidden` (`source_forbidden`). The message does not tell the address: a tenant must not learn how names
    resolve inside the data centre.
    """
    for text in addresses:
        if not may_fetch_from(ip_address(text.partition("%")[0]), allowed):
            raise Forbidden(
                f"Images may not be fetched from {shown(host)}: it is not on a public network.",
                code="source_forbidden",
                next="download the file, then: steelyard image add NAME FILE",
            )
    return list(addresses)


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image that somebody wants to add, checked as far as it can be without its data."""

    name: str
    disk_format: DiskFormat
    checksum: Checksum
    visibility: str


def new_image(actor: Actor, name: str, checksum: str, disk_format: str, visibility: str) -> NewImage:
    """Raises `Invalid` or `Forbidden`."""
    return NewImage(
        name=check_name("image", name),
        disk_format=parse_disk_format(disk_format),
        checksum=parse_checksum(checksum),
        visibility=check_visibility(actor, visibility),
    )


def require_free_name(name: str, project_id: str | None, images: Iterable[Image]) -> None:
    """A name is used once in a project. Raises `Duplicate` (`duplicate_name`)."""
    for image in images:
        if image.name == name and image.project_id == project_id and image.status not in ENDED:
            raise Duplicate(
                f"The project already has an image {shown(name)} ({image.id}).",
                code="duplicate_name",
                next=f"steelyard image show {image.id}, or choose another name",
            )


ENDED = frozenset({"deleted", "pending_delete", "killed"})
"""Glance's states of an image that will never be usable (again)."""
