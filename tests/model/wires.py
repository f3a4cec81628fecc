"""I3 and I4, as checks of what the switches really carry; after every move, at every answer, and at rest.

I3  a tenant's NIC is never on an operator's network and the other way round, and no NIC is on two.
I4  the BMCs' segment is on no NIC, and the switch port of a BMC carries nothing else.

What can be guaranteed, and is checked at every moment, whatever gets lost, comes late or lies:

* *No life cycle advances on a wrong network.* When Steelyard says that a change of networks is verified, the switch
  carries exactly that on each of the NICs. So a node of which every change is asked about (network interface
  `steelyard`) gets power in a state only on the networks of that state, or is contained: refused or in quarantine.
* *No parked server gets power before its tenant's networks are on its switch ports.*
* *What nobody disturbed agrees.* Where no write and no binding went wrong, the switch carries what the controller has.
* *What was disturbed is told of*, after one undisturbed run of the fleet's check; a refused node ends in quarantine.
* *The BMCs' segment is nobody's.* Nothing that is asked of a controller ever names it or the port of a BMC.

What cannot be guaranteed: a switch that applies a write to another port than it was told to, or long after it was told
to, does its harm to a third server before anybody can look. That server is not asked about at that moment, so all that
is owed is that somebody is told. The same holds for a hand on the switch, and for a node whose changes nobody is asked
about, which is `active` on whatever its switch carries (Ironic's own interface). A switch that shows what it carried
earlier deceives nobody as long as it never shows anything older than it has shown before (see `fabric.Reader`), and the
node was not on that very network in between, unread: then what it shows may be an earlier try. And where Steelyard was
away for as long as a conductor asks, nobody has said no: the step fails, the power is off, and what somebody does to
that node before the guard comes by is done by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from steelyard.clouds.fake.conductor import QUARANTINE_PORT, Asked, gated
from steelyard.clouds.fake.fabric import SEGMENT_VLANS
from steelyard.clouds.fake.gate import NETWORK_INTERFACE, PARKED
from steelyard.clouds.observing import FRESH
from steelyard.isolation.checking import COMPARE
from steelyard.isolation.refusal import REFUSED
from steelyard.nouns import NetworkPort, Node, NodePort, SwitchLink

from .fabric import BMC_VLANS, bmc_port, excused, last_change, shown
from .game import MACHINES, Game

OPERATORS: dict[str, str] = {
    "cleaning": "cleaning", "clean wait": "cleaning", "inspecting": "inspection", "inspect wait": "inspection",
    "deploying": "provisioning", "wait call-back": "provisioning", "rescuing": "rescue", "rescue wait": "rescue",
}  # fmt: skip
"""States of Ironic in which an operator's ramdisk runs, and the role of its network."""
RESTS = frozenset({"available", "active", "rescue", "manageable", "enroll"})
"""States of Ironic in which a node may rest without anybody's help."""
TAKEN_AWAY = frozenset({"error", "deploy failed", "clean failed"})
"""States of Ironic from which the guard takes a node into quarantine."""
OLD = timedelta(seconds=FRESH)
"""How old the lists may be that the guard looks at."""


@dataclass(frozen=True)
class Wire:
    """One NIC with a cable, and what is so of it at this moment."""

    node: Node
    nic: NodePort
    link: SwitchLink
    bound: tuple[NetworkPort, ...]
    has: int | None
    """The VLAN that the controller has bound there."""
    carried: int | None
    """The VLAN that the switch carries."""

    @property
    def place(self) -> tuple[str, str]:
        return self.link.switch_id, self.link.port_id

    @property
    def words(self) -> str:
        return f"{self.node.name} ({self.node.provision_state}, {self.node.power_state}) NIC {self.nic.mac}"


class Wires:
    """The checks of one history."""

    def __init__(self, game: Game, guarded: Sequence[datetime]) -> None:
        """`guarded`: when the runs of the guard began that nothing disturbed; it grows."""
        self.game = game
        self._guarded = guarded
        self._power_ons = 0
        self._changes = 0
        self._compared: dict[str, Any] = {}
        self._bmc_places = {(link.switch_id, link.port_id) for link in map(bmc_port, range(1, MACHINES + 1))}
        game.gates.said_yes.append(self._said_yes)
        game.watchers.append(self._watch)

    # What is so

    def _wires(self) -> Iterator[Wire]:
        world = self.game.world
        there: dict[tuple[str, str], list[NetworkPort]] = {}
        for port in world.fabric.ports.values():
            if port.link is not None:
                there.setdefault((port.link.switch_id, port.link.port_id), []).append(port)
        for nic in world.node_ports.values():
            node = world.nodes.get(nic.node_id)
            if nic.link is None or node is None:
                continue
            bound = tuple(there.get((nic.link.switch_id, nic.link.port_id), ()))
            active = [port for port in bound if port.status == "ACTIVE"]
            has = world.fabric.networks[active[0].network_id].segmentation_id if active else None
            yield Wire(node, nic, nic.link, bound, has, world.fabric.switches.vlan(nic.link))

    def _network(self, vlan: int | None) -> str:
        name = next((n.name for n in self.game.world.fabric.networks.values() if n.segmentation_id == vlan), None)
        return "nothing" if vlan is None else f"{name or 'unknown'} (VLAN {vlan})"

    def _vlan(self, role: str) -> int | None:
        world = self.game.world
        return world.fabric.networks[world.role_networks[role]].segmentation_id

    def _agents_vlan(self, node: Node, role: str) -> int | None:
        """Where an agent of this role runs on the node: where it has a network to itself, there and nowhere else."""
        world = self.game.world
        if not (self.game.settings.segments and gated(world, node)):
            return self._vlan(role)
        of, network_id = world.segments.get(node.id, ("", ""))
        return world.fabric.networks[network_id].segmentation_id if of == role else None

    def _may_carry(self, node: Node) -> set[int | None]:
        """What a node that has power may have on its NICs in its state: an operator's network, or its tenant's."""
        world = self.game.world
        # The rescue system has its password, and goes on running while it gets its tenant's networks.
        rescued = node.provision_state == "rescue" or (node.provision_state == "rescue wait" and node.id in world.moves)
        if not rescued and (role := OPERATORS.get(node.provision_state)) is not None:
            return {self._agents_vlan(node, role)}
        if not rescued and node.provision_state not in {"active", "unrescuing"}:
            return set()
        instance = world.instances.get(node.instance_id or "")
        project = instance.project_id if instance is not None else None
        mine = {network.segmentation_id for network in world.fabric.networks.values() if network.project_id == project}
        return mine | ({self._agents_vlan(node, "rescue")} if rescued else set())

    def _contained(self, node: Node) -> bool:
        """Whether it is refused, and so on its way into quarantine, or is there."""
        since = node.provision_updated_at
        failed = node.provision_state in TAKEN_AWAY
        if failed and since is not None and not any(run > since + OLD for run in self._guarded):
            return True  # nobody has come by since its work failed: the power that it has was given by hand
        findings = self.game.store.findings.by(REFUSED)
        return "quarantine" in node.notes or any(each.finding.subject == f"node:{node.id}" for each in findings)

    def _disturbed(self, place: tuple[str, str]) -> bool:
        fabric = self.game.world.fabric
        return place in fabric.switches.disturbed or place in fabric.struck or place in fabric.switches.awaits

    def _settle(self, place: tuple[str, str]) -> None:
        """Controller and switch agree again: whatever went wrong there is over."""
        fabric = self.game.world.fabric
        if place not in fabric.switches.awaits:
            fabric.switches.disturbed.pop(place, None)
            fabric.struck.discard(place)

    # After every move

    def check(self) -> None:
        self._bmcs()
        wires = list(self._wires())
        for wire in wires:
            self._check(wire)
        self._check_alone(wires)
        self._power()

    def _check_alone(self, wires: list[Wire]) -> None:
        """A network that a node has to itself is nobody else's meanwhile."""
        alone: dict[int, Wire] = {}
        for wire in wires:
            if wire.carried in SEGMENT_VLANS and not self._undone(wire):
                other = alone.setdefault(wire.carried, wire)
                if other.node.id != wire.node.id:
                    self.game.fail(f"I3: {wire.words} is on {self._network(wire.carried)}, where {other.words} is")

    def _check(self, wire: Wire) -> None:
        if len(wire.bound) > 1:
            names = sorted(self.game.world.fabric.networks[port.network_id].name for port in wire.bound)
            self.game.fail(f"I3: {wire.words} is on {len(wire.bound)} networks: {', '.join(names)}")
        if wire.carried == wire.has:
            self._settle(wire.place)
        elif not self._disturbed(wire.place):
            self.game.fail(
                f"I3: {wire.words}: the switch carries {self._network(wire.carried)}, the controller has "
                f"{self._network(wire.has)}, and nothing went wrong there"
            )
        if wire.node.power_state == "on" and wire.carried is not None:
            self._check_running(wire)

    def _check_running(self, wire: Wire) -> None:
        """It has power, and its NIC is on this network."""
        node, carries = wire.node, self._network(wire.carried)
        if wire.carried in self._may_carry(node):
            return
        if wire.carried == wire.has:
            ramdisks = {self._vlan(role) for role in ("provisioning", "cleaning", "inspection")}
            if not any(port.name == QUARANTINE_PORT for port in wire.bound):  # there it is in quarantine
                ramdisks |= {*SEGMENT_VLANS}
            if node.provision_state in OPERATORS or (node.provision_state == "active" and wire.carried in ramdisks):
                self.game.fail(f"I3: {wire.words} is on {carries}, for the controller too")
            return
        known = self._undone(wire) or self._inherited(wire) or self._contained(node)
        if node.network_interface == NETWORK_INTERFACE and not known:
            self.game.fail(f"I3: {wire.words} runs on {carries}, the controller has {self._network(wire.has)}")

    def _undone(self, wire: Wire) -> bool:
        """Whether something else than a write to this port, when it was asked for, made it carry that."""
        last = last_change(self.game, wire.place)
        return last is not None and last.cause.name != "WRITE"

    def _inherited(self, wire: Wire) -> bool:
        """Whether it carries that since before the node was enrolled: an earlier record of the machine was deleted by
        hand, and nobody has been asked about this one yet."""
        last = last_change(self.game, wire.place)
        return last is not None and wire.node.created_at is not None and last.at < wire.node.created_at

    def _bmcs(self) -> None:
        fabric = self.game.world.fabric
        for change in fabric.switches.log[self._changes :]:
            if change.place in self._bmc_places:
                self.game.fail(f"I4: the switch port {change.place[1]} of a BMC carries {self._network(change.after)}")
            if change.after in BMC_VLANS:
                self.game.fail(f"I4: the switch port {change.place[1]} of a server carries the BMCs' segment")
        self._changes = len(fabric.switches.log)
        for port in fabric.ports.values():
            if fabric.networks[port.network_id].segmentation_id in BMC_VLANS:
                self.game.fail(f"I4: the controller has port {port.name or port.id} in the BMCs' segment")

    def _power(self) -> None:
        """A server that gets power by us has its tenant's networks before."""
        truth = self.game.world.truth
        for event in truth.power_ons[self._power_ons :]:
            node = self.game.world.nodes.get(event.node_id)
            gated = node is not None and node.driver.startswith("steelyard-")
            if not (event.through_steelyard or gated):
                continue
            got = f"I3: {self.game.name(event.node_id)} got power (asked by {event.caller}) while"
            if event.unbound:
                self.game.fail(f"{got} {len(event.unbound)} of its tenant's ports were not on its NICs")
            dark = [link for link in event.dark if event.parked and not self._deceived(link)]
            if dark:
                places = ", ".join(f"{link.switch_name} {link.port_id}" for link in dark)
                self.game.fail(f"{got} the switch did not carry its tenant's network on {places}")
        self._power_ons = len(truth.power_ons)

    def _deceived(self, link: SwitchLink) -> bool:
        """Whether what the tenant's port needs there was seen, and yet is not so."""
        fabric = self.game.world.fabric
        there = [port for port in fabric.ports.values() if port.link == link]
        wanted = fabric.networks[there[0].network_id].segmentation_id if there else None
        return excused(self.game, link) or shown(self.game, link, wanted)

    # When Steelyard answers

    def _said_yes(self, node_id: str, asked: Asked) -> None:
        world = self.game.world
        nics = {nic.mac: nic for nic in world.node_ports.values() if nic.node_id == node_id}
        for each in asked.nics:
            nic = nics.get(each.mac)
            port = world.fabric.ports.get(each.port_id or "")
            wanted = world.fabric.networks[port.network_id].segmentation_id if port is not None else None
            if nic is None or nic.link is None or (asked.joined and port is None):
                self.game.fail(f"I3: a change of {self.game.name(node_id)} was verified of which nothing is known")
                return
            carried = world.fabric.switches.vlan(nic.link)
            if carried != wanted and not excused(self.game, nic.link) and not shown(self.game, nic.link, wanted):
                self.game.fail(
                    f"I3: Steelyard verified that {self.game.name(node_id)} {'joined' if asked.joined else 'left'} its "
                    f"{asked.role} network; the switch carries {self._network(carried)} on NIC {nic.mac}, wanted "
                    f"{self._network(wanted)}"
                )

    # Runs of the check of the fleet

    def _watch(self, what: str, game: Game) -> None:
        when, _, name = what.partition(" ")
        if name != COMPARE:
            return
        state = (game.faults.struck, game.boots, game.reader.failed)
        if when == "before":
            self._compared = {"state": state, "wrong": self._wrong()}
        elif when == "after" and self._compared and self._compared["state"] == state:
            for nic_id, wire in self._wrong().items():
                before = self._compared["wrong"].get(nic_id)
                if before is not None and before == wire:
                    self._check_told(wire)

    def _wrong(self) -> dict[str, Wire]:
        """NICs at rest of which the switch does not carry what the controller has, by their id."""
        return {
            wire.nic.id: wire
            for wire in self._wires()
            if wire.carried != wire.has
            and wire.node.provision_state in RESTS
            and wire.node.id not in self.game.world.moves
            and not self._busy(wire.node)
        }

    def _busy(self, node: Node) -> bool:
        instance = self.game.world.instances.get(node.instance_id or "")
        if node.provision_state == "available" and node.instance_id is not None:
            return True
        if instance is not None and (instance.task_state is not None or instance.status == "BUILD"):
            return True
        if PARKED in node.extra:
            return True  # its NICs are in quarantine, or on their way back, or the mark is about to be removed
        return node.provision_state == "active" and node.power_state != "on"

    def _check_told(self, wire: Wire) -> None:
        subject = f"node:{wire.node.id}"
        if not any(
            each.finding.subject == subject and each.finding.kind.startswith("isolation.")
            for each in self.game.store.findings.all()
        ):
            self.game.fail(
                f"I3: {wire.words}: the switch carries {self._network(wire.carried)}, the controller has "
                f"{self._network(wire.has)}, and nobody is told of it"
            )

    # After the storm

    def check_rest(self) -> None:
        if any(wire.carried != wire.has and wire.node.provision_state in OPERATORS for wire in self._wires()):
            # Somebody holds that node in maintenance, and it is told of once it has been at work for so long.
            self.game.world.now += timedelta(seconds=self.game.steelyard.settings.isolation_changing_seconds + 60)
            self.game.round_of_reconcilers()
        for wire in self._wires():
            if wire.carried != wire.has:
                self._check_told(wire)
        for each in self.game.store.findings.by(REFUSED):
            if each.finding.evidence.get("quarantined") is not True:
                self.game.fail(f"I3: {each.finding.name} was refused and is not in quarantine after the storm")
