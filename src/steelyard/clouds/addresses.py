"""The port of addresses that are kept by hand; a part of `clouds.ports`, whose rules hold here too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from steelyard.address_nouns import HoldSpec
from steelyard.nouns import NetworkPort


@runtime_checkable
class Addresses(Protocol):
    """Addresses that the network controller keeps by hand: Neutron's ports that are bound to nothing, Contrail's
    instance-ips. What is kept is seen as any other port (`Attachments`)."""

    def hold(self, specs: Sequence[HoldSpec]) -> list[NetworkPort]:
        """Keep one address each, all of them or none; the controller decides who gets which.

        The same again, by its MAC, returns the port that is there. Raises `Duplicate` where somebody has the address or
        the MAC, `Conflict` where no address or no quota is left, `Invalid` for an address that the subnet cannot have.
        """

    def release(self, port_id: str) -> None:
        """Give one up; what is gone already is fine. Raises `Conflict` when a server has it, also when it got it at
        this moment."""
