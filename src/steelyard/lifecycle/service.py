"""Use cases of the life cycle: tenants' servers, with the tenant's own token, and the deletion of nodes."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.discovery.model import Candidate, CandidateState
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound, Refused
from steelyard.lifecycle.model import Phase, Power, check_deletable, check_power, instance_phase
from steelyard.naming import check_name, pick, shown
from steelyard.networks.service import NetworkService
from steelyard.nouns import Actor, Flavor, Image, Instance, Network, Node, ServerSpec
from steelyard.operations.keys import REQUEST, Turns, digest, repeated
from steelyard.operations.model import Operation, Operations
from steelyard.settings import Settings
from steelyard.store import Store

CREATE = "servers.create"
POWER = "servers.power"
DELETE = "servers.delete"
RECLAIM = "servers.reclaim"
DELETE_NODE = "nodes.delete"
MAX_NETWORKS = 16
MAX_USER_DATA = 65535
"""Characters of base64; Nova's own limit."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What a tenant asks for, in names or ids."""

    name: str
    flavor: str
    image: str
    networks: tuple[str, ...]
    key_name: str | None = None
    user_data: str | None = field(default=None, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """A tenant's server as it is shown."""

    instance: Instance
    phase: Phase
    image_name: str | None
    node_name: str | None
    """Administrators only."""


class LifecycleService:
    """Servers of tenants; nodes leaving."""

    def __init__(self, *, clouds: Clouds, store: Store, operations: Operations, settings: Settings):
        self.clouds = clouds
        self.store = store
        self._operations = operations
        self._networks = NetworkService(clouds=clouds, settings=settings)
        self._turns = Turns()

    # Servers

    def servers(self, actor: Actor, token: str, *, all_projects: bool = False) -> list[Server]:
        """The caller's servers; with `all_projects`, everybody's (administrators only)."""
        if all_projects and not actor.is_admin:
            raise Forbidden("Only administrators see the servers of all projects.", next="steelyard server list")
        everybody = all_projects or (actor.is_admin and actor.project_id is None)
        cloud = self.clouds.own if everybody else self.clouds.on_behalf_of(token)
        instances = cloud.compute.all(all_projects=everybody)
        nodes = self.clouds.own.nodes.all() if instances else []
        images = {image.id: image.name for image in cloud.images.all()} if instances else {}
        on = _by_instance(nodes)
        return [
            Server(
                instance=each,
                phase=instance_phase(each, on.get(each.id)),
                image_name=images.get(each.image_id or ""),
                node_name=_node_name(on.get(each.id)) if actor.is_admin else None,
            )
            for each in instances
        ]

    def server(self, actor: Actor, token: str, reference: str) -> Server:
        """By id or name. An administrator finds any by its id."""
        try:
            return self._pick(reference, self.servers(actor, token))
        except NotFound:
            if not actor.is_admin or actor.project_id is None:
                raise
            everybodys = self.servers(actor, token, all_projects=True)
            return self._pick(reference, [each for each in everybodys if each.instance.id == reference])

    @staticmethod
    def _pick(reference: str, servers: Sequence[Server]) -> Server:
        return pick(
            "server", reference, servers, id=lambda s: s.instance.id, name=lambda s: s.instance.name,
            next="steelyard server list",
        )  # fmt: skip

    def create(
        self,
        actor: Actor,
        token: str,
        name: str,
        *,
        flavor: str,
        image: str,
        networks: Sequence[str],
        key_name: str | None = None,
        user_data: str | None = None,
        metadata: Mapping[str, str] | None = None,
        key: str | None = None,
        request_id: str | None = None,
    ) -> tuple[Server, Operation]:
        """Create a server with the caller's token, and an operation that follows it until it is active.

        Names or ids. Refused up front where it could only fail later: no free node, an image that is not active, a
        network of the operator's or without a subnet, more networks than any free node has NICs. With a `key`, the
        same request again is answered with the server of the first time.
        """
        check_name("server", name)
        order = _Order(
            name, flavor, image, tuple(networks), key_name=key_name, user_data=user_data, metadata=dict(metadata or {})
        )
        request = digest(actor, asdict(order))
        with self._turns.at((actor.project_id, name)):
            if known := repeated(self._operations, actor, CREATE, key, request):
                return self.server(actor, token, known[0].params["server_id"]), known[0]
            instance, image_name = self._create(actor, token, order)
            operation = self._operations.start(
                CREATE, {"server_id": instance.id, "name": name, REQUEST: request}, actor,
                key=key, subject=f"server:{instance.id}", request_id=request_id,
            )  # fmt: skip
        return Server(instance, instance_phase(instance, None), image_name, None), operation

    def _create(self, actor: Actor, token: str, order: _Order) -> tuple[Instance, str]:
        """Check what is ordered and ask Nova for it. Returns the instance and its image's name."""
        if actor.project_id is None:
            raise Invalid(
                "A server belongs to a project; this token is scoped to the system.",
                code="no_project",
                next="use a project-scoped entry: --os-cloud NAME",
            )
        if not 1 <= len(order.networks) <= MAX_NETWORKS:
            raise Invalid(
                f"Name 1 to {MAX_NETWORKS} networks.", code="no_network", next="steelyard network list"
            )  # fmt: skip
        if order.user_data is not None and len(order.user_data) > MAX_USER_DATA:
            raise Invalid(f"The user data is longer than {MAX_USER_DATA} characters.", code="user_data_too_large")
        if order.user_data is not None and not _is_base64(order.user_data):
            raise Invalid("The user data is not base64.", code="invalid_user_data", next="base64 -w0 FILE")
        cloud = self.clouds.on_behalf_of(token)
        flavor = _find_flavor(cloud, order.flavor)
        image = _find_image(cloud, order.image)
        networks = self._networks.attachable(actor, token, order.networks)
        _check_networks(cloud, networks)
        if any(each.name == order.name for each in cloud.compute.all()):
            raise Duplicate(
                f"There is a server {shown(order.name)} in this project already.",
                code="duplicate_name",
                next=f"steelyard server show {shlex.quote(order.name)}",
            )
        self._check_capacity(flavor, len(networks))
        spec = ServerSpec(
            name=order.name,
            flavor_id=flavor.id,
            image_id=image.id,
            network_ids=tuple(each.id for each in networks),
            key_name=order.key_name,
            user_data=order.user_data,
            metadata=order.metadata,
        )
        return cloud.compute.create(spec), image.name

    def _check_capacity(self, flavor: Flavor, nics: int) -> None:
        if flavor.resource_class is None:
            raise Invalid(
                f"Flavor {shown(flavor.name)} is one for virtual machines: it takes no node of any class.",
                code="not_bare_metal",
                next="steelyard flavor list",
            )
        own = self.clouds.own
        free = own.placement.free(flavor.resource_class, flavor.traits)
        if not free:
            raise Refused(
                f"No node is free for flavor {shown(flavor.name)}.",
                code="no_free_node",
                next="steelyard flavor list",
            )
        if nics > 1:
            cabled: dict[str, int] = {}
            for port in own.node_ports.all():
                if port.link is not None:
                    cabled[port.node_id] = cabled.get(port.node_id, 0) + 1
            if all(cabled.get(node_id, 0) < nics for node_id in free):
                most = max((cabled.get(node_id, 0) for node_id in free), default=0)
                raise Refused(
                    f"{nics} networks were asked for; the free nodes of flavor {shown(flavor.name)} have {most} NICs.",
                    code="not_enough_nics",
                    next="name fewer networks",
                )

    def power(
        self,
        actor: Actor,
        token: str,
        reference: str,
        action: Power,
        *,
        key: str | None = None,
        request_id: str | None = None,
    ) -> tuple[Server, Operation]:
        """Change a server's power; the operation ends when Nova says that it is so. Repeating it changes nothing."""
        server = self.server(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "action": action.value})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, POWER, key, request):
                return server, known[0]
            if check_power(instance, action):
                self._cloud_of(actor, token, instance).compute.power(instance.id, action.value)
            operation = self._operations.start(
                POWER,
                {"server_id": instance.id, "name": instance.name, "action": action.value, REQUEST: request},
                actor,
                key=key,
                subject=f"server:{instance.id}",
                request_id=request_id,
            )
        return server, operation

    def delete(
        self, actor: Actor, token: str, reference: str, *, reason: str | None = None, request_id: str | None = None
    ) -> tuple[Server, Operation]:
        """Release a server. For an administrator the operation lasts until its node is clean and available again."""
        server = self.server(actor, token, reference)
        instance = server.instance
        own = self.clouds.own
        node = _by_instance(own.nodes.all()).get(instance.id)
        self._cloud_of(actor, token, instance).compute.delete(instance.id)
        params = {"server_id": instance.id, "name": instance.name}
        kind = DELETE
        if actor.is_admin and node is not None:
            kind = RECLAIM
            params |= {"node_id": node.id, "node": _node_name(node) or node.id}
        self._end_waiting(instance.id)
        operation = self._operations.start(
            kind, params, actor, reason=reason, subject=f"release:{instance.id}", request_id=request_id
        )
        return server, operation

    def _end_waiting(self, instance_id: str) -> None:
        """What still waits for a server that is being deleted would wait in vain."""
        for operation in self._operations.all(subject=f"server:{instance_id}"):
            if not operation.phase.ended:
                with suppress(Conflict):  # it has just ended by itself
                    self._operations.cancel(operation.id, reason="the server is being deleted")

    def _cloud_of(self, actor: Actor, token: str, instance: Instance) -> Cloud:
        """The caller's own view, unless an administrator acts on another project's server."""
        if actor.is_admin and instance.project_id != actor.project_id:
            return self.clouds.own
        return self.clouds.on_behalf_of(token)

    # Nodes leaving

    def delete_node(
        self, actor: Actor, reference: str, *, reason: str | None = None, request_id: str | None = None
    ) -> Operation:
        """Start deleting a node. Raises `Refused` (`node_deployed`, ...) unless it is unprovisioned and available."""
        node = self.clouds.own.nodes.get(reference)
        instance = None
        if node.instance_id is not None:
            try:
                instance = self.clouds.own.compute.get(node.instance_id)
            except NotFound:
                instance = None  # not one of Nova's; the node's own word counts
        check_deletable(node, instance, onboarding=self._onboarding_of(node))
        return self._operations.start(
            DELETE_NODE,
            {"node_id": node.id, "node": node.name or node.id},
            actor,
            reason=reason,
            subject=f"node:{node.id}",
            request_id=request_id,
        )

    def _onboarding_of(self, node: Node) -> str | None:
        """The operation that is making it available at this moment, by its candidate; None when there is none."""
        candidate_id = node.notes.get("candidate_id")
        if not isinstance(candidate_id, str):
            return None
        newest = self._operations.all(subject=f"candidate:{candidate_id}", limit=1)
        return newest[0].id if newest and not newest[0].phase.ended else None

    def forget_node(self, candidate: Candidate) -> None:
        """A candidate whose node is gone is a mere candidate again; what is known of it stays."""
        self.store.candidates.change(
            candidate.id, lambda now: replace(now, state=CandidateState.FOUND, node_id=None, reason=None, next=None)
        )


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _node_name(node: Node | None) -> str | None:
    return None if node is None else node.name or node.id


def _by_instance(nodes: Sequence[Node]) -> dict[str, Node]:
    return {node.instance_id: node for node in nodes if node.instance_id}


def _find_flavor(cloud: Cloud, reference: str) -> Flavor:
    return pick(
        "flavor", reference, cloud.flavors.all(), id=lambda f: f.id, name=lambda f: f.name,
        next="steelyard flavor list",
    )  # fmt: skip


def _find_image(cloud: Cloud, reference: str) -> Image:
    image = pick(
        "image", reference, cloud.images.all(), id=lambda i: i.id, name=lambda i: i.name, next="steelyard image list"
    )
    if image.status != "active":
        raise Refused(
            f"Image {shown(image.name)} is {image.status}; only an active one can be deployed.",
            code="image_not_active",
            next=f"steelyard image show {image.id}",
        )
    return image


def _check_networks(cloud: Cloud, networks: Sequence[Network]) -> None:
    with_subnet = {subnet.network_id for subnet in cloud.networks.subnets()}
    for network in networks:
        if network.id not in with_subnet:
            raise Refused(
                f"Network {shown(network.name)} has no subnet, so a server on it would get no address.",
                code="network_without_subnet",
                next="steelyard network create NAME --subnet CIDR",
            )
