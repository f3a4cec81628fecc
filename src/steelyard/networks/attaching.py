"""Use cases on the NICs of a deployed server: attach, detach, move, and tagged sub-interfaces.

What Nova does is asked for with the caller's token; the operation follows it and proves it (see `attach_work`). What
only an administrator's rights can do (a sub-interface is a VLAN on the switch) is done with Steelyard's, after it is
sure that the server is the caller's and the network one that the caller may use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Refused
from steelyard.lifecycle.model import Action, check
from steelyard.lifecycle.servers import Server, cloud_of
from steelyard.networks.nics import (
    ServerNic,
    attachable_units,
    find_nic,
    own_ports,
    require_enforced,
    require_subnet,
    server_nics,
)
from steelyard.networks.service import NetworkService
from steelyard.nouns import Actor, Instance, Network, NetworkPort, NodePort
from steelyard.operations.keys import REQUEST, Turns, digest, repeated
from steelyard.operations.model import Operation, Operations
from steelyard.store import Store

ATTACH: Final = "servers.attach"
DETACH: Final = "servers.detach"
MOVE: Final = "servers.move"
TAG: Final = "servers.tag"
UNTAG: Final = "servers.untag"

Find = Callable[[Actor, str, str], Server]
Accepted = tuple[Server, Operation]


class NicService:
    """NICs of tenants' servers. Every use case raises `NotFound`, and `Refused` in a phase that forbids it; the same
    `key` again asks nobody anything."""

    def __init__(
        self, *, clouds: Clouds, operations: Operations, store: Store, networks: NetworkService, find: Find
    ) -> None:
        self._clouds = clouds
        self._operations = operations
        self._networks = networks
        self._find = find
        self._turns = Turns(store.locks, scope="nics")

    def nics(self, actor: Actor, token: str, reference: str) -> tuple[Server, list[ServerNic]]:
        """A server's attachments."""
        server = self._find(actor, token, reference)
        return server, self._nics(server.instance)

    def attach(
        self, actor: Actor, token: str, reference: str, network: str, *, address: str | None = None,
        security_groups: Sequence[str] = (), key: str | None = None, request_id: str | None = None,
    ) -> Accepted:  # fmt: skip
        """Put one more NIC on a network. A server that is on it already is looked at again, and nothing is made.

        Raises `Refused`: `no_free_nic`, `network_without_subnet`, `security_group_not_enforced`.
        """
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {
            "server_id": instance.id, "network": network, "address": address, "groups": list(security_groups),
        })  # fmt: skip
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, ATTACH, key, request):
                return server, known[0]
            cloud = self._may(Action.ATTACH, actor, token, server)
            wanted = self._network(actor, token, cloud, network)
            groups = require_enforced(
                security_groups, cloud.security_groups.all() if security_groups else (), instance.project_id,
                enforced=self._clouds.own.security_groups.enforced_on_nics(),
            )  # fmt: skip
            there = next((port for port in self._ports(instance) if port.network_id == wanted.id), None)
            if there is None:
                self._require_free_nic(server)
                port_id = cloud.interfaces.attach(instance.id, network_id=wanted.id, address=address)
                if groups:
                    cloud.security_groups.put(port_id, groups)
            else:
                port_id = there.id
            params = {"port_id": port_id, "network": wanted.name, "made": there is None, REQUEST: request}
            return self._start(ATTACH, server, actor, params, key, request_id)

    def detach(
        self, actor: Actor, token: str, reference: str, nic: str, *, key: str | None = None,
        request_id: str | None = None,
    ) -> Accepted:  # fmt: skip
        """Take a NIC off its network; its address is free for others then."""
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "nic": nic})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, DETACH, key, request):
                return server, known[0]
            cloud = self._may(Action.DETACH, actor, token, server)
            found = find_nic(nic, self._nics(instance), instance.name)
            macs = self._macs(server, found.port)
            for sub in found.sub_interfaces:
                self._clouds.own.sub_interfaces.remove(found.port.id, sub.port_id)
            cloud.interfaces.detach(instance.id, found.port.id)
            params = {"port_id": found.port.id, "network": found.network, "nics": macs, REQUEST: request}
            return self._start(DETACH, server, actor, params, key, request_id)

    def move(
        self, actor: Actor, token: str, reference: str, nic: str, network: str, *, key: str | None = None,
        request_id: str | None = None,
    ) -> Accepted:  # fmt: skip
        """Take a NIC from its network to another one; put it back where that cannot be proven.

        Raises `Refused`: `nic_has_sub_interfaces`, `already_attached`.
        """
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "nic": nic, "network": network})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, MOVE, key, request):
                return server, known[0]
            cloud = self._may(Action.MOVE, actor, token, server)
            wanted = self._network(actor, token, cloud, network)
            nics = self._nics(instance)
            found = find_nic(nic, nics, instance.name)
            if found.sub_interfaces:
                raise Refused(
                    f"The NIC has sub-interfaces on {', '.join(sub.network for sub in found.sub_interfaces)}.",
                    code="nic_has_sub_interfaces",
                    next=f"steelyard server nic untag {instance.name} {found.port.mac} "
                    f"--network {found.sub_interfaces[0].network}",
                )
            if any(each.port.network_id == wanted.id for each in nics):
                raise Refused(
                    f"Server {instance.name} is on network {wanted.name} already.", code="already_attached",
                    next=f"steelyard server nic list {instance.name}",
                )  # fmt: skip
            params = {
                "port_id": found.port.id, "network": wanted.name, "network_id": wanted.id, "from": found.network,
                "from_id": found.port.network_id, "address": next(iter(found.addresses), None),
                "nics": self._macs(server, found.port), REQUEST: request,
            }  # fmt: skip
            return self._start(MOVE, server, actor, params, key, request_id)

    def tag(
        self, actor: Actor, token: str, reference: str, nic: str, network: str, *, key: str | None = None,
        request_id: str | None = None,
    ) -> Accepted:  # fmt: skip
        """Have a NIC carry one more network, tagged with that network's VLAN, beside the one that it is on.

        The tag is not the tenant's to choose: the switch carries what it is told. Raises what `SubInterfaces.add` does.
        """
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "nic": nic, "tag": network})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, TAG, key, request):
                return server, known[0]
            cloud = self._may(Action.TAG, actor, token, server)
            wanted = self._network(actor, token, cloud, network)
            found = find_nic(nic, self._nics(instance), instance.name)
            made = self._clouds.own.sub_interfaces.add(
                found.port.id,
                network_id=wanted.id,
                name=f"{instance.name}-{wanted.name}"[:255],
                project_id=instance.project_id,
            )
            params = {
                "port_id": found.port.id, "sub_port_id": made.port_id, "vlan": made.vlan, "network": wanted.name,
                REQUEST: request,
            }  # fmt: skip
            return self._start(TAG, server, actor, params, key, request_id)

    def untag(
        self, actor: Actor, token: str, reference: str, nic: str, network: str, *, key: str | None = None,
        request_id: str | None = None,
    ) -> Accepted:  # fmt: skip
        """Take a sub-interface off a NIC."""
        server = self._find(actor, token, reference)
        instance = server.instance
        request = digest(actor, {"server_id": instance.id, "nic": nic, "untag": network})
        with self._turns.at(instance.id):
            if known := repeated(self._operations, actor, UNTAG, key, request):
                return server, known[0]
            self._may(Action.UNTAG, actor, token, server)
            found = find_nic(nic, self._nics(instance), instance.name)
            subs = [sub for sub in found.sub_interfaces if network in (sub.network, sub.network_id, sub.port_id)]
            for sub in subs:
                self._clouds.own.sub_interfaces.remove(found.port.id, sub.port_id)
            params = {"port_id": found.port.id, "network": network, REQUEST: request}
            return self._start(UNTAG, server, actor, params, key, request_id)

    # Small parts

    def _may(self, action: Action, actor: Actor, token: str, server: Server) -> Cloud:
        """The caller's cloud, once the server's phase allows the action and nothing else is done with it."""
        instance = server.instance
        check(action, server.node, instance)
        for operation in self._operations.all(subject=f"server:{instance.id}"):
            if not operation.phase.ended:
                raise Refused(
                    f"Something is being done with server {instance.name} already ({operation.kind}).",
                    code="operation_running",
                    next=f"steelyard operation wait {operation.id}",
                )
        return cloud_of(self._clouds, actor, token, instance)

    def _start(
        self, kind: str, server: Server, actor: Actor, params: Mapping[str, Any], key: str | None,
        request_id: str | None,
    ) -> Accepted:  # fmt: skip
        instance = server.instance
        operation = self._operations.start(
            kind, {"server_id": instance.id, "name": instance.name, **params}, actor, key=key,
            subject=f"server:{instance.id}", request_id=request_id,
        )  # fmt: skip
        return server, operation

    def _network(self, actor: Actor, token: str, cloud: Cloud, reference: str) -> Network:
        [network] = self._networks.attachable(actor, token, [reference])
        require_subnet(network, cloud.networks.subnets())
        return network

    def _ports(self, instance: Instance) -> list[NetworkPort]:
        return own_ports(instance.id, self._clouds.own.attachments.all(device_ids=[instance.id]))

    def _nics(self, instance: Instance) -> list[ServerNic]:
        own = self._clouds.own
        ports = own.attachments.all(device_ids=[instance.id])
        below = [own.attachments.get(sub.port_id) for port in ports for sub in port.subports]
        networks = {network.id: network for network in own.networks.all()}
        return server_nics(instance.id, [*ports, *below], networks, own.security_groups.all())

    def _node_ports(self, server: Server) -> list[NodePort]:
        return [] if server.node is None else self._clouds.own.node_ports.all(node_id=server.node.id)

    def _macs(self, server: Server, port: NetworkPort) -> list[str]:
        """The NICs that an attachment is on."""
        places = {(link.switch_id.lower(), link.port_id) for link in port.links}
        return sorted(
            nic.mac
            for nic in self._node_ports(server)
            if nic.link is not None and (nic.link.switch_id.lower(), nic.link.port_id) in places
        )

    def _require_free_nic(self, server: Server) -> None:
        room = attachable_units(self._node_ports(server))
        taken = len(self._ports(server.instance))
        if taken >= room:
            raise Refused(
                f"All {room} NICs of server {server.instance.name} are on networks." if room != 1
                else f"The only NIC of server {server.instance.name} is on a network.",
                code="no_free_nic",
                next=f"steelyard server nic list {server.instance.name}",
            )  # fmt: skip
