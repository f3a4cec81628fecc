"""The VLAN of each network: one for its whole life, the same on every switch, since the controller ties none to it.

A request without a VLAN is the way to put one switch port into two networks; so there is no network without one here.
The number is kept where the controller keeps it (`provider_properties`). Where none was given, Steelyard chooses it
from the operator's range: it writes, looks at all networks again, and chooses anew if another has the same number. Of
two that choose at once at least one sees the other, so no number is ever used by two.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from steelyard.clouds.contrail.reading import NETWORK_FIELDS, name_of, vlan_of
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Conflict, Invalid

TRIES = 20


def parse_range(text: str) -> range:
    """`100:999`, both ends included. Raises `Invalid` for what is no range of VLAN ids (1 to 4094)."""
    first, _, last = text.partition(":")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 1 or found[-1] > 4094:
        raise Invalid(
            f"{text[:40]!r} is no range of VLANs",
            code="invalid_vlan_range", next="set STEELYARD_CONTRAIL_VLANS to a range such as 100:999",
        )  # fmt: skip
    return found


class Vlans:
    """With Steelyard's own rights: tenants neither choose a VLAN nor see one."""

    def __init__(
        self, rest: ContrailRest, allowed: range | None, *, physical_network: str,
        choose: Callable[[Sequence[int]], int] = random.SystemRandom().choice,
    ):  # fmt: skip
        self._rest = rest
        self._allowed = allowed
        self._physical_network = physical_network
        self._choose = choose

    @property
    def chooses(self) -> bool:
        """Whether networks get their VLAN here, and not by who makes them."""
        return self._allowed is not None

    def of(self, network_id: str) -> int:
        """The network's VLAN; chosen now, if it has none.

        Raises `Conflict` (`network_without_vlan`) where it has none and the operator gave no range or the range is
        used up, `NotFound` for a network that is gone.
        """
        network = self._rest.read("virtual-network", network_id, fields=NETWORK_FIELDS)
        return vlan_of(network) or self._given(network)

    def _given(self, network: Document) -> int:
        if self._allowed is None:
            raise Conflict(
                f"the network {name_of(network)} has no VLAN, and without one no switch port can carry it alone",
                code="network_without_vlan", next="set STEELYARD_CONTRAIL_VLANS, or the network's provider_properties",
            )  # fmt: skip
        identifier = network.text("uuid")
        for _ in range(TRIES):
            free = sorted(set(self._allowed) - self._others(identifier))
            if not free:
                raise Conflict(
                    f"all VLANs from {self._allowed[0]} to {self._allowed[-1]} are taken; the network "
                    f"{name_of(network)} gets none",
                    code="network_without_vlan", next="widen STEELYARD_CONTRAIL_VLANS",
                )  # fmt: skip
            chosen = self._choose(free)
            provider = {"segmentation_id": chosen, "physical_network": self._physical_network}
            self._rest.change("virtual-network", identifier, {"provider_properties": provider})
            if chosen not in self._others(identifier):
                return self._kept(identifier, chosen)
        raise Conflict(f"no VLAN could be settled for the network {name_of(network)}", code="network_without_vlan")

    def _kept(self, identifier: str, chosen: int) -> int:
        """Another server of ours may have chosen for the same network at the same time: the last writer's stays."""
        kept = vlan_of(self._rest.read("virtual-network", identifier, fields=NETWORK_FIELDS))
        if kept == chosen:
            return chosen
        if kept is not None and kept not in self._others(identifier):
            return kept
        raise Conflict("the network's VLAN is being chosen by somebody else", code="network_without_vlan")

    def _others(self, network_id: str) -> set[int]:
        found = self._rest.objects("virtual-network", fields=("provider_properties",))
        return {vlan for each in found if each.text("uuid") != network_id and (vlan := vlan_of(each)) is not None}
