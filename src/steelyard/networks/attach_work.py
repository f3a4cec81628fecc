"""NICs of deployed servers: what was asked for is followed until it is proven, or undone.

Runbook of servers.attach: Nova has been asked, and its answer was yes. Look at the NIC in all three views
(`steelyard isolation show NODE`) until intended network, controller and switch agree. Where they do not within half a
minute: `openstack server remove port SERVER PORT`; the server is as it was before.
Runbook of servers.detach: Nova has been asked; wait until the port is the server's no more (ask again every ten
seconds), then until the NIC is on no network in all three views.
Runbook of servers.move: `openstack server remove port`, wait until the NIC is on no network; then
`openstack server add network`, and prove it as an attachment. Where that cannot be done or proven: take it off again
and attach the former network, with the former address where it is still free.
Runbook of servers.tag and servers.untag: the sub-interface is made (or gone) in the controller; look until all three
views agree. A tag that cannot be proven is removed again.
What the tenant reads names no node and no switch; the record on the node's timeline does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import Conflict, Invalid, NotFound
from steelyard.events.model import EventFilter
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.isolation.model import NicIsolation, Verdict, place
from steelyard.isolation.service import NodeIsolation
from steelyard.lifecycle.patience import POLL, for_tenants, patient, patient_step
from steelyard.networks.attaching import ATTACH, DETACH, MOVE, TAG, UNTAG
from steelyard.networks.nics import own_ports
from steelyard.nouns import Instance, NetworkPort
from steelyard.operations.model import Done, Failed, OperationKind, Outcome, Retry, Step, StepContext, StepFunction
from steelyard.settings import Settings
from steelyard.store import Store

PROVEN_LOOKS: Final = 30
"""Looks, one a second, within which all three views must agree."""
ASK_AGAIN: Final = 10
"""Every how many looks Nova is asked again to let go."""
SECONDS: Final = 180.0
_NEXT: Final = "steelyard server nic list {server_id}"

Look = Callable[[str], NodeIsolation]


def kinds(
    clouds: Clouds, store: Store, settings: Settings, switches: SwitchReaders, look: Look
) -> tuple[OperationKind, ...]:
    """The kinds of operation on NICs. `look`: a node's NICs in their three views."""
    do = _Steps(clouds, store, settings, switches, look)

    def step(name: str, function: StepFunction) -> Step:
        return patient_step(name, function, deadline=SECONDS, next=_NEXT, tell=for_tenants)

    def undo(function: StepFunction) -> StepFunction:
        return patient(function, tell=for_tenants)

    return (
        OperationKind(
            ATTACH, [step("prove", do.attached)], on_failure=undo(do.take_off), failure_deadline=SECONDS, next=_NEXT
        ),
        OperationKind(DETACH, [step("let go", do.let_go), step("prove", do.detached)], next=_NEXT),
        OperationKind(
            MOVE,
            [
                step("let go", do.leave),
                step("prove that it is off", do.is_off),
                step("attach", do.join),
                step("prove", do.moved),
            ],
            on_failure=undo(do.put_back), failure_deadline=SECONDS, next=_NEXT,
        ),
        OperationKind(
            TAG, [step("prove", do.tagged)], on_failure=undo(do.take_tag_off), failure_deadline=SECONDS, next=_NEXT
        ),
        OperationKind(UNTAG, [step("prove", do.untagged)], next=_NEXT),
    )  # fmt: skip


class _Steps:
    """Everything may be repeated; what is so already is looked at, not done again."""

    def __init__(self, clouds: Clouds, store: Store, settings: Settings, switches: SwitchReaders, look: Look) -> None:
        self._clouds = clouds
        self._store = store
        self._refuse_unread = settings.unverified == "refuse"
        self._readable = frozenset(switch_id.lower() for switch_id in switches.switch_ids)
        self._look = look

    @property
    def _own(self) -> Cloud:
        return self._clouds.own

    # Attach

    def attached(self, ctx: StepContext) -> Outcome:
        return self._prove_on(ctx, ctx.params["port_id"], "network.attached", f"is on network {ctx.params['network']}")

    def take_off(self, ctx: StepContext) -> Outcome:
        """Compensation: what this operation brought is gone again."""
        if not ctx.params["made"]:
            return Done()
        return self._gone(ctx, ctx.params["port_id"])

    # Detach

    def let_go(self, ctx: StepContext) -> Outcome:
        return self._gone(ctx, ctx.params["port_id"], asked=True)

    def detached(self, ctx: StepContext) -> Outcome:
        return self._prove_off(ctx, "network.detached", f"left network {ctx.params['network']}")

    # Move

    def leave(self, ctx: StepContext) -> Outcome:
        return self._gone(ctx, ctx.params["port_id"])

    def is_off(self, ctx: StepContext) -> Outcome:
        return self._prove_off(ctx, None, "")

    def join(self, ctx: StepContext) -> Outcome:
        instance = self._instance(ctx)
        if instance is None:
            return _server_gone()
        there = self._on(instance, ctx.params["network_id"])
        if there is not None:
            return Done({"new_port_id": there.id})
        port_id = self._own.interfaces.attach(instance.id, network_id=ctx.params["network_id"])
        return Done({"new_port_id": port_id})

    def moved(self, ctx: StepContext) -> Outcome:
        said = f"went from network {ctx.params['from']} to {ctx.params['network']}"
        return self._prove_on(ctx, ctx.results["new_port_id"], "network.moved", said)

    def put_back(self, ctx: StepContext) -> Outcome:
        """Compensation: the server is on the network that it came from."""
        instance = self._instance(ctx)
        if instance is None:
            return Done()
        there = self._on(instance, ctx.params["network_id"])
        if there is not None:
            return self._gone(ctx, there.id, then=Retry(POLL, "it is put back"))
        if self._on(instance, ctx.params["from_id"]) is not None:
            return Done({"back_on": ctx.params["from"]})
        address = ctx.params["address"]
        try:
            self._own.interfaces.attach(instance.id, network_id=ctx.params["from_id"], address=address)
        except (Conflict, Invalid):
            if address is None:
                raise
            self._own.interfaces.attach(instance.id, network_id=ctx.params["from_id"])
        return Done({"back_on": ctx.params["from"]})

    # Tags

    def tagged(self, ctx: StepContext) -> Outcome:
        said = f"has a sub-interface on network {ctx.params['network']} (VLAN {ctx.params['vlan']})"
        return self._prove_on(
            ctx, ctx.params["port_id"], "network.tagged", said, subport=ctx.params["sub_port_id"]
        )  # fmt: skip

    def take_tag_off(self, ctx: StepContext) -> Outcome:
        """Compensation."""
        self._own.sub_interfaces.remove(ctx.params["port_id"], ctx.params["sub_port_id"])
        return Done()

    def untagged(self, ctx: StepContext) -> Outcome:
        said = f"has no sub-interface on network {ctx.params['network']} any more"
        return self._prove_on(ctx, ctx.params["port_id"], "network.untagged", said)

    # Small parts

    def _instance(self, ctx: StepContext) -> Instance | None:
        try:
            return self._own.compute.get(ctx.params["server_id"])
        except NotFound:
            return None

    def _on(self, instance: Instance, network_id: str) -> NetworkPort | None:
        ports = own_ports(instance.id, self._own.attachments.all(device_ids=[instance.id]))
        return next((port for port in ports if port.network_id == network_id), None)

    def _gone(self, ctx: StepContext, port_id: str, *, asked: bool = False, then: Outcome | None = None) -> Outcome:
        """The port is the server's no more. `asked`: Nova has been asked in the request already."""
        server_id = ctx.params["server_id"]
        try:
            port = self._own.attachments.get(port_id)
        except NotFound:
            return then or Done()
        if port.device_id != server_id:
            return then or Done()
        if ctx.attempt % ASK_AGAIN == (0 if asked else 1):
            if self._instance(ctx) is None:
                return Done()
            self._own.interfaces.detach(server_id, port_id)
        return Retry(POLL, "Nova takes it off the server")

    def _prove_on(self, ctx: StepContext, port_id: str, kind: str, said: str, *, subport: str | None = None) -> Outcome:
        """All three views agree on the NICs that the port is on."""
        instance = self._instance(ctx)
        if instance is None or instance.node_id is None:
            return _server_gone()
        try:
            port = self._own.attachments.get(port_id)
        except NotFound:
            return Failed("The NIC was detached meanwhile.", code="nic_gone", next=_NEXT.format(**ctx.params))
        if subport is not None and all(each.port_id != subport for each in port.subports):
            return Failed("The sub-interface was removed meanwhile.", code="nic_gone", next=_NEXT.format(**ctx.params))
        places = {place(link) for link in port.links}
        nics = [nic for nic in self._look(instance.node_id).nics if nic.link is not None and place(nic.link) in places]
        return self._judge(ctx, instance, nics, kind, said)

    def _prove_off(self, ctx: StepContext, kind: str | None, said: str) -> Outcome:
        """All three views agree that the NICs are on no network."""
        instance = self._instance(ctx)
        if instance is None or instance.node_id is None:
            return Done()
        macs = set(ctx.params["nics"])
        nics = [nic for nic in self._look(instance.node_id).nics if nic.mac in macs]
        return self._judge(ctx, instance, nics, kind, said, may_be_none=True)

    def _judge(
        self, ctx: StepContext, instance: Instance, nics: Collection[NicIsolation], kind: str | None, said: str, *,
        may_be_none: bool = False,
    ) -> Outcome:  # fmt: skip
        unread = [nic for nic in nics if nic.verdict is Verdict.UNVERIFIED and not self._has_reader(nic)]
        wrong = [nic for nic in nics if nic.verdict is not Verdict.AGREE and nic not in unread]
        if not nics and not may_be_none:
            why = "the controller has it on no NIC"
        elif wrong:
            why = wrong[0].why or wrong[0].verdict.value
        elif unread and self._refuse_unread:
            why = unread[0].why or "the switch could not be read"
        else:
            if kind is not None:
                self._tell(ctx, instance, nics, kind, said, verified=not unread)
            return Done({"verified": not unread})
        if ctx.attempt < PROVEN_LOOKS and (wrong or not nics):
            return Retry(POLL, "the network controller and the switches carry it")
        self._tell(ctx, instance, nics, "network.flip_failed", f"could not be proven: {why}", verified=False)
        return Failed(
            "It could not be proven that the server's network is as asked for.", code="not_proven",
            next=_NEXT.format(**ctx.params),
        )  # fmt: skip

    def _has_reader(self, nic: NicIsolation) -> bool:
        return nic.link is None or nic.link.switch_id.lower() in self._readable

    def _tell(
        self, ctx: StepContext, instance: Instance, nics: Collection[NicIsolation], kind: str, said: str, *,
        verified: bool,
    ) -> None:  # fmt: skip
        """One event for the tenant, and one on the node's timeline with its NICs and switches; once per operation."""
        subject = f"server:{instance.id}"
        last = self._store.events.page(EventFilter(subject=subject, kind=kind), limit=1)
        if last and last[0].operation_id == ctx.operation_id:
            return
        common: dict[str, Any] = {
            "actor": ctx.actor.user_name, "reason": ctx.reason, "operation_id": ctx.operation_id,
            "request_id": ctx.request_id,
        }  # fmt: skip
        public = said if kind != "network.flip_failed" else "could not be proven"
        with self._store.unit_of_work():
            self._store.events.append(
                subject, kind, detail=f"server {instance.name} {public}", project_id=instance.project_id,
                data={"verified": verified}, **common,
            )  # fmt: skip
            self._store.events.append(
                f"node:{instance.node_id}", kind, detail=f"server {instance.name} {said}",
                data={"nics": [_told(nic) for nic in nics], "verified": verified}, **common,
            )  # fmt: skip


def _told(nic: NicIsolation) -> dict[str, Any]:
    link = nic.link
    return {
        "mac": nic.mac, "switch": (link.switch_name or link.switch_id) if link else None,
        "port": link.port_id if link else None, "network": nic.controller.network, "vlan": nic.controller.vlan,
        "tagged": list(nic.controller.tagged),
    }  # fmt: skip


def _server_gone() -> Failed:
    return Failed("The server was deleted meanwhile.", code="server_gone", next="steelyard server list")
