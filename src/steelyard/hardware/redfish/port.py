"""The port through which Steelyard looks for management controllers (BMCs), and the values that cross it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Protocol, runtime_checkable

Address = IPv4Address | IPv6Address
AddressRange = IPv4Network | IPv6Network

ATTEMPTS_PER_BMC = 2
"""Credentials tried on one BMC at most. Most lock an account after three to five failed attempts."""


class Verdict(StrEnum):
    """What came of asking one address. Only `FOUND` carries systems; the others carry a reason."""

    FOUND = "found"
    """A Redfish service that accepted our credentials and described at least one system."""
    NOBODY = "nobody"
    """No answer to a connection attempt, or an active refusal: nothing listens there."""
    NOT_A_BMC = "not_a_bmc"
    """Something listens, but it does not speak Redfish over TLS."""
    WRONG_CREDENTIALS = "wrong_credentials"
    """A Redfish service; none of the credentials given for its address was accepted."""
    UNTRUSTED = "untrusted"
    """Its certificate is not signed by the given authority; no credentials were sent."""
    GARBAGE = "garbage"
    """A Redfish service whose answers make no sense: wrong types, too large, no systems, redirects."""
    TIMED_OUT = "timed_out"
    """Connected, then did not finish answering in time."""


@dataclass(frozen=True, slots=True)
class BmcCredential:
    """A user name and password, and the addresses that they are meant for (none: for all)."""

    username: str
    password: str = field(repr=False)
    ranges: tuple[AddressRange, ...] = ()

    def fits(self, address: Address) -> bool:
        """Whether this credential may be sent to the address."""
        return not self.ranges or any(address in each for each in self.ranges)

    def narrowness(self, address: Address) -> int:
        """How specific the match is: prefix length of the narrowest range that holds the address, -1 for 'all'."""
        return max((each.prefixlen for each in self.ranges if address in each), default=-1)


def credentials_for(address: Address, credentials: Sequence[BmcCredential]) -> list[BmcCredential]:
    """The credentials to try on the address: the most specific first, at most `ATTEMPTS_PER_BMC` of them."""
    fitting = [each for each in credentials if each.fits(address)]
    fitting.sort(key=lambda each: -each.narrowness(address))
    return fitting[:ATTEMPTS_PER_BMC]


@dataclass(frozen=True, slots=True)
class SystemIdentity:
    """One computer system as its BMC describes it (Redfish ComputerSystem). Everything but `path` may be unknown.

    Text is what the device said, with control characters removed and cut to 128 characters.
    """

    path: str
    """The system's resource path, e.g. /redfish/v1/Systems/1."""
    uuid: str | None = None
    serial: str | None = None
    vendor: str | None = None
    model: str | None = None
    asset_tag: str | None = None
    """The label that the owner gave it, as data centres write it on the front."""
    hostname: str | None = None
    power_state: str | None = None
    """on, off or None."""
    cpus: int | None = None
    """Logical processors if the BMC says so, otherwise cores, otherwise sockets."""
    memory_mib: int | None = None
    macs: tuple[str, ...] = ()
    """Lower-case with colons, in the BMC's order."""
    bmc_firmware: str | None = None
    bios_version: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What came of asking one address."""

    address: Address
    port: int
    verdict: Verdict
    reason: str | None = None
    """One sentence for whoever has to act; never holds a credential. None when found."""
    systems: tuple[SystemIdentity, ...] = ()
    fingerprint: str | None = None
    """SHA-256 of the TLS certificate presented, `sha256:<hex>`; known once a TLS handshake was done."""
    credential: BmcCredential | None = field(default=None, repr=False)
    """The credential that was accepted."""


@runtime_checkable
class BmcProber(Protocol):
    """Asks many addresses whether a BMC answers there, and which systems it manages. Changes nothing on any of them."""

    def sweep(
        self,
        targets: Iterable[Address],
        *,
        port: int,
        credentials: Sequence[BmcCredential],
        concurrency: int = 256,
        timeout: float = 10.0,
        on_found: Callable[[ProbeResult], None] | None = None,
    ) -> list[ProbeResult]:
        """Ask every target, `concurrency` at a time; results in the order of the targets.

        `timeout` is the most seconds that one answer may take; connecting may take a fifth of it (but at least two
        seconds), a whole BMC three times. Credentials are sent over TLS only, after the service has shown to be
        Redfish, and only those that fit the address. `on_found` is called as soon as a BMC is found, from the
        sweeping thread; it must be quick.
        Never raises for what a device does.
        """
