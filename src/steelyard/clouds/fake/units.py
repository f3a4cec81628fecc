"""What of a fake node can be attached: a NIC by itself, or the NICs of a bond as one (Ironic's port-like objects)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from steelyard.nouns import Bond, Lag, NodePort, SwitchLink


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing to attach to."""

    id: str
    """The NIC's or the bond's."""
    mac: str
    links: tuple[SwitchLink, ...]
    bond: Bond | None
    pxe: bool
    vif_id: str | None = None

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
            found.append(Unit(nic.id, nic.mac, (nic.link,) if nic.link else (), None, nic.pxe_enabled, nic.vif_id))
    for bond_id, mates in members.items():
        bond = bonds[bond_id]
        links = tuple(nic.link for nic in mates if nic.link is not None)
        pxe = any(nic.pxe_enabled for nic in mates)
        found.append(Unit(bond.id, bond.mac or mates[0].mac, links, bond, pxe, bond.vif_id))
    return sorted(found, key=lambda unit: (unit.bond is None, not unit.pxe, unit.mac))
