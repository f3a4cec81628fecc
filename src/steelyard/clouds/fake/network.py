"""The fakes `Networks` and `Attachments`."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import replace

from steelyard.clouds.fake import nova
from steelyard.clouds.fake.port import FakePort, call
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound
from steelyard.nouns import AttachmentSpec, Lag, Network, NetworkPort, Subnet, SubnetSpec, SwitchLink


class FakeNetworks(FakePort):
    name = "networks"

    @call
    def all(self) -> list[Network]:
        return [self._shown(network) for network in self.world.fabric.networks.values() if self._visible(network)]

    @call
    def create(self, name: str, *, project_id: str | None = None) -> Network:
        self.require_writer("creating a network")
        owner = self._owner(project_id)
        return self._shown(self.world.fabric.add_network(name, owner))

    @call
    def delete(self, network_id: str) -> None:
        network = self.world.fabric.networks.get(network_id)
        if network is None or not self._visible(network):
            return
        self._require_own(network.project_id)
        ports = [port for port in self.world.fabric.ports.values() if port.network_id == network_id]
        if ports:
            raise Conflict(f"unable to complete operation on network {network_id}: {len(ports)} ports are in use")
        for subnet_id in network.subnet_ids:
            self.world.fabric.remove_subnet(subnet_id)
        del self.world.fabric.networks[network_id]

    @call
    def subnets(self) -> list[Subnet]:
        fabric = self.world.fabric
        return [subnet for subnet in fabric.subnets.values() if self._visible(fabric.networks[subnet.network_id])]

    @call
    def create_subnet(self, spec: SubnetSpec) -> Subnet:
        self.require_writer("creating a subnet")
        network = self.world.fabric.networks.get(spec.network_id)
        if network is None or not self._visible(network):
            raise NotFound(f"network {spec.network_id} could not be found")
        self._require_own(network.project_id)
        try:
            cidr = ipaddress.ip_network(spec.cidr)
        except ValueError as error:
            raise Invalid(f"{spec.cidr!r} is not a valid IP subnet: {error}") from error
        if spec.gateway is not None and ipaddress.ip_address(spec.gateway) not in cidr:
            raise Invalid(f"gateway {spec.gateway} is not in {cidr}")
        for known in self.world.fabric.subnets.values():
            other = ipaddress.ip_network(known.cidr)
            if known.network_id == network.id and other.version == cidr.version and other.overlaps(cidr):
                raise Invalid(f"subnet {cidr} overlaps with {known.cidr} of network {network.id}")
        subnet = Subnet(
            id=str(uuid.uuid4()), name=spec.name, network_id=network.id, project_id=self._owner(spec.project_id),
            cidr=str(cidr), gateway=spec.gateway or nova.gateway(spec.cidr),
            pools=spec.pools or nova.pools(spec.cidr), dhcp=spec.dhcp, dns_servers=spec.dns_servers,
            host_routes=spec.host_routes,
        )  # fmt: skip
        return self.world.fabric.add_subnet(subnet)

    @call
    def delete_subnet(self, subnet_id: str) -> None:
        subnet = self.world.fabric.subnets.get(subnet_id)
        if subnet is None or not self.sees(subnet.project_id):
            return
        self._require_own(subnet.project_id)
        if any(fixed.subnet_id == subnet_id for port in self.world.fabric.ports.values() for fixed in port.addresses):
            raise Conflict(f"unable to complete operation on subnet {subnet_id}: one or more ports have an address")
        self.world.fabric.remove_subnet(subnet_id)

    def _visible(self, network: Network) -> bool:
        return network.shared or self.sees(network.project_id)

    def _shown(self, network: Network) -> Network:
        if self.actor.is_admin:
            return network
        return replace(network, segmentation_id=None, network_type=None, physical_network=None)

    def _owner(self, project_id: str | None) -> str | None:
        own = self.actor.project_id
        if project_id is not None and project_id != own and not self.actor.is_admin:
            raise Forbidden("only an administrator can create for another project")
        return project_id or own

    def _require_own(self, project_id: str | None) -> None:
        if not self.sees(project_id):
            raise Forbidden("this belongs to another project")
        self.require_writer("changing a network")


class FakeAttachments(FakePort):
    name = "attachments"

    @call
    def all(
        self, *, network_ids: Sequence[str] | None = None, device_ids: Sequence[str] | None = None
    ) -> list[NetworkPort]:
        return [
            self._shown(port)
            for port in self.world.fabric.ports.values()
            if self.sees(port.project_id)
            and (network_ids is None or port.network_id in network_ids)
            and (device_ids is None or port.device_id in device_ids)
        ]

    @call
    def get(self, port_id: str) -> NetworkPort:
        port = self.world.fabric.ports.get(port_id)
        if port is None or not self.sees(port.project_id):
            raise NotFound(f"port {port_id} could not be found")
        return self._shown(port)

    @call
    def bound(self, node_id: str) -> list[NetworkPort]:
        if not self.actor.is_admin:
            return []
        return [port for port in self.world.fabric.ports.values() if port.host_id == node_id]

    @call
    def create(self, spec: AttachmentSpec) -> NetworkPort:
        self.require_admin("binding a port")
        fabric = self.world.fabric
        on_network = [port for port in fabric.ports.values() if port.network_id == spec.network_id]
        for port in on_network:
            if (port.name, port.device_id, port.mac) == (spec.name, spec.node_id, spec.mac.lower()):
                return fabric.bind_at(port, spec.node_id, spec.mac, spec.link, spec.lag)
        if any(port.mac == spec.mac.lower() for port in on_network):
            raise Duplicate(f"the MAC address {spec.mac} is in use on network {spec.network_id}")
        port = fabric.add_port(
            spec.network_id, now=self.world.now, mac=spec.mac.lower(), project_id=self.actor.project_id,
            device_id=spec.node_id, device_owner=spec.device_owner, name=spec.name, addressed=spec.with_address,
        )  # fmt: skip
        return fabric.bind_at(port, spec.node_id, spec.mac, spec.link, spec.lag)

    @call
    def bind(self, port_id: str, *, node_id: str, mac: str, link: SwitchLink, lag: Lag | None = None) -> NetworkPort:
        return self.world.fabric.bind_at(self._find_to_bind(port_id), node_id, mac, link, lag)

    @call
    def unbind(self, port_id: str) -> None:
        self.world.fabric.unbind(self._find_to_bind(port_id))

    def _find_to_bind(self, port_id: str) -> NetworkPort:
        port = self.world.fabric.ports.get(port_id)
        if port is None or not self.sees(port.project_id):
            raise NotFound(f"port {port_id} could not be found")
        self.require_admin("binding a port")
        return port

    @call
    def delete(self, port_id: str) -> None:
        port = self.world.fabric.ports.get(port_id)
        if port is None or not self.sees(port.project_id):
            return
        self.require_writer("deleting a port")
        for subport in port.subports:
            self.world.fabric.remove_port(subport.port_id)
        self.world.fabric.remove_port(port_id)
        if port.device_id in self.world.instances:  # Nova is told of it
            self.world.drop_vif(port_id)

    def _shown(self, port: NetworkPort) -> NetworkPort:
        return port if self.actor.is_admin else replace(port, host_id=None, link=None, more_links=())
