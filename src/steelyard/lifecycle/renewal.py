"""Use cases on a tenant's server that is deployed: rebuild it, bring it into rescue and out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steelyard.clouds.ports import Clouds
from steelyard.errors import Invalid, Refused
from steelyard.lifecycle.asking import Asking
from steelyard.lifecycle.model import Action, check
from steelyard.lifecycle.protection import Protection
from steelyard.lifecycle.servers import Server, asked, cloud_of, find_image
from steelyard.nouns import Actor
from steelyard.operations.keys import REQUEST, Turns, digest, repeated
from steelyard.operations.model import Operation, Operations
from steelyard.store import Store

REBUILD = "servers.rebuild"
RESCUE = "servers.rescue"
UNRESCUE = "servers.unrescue"
SHORTEST, LONGEST = 8, 72
"""Characters of a rescue password; what is longer is cut by the hashes that Ironic may use (bcrypt)."""
NO_RESCUE = "no-rescue"
"""The rescue interface of a node that has none (ironic.drivers.modules.noop)."""

Find = Callable[[Actor, str, str], Server]


class Renewal:
    """Rebuild and rescue, with the caller's token. Raises `NotFound`, and `Refused` in a phase that forbids it.

    Returns the server and an operation that follows Nova to the end. The same `key` again asks Nova nothing.
    """

    def __init__(self, *, clouds: Clouds, operations: Operations, store: Store, find: Find):
        self._clouds = clouds
        self._operations = operations
        self._find = find
        self._store = store
        self._turns = Turns(store.locks, scope="renewal")

    def rebuild(
        self, actor: Actor, token: str, reference: str, *, image: str | None = None, reason: str | None = None,
        key: str | None = None, request_id: str | None = None,
    ) -> tuple[Server, Operation]:  # fmt: skip
        """Write an image anew: another one, by id or name, or the one that it has."""
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "image": image, "reason": reason})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, REBUILD, key, request):
                return server, known[0]
            asking = Asking(self._store.intents, actor, REBUILD, key, request)
            accepted = asking.accepted(self._clouds.own, instance.id, "rebuild")
            if not accepted:
                check(Action.REBUILD, server.node, instance)
            cloud = cloud_of(self._clouds, actor, token, instance)
            wanted = image or instance.image_id
            if wanted is None:
                raise Invalid(
                    f"Server {instance.name} was not made from an image; name one.",
                    code="no_image", next=f"steelyard server rebuild {instance.id} --image IMAGE",
                )  # fmt: skip
            found = find_image(cloud, wanted)
            if not accepted:
                if server.node is not None:
                    Protection(self._clouds).lift(server.node)
                asked(self._store, instance, "rebuild", actor, reason, request_id)
                with asking.asks():
                    cloud.compute.rebuild(instance.id, found.id)
            params = {"image_id": found.id, "image": found.name, REQUEST: request}
            return server, self._start(REBUILD, server, actor, params, reason, key, request_id, asking)

    def rescue(
        self, actor: Actor, token: str, reference: str, *, password: str | None = None, reason: str | None = None,
        key: str | None = None, request_id: str | None = None,
    ) -> tuple[Server, Operation]:  # fmt: skip
        """Boot the rescue system. `password` becomes root's there; it goes to Nova and is kept nowhere."""
        if password is not None and not (SHORTEST <= len(password) <= LONGEST and password.isprintable()):
            raise Invalid(
                f"The password must have {SHORTEST} to {LONGEST} printable characters.", code="invalid_password"
            )  # fmt: skip
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "reason": reason})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, RESCUE, key, request):
                return server, known[0]
            asking = Asking(self._store.intents, actor, RESCUE, key, request)
            if not asking.accepted(self._clouds.own, instance.id, "rescue"):
                check(Action.RESCUE, server.node, instance)
                _check_rescue(server)
                with asking.asks():
                    cloud_of(self._clouds, actor, token, instance).compute.rescue(instance.id, password=password)
            return server, self._start(RESCUE, server, actor, {REQUEST: request}, reason, key, request_id, asking)

    def unrescue(
        self, actor: Actor, token: str, reference: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> tuple[Server, Operation]:  # fmt: skip
        """Boot from the disk again."""
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "reason": reason})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, UNRESCUE, key, request):
                return server, known[0]
            asking = Asking(self._store.intents, actor, UNRESCUE, key, request)
            if not asking.accepted(self._clouds.own, instance.id, "unrescue"):
                check(Action.UNRESCUE, server.node, instance)
                with asking.asks():
                    cloud_of(self._clouds, actor, token, instance).compute.rescue(instance.id, leave=True)
            return server, self._start(UNRESCUE, server, actor, {REQUEST: request}, reason, key, request_id, asking)

    def _start(
        self, kind: str, server: Server, actor: Actor, params: Mapping[str, Any], reason: str | None, key: str | None,
        request_id: str | None, asking: Asking,
    ) -> Operation:  # fmt: skip
        instance = server.instance
        operation = self._operations.start(
            kind, {"server_id": instance.id, "name": instance.name, **params}, actor, reason=reason, key=key,
            subject=f"server:{instance.id}", request_id=request_id,
        )  # fmt: skip
        asking.ends()
        return operation


def _check_rescue(server: Server) -> None:
    """Asked for where it cannot be, a rescue leaves a server that works in error. Raises `Refused`."""
    if server.node is not None and server.node.rescue_interface == NO_RESCUE:
        raise Refused(
            f"Server {server.instance.name} cannot boot a rescue system: this cloud has not enabled that for its "
            "hardware.",
            code="no_rescue",
            next=f"steelyard server show {server.instance.id}",
        )
