"""The fake `Bonds`: Ironic's port groups."""

from __future__ import annotations

import uuid

from steelyard.clouds.fake.port import FakePort, call
from steelyard.errors import Conflict, Duplicate, Invalid
from steelyard.nouns import Bond, BondSpec


class FakeBonds(FakePort):
    name = "bonds"

    @call
    def all(self, *, node_id: str | None = None) -> list[Bond]:
        return [
            bond
            for bond in self.world.bonds.values()
            if node_id in (None, bond.node_id)
            and (node := self.world.nodes.get(bond.node_id)) is not None
            and (self.sees(node.owner) or self.sees(node.lessee))
        ]

    @call
    def create(self, spec: BondSpec) -> Bond:
        self.require_admin("creating a port group")
        node = self.world.nodes.get(spec.node_id)
        if node is None:
            raise Invalid(f"node {spec.node_id} could not be found")
        if node.id in self.world.locked:
            raise Conflict(f"node {node.id} is locked by host fake, please retry")
        for known in self.world.bonds.values():
            if known.name == spec.name or known.mac == spec.mac.lower():
                raise Duplicate(f"a port group with name {spec.name} or address {spec.mac} already exists")
        bond = Bond(str(uuid.uuid4()), node.id, spec.name, spec.mac.lower(), spec.mode)
        self.world.bonds[bond.id] = bond
        return bond

    @call
    def delete(self, bond_id: str) -> None:
        bond = self.world.bonds.get(bond_id)
        if bond is None:
            return
        self.require_admin("deleting a port group")
        if bond.node_id in self.world.locked:
            raise Conflict(f"node {bond.node_id} is locked by host fake, please retry")
        if any(port.bond_id == bond_id for port in self.world.node_ports.values()):
            raise Conflict(f"port group {bond_id} is not empty")
        del self.world.bonds[bond_id]
