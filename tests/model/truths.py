"""The invariants, as checks of the fake world's ground truth; after every move, and after the storm.

I1  a node has at most one owner, whoever is asked: Ironic, Nova, Placement, Neutron.
I2  nobody is offered a machine with another's data on it for longer than one run of the guard, and nobody is ever
    given one unless the outside world did it before the guard could run.
I3, I4  see `wires`.
I6  what destroys has an event with its actor; the audit chain is whole.
I7  whatever was killed goes on: no operation stays unfinished, nothing is left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from steelyard.clouds.fake.machines import HELD
from steelyard.clouds.fake.truth import NOBODY
from steelyard.nouns import NetworkPort, Node
from steelyard.operations.model import Phase

from .game import Game
from .wires import OLD, RESTS, Wires

STEELYARD = "steelyard"
"""Name of Steelyard's own user in the fake Keystone."""
FAILED = frozenset({
    "clean failed", "deploy failed", "error", "inspect failed", "adopt failed", "rescue failed", "unrescue failed",
})  # fmt: skip
DESTROYS = frozenset({"compute.delete", "compute.rebuild", "nodes.delete"})


@dataclass
class Truths:
    """What has to be remembered between two checks."""

    game: Game
    guarded: dict[str, Any] = field(default_factory=dict)
    exposures: int = 0
    runs: list[datetime] = field(default_factory=list)
    """When the undisturbed runs of the guard began."""

    secrets: set[str] = field(default_factory=set)
    """Those that were there before anything happened (the audit chain's key)."""
    wires: Wires = field(init=False)

    def __post_init__(self) -> None:
        with self.game.store.database.read() as connection:
            self.secrets = set(connection.execute(sa.text("SELECT id FROM secrets")).scalars())
        self.game.watchers.append(self.watch)
        self.wires = Wires(self.game, self.runs)

    # I2: runs of the guard

    def watch(self, what: str, game: Game) -> None:
        when, _, name = what.partition(" ")
        if name != GUARD:
            return
        truth = game.world.truth
        if when == "before":
            # The list that it looks at may be so old.
            seen_by_it = {id: offer for id, offer in truth.offered_dirty.items() if game.world.now - offer.since > OLD}
            self.guarded = {
                "offered": seen_by_it, "struck": game.faults.struck, "boot": game.boots, "at": game.world.now,
            }  # fmt: skip
            return
        seen = self.guarded
        if when == "after" and seen and (seen["struck"], seen["boot"]) == (game.faults.struck, game.boots):
            self.runs.append(seen["at"])
            for node_id, since in seen["offered"].items():
                if truth.offered_dirty.get(node_id) == since and not self._taken_away(node_id):
                    game.fail(
                        f"I2: {game.name(node_id)} was offered with the data of "
                        f"{self._project(truth.holder(game.world.nodes[node_id]))} on it before the guard's run and "
                        "still is after it"
                    )

    def _taken_away(self, node_id: str) -> bool:
        """Placement holds it back, so that no new instance can come."""
        return node_id in self.game.world.held_back or node_id in self.game.world.locked

    # After every move

    def check(self) -> None:
        self._one_owner()
        self.wires.check()
        self._exposures()
        self._operations()

    def _one_owner(self) -> None:
        world = self.game.world
        for node in world.nodes.values():
            owners: dict[str, set[str]] = {}
            if node.instance_id:
                owners.setdefault(node.instance_id, set()).add("Ironic")
            for instance in world.instances.values():
                if instance.node_id == node.id and instance.status != "DELETED":
                    owners.setdefault(instance.id, set()).add("Nova")
            for record in world.allocations.values():
                if record.node_id == node.id:
                    owners.setdefault(record.consumer_id, set()).add("Placement")
            for port in self._ports_on(node):
                if (port.device_owner or "").startswith("compute:") and port.device_id:
                    owners.setdefault(port.device_id, set()).add("Neutron")
            if len(owners) > 1:
                named = "; ".join(f"{self._server(i)} ({', '.join(sorted(who))})" for i, who in sorted(owners.items()))
                self.game.fail(f"I1: {node.name} has {len(owners)} owners: {named}")

    def _server(self, instance_id: str) -> str:
        instance = self.game.world.instances.get(instance_id)
        return instance.name if instance else f"a server that is gone {instance_id[:8]}"

    def _ports_on(self, node: Node) -> list[NetworkPort]:
        world = self.game.world
        links = {nic.link for nic in world.node_ports.values() if nic.node_id == node.id and nic.link is not None}
        return [port for port in world.fabric.ports.values() if port.link in links]

    def _exposures(self) -> None:
        truth = self.game.world.truth
        for exposure in truth.exposures[self.exposures :]:
            if exposure.after == NOBODY:
                continue  # deployed by an administrator with a stock client, for nobody
            offer = exposure.offer
            if offer is not None and offer.by != STEELYARD and not self._guarded_between(offer.since, exposure.at):
                continue  # offered by the outside world, and no run of the guard since
            self.game.fail(
                f"I2: {self.game.name(exposure.node_id)} was given to {self._project(exposure.after)} with the data of "
                f"{self._project(exposure.before)} on it (offered by {offer.by if offer else 'nobody'}, "
                f"{(exposure.at - offer.since).total_seconds() if offer else 0:g} s before)"
            )
        self.exposures = len(truth.exposures)
        for node_id, since in truth.offered_dirty.items():
            if since.by == STEELYARD and not self._taken_away(node_id):
                self.game.fail(
                    f"I2: Steelyard itself offers {self.game.name(node_id)} with the data of "
                    f"{self._project(truth.holder(self.game.world.nodes[node_id]))} on it"
                )

    def _guarded_between(self, offered: datetime, claimed: datetime) -> bool:
        """Whether a run of the guard that nothing disturbed began while it was offered."""
        return any(offered + OLD < run < claimed for run in self.runs)

    def _project(self, project_id: str | None) -> str:
        names = {known: name for name, known in self.game.world.identities.projects.items()}
        return names.get(project_id or "", str(project_id))

    def _operations(self) -> None:
        for operation in self.game.store.operations.all(phase=Phase.FAILED, limit=20):
            if operation.error is not None and operation.error.code == "internal":
                self.game.fail(f"operation {operation.kind} {operation.id[:8]} broke: {operation.error.detail}")

    # After the storm

    def check_rest(self) -> None:
        """Everything has come to rest: nothing is unfinished, unexplained or left behind."""
        game = self.game
        game.faults.calm()
        for operation in game.store.operations.all(limit=1000):
            if not operation.phase.ended and operation.pause_requested:
                game.operations.resume(operation.id, reason="the storm is over", by="ada")
        game.settle()
        for operation in game.store.operations.all(limit=1000):
            if not operation.phase.ended and operation.paused_at is not None:
                game.operations.resume(operation.id, reason="the storm is over", by="ada")
        game.settle()
        for _ in range(3):
            game.round_of_reconcilers()
        self.check()
        self._no_operation_is_left()
        self._nothing_is_left_behind()
        self._powered_off_is_in_quarantine()
        self.wires.check_rest()
        self._every_node_has_its_place()
        self._destruction_is_told()
        self._no_secret_is_left()
        self._no_segment_is_left()
        verdict = game.steelyard.audit.verify()
        if verdict.breaches:
            game.fail(f"I6: the audit chain does not verify: {verdict.breaches}")

    def _powered_off_is_in_quarantine(self) -> None:
        game, world = self.game, self.game.world
        for node in game.nodes():
            instance = world.instances.get(node.instance_id or "")
            if node.provision_state != "active" or instance is None or instance.task_state is not None:
                continue
            mine = world.fabric.instance_ports(instance.id)
            bound = [port for port in mine if port.host_id is not None]
            if node.power_state == "off" and bound and not game.powered_off_keeps(instance.project_id):
                game.fail(f"I3: {node.name} is off and still on its tenant's network after the storm")
            if node.power_state == "on" and len(bound) < len(mine):
                game.fail(f"I3: {node.name} is on and {len(mine) - len(bound)} of its ports are not on its NICs")

    def _every_node_has_its_place(self) -> None:
        """At rest, and where it needs a human, a finding says so."""
        game = self.game
        found = {each.finding.subject for each in game.store.findings.all()}
        screen = game.steelyard.attention.screen(everything=True)
        told = found | {line.lead.finding.subject for line in screen.lines}
        for node in game.nodes():
            subjects = {f"node:{node.id}", f"candidate:{node.notes.get('candidate_id')}", f"server:{node.instance_id}"}
            by_a_human = node.maintenance and not node.fault and "quarantine" not in node.notes
            if node.provision_state in RESTS and (by_a_human or "quarantine" not in node.notes):
                continue
            held = node.maintenance and node.provision_state in HELD and game.world.provisioning_in_maintenance
            if node.provision_state not in RESTS | FAILED and not held:
                game.fail(f"I7: {node.name} stays {node.provision_state}")
            if not subjects & told:
                game.fail(
                    f"I7: {node.name} is {node.provision_state}{' in maintenance' if node.maintenance else ''} and "
                    "nothing tells that it needs somebody"
                )

    def _destruction_is_told(self) -> None:
        game = self.game
        for call in game.faults.own_calls:
            verb = call.arguments[1] if call.call == "provisioning.request" else ""
            if call.call not in DESTROYS and verb not in {"deleted", "rebuild", "clean"}:
                continue
            thing = str(call.arguments[0])
            subjects = [f"{kind}:{thing}" for kind in ("server", "release", "node")]
            events = [event for subject in subjects for event in game.store.events.of(subject, limit=200)]
            if call.operation_id is not None:
                subject = game.store.operations.get(call.operation_id).subject
                events += game.store.events.of(subject or "", limit=200)
            if not any(event.actor and event.actor != "outside" for event in events):
                game.fail(f"I6: {call.call} {verb} of {thing} (asked by us at {call.at}) has no event with an actor")

    def _no_secret_is_left(self) -> None:
        """What a kill left between a secret and whoever was to name it, the reconcilers forget once it is old."""
        game = self.game
        game.world.now += timedelta(hours=1)
        for name in ("operations.leftovers", "lifecycle.secrets"):  # a batch that nobody began names a token, too
            game.reconcile(name)
            game.settle()
        with game.store.database.read() as connection:
            kept = set(connection.execute(sa.text("SELECT id FROM secrets")).scalars())
        wanted = {each.secret_id for each in game.store.candidates.all()} | self.secrets
        if leaked := kept - wanted:
            game.fail(f"I7: {len(leaked)} secrets are kept for nobody")

    def _no_segment_is_left(self) -> None:
        """Whoever has a segment is on it, or is about to be: the leases of what died came back."""
        game = self.game
        for _ in range(2):
            game.reconcile("isolation.segments")
        for lease in game.store.segments.leased():
            node = game.world.nodes.get(lease.node_id)
            used = any(port.network_id == lease.network_id for port in game.world.fabric.ports.values())
            vlan = game.world.fabric.networks[lease.network_id].segmentation_id
            # A switch port that kept it, as a write was lost, would bring the next node together with this one.
            used = used or any(port.untagged_vlan == vlan for port in game.world.fabric.switches.ports())
            if not used and (node is None or (node.provision_state in RESTS and "steelyard_parked" not in node.extra)):
                game.fail(f"I7: {game.name(lease.node_id)} keeps a segment that nobody needs ({lease.role})")

    def _no_operation_is_left(self) -> None:
        for operation in self.game.store.operations.all(limit=10_000):
            if not operation.phase.ended:
                self.game.fail(f"I7: {operation.kind} {operation.id[:8]} stays {operation.phase}")

    def _nothing_is_left_behind(self) -> None:
        game, world = self.game, self.game.world
        for record in world.allocations.values():
            if record.consumer_id not in world.instances:
                game.fail(f"I7: Placement still has {game.name(record.node_id)} allocated to a server that is gone")
        for port in world.fabric.ports.values():
            owner = port.device_owner or ""
            if owner.startswith("compute:") and port.device_id not in world.instances:
                game.fail(f"I7: the port {port.id} of a server that is gone is left")
        for unit in world.vif_holders():
            node = world.nodes[unit.node_id]
            if unit.vif_id is not None and node.provision_state == "available" and node.instance_id is None:
                game.fail(f"I7: NIC {unit.mac} of {node.name} is not free, and the node has no server")


GUARD = "lifecycle.guard"
"""Name of the reconciler that takes away what is offered unclean."""
