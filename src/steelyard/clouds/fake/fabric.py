"""The fake Neutron's inside: addresses, ports, and binding them onto the fake switches."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from steelyard.address_nouns import HoldSpec
from steelyard.clouds.fake.switches import FakeSwitches
from steelyard.clouds.fake.units import units
from steelyard.errors import Conflict, Duplicate, NotFound
from steelyard.nouns import (
    Bond,
    FixedAddress,
    Lag,
    Network,
    NetworkPort,
    Node,
    NodePort,
    Subnet,
    SwitchLink,
)

TENANT_VLANS = range(100, 1000)
OWN_VLANS = range(2001, 2100)
SEGMENT_VLANS = range(2101, 2400)


class FakeFabric:
    """Networks, subnets and ports; a bound port's VLAN is on the switch."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.subnets: dict[str, Subnet] = {}
        self.ports: dict[str, NetworkPort] = {}
        self.switches = FakeSwitches()

    def add_network(self, name: str, project_id: str | None, *, vlans: range = TENANT_VLANS) -> Network:
        taken = {network.segmentation_id for network in self.networks.values()}
        vlan = next((vlan for vlan in vlans if vlan not in taken), None)
        if vlan is None:
            raise Conflict("no segment is left on physnet1")
        network = Network(
            id=str(uuid.uuid4()), name=name, project_id=project_id, shared=False, status="ACTIVE",
            segmentation_id=vlan, network_type="vlan", physical_network="physnet1",
        )  # fmt: skip
        self.networks[network.id] = network
        return network

    def add_subnet(self, subnet: Subnet) -> Subnet:
        network = self.networks[subnet.network_id]
        self.subnets[subnet.id] = subnet
        self.networks[network.id] = replace(network, subnet_ids=(*network.subnet_ids, subnet.id))
        return subnet

    def remove_subnet(self, subnet_id: str) -> None:
        subnet = self.subnets.pop(subnet_id)
        network = self.networks[subnet.network_id]
        kept = tuple(known for known in network.subnet_ids if known != subnet_id)
        self.networks[network.id] = replace(network, subnet_ids=kept)

    def add_port(
        self, network_id: str, *, now: datetime, mac: str, project_id: str | None, device_id: str, device_owner: str,
        name: str = "", address: str | None = None, vnic_type: str = "baremetal", addressed: bool = True,
    ) -> NetworkPort:  # fmt: skip
        """A port with one address of each of the network's subnets (or the one asked for), or with none."""
        network = self.networks.get(network_id)
        if network is None:
            raise NotFound(f"network {network_id} could not be found")
        addresses = [
            FixedAddress(subnet_id, address if address and _within(address, subnet) else self.next_free(subnet))
            for subnet_id in network.subnet_ids
            if addressed and (subnet := self.subnets[subnet_id])
        ]
        if address and self._taken(address, network_id):
            raise Duplicate(f"address {address} is taken")
        port = NetworkPort(
            id=str(uuid.uuid4()), name=name, network_id=network_id, project_id=project_id, mac=mac,
            addresses=tuple(addresses), device_id=device_id, device_owner=device_owner, host_id=None,
            vnic_type=vnic_type, status="DOWN", link=None, created_at=now,
        )  # fmt: skip
        self.ports[port.id] = port
        return port

    def bind(self, port: NetworkPort, node_id: str, nic: NodePort) -> None:
        """What ML2 with the generic switch does when Ironic sets host and profile."""
        self.ports[port.id] = replace(port, host_id=node_id, mac=nic.mac, link=nic.link, status="ACTIVE")
        if nic.link is not None:
            self.switches.write(nic.link, self.networks[port.network_id].segmentation_id)

    def bind_at(
        self, port: NetworkPort, node_id: str, mac: str, link: SwitchLink, lag: Lag | None = None
    ) -> NetworkPort:
        """The same for a switch port that is named. One that is bound there already is not written to the switch
        again: ML2 sees no change."""
        links = lag.links if lag else (link,)
        if port.links and port.links != links:
            self._unplug(port)
        if port.links != links or port.host_id != node_id or port.status != "ACTIVE":
            self._plug(port, links)
        bound = replace(
            port, host_id=node_id, mac=mac.lower(), link=links[0], more_links=links[1:], status="ACTIVE",
            vnic_type="baremetal",
        )  # fmt: skip
        self.ports[port.id] = bound
        for subport in port.subports:
            self.ports[subport.port_id] = replace(self.ports[subport.port_id], status="ACTIVE")
        return bound

    def set_subports(self, port: NetworkPort) -> None:
        """A port with other sub-interfaces than before; the switch follows."""
        self.ports[port.id] = port
        if port.links:
            self._plug(port, port.links)

    def unbind(self, port: NetworkPort) -> None:
        self.ports[port.id] = replace(port, host_id=None, link=None, more_links=(), status="DOWN")
        self._unplug(port)

    def remove_port(self, port_id: str) -> None:
        port = self.ports.pop(port_id, None)
        if port is not None:
            self._unplug(port)

    def _plug(self, port: NetworkPort, links: tuple[SwitchLink, ...]) -> None:
        tagged = frozenset(subport.vlan for subport in port.subports)
        for link in links:
            self.switches.write(link, self.networks[port.network_id].segmentation_id, tagged)

    def _unplug(self, port: NetworkPort) -> None:
        for link in port.links:
            self.switches.write(link, None)

    def holding(self, spec: HoldSpec) -> NetworkPort | None:
        """The port that was made for this very wish before."""
        for port in self.ports.values():
            if (port.network_id, port.mac, port.device_owner) != (spec.network_id, spec.mac, spec.device_owner):
                continue
            if any(f.subnet_id == spec.subnet_id and spec.address in (None, f.address) for f in port.addresses):
                return port
        return None

    def flip(
        self, node: Node, nics: list[NodePort], *, role_network: str | None, tenant: bool, now: datetime,
        project_id: str | None, bonds: Mapping[str, Bond],
    ) -> None:  # fmt: skip
        """Bring the node's attachments to what its state wants: Ironic's neutron interface, in one idempotent step.

        Its own ports (cleaning, provisioning, ...) on `role_network` and on no other; the instance's ports bound
        if `tenant`, unbound otherwise.
        """
        own = [p for p in self.ports.values() if p.device_id == node.id and p.device_owner == "baremetal:none"]
        for port in own:
            if port.network_id != role_network:
                self.remove_port(port.id)
        vifs = [p for p in self.ports.values() if node.instance_id is not None and p.device_id == node.instance_id]
        for port in vifs:
            if port.host_id and not tenant:
                self.unbind(port)
        if role_network is not None and not any(port.network_id == role_network for port in own):
            for nic in (nic for nic in nics if nic.pxe_enabled):
                port = self.add_port(
                    role_network, now=now, mac=nic.mac, project_id=project_id, device_id=node.id,
                    device_owner="baremetal:none",
                )  # fmt: skip
                self.bind(port, node.id, nic)
        if tenant:
            ordered = units(nics, bonds)
            by_mac = {unit.mac: unit for unit in ordered}
            for port in sorted(vifs, key=lambda vif: vif.created_at or now):
                taken = {other.mac for other in self.ports.values() if other.host_id == node.id and other.link}
                free = [unit for unit in ordered if unit.mac not in taken and unit.links]
                unit = by_mac.get(port.mac) if port.mac not in taken else None
                if port.host_id is None and (unit := unit or next(iter(free), None)) is not None and unit.links:
                    self.bind_at(port, node.id, unit.mac, unit.links[0], unit.lag)

    def next_free(self, subnet: Subnet) -> str:
        """The next address that the pools hand out. Raises `Conflict` when none is left."""
        taken = self._taken_in(subnet.id)
        for address in _pool(subnet):
            if str(address) not in taken:
                return str(address)
        raise Conflict(f"no more addresses are available on subnet {subnet.id}")

    def _taken_in(self, subnet_id: str) -> set[str]:
        return {a.address for port in self.ports.values() for a in port.addresses if a.subnet_id == subnet_id}

    def _taken(self, address: str, network_id: str) -> bool:
        return any(
            fixed.address == address
            for port in self.ports.values()
            if port.network_id == network_id
            for fixed in port.addresses
        )


def _within(address: str, subnet: Subnet) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)


def _pool(subnet: Subnet) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for first, last in subnet.pools:
        address, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
        while int(address) <= int(end):
            yield address
            address += 1
