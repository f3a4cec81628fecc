"""Putting one NIC right, by way of the controller, and proving it. For the check of the fleet and for drift.

Nothing is written to a switch here: the controller is made to write, so that it knows what is on its switches. Every
method may be repeated, and raises what the ports raise; `Refused` (`flip_failed`) for what cannot be proven, `Conflict`
(`flip_running`) while somebody else has the node's NICs in hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import NotFound, Refused
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.bonds import lag_of
from steelyard.isolation.leasing import NicLeases
from steelyard.isolation.model import Role, place
from steelyard.isolation.parking import is_on, own_ports, tenant_ports
from steelyard.isolation.proof import LOOK_EVERY, PROVEN_WITHIN, Proof, Wanted, at_switch, sweep
from steelyard.isolation.reading import named_roles, role_networks
from steelyard.isolation.segments import Segments
from steelyard.nouns import Network, NetworkPort, Node, NodePort, SwitchLink, SwitchPort
from steelyard.settings import Settings
from steelyard.store import Store

BY: Final = "steelyard"


class Mending:
    """Puts NICs right."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        store: Store,
        switches: SwitchReaders,
        settings: Settings,
        segments: Segments | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds),
    ) -> None:
        self._clouds = clouds
        self._store = store
        self._switches = switches
        self._segments = segments or Segments(clouds=clouds, store=store, settings=settings)
        self._roles = named_roles(settings)
        self._proof = Proof(clouds=clouds, switches=switches, clock=clock, sleep=sleep)
        self._nics = NicLeases(store, clock=clock, sleep=sleep)
        self._clock = clock
        self._sleep = sleep

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    def detach(self, node_id: str, port_id: str) -> None:
        """Take a port that may not be there off the node's NIC. The port itself stays, with its addresses."""
        with self._alone(node_id):
            self._proof.unbind(port_id)

    def bind(self, node: Node, port: NetworkPort, nic: NodePort) -> None:
        """Put a port where it belongs, or have the controller write again what is there, and prove it."""
        wanted = self._wanted(port, nic)
        with self._alone(node.id, node.label):
            self._proof.unbind(port.id)
            self._proof.bind(node, wanted)
            unread = self._proof.prove(node, [wanted])
            if unread:
                raise Refused(
                    f"It was written, and nothing proves it: {unread[0]}", code="flip_failed",
                    next=f"steelyard isolation show {node.label}",
                )  # fmt: skip

    def empty(self, node: Node, nic: NodePort) -> None:
        """Have the controller take everything off the switch port of a NIC that is on no network, and prove it."""
        if nic.link is None:
            raise Refused(f"Nobody knows the switch port of NIC {nic.mac}.", code="nic_unknown")
        with self._alone(node.id, node.label):
            for port in own_ports(node, self._cloud.attachments.bound(node.id)):
                if port.mac == nic.mac:  # left by an earlier try
                    self._cloud.attachments.delete(port.id)
            sweep(self._cloud, node, nic.mac, nic.link, self._quarantine(node))
            self._prove_empty(node, nic.link)
            attachments = self._cloud.attachments.bound(node.id)
            self._segments.vacated(
                node, attachments, {nic.link.switch_id: self._switches.ports(nic.link.switch_id)}, BY
            )

    def clear(self, node: Node) -> None:
        """Have nothing on any NIC of a node that is to be on no network: empty what a switch still carries there.

        Raises `Refused` (`still_bound`) where the controller has a port on a NIC that is not ours: whoever put it there
        takes it off. A switch that no reader is configured for is left as it is.
        """
        bound = self._cloud.attachments.bound(node.id)
        none = self._cloud.security_groups.on_switch(None)
        for nic in self._cloud.node_ports.all(node_id=node.id):
            if nic.link is None:
                continue
            there = [port for port in bound if is_on(port, nic.link)]
            if len(there) > len(own_ports(node, there)):
                raise Refused(
                    f"The controller has a port on NIC {nic.mac} of node {node.label}, wanted none.",
                    code="still_bound", next=f"steelyard isolation show {node.label}",
                )  # fmt: skip
            try:
                ports = self._switches.ports(nic.link.switch_id)
            except NotFound as error:
                if error.code != "switch_unknown":
                    raise
                continue
            if there or at_switch(ports, nic.link, None, filters=none) is not None:
                self.empty(node, nic)

    def find_nic(self, node: Node, mac: str) -> NodePort | None:
        """The node's NIC of that MAC; None where it has none."""
        return next((nic for nic in self._cloud.node_ports.all(node_id=node.id) if nic.mac == mac), None)

    def nic(self, node: Node, mac: str) -> NodePort:
        """The same. Raises `NotFound` (`nic_unknown`)."""
        found = self.find_nic(node, mac)
        if found is None:
            raise NotFound(f"Node {node.label} has no NIC {mac} any more.", code="nic_unknown")
        return found

    def on_nic(self, nic: NodePort) -> list[NetworkPort]:
        """The ports that the controller has on the NIC, by its switch port or by its MAC."""
        there = place(nic.link) if nic.link is not None else None
        return [
            port
            for port in self._cloud.attachments.all()
            if port.link is not None
            and (port.mac.lower() == nic.mac.lower() or there in {place(link) for link in port.links})
        ]

    def belonging(self, node: Node, nic: NodePort) -> NetworkPort | None:
        """The port of the node's instance that belongs on this NIC, by its MAC; None where there is none."""
        if node.instance_id is None:
            return None
        ports = tenant_ports(node, self._cloud.attachments.all(device_ids=[node.instance_id]))
        macs = {mate.mac for mate in self._mates(nic)}
        return next((port for port in ports if port.mac.lower() in macs), None)

    def _mates(self, nic: NodePort) -> list[NodePort]:
        """The NICs that act as one with this one, itself among them."""
        if nic.bond_id is None:
            return [nic]
        return [each for each in self._cloud.node_ports.all(node_id=nic.node_id) if each.bond_id == nic.bond_id]

    def _prove_empty(self, node: Node, link: SwitchLink) -> None:
        began = self._clock()
        none = self._cloud.security_groups.on_switch(None)
        while (wrong := at_switch(self._switches.ports(link.switch_id), link, None, filters=none)) is not None:
            if self._clock() - began >= PROVEN_WITHIN:
                raise Refused(wrong, code="flip_failed", next=f"steelyard isolation show {node.label}")
            self._sleep(LOOK_EVERY)

    def carried(self, nic: NodePort) -> SwitchPort | None:
        """What the switch carries on the NIC's port; None where it reports no such port. Raises what readers raise."""
        assert nic.link is not None
        ports = self._switches.ports(nic.link.switch_id)
        return next((port for port in ports if port.port_id == nic.link.port_id), None)

    def _wanted(self, port: NetworkPort, nic: NodePort) -> Wanted:
        if nic.link is None:
            raise Refused(f"Nobody knows the switch port of NIC {nic.mac}.", code="nic_unknown")
        network = next((each for each in self._cloud.networks.all() if each.id == port.network_id), None)
        if network is None:
            raise NotFound(f"Network {port.network_id} is gone.", code="network_not_found")
        mac, lag = nic.mac, None
        if nic.bond_id is not None:
            bonds = self._cloud.bonds.all(node_id=nic.node_id)
            mac, lag = port.mac, lag_of(nic, self._mates(nic), bonds)
        tagged = frozenset(subport.vlan for subport in port.subports)
        return Wanted(nic.link, port.id, mac, network, lag, tagged, self._cloud.security_groups.on_switch(port))

    def _quarantine(self, node: Node) -> Network:
        networks = self._cloud.networks.all()
        shared = role_networks(networks, self._roles).get(Role.QUARANTINE)
        network = self._segments.for_quarantine(node, next((each for each in networks if each.id == shared), None), BY)
        if network is None and self._segments.enabled:
            raise Refused(
                "No segment is free by which to do it.", code="flip_failed", next="steelyard isolation segments"
            )
        if network is None:
            raise Refused(
                f"There is not exactly one network {self._roles[Role.QUARANTINE]!r}.", code="flip_failed",
                next="set STEELYARD_QUARANTINE_NETWORK to the network's id",
            )  # fmt: skip
        return network

    def _alone(self, node_id: str, label: str | None = None) -> AbstractContextManager[object]:
        """The node's NICs are ours alone; who is about to give it power comes first."""
        return self._nics.hold(node_id, label, generation=self._store.flips.generation(node_id))
