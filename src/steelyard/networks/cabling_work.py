"""Durable work on cables and bonds.

Runbook of nodes.recable, by hand: put the node into maintenance (Ironic changes no cable otherwise, unless it is
enrolled or manageable); `openstack baremetal port set NIC --local-link-connection …`; out of maintenance; for the
Neutron port that is bound to the old switch port: unbind it, bind it to the new one; look at both switch ports
(`steelyard isolation show NODE`): the new one carries the network, the old one nothing. Where that cannot be proven the
former cable is written down again and the port bound there; the node is on its former networks, or on none.
Runbook of nodes.bond: the same hold; `openstack baremetal port group create` with the first NIC's MAC, then each NIC's
port group; out of maintenance. Where a NIC cannot become a member, the port group is taken apart again.
Runbook of nodes.unbond: the same the other way round.
No switch is written to for a bond: a node that nobody has is on no network, and the network controller configures both
switch ports when the next tenant's port is bound to the bond.
"""

from __future__ import annotations

import shlex
from typing import Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Conflict, NotFound, Refused
from steelyard.events.model import EventFilter
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.mending import Mending
from steelyard.isolation.model import place
from steelyard.isolation.proof import at_switch
from steelyard.lifecycle.model import MAINTENANCE_PREFIX
from steelyard.lifecycle.patience import POLL, patient, patient_step
from steelyard.networks.cabling import BOND, RECABLE, UNBOND, link_from
from steelyard.nouns import Bond, BondSpec, NetworkPort, Node, NodePort, SwitchLink
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, Step, StepContext, StepFunction
from steelyard.store import Store

REASON: Final = f"{MAINTENANCE_PREFIX}its cables or bonds are being changed"
OPEN: Final = frozenset({"enroll", "manageable", "inspecting", "inspect wait"})
"""Ironic's states in which it changes cables and bonds without maintenance (ConductorManager.update_port)."""
PROVEN_LOOKS: Final = 25
SECONDS: Final = 120.0
_NEXT: Final = "steelyard isolation show {node}"


def kinds(clouds: Clouds, store: Store, switches: SwitchReaders, mending: Mending) -> tuple[OperationKind, ...]:
    """The kinds of operation on cables and bonds."""
    do = _Steps(clouds, store, switches, mending)

    def step(name: str, function: StepFunction) -> Step:
        return patient_step(name, function, deadline=SECONDS, next=_NEXT)

    hold, lift = step("hold the node", do.hold), step("let the node go", do.lift)
    return (
        OperationKind(
            BOND, [hold, step("bond the NICs", do.bond), lift], on_failure=patient(do.part), failure_deadline=SECONDS,
            next=_NEXT, administrators=True,
        ),
        OperationKind(
            UNBOND, [hold, step("part the NICs", do.unbond), lift], on_failure=patient(do.join_again),
            failure_deadline=SECONDS, next=_NEXT, administrators=True,
        ),
        OperationKind(
            RECABLE,
            [hold, step("write the cable down", do.recable), lift, step("networks follow", do.follow),
             step("prove both switch ports", do.prove)],
            on_failure=patient(do.put_back), failure_deadline=SECONDS, next=_NEXT, administrators=True,
        ),
    )  # fmt: skip


class _Steps:
    """Everything may be repeated; what is so already is looked at, not done again."""

    def __init__(self, clouds: Clouds, store: Store, switches: SwitchReaders, mending: Mending) -> None:
        self._clouds = clouds
        self._store = store
        self._switches = switches
        self._mending = mending

    @property
    def _own(self) -> Cloud:
        return self._clouds.own

    def _node(self, ctx: StepContext) -> Node:
        return self._own.nodes.get(ctx.params["node_id"])

    def _nics(self, ctx: StepContext) -> dict[str, NodePort]:
        return {nic.mac: nic for nic in self._own.node_ports.all(node_id=ctx.params["node_id"])}

    # Holding

    def hold(self, ctx: StepContext) -> Outcome:
        """In maintenance, unless it is in one already or needs none."""
        node = self._node(ctx)
        if node.maintenance or node.provision_state in OPEN:
            return Done()
        self._own.nodes.set_maintenance(node.id, REASON)
        now = self._own.nodes.get(node.id)
        if now.provision_state != node.provision_state or now.instance_id != node.instance_id:
            self._own.nodes.set_maintenance(node.id, None)
            return Failed(
                f"Node {node.label} was claimed or moved on at this moment ({now.provision_state}).", code="node_busy",
                next=f"steelyard node show {shlex.quote(node.label)}",
            )  # fmt: skip
        return Done()

    def lift(self, ctx: StepContext) -> Outcome:
        """Out of the maintenance that is ours."""
        node = self._node(ctx)
        if node.maintenance and node.maintenance_reason == REASON:
            self._own.nodes.set_maintenance(node.id, None)
        return Done()

    # Bonds

    def bond(self, ctx: StepContext) -> Outcome:
        macs = ctx.params["macs"]
        bond = self._made(ctx) or self._own.bonds.create(
            BondSpec(ctx.params["node_id"], ctx.params["name"], macs[0], ctx.params["mode"])
        )
        self._put(ctx, macs, bond.id)
        self._tell(ctx, "node.bonded", f"NICs {', '.join(macs)} are the bond {bond.name}")
        return Done({"bond_id": bond.id})

    def part(self, ctx: StepContext) -> Outcome:
        """Compensation."""
        bond = self._made(ctx)
        if bond is not None and self._held(ctx):
            self._put(ctx, ctx.params["macs"], None)
            self._own.bonds.delete(bond.id)
        return self.lift(ctx)

    def unbond(self, ctx: StepContext) -> Outcome:
        self._put(ctx, ctx.params["macs"], None)
        self._own.bonds.delete(ctx.params["bond_id"])
        self._tell(ctx, "node.unbonded", f"NICs {', '.join(ctx.params['macs'])} are by themselves")
        return Done()

    def join_again(self, ctx: StepContext) -> Outcome:
        """Compensation: the bond is there again, with a new id if it was deleted already."""
        if ctx.params["name"] and self._held(ctx):
            mac = ctx.params["mac"] or ctx.params["macs"][0]
            bond = self._made(ctx) or self._own.bonds.create(
                BondSpec(ctx.params["node_id"], ctx.params["name"], mac, ctx.params["mode"])
            )
            self._put(ctx, ctx.params["macs"], bond.id)
        return self.lift(ctx)

    def _held(self, ctx: StepContext) -> bool:
        """In a compensation: Ironic lets cables and bonds be changed."""
        if isinstance(outcome := self.hold(ctx), Failed):
            raise Conflict(outcome.reason, code=outcome.code)
        return True

    def _made(self, ctx: StepContext) -> Bond | None:
        bonds = self._own.bonds.all(node_id=ctx.params["node_id"])
        return next((bond for bond in bonds if bond.name == ctx.params["name"]), None)

    def _put(self, ctx: StepContext, macs: list[str], bond_id: str | None) -> None:
        nics = self._nics(ctx)
        for mac in macs:
            nic = nics.get(mac)
            if nic is not None and nic.bond_id != bond_id:
                self._own.node_ports.update(nic.id, {"/portgroup_uuid": bond_id})

    # Cables

    def recable(self, ctx: StepContext) -> Outcome:
        self._write(ctx, link_from(ctx.params["new"]))
        return Done()

    def follow(self, ctx: StepContext) -> Outcome:
        """What the controller has at the old switch port is at the new one, and proven there."""
        node, nic = self._node(ctx), self._nics(ctx)[ctx.params["mac"]]
        moved = 0
        for port in self._at_old(ctx, node):
            self._mending.bind(node, port, nic)
            moved += 1
        return Done({"moved": moved}) if moved else Done()

    def prove(self, ctx: StepContext) -> Outcome:
        """The new switch port carries what the controller has for the NIC and nothing else; the old one nothing."""
        node, nic = self._node(ctx), self._nics(ctx)[ctx.params["mac"]]
        new = link_from(ctx.params["new"])
        on_it = self._mending.on_nic(nic)
        if len(on_it) > 1:
            return self._not_yet(ctx, f"the controller has {len(on_it)} ports on NIC {nic.mac}")
        networks = {network.id: network for network in self._own.networks.all()}
        port = on_it[0] if on_it else None
        tagged = frozenset(subport.vlan for subport in port.subports) if port is not None else frozenset()
        network = networks.get(port.network_id) if port is not None else None
        if port is not None and network is None:
            return self._not_yet(ctx, f"the controller has the NIC on network {port.network_id}, and does not list it")
        filters = self._own.security_groups.on_switch(port)
        wrong = at_switch(self._switches.ports(new.switch_id), new, network, tagged, filters)
        if wrong is None and ctx.params["old"] is not None:
            wrong = self._left_behind(link_from(ctx.params["old"]))
        if wrong is not None:
            return self._not_yet(ctx, wrong)
        self._tell(ctx, "node.recabled", f"NIC {nic.mac} is at {_words(new)}, its network proven there")
        self._store.cables.learn({nic.mac: new})
        return Done({"proven": True, "node": node.label})

    def _left_behind(self, old: SwitchLink) -> str | None:
        try:
            none = self._own.security_groups.on_switch(None)
            return at_switch(self._switches.ports(old.switch_id), old, None, filters=none)
        except NotFound as error:
            if error.code != "switch_unknown":
                raise
            return None  # a switch that is gone is often why a cable moves

    def _not_yet(self, ctx: StepContext, wrong: str) -> Outcome:
        if ctx.attempt < PROVEN_LOOKS:
            return Retry(POLL, wrong)
        return Failed(f"The cable could not be proven: {wrong}", code="not_proven", next=_NEXT.format(**ctx.params))

    def put_back(self, ctx: StepContext) -> Outcome:
        """Compensation: the former cable counts again, and what was bound to the new switch port is bound there."""
        old = ctx.params["old"]
        nic = self._nics(ctx).get(ctx.params["mac"])
        if nic is None:
            return self.lift(ctx)
        new = link_from(ctx.params["new"])
        if nic.link is not None and place(nic.link) == place(new):
            self._held(ctx)
            self._write(ctx, link_from(old) if old else None)
        outcome = self.lift(ctx)
        node = self._node(ctx)
        for port in self._bound_at(node, new):
            self._own.attachments.unbind(port.id)
            if old is not None:
                self._rebind(ctx, node, port)
        return outcome

    def _rebind(self, ctx: StepContext, node: Node, port: NetworkPort) -> None:
        nic = self._nics(ctx)[ctx.params["mac"]]
        try:
            self._mending.bind(node, port, nic)
        except Refused as error:  # it is bound there; that nobody can prove it is what the comparison finds
            self._tell(ctx, "network.flip_failed", f"NIC {nic.mac} is back, and nothing proves it: {error.detail}")

    def _write(self, ctx: StepContext, link: SwitchLink | None) -> None:
        nic = self._nics(ctx)[ctx.params["mac"]]
        if nic.link != link:
            self._own.node_ports.update(nic.id, {"/local_link_connection": link})

    def _at_old(self, ctx: StepContext, node: Node) -> list[NetworkPort]:
        """What is not at the new switch port yet: bound to the old one, or cut off between the two."""
        nic = self._nics(ctx)[ctx.params["mac"]]
        new = place(link_from(ctx.params["new"]))
        bound = [] if ctx.params["old"] is None else self._bound_at(node, link_from(ctx.params["old"]))
        belongs = self._mending.belonging(node, nic)
        half = [belongs] if belongs is not None and belongs.link is None and self._is_on_tenant(node) else []
        found = {port.id: port for port in (*bound, *half)}
        return [port for port in found.values() if new not in {place(link) for link in port.links}]

    def _is_on_tenant(self, node: Node) -> bool:
        return node.provision_state == "active" and node.power_state == "on"

    def _bound_at(self, node: Node, link: SwitchLink) -> list[NetworkPort]:
        bound = self._own.attachments.bound(node.id)
        return [port for port in bound if place(link) in {place(each) for each in port.links}]

    def _tell(self, ctx: StepContext, kind: str, detail: str) -> None:
        """Once per operation."""
        subject = f"node:{ctx.params['node_id']}"
        last = self._store.events.page(EventFilter(subject=subject, kind=kind), limit=1)
        if last and last[0].operation_id == ctx.operation_id:
            return
        self._store.events.append(
            subject, kind, actor=ctx.actor.user_name, reason=ctx.reason, request_id=ctx.request_id,
            detail=f"node {ctx.params['node']}: {detail}", operation_id=ctx.operation_id,
        )  # fmt: skip


def _words(link: SwitchLink) -> str:
    return f"{link.switch_name or link.switch_id} {link.port_id}"
