"""Use cases of the life cycle: tenants' servers, with the tenant's own token, and the deletion of nodes."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound, Refused, SteelyardError
from steelyard.isolation.flips import Flips
from steelyard.isolation.mending import Mending
from steelyard.lifecycle.asking import Asking
from steelyard.lifecycle.model import Action, Power, check, check_power, instance_phase, power_action
from steelyard.lifecycle.nodes import NodeLifecycle
from steelyard.lifecycle.powering import POWER, PowerNetworks
from steelyard.lifecycle.progress import fault
from steelyard.lifecycle.protection import Protection
from steelyard.lifecycle.renewal import Renewal
from steelyard.lifecycle.servers import Server, asked, cloud_of, find_image
from steelyard.naming import check_name, pick, shown
from steelyard.networks.nics import attachable_units, require_enforced, require_subnet
from steelyard.networks.service import NetworkService
from steelyard.networks.sub_interfaces import strip
from steelyard.nouns import Actor, Flavor, Instance, Node, NodePort, ServerSpec
from steelyard.operations.keys import REQUEST, Turns, digest, repeated
from steelyard.operations.model import Operation, Operations
from steelyard.settings import Settings
from steelyard.store import Store

CREATE = "servers.create"
DELETE = "servers.delete"
RECLAIM = "servers.reclaim"
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
    security_groups: tuple[str, ...] = ()


class LifecycleService:
    """Servers of tenants; nodes leaving."""

    def __init__(
        self, *, clouds: Clouds, store: Store, operations: Operations, settings: Settings, flips: Flips | None = None,
        mending: Mending | None = None,
    ):  # fmt: skip
        self.clouds = clouds
        self.store = store
        self._operations = operations
        self._networks = NetworkService(clouds=clouds, settings=settings)
        self._turns = Turns(store.locks, scope="servers")
        self.power_networks = PowerNetworks(clouds, store, flips)
        self.nodes = NodeLifecycle(
            clouds=clouds, store=store, operations=operations, held_seconds=settings.maintenance_seconds,
            mending=mending,
        )  # fmt: skip
        self.renewal = Renewal(clouds=clouds, operations=operations, store=store, find=self.server)

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
                instance=each if actor.is_admin else replace(each, fault=fault(each)),
                phase=instance_phase(each, on.get(each.id)),
                image_name=images.get(each.image_id or ""),
                node_name=_node_name(on.get(each.id)) if actor.is_admin else None,
                node=on.get(each.id),
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
        security_groups: Sequence[str] = (),
        key: str | None = None,
        request_id: str | None = None,
    ) -> tuple[Server, Operation]:
        """Create a server with the caller's token, and an operation that follows it until it is active.

        Names or ids. Refused up front where it could only fail later: no free node, an image that is not active, a
        network of the operator's or without a subnet, more networks than any free node has NICs, a security group that
        nothing enforces. With a `key`, the
        same request again is answered with the server of the first time, also when that request was cut off.
        """
        check_name("server", name)
        order = _Order(
            name, flavor, image, tuple(networks), key_name=key_name, user_data=user_data, metadata=dict(metadata or {}),
            security_groups=tuple(security_groups),
        )  # fmt: skip
        request = digest(actor, asdict(order))
        with self._turns.at((actor.project_id, name)):
            if known := repeated(self._operations, actor, CREATE, key, request):
                return self.server(actor, token, known[0].params["server_id"]), known[0]
            asking = Asking(self.store.intents, actor, CREATE, key, request)
            instance, image_name = self._made(asking, token, name) or self._create(actor, token, order, asking)
            operation = self._operations.start(
                CREATE, {"server_id": instance.id, "name": name, REQUEST: request}, actor,
                key=key, subject=f"server:{instance.id}", request_id=request_id,
            )  # fmt: skip
            asking.ends()
        return Server(instance, instance_phase(instance, None), image_name, None), operation

    def _made(self, asking: Asking, token: str, name: str) -> tuple[Instance, str | None] | None:
        """The server that this request made before it was cut off, and its image's name."""
        cloud = self.clouds.on_behalf_of(token)
        if (instance := asking.made(cloud, name)) is None:
            return None
        return instance, next((each.name for each in cloud.images.all() if each.id == instance.image_id), None)

    def _create(self, actor: Actor, token: str, order: _Order, asking: Asking) -> tuple[Instance, str | None]:
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
        image = find_image(cloud, order.image)
        networks = self._networks.attachable(actor, token, order.networks)
        for network in networks:
            require_subnet(network, cloud.networks.subnets())
        groups = self._enforced(cloud, actor, order.security_groups)
        if any(each.name == order.name for each in cloud.compute.all()):
            raise Duplicate(
                f"There is a server {shown(order.name)} in this project already.",
                code="duplicate_name",
                next=f"steelyard server show {shlex.quote(order.name)}",
            )
        self._check_capacity(flavor, len(networks))
        with asking.asks() as mark:
            spec = ServerSpec(
                name=order.name,
                flavor_id=flavor.id,
                image_id=image.id,
                network_ids=tuple(each.id for each in networks),
                key_name=order.key_name,
                user_data=order.user_data,
                metadata=order.metadata,
                security_groups=groups,
                mark=mark,
            )
            return cloud.compute.create(spec), image.name

    def _enforced(self, cloud: Cloud, actor: Actor, groups: Sequence[str]) -> tuple[str, ...]:
        if not groups:
            return ()
        enforced = self.clouds.own.security_groups.enforced_on_nics()
        return require_enforced(groups, cloud.security_groups.all(), actor.project_id, enforced=enforced)

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
            of_node: dict[str, list[NodePort]] = {}
            for port in own.node_ports.all():
                of_node.setdefault(port.node_id, []).append(port)
            cabled = {node_id: attachable_units(ports) for node_id, ports in of_node.items()}
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
        """Change a server's power; the operation ends when Nova says that it is so, and its networks have followed.

        Repeating it changes nothing.
        """
        server = self.server(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "action": action.value})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, POWER, key, request):
                return server, known[0]
            check(power_action(action), server.node, instance)
            if check_power(instance, action):
                self.power_networks.before(server.node, instance, action, actor, request_id)
                try:
                    cloud_of(self.clouds, actor, token, instance).compute.power(instance.id, action.value)
                except SteelyardError:
                    self.power_networks.given_up(server.node)
                    raise
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
        self,
        actor: Actor,
        token: str,
        reference: str,
        *,
        reason: str | None = None,
        key: str | None = None,
        request_id: str | None = None,
    ) -> tuple[Server, Operation]:
        """Release a server. For an administrator the operation lasts until its node is clean and available again.

        For a tenant it ends when Nova has let go; an operation of its own, which only administrators see, follows the
        node until it is clean.
        """
        server = self.server(actor, token, reference)
        instance = server.instance
        node = server.node
        reclaims = actor.is_admin and node is not None
        request = digest(actor, {"server_id": instance.id, "reason": reason})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, RECLAIM if reclaims else DELETE, key, request):
                return server, known[0]
            check(Action.RECLAIM if reclaims else Action.RELEASE, node, instance)
            if node is not None:
                Protection(self.clouds).lift(node)
            asked(self.store, instance, "release", actor, reason, request_id)
            strip(self.clouds.own, self.clouds.own.attachments.all(device_ids=[instance.id]))
            cloud_of(self.clouds, actor, token, instance).compute.delete(instance.id)
            self._end_waiting(instance.id)
            params = {"server_id": instance.id, "name": instance.name, REQUEST: request}
            on_node = {"node_id": node.id, "node": _node_name(node)} if node is not None else {}
            operation = self._operations.start(
                RECLAIM if reclaims else DELETE,
                params | on_node if reclaims else params,
                actor,
                reason=reason,
                key=key,
                subject=f"release:{instance.id}",
                request_id=request_id,
            )
            if node is not None and not reclaims:
                with suppress(Refused):  # it runs already
                    self._operations.start(
                        RECLAIM, params | on_node, actor, reason=reason, subject=f"reclaim:{node.id}",
                        request_id=request_id,
                    )  # fmt: skip
        return server, operation

    def _end_waiting(self, instance_id: str) -> None:
        """What still waits for a server that is being deleted would wait in vain."""
        for operation in self._operations.all(subject=f"server:{instance_id}"):
            if not operation.phase.ended:
                with suppress(Conflict):  # it has just ended by itself
                    self._operations.cancel(operation.id, reason="the server is being deleted")

    # Nodes

    def delete_node(
        self, actor: Actor, reference: str, *, reason: str | None = None, request_id: str | None = None
    ) -> Operation:
        """Start deleting a node; see `NodeLifecycle.delete`."""
        return self.nodes.delete(actor, reference, reason=reason, request_id=request_id)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _node_name(node: Node | None) -> str | None:
    return None if node is None else node.label


def _by_instance(nodes: Sequence[Node]) -> dict[str, Node]:
    return {node.instance_id: node for node in nodes if node.instance_id}


def _find_flavor(cloud: Cloud, reference: str) -> Flavor:
    return pick(
        "flavor", reference, cloud.flavors.all(), id=lambda f: f.id, name=lambda f: f.name,
        next="steelyard flavor list",
    )  # fmt: skip
