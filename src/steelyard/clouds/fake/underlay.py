"""The fake of `Fabric`: what the fake controller is set up with, to be changed by tests."""

from __future__ import annotations

from collections.abc import Collection

from steelyard.clouds.fake.port import FakePort, call
from steelyard.nouns import FabricFacts, Leftover, NetworkFacts


class FakeUnderlay(FakePort):
    name = "fabric"

    @call
    def facts(self, network_ids: Collection[str] = ()) -> FabricFacts:
        self.require_admin("reading the fabric")
        fabric = self.world.fabric
        with_dhcp = {subnet.network_id for subnet in fabric.subnets.values() if subnet.dhcp}
        return FabricFacts(
            controller="neutron",
            networks={
                each: NetworkFacts(
                    each, ("everybody",) if fabric.networks[each].shared else (), each in with_dhcp, 1500
                )
                for each in network_ids
                if each in fabric.networks
            },
        )

    @call
    def leftovers(self) -> list[Leftover]:
        self.require_admin("reading the fabric")
        return list(self.world.leftovers)

    @call
    def remove(self, kind: str, identifier: str) -> None:
        self.require_admin("removing objects of the controller")
        there = [each for each in self.world.leftovers if (each.kind, each.id) == (kind, identifier)]
        for leftover in there:
            self.world.leftovers.remove(leftover)
