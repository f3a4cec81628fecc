"""What a user types to say where to look and with which credentials, read strictly. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from steelyard.errors import Invalid
from steelyard.hardware.redfish.port import Address, AddressRange, BmcCredential
from steelyard.naming import shown

MAX_ADDRESSES = 1 << 16
"""Addresses in one sweep: a /16."""
MAX_CREDENTIALS = 1000
_EXAMPLE = "steelyard discover 10.0.8.0/24 --credentials FILE"


def parse_targets(targets: Sequence[str]) -> tuple[AddressRange, ...]:
    """The ranges to sweep, without overlaps. Raises `Invalid` for what is no address or CIDR, or too much at once."""
    if not targets:
        raise Invalid("Say where to look: at least one CIDR or address.", code="invalid_target", next=_EXAMPLE)
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    for target in targets:
        found = _range(target, "target")
        if isinstance(found, ipaddress.IPv4Network):
            v4.append(found)
        else:
            v6.append(found)
    ranges: tuple[AddressRange, ...] = (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))
    total = sum(each.num_addresses for each in ranges)
    if total > MAX_ADDRESSES:
        raise Invalid(
            f"That is {total:,} addresses; one sweep takes at most {MAX_ADDRESSES:,} (a /16).",
            code="target_too_large",
            next="name smaller ranges, one sweep after the other",
        )
    return ranges


def addresses(ranges: Iterable[AddressRange]) -> Iterator[Address]:
    """Every address that a host can have, in order: without network and broadcast address where a range has them."""
    for each in ranges:
        yield from each.hosts()


def _range(text: str, what: str) -> AddressRange:
    try:
        found = ipaddress.ip_network(text.strip(), strict=True)
    except ValueError as error:
        detail = f"The {what} {shown(text)} is neither an address nor a CIDR."
        if "has host bits set" in str(error):
            proper = ipaddress.ip_network(text.strip(), strict=False)
            raise Invalid(
                f"The {what} {shown(text)} is not a CIDR: it has host bits set.",
                code="invalid_target",
                next=f"perhaps {proper}",
            ) from None
        raise Invalid(detail, code="invalid_target", next=_EXAMPLE) from None
    if found.is_multicast or found.is_unspecified:
        raise Invalid(f"The {what} {shown(text)} is not where a BMC can be.", code="invalid_target", next=_EXAMPLE)
    return found


def parse_credentials(given: Sequence[Mapping[str, Any]]) -> tuple[BmcCredential, ...]:
    """Credentials as `[{username, password, addresses?: [address or CIDR]}]`. Raises `Invalid`; never quotes one."""
    if not given:
        raise Invalid("Give at least one credential.", code="invalid_credentials", next=_EXAMPLE)
    if len(given) > MAX_CREDENTIALS:
        raise Invalid(f"{len(given)} credentials; at most {MAX_CREDENTIALS}.", code="invalid_credentials")
    return tuple(_credential(number, each) for number, each in enumerate(given, start=1))


def _credential(number: int, given: Mapping[str, Any]) -> BmcCredential:
    where = f"Credential {number}"
    if not isinstance(given, Mapping):
        raise Invalid(f"{where} is not a mapping of username and password.", code="invalid_credentials")
    if unknown := set(map(str, given)) - {"username", "password", "addresses"}:
        raise Invalid(f"{where} has unknown fields: {shown(', '.join(sorted(unknown)))}.", code="invalid_credentials")
    for name in ("username", "password"):
        value = given.get(name)
        if not isinstance(value, str) or not value or len(value) > 255:
            raise Invalid(f"{where} needs a {name}: text of 1 to 255 characters.", code="invalid_credentials")
    if ":" in given["username"]:
        raise Invalid(f"{where}: a user name cannot hold a colon (RFC 7617).", code="invalid_credentials")
    ranges = given.get("addresses") or []
    if isinstance(ranges, str):
        ranges = [ranges]
    if not isinstance(ranges, list | tuple) or not all(isinstance(each, str) for each in ranges):
        raise Invalid(f"{where}: addresses is a list of addresses or CIDRs.", code="invalid_credentials")
    return BmcCredential(
        username=given["username"],
        password=given["password"],
        ranges=tuple(_range(each, f"address of credential {number}") for each in ranges),
    )


def to_secret(credentials: Sequence[BmcCredential]) -> dict[str, str]:
    """Credentials as a value for `store.secrets`."""
    return {
        "credentials": json.dumps([
            {"username": each.username, "password": each.password, "addresses": [str(r) for r in each.ranges]}
            for each in credentials
        ])
    }  # fmt: skip


def from_secret(secret: Mapping[str, str]) -> tuple[BmcCredential, ...]:
    """The reverse of `to_secret`."""
    return parse_credentials(json.loads(secret["credentials"]))
