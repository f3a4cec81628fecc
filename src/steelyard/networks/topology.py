"""Switch, port, NIC, node, network: who is cabled where, and what the network controller has there. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from steelyard.nouns import Bond, Network, NetworkPort, Node, NodePort, SwitchLink

Place = tuple[str, str]
_NUMBER = re.compile("([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Carried:
    """A network on a switch port."""

    network_id: str
    network: str
    vlan: int | None
    tagged: bool
    status: str | None
    port_id: str
    """The network controller's."""


@dataclass(frozen=True, slots=True)
class Cable:
    """One switch port with the NIC that is plugged into it; a row of the topology."""

    switch_id: str | None
    """Chassis id; None: nobody knows the NIC's switch port."""
    switch: str | None
    port: str | None
    mac: str | None
    """None: the network controller has something on a switch port that no NIC is known to be at."""
    pxe: bool | None
    node_id: str | None
    node: str | None
    bond: str | None
    """Name of the bond that the NIC is in."""
    networks: tuple[Carried, ...]
    """What the network controller has on the switch port, the untagged one first."""


def cables(
    *,
    nodes: Iterable[Node],
    nics: Iterable[NodePort],
    bonds: Iterable[Bond],
    networks: Iterable[Network],
    attachments: Sequence[NetworkPort],
) -> list[Cable]:
    """Every NIC, and every switch port that something is bound to; by switch and port, unknown places last."""
    of_node = {node.id: node for node in nodes}
    bond_names = {bond.id: bond.name or bond.id for bond in bonds}
    carried = _carried(attachments, {network.id: network for network in networks})
    found = []
    seen: set[Place] = set()
    for nic in nics:
        place = _place(nic.link) if nic.link is not None else None
        node = of_node.get(nic.node_id)
        on_it = carried.get(place, []) if place is not None else []
        if place is not None:
            seen.add(place)
        found.append(
            Cable(
                switch_id=place[0] if place else None,
                switch=nic.link.switch_name if nic.link is not None else None,
                port=place[1] if place else None,
                mac=nic.mac,
                pxe=nic.pxe_enabled,
                node_id=nic.node_id,
                node=node.label if node is not None else None,
                bond=bond_names.get(nic.bond_id, nic.bond_id) if nic.bond_id is not None else None,
                networks=tuple(each for _, each in on_it),
            )
        )
    for place, on_it in carried.items():
        if place not in seen:
            link = on_it[0][0]
            found.append(
                Cable(
                    switch_id=place[0], switch=link.switch_name, port=place[1], mac=None, pxe=None, node_id=None,
                    node=None, bond=None, networks=tuple(each for _, each in on_it),
                )
            )  # fmt: skip
    return sorted(found, key=_order)


def _carried(
    attachments: Sequence[NetworkPort], networks: Mapping[str, Network]
) -> dict[Place, list[tuple[SwitchLink, Carried]]]:
    by_id: Mapping[str, NetworkPort] | None = None
    found: dict[Place, list[tuple[SwitchLink, Carried]]] = defaultdict(list)
    for port in attachments:
        if port.link is None:
            continue
        what = [_of(port, networks.get(port.network_id), port.network_id, None)]
        for subport in port.subports:
            by_id = by_id if by_id is not None else {each.id: each for each in attachments}
            below = by_id.get(subport.port_id)
            network_id = below.network_id if below is not None else "?"
            what.append(_of(port, networks.get(network_id), network_id, subport.vlan))
        for link in port.links:
            found[_place(link)] += [(link, each) for each in what]
    return found


def _of(port: NetworkPort, network: Network | None, network_id: str, tag: int | None) -> Carried:
    return Carried(
        network_id=network_id,
        network=network.name if network is not None else network_id,
        vlan=tag if tag is not None else network.segmentation_id if network is not None else None,
        tagged=tag is not None,
        status=port.status,
        port_id=port.id,
    )


def _place(link: SwitchLink) -> Place:
    return link.switch_id.lower(), link.port_id


def _order(cable: Cable) -> tuple[bool, str, list[str | int], str]:
    return cable.switch_id is None, cable.switch or cable.switch_id or "", _natural(cable.port or ""), cable.mac or ""


def _natural(text: str) -> list[str | int]:
    """Ethernet2 before Ethernet10: words and numbers in turn, beginning with a word."""
    return [int(part) if number % 2 else part for number, part in enumerate(_NUMBER.split(text))]


def matching(
    found: Iterable[Cable], *, switch: str | None = None, node: str | None = None, network: str | None = None
) -> list[Cable]:
    """Those at a switch, of a node and with a network; each by id or name."""
    return [
        cable
        for cable in found
        if (switch is None or switch in (cable.switch, cable.switch_id) or switch.lower() == cable.switch_id)
        and (node is None or node in (cable.node, cable.node_id))
        and (network is None or any(network in (each.network, each.network_id) for each in cable.networks))
    ]
