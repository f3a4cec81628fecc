"""The way into the fake world: the fakes of `Cloud` and `Clouds`."""

from __future__ import annotations

from collections.abc import Callable

from steelyard.clouds.fake.addresses import FakeAddresses
from steelyard.clouds.fake.baremetal import FakeNodePorts, FakeNodes, FakeProvisioning
from steelyard.clouds.fake.bonds import FakeBonds
from steelyard.clouds.fake.compute import FakeCompute, FakeFlavors, FakePlacement
from steelyard.clouds.fake.identity import FakeIdentity
from steelyard.clouds.fake.images import FakeImages
from steelyard.clouds.fake.interfaces import FakeInterfaces, FakeSecurityGroups, FakeSubInterfaces
from steelyard.clouds.fake.network import FakeAttachments, FakeNetworks
from steelyard.clouds.fake.underlay import FakeUnderlay
from steelyard.clouds.fake.world import FakeWorld
from steelyard.nouns import Actor


class FakeCloud:
    """All ports of the world with one set of credentials; `who` is asked at every call, as a token is checked."""

    def __init__(self, world: FakeWorld, who: Callable[[], Actor]):
        self.images = FakeImages(world, who)
        self.flavors = FakeFlavors(world, who)
        self.compute = FakeCompute(world, who)
        self.interfaces = FakeInterfaces(world, who)
        self.nodes = FakeNodes(world, who)
        self.provisioning = FakeProvisioning(world, who)
        self.node_ports = FakeNodePorts(world, who)
        self.bonds = FakeBonds(world, who)
        self.placement = FakePlacement(world, who)
        self.networks = FakeNetworks(world, who)
        self.attachments = FakeAttachments(world, who)
        self.sub_interfaces = FakeSubInterfaces(world, who)
        self.security_groups = FakeSecurityGroups(world, who)
        self.fabric = FakeUnderlay(world, who)
        self.addresses = FakeAddresses(world, who)


class FakeClouds:
    """The world with Steelyard's own rights (`own`) or with those of a token's holder."""

    def __init__(self, world: FakeWorld):
        self.world = world
        self.identity = FakeIdentity(world, lambda: world.service_actor)
        self.own = FakeCloud(world, lambda: world.service_actor)

    def on_behalf_of(self, token: str) -> FakeCloud:
        return FakeCloud(self.world, lambda: self.world.identities.holder(token, self.world.now))
