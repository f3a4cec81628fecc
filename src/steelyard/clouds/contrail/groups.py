"""Virtual port groups: which switch ports carry which ports' networks; read, never guessed.

The controller makes a group of its own (`vpg-internal-N`) for the switch ports of a bare-metal VMI: one interface is an
access port, two or more on one leaf are a LAG, on two leaves they are multihomed. It does not keep a switch port out of
a second network unless a VLAN was sent, so after every flip the group is read back here and must hold exactly one
untagged network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from steelyard.clouds.contrail.reading import (
    GROUP_FIELDS,
    PORT_FIELDS,
    links_in,
    network_id_of,
    pairs_of,
    ref_ids,
    tag_of,
)
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Invalid, NotFound
from steelyard.nouns import SwitchLink

GSC = "default-global-system-config"
DEFAULT_FABRIC = "default-fabric"
CHASSIS_FRESH = 60.0
"""Seconds for which the MACs of switches are believed."""
INTERNAL = "vpg-internal-"
"""Begins the names of groups that the controller makes, and removes, itself."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A switch port as the controller knows it (physical-interface)."""

    id: str
    switch: str
    """Name of its physical-router."""
    name: str
    group_ids: tuple[str, ...]
    """Of the port groups that it is in; more than one is not as it should be."""


@dataclass(frozen=True, slots=True)
class Group:
    """A virtual port group."""

    id: str
    name: str
    interface_ids: frozenset[str]
    port_ids: tuple[str, ...]
    """Of the VMIs whose networks its switch ports carry."""
    places: tuple[tuple[str, str], ...] = ()
    """Its switch ports by name: the switch's, and the port's in the controller."""

    @property
    def internal(self) -> bool:
        return self.name.startswith(INTERNAL)


@dataclass(frozen=True, slots=True)
class Carried:
    """One network on a group, by the port that brings it."""

    port_id: str
    network_id: str
    tag: int | None
    """None: untagged."""
    vlan: str | None
    """The untagged VLAN that was sent."""
    host_id: str | None


class Groups:
    """With Steelyard's own rights: tenants never see interfaces or port groups."""

    def __init__(self, rest: ContrailRest, *, clock: Callable[[], float] = time.monotonic):
        self._rest = rest
        self._clock = clock
        self._chassis: tuple[float, Mapping[str, str]] = (float("-inf"), {})

    def links(self, ports: Iterable[Document], groups: Iterable[Group]) -> dict[str, tuple[SwitchLink, ...]]:
        """The switch ports that each port is on, by the port's uuid: those of its group, whatever its profile says.

        The profile's word for one of them is kept, since it has the switch's id and the switch's own name for the
        port; for one that it does not name, the id is what the controller has as the switch's MAC. A port in no group
        has what its profile says.
        """
        of: dict[str, list[tuple[str, str]]] = {}
        for group in groups:
            for port_id in group.port_ids:
                of.setdefault(port_id, []).extend(group.places)
        found: dict[str, tuple[SwitchLink, ...]] = {}
        for port in ports:
            said = links_in(pairs_of(port))
            places = of.get(port.text("uuid")) or []
            by_place = {(link.switch_name or "", interface_name(link.port_id)): link for link in said}
            if set(places) == by_place.keys() or not places:
                found[port.text("uuid")] = said  # in the order in which they were given
            else:
                found[port.text("uuid")] = tuple(by_place.get(place) or self._link_at(place) for place in places)
        return found

    def _link_at(self, place: tuple[str, str]) -> SwitchLink:
        switch, port = place
        return SwitchLink(self._chassis_ids().get(switch, ""), port, switch)

    def _chassis_ids(self) -> Mapping[str, str]:
        """MACs of switches by name, as the controller has them; a minute old at most."""
        if self._clock() - self._chassis[0] > CHASSIS_FRESH:
            found = self._rest.objects("physical-router", fields=("physical_router_management_mac",))
            known = {
                names[-1]: mac.lower()
                for each in found
                if (names := each.texts("fq_name")) and (mac := each.maybe_text("physical_router_management_mac"))
            }
            self._chassis = (self._clock(), known)
        return self._chassis[1]

    def interfaces(self, links: Sequence[SwitchLink]) -> list[Interface]:
        """The switch ports of these cables. Raises `NotFound` (`unknown_switch_port`) for one that is not known."""
        return [self._interface(link) for link in links]

    def _interface(self, link: SwitchLink) -> Interface:
        if not link.switch_name:
            raise Invalid(
                f"the cable into {link.switch_id} {link.port_id} has no switch name, by which the controller knows it",
                code="no_switch_name", next="steelyard node inspect NODE, or set switch_info on the port in Ironic",
            )  # fmt: skip
        port = interface_name(link.port_id)
        found = self._rest.find("physical-interface", [GSC, link.switch_name, port])
        if found is None:
            raise NotFound(
                f"the controller knows no interface {port} of the switch {link.switch_name}",
                code="unknown_switch_port", next="steelyard network preflight",
            )  # fmt: skip
        fields = ("virtual_port_group_back_refs",)
        read = self._rest.read("physical-interface", found, fields=fields)
        return Interface(found, link.switch_name, port, ref_ids(read, "virtual_port_group_back_refs"))

    def fabric_of(self, switch: str) -> str:
        """Name of the fabric that a switch is in."""
        found = self._rest.find("physical-router", [GSC, switch])
        if found is not None:
            refs = self._rest.read("physical-router", found, fields=("fabric_refs",)).documents(
                "fabric_refs", "a fabric"
            )
            if refs and (names := refs[0].texts("to")):
                return names[-1]
        return DEFAULT_FABRIC

    def read(self, identifier: str) -> Group | None:
        """None for one that is gone."""
        try:
            return group_of(self._rest.read("virtual-port-group", identifier))
        except NotFound:
            return None

    def some(self, identifiers: Iterable[str]) -> list[Group]:
        return [group for each in dict.fromkeys(identifiers) if (group := self.read(each)) is not None]

    def all(self) -> list[Group]:
        found = self._rest.objects("virtual-port-group", fields=(*GROUP_FIELDS,))
        return [group_of(each) for each in found]

    def of_port(self, port_id: str) -> list[Group]:
        """The groups that have the port. Read anew: this is what flips are proven by."""
        port = self._rest.read("virtual-machine-interface", port_id, fields=("virtual_port_group_back_refs",))
        return [
            group for group in self.some(ref_ids(port, "virtual_port_group_back_refs")) if port_id in group.port_ids
        ]

    def carried(self, groups: Iterable[Group]) -> list[Carried]:
        """What the switch ports of these groups carry."""
        ids = [port_id for group in groups for port_id in group.port_ids]
        found = self._rest.objects("virtual-machine-interface", ids=ids, fields=PORT_FIELDS) if ids else []
        return [carried_by(each) for each in found]

    def leave(self, group: Group, port_id: str) -> None:
        """Take a port out of a group whose switch ports stay the others'."""
        self._rest.refer("virtual-port-group", group.id, "virtual-machine-interface", port_id, operation="DELETE")

    def empty(self, group: Group) -> None:
        """Take all switch ports out of a group."""
        for interface_id in sorted(group.interface_ids):
            self._rest.refer("virtual-port-group", group.id, "physical-interface", interface_id, operation="DELETE")

    def remove_if_empty(self, group_id: str) -> None:
        """A group that the controller made goes with its last port; its own clean-up may have been faster."""
        group = self.read(group_id)
        if group is None or not group.internal or group.port_ids:
            return
        self.empty(group)
        self._rest.remove("virtual-port-group", group.id)


def interface_name(port_id: str) -> str:
    """A switch port as the controller names it: a ":" stands for the end of a name there."""
    return port_id.replace(":", "_")


def group_of(found: Document) -> Group:
    names = found.texts("fq_name")
    return Group(
        id=found.text("uuid"),
        name=names[-1] if names else "",
        interface_ids=frozenset(ref_ids(found, "physical_interface_refs")),
        port_ids=ref_ids(found, "virtual_machine_interface_refs"),
        places=tuple(
            (name[-2], name[-1])
            for ref in found.documents("physical_interface_refs", "a reference")
            if len(name := ref.texts("to")) >= 2
        ),
    )


def carried_by(port: Document) -> Carried:
    bindings = pairs_of(port)
    return Carried(
        port_id=port.text("uuid"),
        network_id=network_id_of(port),
        tag=tag_of(port),
        vlan=bindings.get("tor_port_vlan_id"),
        host_id=bindings.get("host_id"),
    )
