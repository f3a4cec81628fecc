"""What of a fake node can be attached: a NIC by itself, or the NICs of a bond as one (Ironic's port-like objects)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from steelyard.nouns import Bond, Lag, NodePort, SwitchLink


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing to attach to."""

    mac: str
    links: tuple[SwitchLink, ...]
    bond: Bond | None
    pxe: bool

    @property
    def lag(self) -> Lag | None:
        return None if self.bond is None else Lag(self.bond.id, self.bond.name, self.links, self.bond.mode)


def units(nics: Iterable[NodePort], bonds: Mapping[str, Bond]) -> list[Unit]:
    """In Ironic's order of preference: bonds, then NICs that boot, then by MAC."""
    members: dict[str, list[NodePort]] = {}
    found: list[Unit] = []
    for nic in sorted(nics, key=lambda nic: nic.mac):
        if nic.bond_id is not None:
            members.setdefault(nic.bond_id, []).append(nic)
        else:
            found.append(Unit(nic.mac, (nic.link,) if nic.link else (), None, nic.pxe_enabled))
    for bond_id, mates in members.items():
        bond = bonds[bond_id]
        links = tuple(nic.link for nic in mates if nic.link is not None)
        found.append(Unit(bond.mac or mates[0].mac, links, bond, any(nic.pxe_enabled for nic in mates)))
    return sorted(found, key=lambda unit: (unit.bond is None, not unit.pxe, unit.mac))
