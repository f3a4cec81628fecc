"""Use cases of networks: tenants' own, made and removed with their own token; the operator's, hidden from them."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard.clouds.observing import Observer
from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Forbidden, SteelyardError, UpstreamError
from steelyard.naming import pick, require_meant
from steelyard.networks.model import (
    NetworkRole,
    NewNetwork,
    OperatorNetworks,
    ShownNetwork,
    check_attachable,
    new_network,
    require_deletable,
    require_free_name,
    role,
    visible,
)
from steelyard.networks.topology import Cable, cables, matching
from steelyard.nouns import Actor, Network, NetworkPort, Subnet, SubnetSpec
from steelyard.settings import Settings


def operator_networks(settings: Settings) -> OperatorNetworks:
    """The operator's networks as the settings name them."""
    return OperatorNetworks(
        {
            NetworkRole.PROVISIONING: settings.provisioning_network,
            NetworkRole.CLEANING: settings.cleaning_network,
            NetworkRole.INSPECTION: settings.inspection_network,
            NetworkRole.RESCUE: settings.rescue_network,
            NetworkRole.QUARANTINE: settings.quarantine_network,
        },
        settings.segments,
    )


class NetworkService:
    """Networks as tenants and administrators handle them."""

    def __init__(self, *, clouds: Clouds, settings: Settings):
        self._clouds = clouds
        self._operators = operator_networks(settings)

    def all(self, actor: Actor, token: str) -> list[ShownNetwork]:
        """Every network that the caller may know of, with its subnets and its role."""
        cloud = self._seen_by(actor, token)
        subnets: dict[str, list[Subnet]] = {}
        for subnet in cloud.networks.subnets():
            subnets.setdefault(subnet.network_id, []).append(subnet)
        return [
            ShownNetwork(
                network=network,
                role=role(network, actor, self._operators),
                subnets=tuple(sorted(subnets.get(network.id, []), key=lambda subnet: subnet.cidr)),
            )
            for network in cloud.networks.all()
            if visible(network, actor, self._operators)
        ]

    def get(self, actor: Actor, token: str, reference: str) -> ShownNetwork:
        """By id or name. What the caller may not know of is not found."""
        return pick(
            "network",
            reference,
            self.all(actor, token),
            id=lambda shown: shown.network.id,
            name=lambda shown: shown.network.name,
            next="steelyard network list",
        )

    def attachments(self, actor: Actor, token: str, network: Network) -> list[NetworkPort]:
        """Who is on the network."""
        return self._seen_by(actor, token).attachments.all(network_ids=[network.id])

    def attachable(self, actor: Actor, token: str, references: Sequence[str]) -> list[Network]:
        """The networks that a server may be attached to, by id or name, in the order given.

        An administrator sees everybody's, but by name only the project's own, the shared and the operator's: a name
        must not put a server on another tenant's network.

        Raises `NotFound` for what the caller may not see, `Forbidden` (`operator_network`) for the operator's.
        """
        found = []
        known = self.all(actor, token)
        for reference in references:
            network = pick(
                "network",
                reference,
                [each for each in known if each.network.id == reference or self._is_near(each, actor)],
                id=lambda shown: shown.network.id,
                name=lambda shown: shown.network.name,
                next="steelyard network list",
            ).network
            check_attachable(network, self._operators)
            found.append(network)
        return found

    @staticmethod
    def _is_near(shown: ShownNetwork, actor: Actor) -> bool:
        network = shown.network
        return network.project_id == actor.project_id or network.shared or shown.role is not NetworkRole.TENANT

    def create(
        self,
        actor: Actor,
        token: str,
        name: str,
        cidrs: Sequence[str],
        *,
        gateways: Sequence[str] = (),
        dns_servers: Sequence[str] = (),
        pools: Sequence[tuple[str, str]] = (),
        routes: Sequence[tuple[str, str]] = (),
    ) -> ShownNetwork:
        """A network that only the caller's project sees, with its subnets; all of it or nothing.

        Raises `Invalid`, `Duplicate`, and what the network controller refuses.
        """
        wanted = new_network(
            name, cidrs, operators=self._operators, gateways=gateways, dns_servers=dns_servers, pools=pools,
            routes=routes,
        )  # fmt: skip
        if actor.project_id is None:
            raise Forbidden(
                "A system-scoped token has no project that a network could belong to.",
                code="no_project",
                next="use a project-scoped entry of clouds.yaml (--os-cloud)",
            )
        cloud = self._clouds.on_behalf_of(token)
        require_free_name(wanted.name, actor.project_id, cloud.networks.all())
        network = cloud.networks.create(wanted.name)
        try:
            subnets = self._create_subnets(cloud, network, wanted)
        except SteelyardError as error:
            self._undo(cloud, network, error)
            raise
        except BaseException as error:
            self._undo(cloud, network, UpstreamError("The subnet could not be created.", internal=repr(error)))
            raise
        return ShownNetwork(network=network, role=NetworkRole.TENANT, subnets=tuple(subnets))

    def delete(self, actor: Actor, token: str, reference: str) -> None:
        """Raises `Refused` while somebody is on it, and always for the operator's networks."""
        found = self.get(actor, token, reference)
        network = found.network
        cloud = self._seen_by(actor, token)
        if not actor.is_admin and network.project_id != actor.project_id:
            raise Forbidden(
                f"The network {network.name} belongs to another project.",
                code="not_owner",
                next="steelyard network list",
            )
        users = cloud.attachments.all(network_ids=[network.id])
        names = {instance.id: instance.name for instance in cloud.compute.all(all_projects=actor.is_admin)}
        require_deletable(network, found.role, users, names)
        theirs = actor.project_id is not None and network.project_id != actor.project_id
        next_command = f"steelyard network delete {network.id}"
        require_meant("network", reference, network.id, theirs=theirs, next=next_command)
        cloud.networks.delete(network.id)

    def _create_subnets(self, cloud: Cloud, network: Network, wanted: NewNetwork) -> list[Subnet]:
        return [
            cloud.networks.create_subnet(
                SubnetSpec(
                    name=wanted.name if number == 0 else f"{wanted.name}-{number + 1}",
                    network_id=network.id,
                    cidr=str(subnet.cidr),
                    gateway=subnet.gateway_address,
                    pools=subnet.pools,
                    dns_servers=subnet.dns_servers,
                    host_routes=subnet.host_routes,
                )
            )
            for number, subnet in enumerate(wanted.subnets)
        ]

    def _undo(self, cloud: Cloud, network: Network, why: SteelyardError) -> None:
        try:
            cloud.networks.delete(network.id)
        except SteelyardError as error:
            raise UpstreamError(
                f"{why.detail} The network {network.name} was left behind without a subnet, since it could not be "
                f"removed either: {error.detail}",
                code="network_left_behind",
                next=f"steelyard network delete {network.id}",
                internal=why.internal,
            ) from None

    def _seen_by(self, actor: Actor, token: str) -> Cloud:
        return self._clouds.own if actor.is_admin else self._clouds.on_behalf_of(token)


class TopologyService:
    """The whole fleet's cables, from bulk lists that are at most two seconds old."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def cables(self, *, switch: str | None = None, node: str | None = None, network: str | None = None) -> list[Cable]:
        """By switch and port. Raises what the services raise."""
        found = cables(
            nodes=self._observer.nodes(),
            nics=self._observer.node_ports(),
            bonds=self._observer.bonds(),
            networks=self._observer.networks(),
            attachments=self._observer.attachments(),
        )
        return matching(found, switch=switch, node=node, network=network)
