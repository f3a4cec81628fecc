"""Use cases of cables and bonds, for administrators: bond NICs of a node, part them, move a cable to another port."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from steelyard.clouds.ports import Clouds
from steelyard.errors import Invalid, NotFound, Refused
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.lifecycle.model import Action
from steelyard.lifecycle.nodes import NodeLifecycle
from steelyard.naming import check_name, pick, shown
from steelyard.nouns import Actor, Bond, Node, NodePort, SwitchLink
from steelyard.operations.keys import REQUEST, Turns, digest, repeated
from steelyard.operations.model import Operation, Operations
from steelyard.store import Store

BOND: Final = "nodes.bond"
UNBOND: Final = "nodes.unbond"
RECABLE: Final = "nodes.recable"
MODES: Final = ("802.3ad", "active-backup", "balance-xor")
"""Linux's names; the first one is LACP."""
_MAC: Final = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")


@dataclass(frozen=True, slots=True)
class ShownBond:
    """A bond with its NICs."""

    bond: Bond
    nics: tuple[NodePort, ...]


class CablingService:
    """Cables and bonds. Every change is an operation on one node; all raise `NotFound`, and `Refused` in a phase that
    does not allow it. The same `key` again returns what the first request started."""

    def __init__(
        self, *, clouds: Clouds, operations: Operations, store: Store, nodes: NodeLifecycle, switches: SwitchReaders
    ) -> None:
        self._clouds = clouds
        self._operations = operations
        self._nodes = nodes
        self._switches = switches
        self._turns = Turns(store.locks, scope="cabling")

    def bonds(self, reference: str) -> list[ShownBond]:
        """The bonds of a node, by id or name of the node."""
        own = self._clouds.own
        node = own.nodes.get(reference)
        nics = sorted(own.node_ports.all(node_id=node.id), key=lambda nic: nic.mac)
        return [
            ShownBond(bond, tuple(nic for nic in nics if nic.bond_id == bond.id))
            for bond in sorted(own.bonds.all(node_id=node.id), key=lambda bond: (bond.name or "", bond.id))
        ]

    def bond(
        self, actor: Actor, reference: str, *, nics: Sequence[str] = (), name: str | None = None, mode: str = MODES[0],
        reason: str | None = None, key: str | None = None, request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Make one bond of these NICs (MACs), or of all that are in none.

        Raises `Invalid` for fewer than two, `Refused` (`nic_unknown`, `nic_in_bond`, `nic_not_cabled`).
        """
        request = {"node": reference, "nics": list(nics), "name": name, "mode": mode}
        with self._turns.at(reference):
            if known := self._repeated(actor, BOND, key, request):
                return known
            node = self._may(Action.BOND, reference)
            if mode not in MODES:
                raise Invalid(f"{shown(mode)} is no mode; there are: {', '.join(MODES)}.", code="invalid_mode")
            found = self._free_nics(node, nics)
            called = name or f"{node.label}-bond{len(self.bonds(node.id))}"
            check_name("bond", called)
            params = {"macs": [nic.mac for nic in found], "name": called, "mode": mode}
            return self._start(BOND, actor, node, params, reason, key, request, request_id)

    def unbond(
        self, actor: Actor, reference: str, bond: str, *, reason: str | None = None, key: str | None = None,
        request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """Part a bond, by id or name: its NICs are by themselves again."""
        request = {"node": reference, "bond": bond}
        with self._turns.at(reference):
            if known := self._repeated(actor, UNBOND, key, request):
                return known
            node = self._may(Action.UNBOND, reference)
            found = pick(
                "bond", bond, self.bonds(node.id), id=lambda b: b.bond.id, name=lambda b: b.bond.name or "",
                next=f"steelyard node bond list {shlex.quote(node.label)}",
            )  # fmt: skip
            params = {
                "bond_id": found.bond.id, "name": found.bond.name, "macs": [nic.mac for nic in found.nics],
                "mac": found.bond.mac, "mode": found.bond.mode,
            }  # fmt: skip
            return self._start(UNBOND, actor, node, params, reason, key, request, request_id)

    def recable(
        self, actor: Actor, reference: str, nic: str, *, switch: str, port: str, reason: str | None = None,
        key: str | None = None, request_id: str | None = None,
    ) -> Operation:  # fmt: skip
        """A NIC's cable has been, or is about to be, moved to another switch port: its networks follow, proven.

        `switch`: name or chassis id. Raises `Refused`: `port_taken`, `same_port`.
        """
        request = {"node": reference, "nic": nic, "switch": switch, "port": port}
        with self._turns.at(reference):
            if known := self._repeated(actor, RECABLE, key, request):
                return known
            node = self._may(Action.RECABLE, reference)
            every = self._clouds.own.node_ports.all()
            found = next((each for each in every if each.node_id == node.id and each.mac == nic.lower()), None)
            if found is None:
                raise NotFound(
                    f"Node {node.label} has no NIC {shown(nic)}.", code="nic_unknown",
                    next=f"steelyard node show {shlex.quote(node.label)}",
                )  # fmt: skip
            link = self._link(switch, port, every)
            self._require_free_port(link, found, every, node)
            old = found.link
            params = {
                "nic_id": found.id, "mac": found.mac, "new": _as_json(link), "old": _as_json(old) if old else None,
            }  # fmt: skip
            return self._start(RECABLE, actor, node, params, reason, key, request, request_id)

    # Small parts

    def _may(self, action: Action, reference: str) -> Node:
        node = self._clouds.own.nodes.get(reference)
        self._nodes.require(action, node)
        return node

    def _repeated(self, actor: Actor, kind: str, key: str | None, request: Mapping[str, Any]) -> Operation | None:
        known = repeated(self._operations, actor, kind, key, digest(actor, request))
        return known[0] if known else None

    def _start(
        self, kind: str, actor: Actor, node: Node, params: Mapping[str, Any], reason: str | None, key: str | None,
        request: Mapping[str, Any], request_id: str | None,
    ) -> Operation:  # fmt: skip
        return self._operations.start(
            kind, {"node_id": node.id, "node": node.label, **params, REQUEST: digest(actor, request)}, actor,
            reason=reason, key=key, subject=f"node:{node.id}", request_id=request_id,
        )  # fmt: skip

    def _free_nics(self, node: Node, macs: Sequence[str]) -> list[NodePort]:
        nics = sorted(self._clouds.own.node_ports.all(node_id=node.id), key=lambda nic: nic.mac)
        look = f"steelyard node bond list {shlex.quote(node.label)}"
        if not macs:
            found = [nic for nic in nics if nic.bond_id is None and nic.link is not None]
        else:
            by_mac = {nic.mac: nic for nic in nics}
            wanted = list(dict.fromkeys(mac.lower() for mac in macs))
            if unknown := [mac for mac in wanted if mac not in by_mac]:
                raise NotFound(f"Node {node.label} has no NIC {shown(unknown[0])}.", code="nic_unknown", next=look)
            found = [by_mac[mac] for mac in wanted]
        if taken := [nic.mac for nic in found if nic.bond_id is not None]:
            raise Refused(f"NIC {taken[0]} is in a bond already.", code="nic_in_bond", next=look)
        if loose := [nic.mac for nic in found if nic.link is None]:
            raise Refused(f"Nobody knows the switch port of NIC {loose[0]}.", code="nic_not_cabled", next=look)
        if len(found) < 2:
            raise Invalid("A bond takes at least two NICs.", code="too_few_nics", next=look)
        if len({nic.physical_network for nic in found}) > 1:
            raise Refused("The NICs are on different physical networks.", code="different_physical_networks", next=look)
        return found

    def _link(self, switch: str, port: str, nics: Sequence[NodePort]) -> SwitchLink:
        """The switch port that is meant: of a switch that is read, or that a NIC is cabled to."""
        known = {each.chassis_id.lower(): each.name for each in self._switches.switches}
        for nic in nics:
            if nic.link is not None and nic.link.switch_name:
                known[nic.link.switch_id.lower()] = nic.link.switch_name
        wanted = switch.lower() if _MAC.match(switch.lower()) else switch
        switch_id, name = pick(
            "switch", wanted, list(known.items()), id=lambda item: item[0], name=lambda item: item[1],
            next="steelyard isolation switches",
        )  # fmt: skip
        if not port.strip() or not port.isprintable():
            raise Invalid("A switch port has a name.", code="invalid_port")
        return SwitchLink(switch_id, port, name)

    def _require_free_port(self, link: SwitchLink, nic: NodePort, nics: Sequence[NodePort], node: Node) -> None:
        there = (link.switch_id.lower(), link.port_id)
        for other in nics:
            if other.link is None or (other.link.switch_id.lower(), other.link.port_id) != there:
                continue
            if other.id == nic.id:
                raise Refused(
                    f"NIC {nic.mac} is at {link.switch_name} {link.port_id} already.", code="same_port",
                    next=f"steelyard isolation show {shlex.quote(node.label)}",
                )  # fmt: skip
            raise Refused(
                f"{link.switch_name} {link.port_id} is the switch port of NIC {other.mac} of another node or of this "
                "one.",
                code="port_taken",
                next=f"steelyard network topology --switch {shlex.quote(link.switch_name or link.switch_id)}",
            )


def _as_json(link: SwitchLink) -> dict[str, str | None]:
    return {"switch_id": link.switch_id, "port_id": link.port_id, "switch_name": link.switch_name}


def link_from(data: Mapping[str, Any]) -> SwitchLink:
    """A link as an operation's parameters hold it."""
    return SwitchLink(data["switch_id"], data["port_id"], data["switch_name"])
