"""The fake Neutron's inside: addresses, ports, and binding them onto the fake switches."""

from __future__ import annotations

import ipaddress
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

from steelyard.address_nouns import HoldSpec
from steelyard.clouds.fake.switches import FakeSwitches
from steelyard.clouds.fake.units import Unit, units
from steelyard.errors import Conflict, Duplicate, NotFound
from steelyard.nouns import (
    IRONICS,
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


class BindingFault(StrEnum):
    """What may become of a binding."""

    LIES = "says ACTIVE and programs no switch"
    FAILS = "does not bind it"
    """The request is accepted, and the port stays DOWN (Neutron's `binding_failed`)."""


class FakeFabric:
    """Networks, subnets and ports; a bound port's VLAN is on the switch."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.networks: dict[str, Network] = {}
        self.subnets: dict[str, Subnet] = {}
        self.ports: dict[str, NetworkPort] = {}
        self.switches = FakeSwitches(clock)
        self.enforces_groups = False
        """Whether the switches filter by the security groups of servers' ports."""
        self._faults: deque[tuple[BindingFault, int]] = deque()
        self.struck: set[tuple[str, str]] = set()
        """Switch ports at which a binding went wrong."""
        self._misbound = 0

    def fail_binding(self, fault: BindingFault, *, skip: int = 0) -> None:
        """The next binding, after `skip` others, goes wrong."""
        self._faults.append((fault, skip))

    def calm(self) -> None:
        """No binding that comes goes wrong."""
        self._faults.clear()

    @property
    def went_wrong(self) -> int:
        """How many bindings and writes were disturbed."""
        return self._misbound + self.switches.went_wrong

    def _strike(self) -> BindingFault | None:
        for index, (fault, skip) in enumerate(self._faults):
            if skip == 0:
                del self._faults[index]
                return fault
            self._faults[index] = (fault, skip - 1)
        return None

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
        status = "ACTIVE" if nic.link is None else self._plug(port, (nic.link,))
        self.ports[port.id] = replace(port, host_id=node_id, mac=nic.mac, link=nic.link, status=status)

    def bind_at(
        self, port: NetworkPort, node_id: str, mac: str, link: SwitchLink, lag: Lag | None = None
    ) -> NetworkPort:
        """The same for a switch port that is named. One that is bound there already is not written to the switch
        again: ML2 sees no change."""
        links = lag.links if lag else (link,)
        if port.links and port.links != links:
            self._unplug(port)
        status = port.status
        if port.links != links or port.host_id != node_id or port.status != "ACTIVE":
            status = self._plug(port, links)
        bound = replace(
            port, host_id=node_id, mac=mac.lower(), link=links[0], more_links=links[1:], status=status,
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

    def _plug(self, port: NetworkPort, links: tuple[SwitchLink, ...]) -> str:
        """The switches get the network's VLAN, and those of the sub-interfaces; returns the status of the port then."""
        tagged = frozenset(subport.vlan for subport in port.subports)
        fault = self._strike()
        for link in links:
            if fault is None:
                vlan = self.networks[port.network_id].segmentation_id
                self.switches.write(link, vlan, tagged, self.filters_at(port))
            else:
                self.struck.add((link.switch_id, link.port_id))
        self._misbound += fault is not None
        return "DOWN" if fault is BindingFault.FAILS else "ACTIVE"

    def filters_at(self, port: NetworkPort | None) -> frozenset[str]:
        """The security groups by which the switch filters where this port is bound."""
        filtered = self.enforces_groups and port is not None and port.is_novas
        return frozenset(port.security_groups) if port is not None and filtered else frozenset()

    def set_groups(self, port: NetworkPort, groups: tuple[str, ...]) -> None:
        """A port with other security groups than before; the switch follows where it filters by them."""
        self.ports[port.id] = changed = replace(port, security_groups=groups)
        if self.enforces_groups and changed.links and self.filters_at(changed) != self.filters_at(port):
            self._plug(changed, changed.links)

    def _unplug(self, port: NetworkPort) -> None:
        """A port that was not bound has nothing on the switch, and its driver is not asked."""
        for link in port.links:
            if port.status == "ACTIVE":
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
        own = self.own_ports(node)
        for port in own:
            if port.network_id != role_network:
                self.remove_port(port.id)
        if not tenant:
            self.leave_tenant(node)
        if role_network is not None and not any(port.network_id == role_network for port in own):
            self.join(node, nics, role_network, now=now, project_id=project_id)
        if tenant:
            for port, unit in self.tenant_pairs(node, nics, bonds, free_only=True):
                if port.host_id is None:
                    self.bind_at(port, node.id, unit.mac, unit.links[0], unit.lag)

    def own_ports(self, node: Node) -> list[NetworkPort]:
        """Those that Ironic, or Steelyard, made for the node."""
        mine = {node.id, node.instance_id or node.id}
        return [p for p in self.ports.values() if p.device_id in mine and p.device_owner == IRONICS]

    def instance_ports(self, instance_id: str | None) -> list[NetworkPort]:
        """Those of the tenant's server."""
        return [port for port in self.ports.values() if port.is_of(instance_id)]

    def tenant_pairs(
        self, node: Node, nics: list[NodePort], bonds: Mapping[str, Bond], *, free_only: bool = False
    ) -> list[tuple[NetworkPort, Unit]]:
        """The instance's ports, each with the NIC or bond that it is on or belongs on.

        `free_only`: what carries somebody else's port (one of quarantine) is not free for it.
        """
        vifs = self.instance_ports(node.instance_id)
        ordered = [unit for unit in units(nics, bonds) if unit.links]
        by_mac = {unit.mac: unit for unit in ordered}
        among = self.ports.values() if free_only else vifs
        taken = {port.mac for port in among if port.host_id == node.id and port.links}
        pairs = []
        for port in sorted(vifs, key=_age):
            if port.host_id == node.id and port.links and port.mac in by_mac:
                pairs.append((port, by_mac[port.mac]))
                continue
            free = [unit for unit in ordered if unit.mac not in taken]
            unit = by_mac[port.mac] if port.mac in by_mac and port.mac not in taken else next(iter(free), None)
            if unit is not None:
                taken.add(unit.mac)
                pairs.append((port, unit))
        return pairs

    def leave_tenant(self, node: Node) -> None:
        """Unbind the instance's ports."""
        for port in self.instance_ports(node.instance_id):
            if port.host_id:
                self.unbind(port)

    def join(
        self, node: Node, nics: list[NodePort], network_id: str, *, now: datetime, project_id: str | None
    ) -> list[tuple[NodePort, NetworkPort]]:
        """Make a port on a network of the operator's for every NIC that Ironic boots from."""
        made = []
        for nic in (nic for nic in nics if nic.pxe_enabled):
            port = self.add_port(
                network_id, now=now, mac=nic.mac, project_id=project_id, device_id=node.instance_id or node.id,
                device_owner=IRONICS,
            )  # fmt: skip
            self.bind(port, node.id, nic)
            made.append((nic, self.ports[port.id]))
        return made

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


def _age(port: NetworkPort) -> datetime:
    return port.created_at or datetime.min.replace(tzinfo=UTC)


def _within(address: str, subnet: Subnet) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)


def _pool(subnet: Subnet) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for first, last in subnet.pools:
        address, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
        while int(address) <= int(end):
            yield address
            address += 1
