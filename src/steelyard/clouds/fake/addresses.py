"""The fake `Addresses`: Neutron's ports that are bound to nothing."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from steelyard.address_nouns import HoldSpec
from steelyard.clouds.fake.port import FakePort, call
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound
from steelyard.nouns import FixedAddress, NetworkPort


class FakeAddresses(FakePort):
    name = "addresses"

    @call
    def hold(self, specs: Sequence[HoldSpec]) -> list[NetworkPort]:
        self.require_writer("creating a port")
        ports = self.world.fabric.ports
        before = dict(ports)
        try:
            return [self._hold(spec) for spec in specs]
        except Exception:
            ports.clear()
            ports.update(before)  # Neutron makes all ports of one request, or none
            raise

    @call
    def release(self, port_id: str) -> None:
        port = self.world.fabric.ports.get(port_id)
        if port is None or not self.sees(port.project_id):
            return
        self.require_writer("deleting a port")
        if port.device_id or port.host_id:
            raise Conflict(f"port {port_id} is in use by {port.device_id or port.host_id}")
        self.world.fabric.remove_port(port_id)

    def _hold(self, spec: HoldSpec) -> NetworkPort:
        fabric = self.world.fabric
        network, subnet = fabric.networks.get(spec.network_id), fabric.subnets.get(spec.subnet_id)
        if network is None or subnet is None or not (network.shared or self.sees(network.project_id)):
            raise NotFound(f"subnet {spec.subnet_id} could not be found")
        if not self.sees(network.project_id) or (spec.project_id and not self.sees(spec.project_id)):
            raise Forbidden("a MAC, an address and a project are for the network's owner to choose")
        if (there := fabric.holding(spec)) is not None:
            return there
        if any(port.mac == spec.mac and port.network_id == network.id for port in fabric.ports.values()):
            raise Duplicate(f"the MAC address {spec.mac} is in use on network {network.id}")
        if spec.address is not None:
            self._check(spec.address, subnet.cidr, subnet.id)
        port = NetworkPort(
            id=str(uuid.uuid4()), name=spec.name, network_id=network.id,
            project_id=spec.project_id or self.actor.project_id, mac=spec.mac,
            addresses=(FixedAddress(subnet.id, spec.address or fabric.next_free(subnet)),), device_id=None,
            device_owner=spec.device_owner, host_id=None, vnic_type="normal", status="DOWN", link=None,
            created_at=self.world.now,
        )  # fmt: skip
        fabric.ports[port.id] = port
        return port

    def _check(self, address: str, cidr: str, subnet_id: str) -> None:
        """Neutron takes any address of the subnet, in its pools or not, the gateway's too."""
        net, wanted = ip_network(cidr), ip_address(address)
        edges = {net.network_address, net.broadcast_address} if net.version == 4 else {net.network_address}
        if wanted not in net or wanted in edges:
            raise Invalid(f"IP address {address} is not a valid IP for the specified subnet.")
        if any(
            (fixed.subnet_id, fixed.address) == (subnet_id, address)
            for port in self.world.fabric.ports.values()
            for fixed in port.addresses
        ):
            raise Duplicate(f"IP address {address} already allocated in subnet {subnet_id}")
