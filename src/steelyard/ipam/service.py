"""Use cases of the address plan. Every answer is joined from bulk lists; nothing is asked for one address."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.ipam.model import (
    AddressState,
    AddressUse,
    Owners,
    SubnetPlan,
    addresses,
    owners,
    plan,
    utilisation,
    without_nodes,
)
from steelyard.naming import pick
from steelyard.nouns import Actor, Network, Subnet


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The taken addresses of one subnet, and how much is left."""

    plan: SubnetPlan
    addresses: list[AddressUse]


class IpamService:
    """The address plan as tenants (of their own networks) and administrators (of all) see it."""

    def __init__(self, *, clouds: Clouds):
        self._clouds = clouds

    def subnets(self, actor: Actor, token: str) -> list[SubnetPlan]:
        """Every subnet that the caller may see, with its utilisation."""
        cloud, networks, subnets = self._seen(actor, token)
        ports = cloud.attachments.all(network_ids=sorted(networks) if not actor.is_admin else None)
        return plan(subnets, networks.values(), ports, self._owners(actor, cloud))

    def addresses(self, actor: Actor, token: str, reference: str, *, state: AddressState | None = None) -> AddressPlan:
        """The taken addresses of one subnet: by its id, name or CIDR, or by its network's name if it has one subnet.

        The utilisation counts all of them, also with `state`, which narrows the list.
        """
        cloud, networks, subnets = self._seen(actor, token)
        subnet = _pick(reference, subnets, networks)
        ports = cloud.attachments.all(network_ids=[subnet.network_id])
        uses = addresses(subnet, ports, self._owners(actor, cloud))
        if not actor.is_admin:
            uses = [without_nodes(use) for use in uses]
        return AddressPlan(
            plan=SubnetPlan(subnet, networks[subnet.network_id].name, utilisation(subnet, uses)),
            addresses=[use for use in uses if state is None or use.state is state],
        )

    def _seen(self, actor: Actor, token: str) -> tuple[Cloud, dict[str, Network], list[Subnet]]:
        """Administrators see all; tenants their own networks only: of a shared one they would see a part of the use."""
        cloud = self._clouds.own if actor.is_admin else self._clouds.on_behalf_of(token)
        networks = {
            network.id: network
            for network in cloud.networks.all()
            if actor.is_admin or network.project_id == actor.project_id
        }
        return cloud, networks, [subnet for subnet in cloud.networks.subnets() if subnet.network_id in networks]

    def _owners(self, actor: Actor, cloud: Cloud) -> Owners:
        """Nodes are looked up with Steelyard's rights for tenants too: that it is bare metal is no secret, which is."""
        own = self._clouds.own
        return owners(cloud.compute.all(all_projects=actor.is_admin), own.nodes.all(), own.node_ports.all())


def _pick(reference: str, subnets: list[Subnet], networks: dict[str, Network]) -> Subnet:
    def names(subnet: Subnet) -> str:
        for name in (subnet.name, subnet.cidr, subnet.network_id, networks[subnet.network_id].name):
            if name == reference:
                return name
        return ""

    return pick("subnet", reference, subnets, id=lambda subnet: subnet.id, name=names, next="steelyard ipam subnets")
