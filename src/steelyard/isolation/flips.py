"""Flips: a powered-off server's NICs to the quarantine network and back, each proven before it counts as done.

Runbook, by hand, for a server that is off. To quarantine: note on its node which ports are taken off
(`extra.steelyard_parked`), `openstack port unset --host` and `--binding-profile` of each of the tenant's ports, make a
port on the quarantine network with the NIC's MAC and bind it to the NIC's switch port, look at the switch. Back: delete
that port, bind the tenant's port again, look at the switch, then give it power, then remove the note.

Who may do what when:
* To quarantine goes only who could write the mark: that takes the node's lock in the bare metal service, so nobody
  changes its power at that moment, and whoever does it later sees the mark and asks us first.
* Back to the tenant goes everybody who is about to give it power, with right of way. The conductor holds the node's
  lock while it asks, so nothing here may need that lock; the mark stays, and the reconciler removes it later.
* Between the two, and among all servers, a lease in the database decides, and its generation says who came later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Conflict, Refused, SteelyardError, UpstreamError
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.bonds import lag_of
from steelyard.isolation.leasing import NicLeases, Overtaken
from steelyard.isolation.model import Role
from steelyard.isolation.parking import (
    MARK,
    PORT_NAME,
    Parked,
    becomes_on,
    in_quarantine,
    is_on,
    mark_of,
    own_ports,
    parked,
    same_place,
    tenant_ports,
    to_park,
)
from steelyard.isolation.proof import Proof, Wanted
from steelyard.isolation.reading import named_roles, role_networks
from steelyard.isolation.segments import Segments
from steelyard.lifecycle.model import quarantine
from steelyard.nouns import AttachmentSpec, Network, NetworkPort, Node, SwitchLink
from steelyard.settings import Settings
from steelyard.store import Store

OPEN: Final = 120.0
"""Seconds between the NICs being back and the power coming on, at most; after that they go into quarantine again."""


@dataclass(frozen=True, slots=True)
class By:
    """Who had it done, for the record."""

    actor: str
    reason: str
    operation_id: str | None = None
    request_id: str | None = None


class Flips:
    """Moves NICs. Everything may be repeated; what is so already is looked at, not done again."""

    def __init__(
        self,
        *,
        clouds: Clouds,
        store: Store,
        switches: SwitchReaders,
        settings: Settings,
        segments: Segments | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clouds = clouds
        self._store = store
        self._segments = segments or Segments(clouds=clouds, store=store, settings=settings)
        self._proof = Proof(clouds=clouds, switches=switches, clock=clock, sleep=sleep)
        self._roles = named_roles(settings)
        self._nics = NicLeases(store, clock=clock, sleep=sleep)

    @property
    def _cloud(self) -> Cloud:
        return self._clouds.own

    # Into quarantine

    def to_quarantine(self, node_id: str, by: By) -> None:
        """Take a powered-off server's NICs off the tenant's networks, into quarantine, and prove it.

        With a pool of segments: onto the node's own; where none is left for it, onto no network at all.

        Raises `Conflict` while somebody works on the node or is about to give it power (try again later); `Refused`
        (`flip_failed`) when it cannot be proven, which is kept as a finding; what the ports raise.
        """
        node = self._cloud.nodes.get(node_id)
        generation = self._store.flips.generation(node.id)
        nics = self._cloud.node_ports.all(node_id=node.id)
        node = self._mark(node, to_park(node, nics, self._attachments(node)))
        with (
            self._nics.hold(node.id, node.label, generation=generation) as still_mine,
            self._told(node, Role.QUARANTINE, by) as told,
        ):
            attachments = self._attachments(node)
            wanted = to_park(node, nics, attachments)
            for port in tenant_ports(node, attachments):
                if port.host_id is not None:
                    self._proof.unbind(port.id)
                    told.moved = True
            network = self._segments.for_quarantine(node, self._network(Role.QUARANTINE), by.actor)
            for port in own_ports(node, attachments):
                if network is None or port.network_id != network.id:
                    self._cloud.attachments.delete(port.id)
                    told.moved = True
            links = {nic.mac: nic.link for nic in nics}
            held = []
            for each in wanted:
                still_mine()  # whoever has the NICs in hand now looks for ports of ours no more
                held.append(self._hold(node, each, links[each.mac], network, told))
            proven = [each for each in held if each is not None]
            told.unread = self._proof.prove(node, proven)
            told.nics = [_told_nic(each) for each in proven]

    def _mark(self, node: Node, nics: Sequence[Parked]) -> Node:
        """Write down what is taken off; who can do that knows that nobody else has the node in hand."""
        self._cloud.nodes.update(node.id, {f"/extra/{MARK}": mark_of(nics, now=datetime.now(UTC))})
        node = self._cloud.nodes.get(node.id)  # the answer to an update is as old as its request
        if node.provision_state != "active" or node.power_state != "off" or becomes_on(node, None):
            raise Conflict(f"Node {node.label} is not off any more.", code="node_not_off")
        return node

    def _hold(
        self, node: Node, parked_nic: Parked, link: SwitchLink | None, network: Network | None, told: _Told
    ) -> Wanted | None:
        """Our own port on the NIC. One whose cable nobody knows has no switch port to carry anything."""
        if link is None:
            return None
        if network is None:
            return Wanted(link, None, parked_nic.mac, None, filters=self._cloud.security_groups.on_switch(None))
        spec = AttachmentSpec(PORT_NAME, network.id, node.id, parked_nic.mac, link)
        before = {port.id for port in own_ports(node, self._attachments(node))}
        port = self._cloud.attachments.create(spec)
        told.moved = told.moved or port.id not in before
        filters = self._cloud.security_groups.on_switch(port)
        return Wanted(link, port.id, parked_nic.mac, network, filters=filters)

    def in_quarantine(self, node: Node) -> bool:
        """Whether the node is marked and its NICs are in quarantine, for the controller."""
        if parked(node) is None:
            return False
        nics = self._cloud.node_ports.all(node_id=node.id)
        return in_quarantine(node, nics, self._attachments(node), self._segments.leases())

    # Back to the tenant

    def to_tenant(self, node_id: str, by: By) -> None:
        """Bring a server's NICs back to its tenant's networks and prove it. Needs no lock of the node's.

        Raises `Refused` (`flip_failed`) when it cannot be proven; `Refused` (`node_quarantined`) for a node that an
        administrator must release first; `Conflict` when another flip of it does not end; what the ports raise.
        """
        node = self._cloud.nodes.get(node_id)
        if (why := quarantine(node)) is not None:
            raise Refused(
                f"Node {node.label} is in quarantine: {why}",
                code="node_quarantined",
                next=f"steelyard node show {node.label}",
            )
        with self._nics.hold(node.id, node.label), self._told(node, Role.TENANT, by) as told:
            attachments = self._attachments(node)
            nics = self._cloud.node_ports.all(node_id=node.id)
            by_mac = {nic.mac: nic for nic in nics}
            bonds = self._cloud.bonds.all(node_id=node.id) if any(nic.bond_id for nic in nics) else []
            held = {each.mac: by_mac[each.mac].link for each in parked(node) or () if each.mac in by_mac}
            for port in self._own_ports(node, attachments):
                held[port.mac] = port.link or (by_mac[port.mac].link if port.mac in by_mac else None)
                self._cloud.attachments.delete(port.id)
                told.moved = True
            networks = {network.id: network for network in self._cloud.networks.all()}
            wanted = []
            for port, mac in self._belonging(node, attachments):
                nic = by_mac.get(mac)
                if nic is None or nic.link is None:
                    raise Refused(
                        f"NIC {mac} of node {node.label} is not there any more, or nobody knows its switch port.",
                        code="nic_unknown",
                        next=f"steelyard node show {node.label}",
                    )
                lag = lag_of(nic, nics, bonds)
                links = lag.links if lag else (nic.link,)
                tagged = frozenset(subport.vlan for subport in port.subports)
                if (network := networks.get(port.network_id)) is None:
                    raise UpstreamError(
                        f"The controller has NIC {mac} on network {port.network_id}, and does not list it."
                    )
                filters = self._cloud.security_groups.on_switch(port)
                wanted += [Wanted(link, port.id, mac, network, lag, tagged, filters) for link in links]
                there = all(is_on(port, link) for link in links)
                if port.host_id is None or port.status != "ACTIVE" or not there:
                    self._proof.bind(node, wanted[-1])
                    told.moved = True
            # A NIC whose tenant's port was deleted meanwhile goes on no network, and must not stay in quarantine.
            back = [each.link for each in wanted]
            idle = [link for link in held.values() if link and not any(same_place(link, each) for each in back)]
            told.unread = self._proof.prove(node, wanted, empty=idle)
            told.nics = [_told_nic(each) for each in wanted]
            # The NICs were seen elsewhere, so the segment that they were on is another node's to have.
            self._segments.vacated(node, self._bound(node), {}, by.actor)

    def _belonging(self, node: Node, attachments: Sequence[NetworkPort]) -> list[tuple[NetworkPort, str]]:
        """The tenant's ports, each with the MAC of the NIC that it was on: by the mark, else by its own MAC."""
        by_id = {port.id: port for port in tenant_ports(node, attachments)}
        found = {each.port_id: each.mac for each in parked(node) or () if each.port_id in by_id}
        macs = {nic.mac for nic in self._cloud.node_ports.all(node_id=node.id)}
        for port in by_id.values():
            if port.mac in macs and port.mac not in found.values():
                found.setdefault(port.id, port.mac)
        return [(by_id[port_id], mac) for port_id, mac in sorted(found.items(), key=lambda item: item[1])]

    # Those who have right of way

    def before_power_on(self, node_id: str, by: By) -> bool:
        """The NICs are back, and stay so until the power is on, or for `OPEN` seconds. False: they were there anyway.

        For a power-on that goes by way of Steelyard. Raises what `to_tenant` raises.
        """
        node = self._cloud.nodes.get(node_id)
        if not self._is_parked(node):
            return False
        self._store.flips.hold_open(node.id, OPEN)
        try:
            self.to_tenant(node.id, by)
        except SteelyardError:
            self._store.flips.hold_open(node.id, 0)
            raise
        return True

    def after_power(self, node_id: str) -> None:
        """The power-on has ended, one way or the other."""
        self._store.flips.hold_open(node_id, 0)

    def gate(self, reference: str, by: By) -> Node:
        """The conductor asks whether the node may get power: its NICs are back when this returns."""
        node = self._cloud.nodes.get(reference)
        # A power-on of anything else is part of Ironic's own work, on networks of its own.
        if node.provision_state == "active" and (self._is_parked(node) or quarantine(node) is not None):
            self.to_tenant(node.id, by)
        return node

    def hands_off(self, reference: str) -> Node:
        """The conductor takes the NICs in hand: no flip of ours is under way any more, and none that was prepared
        before begins. Raises `Conflict` when one does not end: it makes no more ports then."""
        node = self._cloud.nodes.get(reference)
        try:
            with self._nics.hold(node.id, node.label):
                return node
        except Conflict:
            self._store.flips.revoke(node.id)
            raise

    def _is_parked(self, node: Node) -> bool:
        return parked(node) is not None or bool(own_ports(node, self._attachments(node)))

    # Afterwards

    def clear(self, seen: Node) -> None:
        """Remove ports of ours that were left, and the mark, of a node as it was seen. Raises `Conflict` while Ironic
        works on the node or somebody moves its NICs, and when either has been done since."""
        generation = self._store.flips.generation(seen.id)
        with self._nics.hold(seen.id, seen.label, generation=generation):
            node = self._cloud.nodes.get(seen.id)
            if node.provision_state != seen.provision_state or node.extra.get(MARK) not in (None, seen.extra.get(MARK)):
                raise Conflict(f"Node {node.label} is not as it was seen any more.", code="flip_overtaken")
            for port in self._own_ports(node, self._attachments(node)):
                self._cloud.attachments.delete(port.id)
            if MARK in node.extra:
                # The last thing: by it a conductor knows that somebody may be moving the NICs.
                self._cloud.nodes.update(node.id, {f"/extra/{MARK}": None})
        self._store.flips.succeeded(node.id)

    # Small parts

    def _attachments(self, node: Node) -> list[NetworkPort]:
        owners = [node.id, *([node.instance_id] if node.instance_id else [])]
        return self._cloud.attachments.all(device_ids=owners)

    def _own_ports(self, node: Node, attachments: Sequence[NetworkPort]) -> list[NetworkPort]:
        """Those of Steelyard's. Of two lists: one that is read while others change ports may lack one, and two networks
        would be on a NIC."""
        return own_ports(node, {port.id: port for port in [*attachments, *self._bound(node)]}.values())

    def _bound(self, node: Node) -> list[NetworkPort]:
        return self._cloud.attachments.bound(node.id)

    def _network(self, role: Role) -> Network | None:
        """The role's network; None where there is a pool of segments, which nobody shares."""
        networks = self._cloud.networks.all()
        found = role_networks(networks, self._roles).get(role)
        if found is None:
            if self._segments.enabled and not self._segments.sharing:
                return None
            raise Refused(
                f"The NICs are on no network: there is not exactly one network {self._roles[role]!r} to put them on.",
                code="flip_failed",
                next="set STEELYARD_QUARANTINE_NETWORK to the network's id",
            )
        return next(network for network in networks if network.id == found)

    @contextmanager
    def _told(self, node: Node, to: Role, by: By) -> Iterator[_Told]:
        """One event for a flip that moved something, one for a failure that is news."""
        told = _Told()
        try:
            yield told
        except Overtaken:
            raise
        except SteelyardError as error:
            reason = f"Node {node.label} could not be brought to the {_words(to)}: {error.detail}"
            if self._store.flips.failed(node.id, to.value, reason):
                self._event(node, "network.flip_failed", reason, by, {"to": to.value})
            raise
        if told.moved:
            other = Role.TENANT if to is Role.QUARANTINE else Role.QUARANTINE
            detail = f"node {node.label} left the {_words(other)} for the {_words(to)}"
            data = {
                "from": other.value, "to": to.value, "nics": told.nics, "unread": told.unread,
                "verified": bool(told.nics) and not told.unread,
            }  # fmt: skip
            self._event(node, "network.flipped", detail, by, data)
        self._store.flips.succeeded(node.id, to.value)

    def _event(self, node: Node, kind: str, detail: str, by: By, data: dict[str, Any]) -> None:
        self._store.events.append(
            f"node:{node.id}", kind, actor=by.actor, detail=detail, reason=by.reason, operation_id=by.operation_id,
            request_id=by.request_id, data=data,
        )  # fmt: skip


class _Told:
    """What an event tells of a flip."""

    def __init__(self) -> None:
        self.moved = False
        self.nics: list[dict[str, Any]] = []
        self.unread: list[str] = []


def _told_nic(wanted: Wanted) -> dict[str, Any]:
    link = wanted.link
    return {
        "mac": wanted.mac, "switch": link.switch_name or link.switch_id, "port": link.port_id,
        "network": wanted.network.name if wanted.network else None,
        "vlan": wanted.network.segmentation_id if wanted.network else None,
    }  # fmt: skip


def _words(role: Role) -> str:
    return "tenant's networks" if role is Role.TENANT else "quarantine network"
