"""Ironic's port groups (Bare Metal API v1)."""

from __future__ import annotations

from steelyard.clouds.openstack.baremetal import IronicRest, vif_of
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import part
from steelyard.nouns import Bond, BondSpec

FIELDS = ("uuid", "node_uuid", "name", "address", "mode", "internal_info")


class OpenstackBonds:
    """The bonds of all nodes."""

    def __init__(self, ironic: IronicRest):
        self._ironic = ironic

    def all(self, *, node_id: str | None = None) -> list[Bond]:
        params = {"fields": ",".join(FIELDS), **({"node": node_id} if node_id else {})}
        found = self._ironic.rest.pages("portgroups", "portgroups", what="a port group", id="uuid", params=params)
        return [bond_of(group) for group in found]

    def create(self, spec: BondSpec) -> Bond:
        body = {
            "node_uuid": spec.node_id, "name": spec.name, "address": spec.mac, "mode": spec.mode,
            # Its ports are used one by one as well: a ramdisk boots over one of them, before there is a bond.
            "standalone_ports_supported": True,
        }  # fmt: skip
        return bond_of(self._ironic.rest.post("portgroups", body, what="a port group"))

    def delete(self, bond_id: str) -> None:
        self._ironic.rest.delete(f"portgroups/{part(bond_id)}")


def bond_of(found: Document) -> Bond:
    """A port group as the API has it."""
    return Bond(
        id=found.text("uuid"),
        node_id=found.text("node_uuid"),
        name=found.maybe_text("name"),
        mac=(mac := found.maybe_text("address")) and mac.lower(),
        mode=found.maybe_text("mode") or "active-backup",
        vif_id=vif_of(found),
    )
