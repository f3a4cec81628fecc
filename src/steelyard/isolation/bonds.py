"""NICs that act as one: what a bond is to the network controller. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.nouns import Bond, Lag, NodePort


def lag_of(nic: NodePort, nics: Iterable[NodePort], bonds: Iterable[Bond]) -> Lag | None:
    """The bond that the NIC acts in, with the cables of all its members; None for a NIC by itself."""
    if nic.bond_id is None:
        return None
    members = sorted((each for each in nics if each.bond_id == nic.bond_id), key=lambda each: each.mac)
    bond = next((each for each in bonds if each.id == nic.bond_id), None)
    links = tuple(each.link for each in members if each.link is not None)
    if bond is None:
        return Lag(nic.bond_id, None, links)
    return Lag(bond.id, bond.name, links, bond.mode)
