"""A cloud whose networks are the controller's own, and all else OpenStack's."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.clouds.contrail.attachments import ContrailAttachments
from steelyard.clouds.contrail.fabric import ContrailFabric
from steelyard.clouds.contrail.flips import Flips
from steelyard.clouds.contrail.groups import Groups
from steelyard.clouds.contrail.holding import ContrailAddresses
from steelyard.clouds.contrail.networks import ContrailNetworks
from steelyard.clouds.contrail.rest import ContrailRest
from steelyard.clouds.contrail.sub_interfaces import ContrailSecurityGroups, ContrailSubInterfaces
from steelyard.clouds.contrail.vlans import Vlans
from steelyard.clouds.openstack import OpenstackCloud, OpenstackClouds


@dataclass(frozen=True, slots=True)
class Controller:
    """The controller as the operator describes it."""

    url: str | None = None
    """Base of its config API (`http://controller:8082`); None to take it from the catalogue."""
    vlans: range | None = None
    """From which networks without a VLAN get one; None: whoever makes a network gives it one."""
    physical_network: str = "physnet1"
    enforces_security_groups: bool = False
    """Whether its fabric manager filters at the switch ports of servers by their security groups."""


class ContrailCloud:
    """All ports of the cloud with one set of credentials; those of the network by the controller's API."""

    def __init__(self, cloud: OpenstackCloud, rest: ContrailRest, operator: ContrailRest, controller: Controller):
        self.images = cloud.images
        self.flavors = cloud.flavors
        self.compute = cloud.compute
        self.interfaces = cloud.interfaces
        self.nodes = cloud.nodes
        self.provisioning = cloud.provisioning
        self.node_ports = cloud.node_ports
        self.bonds = cloud.bonds
        self.placement = cloud.placement
        vlans = Vlans(operator, controller.vlans, physical_network=controller.physical_network)
        groups = Groups(operator)
        flips = Flips(operator, groups, vlans)
        self.networks = ContrailNetworks(rest, vlans)
        self.attachments = ContrailAttachments(rest, operator, groups, flips)
        self.sub_interfaces = ContrailSubInterfaces(rest, vlans, flips, self.attachments)
        self.security_groups = ContrailSecurityGroups(rest, enforced=controller.enforces_security_groups)
        self.fabric = ContrailFabric(rest, groups)
        self.addresses = ContrailAddresses(rest, operator, self.attachments)


class ContrailClouds:
    """An OpenStack cloud with a Contrail/OpenSDN controller. Connects at the first call, not before.

    Whether Neutron itself stands on that controller makes no difference: the ids of networks, subnets and ports are the
    same in both, and what Neutron does not tell (port groups, switch ports, VLANs) is read here.
    """

    def __init__(self, clouds: OpenstackClouds, controller: Controller):
        self._clouds = clouds
        self._controller = controller
        self._operator = ContrailRest(clouds.own.access, url=controller.url)
        self.identity = clouds.identity
        self.own = ContrailCloud(clouds.own, self._operator, self._operator, controller)

    def on_behalf_of(self, token: str) -> ContrailCloud:
        """With the very token that was given; Steelyard's own rights serve only for the map of switch ports."""
        cloud = self._clouds.on_behalf_of(token)
        rest = ContrailRest(cloud.access, url=self._controller.url)
        return ContrailCloud(cloud, rest, self._operator, self._controller)
