"""REST: a node's views and the switches (administrators), policies of projects, the gates that conductors ask at."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import Field

from steelyard.isolation.model import NicIsolation, PowerOffPolicy, Role, Verdict
from steelyard.isolation.reading import SwitchRead
from steelyard.isolation.service import IsolationService, NodeIsolation, ShownPolicy
from steelyard.isolation.verifying import Flip, FlipRole, NicWanted
from steelyard.lifecycle.model import Phase
from steelyard.naming import vlan_ranges
from steelyard.nouns import PortMode, SwitchPort
from steelyard.web.context import Admin, Caller, Service
from steelyard.web.schemas import Body
from steelyard.web.schemas import View as ApiView


class NetworkViewView(ApiView):
    network: str | None = Field(description="None: on no network.")
    vlan: int | None
    note: str | None
    tagged: list[int] = Field(default_factory=list, description="VLANs of sub-interfaces.")


class NicIsolationView(ApiView):
    mac: str
    switch: str | None
    port: str | None
    role: Role
    intended: NetworkViewView
    controller: NetworkViewView
    switch_view: NetworkViewView | None = Field(description="None: the switch could not be read.")
    verdict: Verdict
    why: str | None


class IsolationView(ApiView):
    node_id: str
    node: str
    phase: Phase
    agrees: bool = Field(description="All NICs in all three views; never true when a switch could not be read.")
    nics: list[NicIsolationView]


class IsolationAnswer(ApiView):
    isolation: IsolationView


class PolicyView(ApiView):
    project_id: str
    project: str
    power_off: PowerOffPolicy = Field(description="Where the NICs of its servers go while they are off.")
    is_default: bool = Field(description="Nobody has set it.")
    actor: str | None = Field(description="Administrators only.")
    reason: str | None = Field(description="Administrators only.")


class PolicyList(ApiView):
    policies: list[PolicyView]


class PolicyAnswer(ApiView):
    policy: PolicyView


class PolicyBody(Body):
    power_off: PowerOffPolicy
    reason: str | None = Field(default=None, max_length=1000)


class FlipNic(Body):
    """Where a NIC has to be; neither port nor network: on none."""

    mac: str = Field(pattern=r"^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$")
    port_id: UUID | None = Field(default=None, description="The network controller's port that must be bound to it.")
    network_id: UUID | None = Field(default=None, description="The network that the port must be on.")


class FlipBody(Body):
    role: FlipRole = Field(description="What the network that is joined or left is for.")
    joined: bool = Field(description="False: the NICs were taken off it.")
    nics: list[FlipNic] = Field(min_length=1, max_length=64)


class FlipAnswer(ApiView):
    verified: bool = Field(description="False: a switch has no reader, and the policy lets that pass.")
    unread: list[str] = Field(description="Why switches could not be read.")
    seconds: float


class GateAnswer(ApiView):
    allowed: bool = Field(description="Always true: a refusal is a problem.")


class SwitchView(ApiView):
    """One switch of the switches file, read at this moment."""

    name: str
    chassis_id: str
    type: str
    reachable: bool = Field(description="It was read. If not, what it carries is unverified.")
    ports: int | None = Field(description="How many ports it reported.")
    seconds: float = Field(description="How long the read took, or the try.")
    error: str | None


class SwitchPortView(ApiView):
    port: str
    mode: PortMode | None = Field(description="None: the switch has no such word.")
    untagged_vlan: int | None
    parked_vlan: int | None = Field(description="The VLAN in which its switch keeps idle ports, where it is in it.")
    tagged_vlans: str = Field(description="Ranges: 5-7, 20. Empty: none.")
    enabled: bool
    lag: str | None = Field(description="The link aggregation group that it is a member of.")
    extra: str | None = Field(description="What it does beyond carrying these VLANs.")


class SwitchDetailView(SwitchView):
    port_list: list[SwitchPortView]


class SwitchList(ApiView):
    switches: list[SwitchView]


class SwitchAnswer(ApiView):
    switch: SwitchDetailView


NodeId = Annotated[str, Path(description="Id or name.")]
SwitchId = Annotated[str, Path(description="Chassis id or name.")]


def router(service: IsolationService) -> APIRouter:
    routes = APIRouter(tags=["isolation"])

    @routes.get("/nodes/{node}/isolation")
    def show_isolation(caller: Admin, node: str) -> IsolationAnswer:
        """Where each NIC must be, is for the network controller, and is for the switch, read at this moment."""
        return IsolationAnswer(isolation=_view(service.show(node)))

    @routes.post("/nodes/{node}/power-gate")
    def power_gate(caller: Service, node: NodeId) -> GateAnswer:
        """May the node get power? Answered when its NICs are proven to be back on its tenant's networks."""
        service.power_gate(node, request_id=caller.request_id)
        return GateAnswer(allowed=True)

    @routes.post("/nodes/{node}/network-gate")
    def network_gate(caller: Service, node: NodeId) -> GateAnswer:
        """The conductor is about to change the node's networks. Answered when nobody here is moving its NICs."""
        service.network_gate(node)
        return GateAnswer(allowed=True)

    @routes.get("/isolation/switches")
    def list_switches(caller: Admin) -> SwitchList:
        """Every switch that Steelyard is to read back, tried at this moment: can it be read?"""
        return SwitchList(switches=[SwitchView(**_switch_fields(read)) for read in service.switches()])

    @routes.get("/isolation/switches/{switch}")
    def show_switch(caller: Admin, switch: SwitchId) -> SwitchAnswer:
        """One switch with what each of its ports carries, read at this moment."""
        read = service.switch(switch)
        ports = [_switch_port_view(port) for port in sorted(read.ports or (), key=_by_port)]
        return SwitchAnswer(switch=SwitchDetailView(**_switch_fields(read), port_list=ports))

    @routes.post("/nodes/{node}/flip-gate")
    def flip_gate(caller: Service, node: NodeId, body: FlipBody) -> FlipAnswer:
        """The conductor has changed the node's networks. Answered when the controller and the switches carry exactly
        that; 409 `flip_refused` when they do not in time, and the node goes into quarantine."""
        nics = tuple(
            NicWanted(nic.mac.lower(), _text(nic.port_id), _text(nic.network_id)) for nic in body.nics
        )  # fmt: skip
        done = service.flip_gate(node, Flip(body.role, body.joined, nics), request_id=caller.request_id)
        return FlipAnswer(verified=done.verified, unread=list(done.unread), seconds=round(done.seconds, 3))

    @routes.get("/isolation/policies")
    def list_policies(caller: Caller) -> PolicyList:
        """The policies of all projects, for administrators; for others their own project's."""
        return PolicyList(policies=[_policy_view(policy) for policy in service.policies(caller.actor)])

    @routes.put("/isolation/policies/{project}")
    def set_policy(caller: Admin, project: str, body: PolicyBody) -> PolicyAnswer:
        """Set a project's policy, by its id or name. Servers that are off now follow within one run."""
        policy = service.set_policy(
            caller.actor, project, body.power_off, reason=body.reason, request_id=caller.request_id
        )
        return PolicyAnswer(policy=_policy_view(policy))

    return routes


def _switch_fields(read: SwitchRead) -> dict[str, Any]:
    return {
        "name": read.switch.name,
        "chassis_id": read.switch.chassis_id,
        "type": read.switch.type,
        "reachable": read.ports is not None,
        "ports": None if read.ports is None else len(read.ports),
        "seconds": round(read.seconds, 2),
        "error": read.error,
    }


def _by_port(port: SwitchPort) -> list[tuple[int, str]]:
    """Ethernet10 after Ethernet2."""
    return [
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part)
        for part in re.split(r"(\d+)", port.port_id)
    ]


def _switch_port_view(port: SwitchPort) -> SwitchPortView:
    return SwitchPortView(
        port=port.port_id,
        mode=port.mode,
        untagged_vlan=port.untagged_vlan,
        parked_vlan=port.parked_vlan,
        tagged_vlans=vlan_ranges(port.tagged_vlans),
        enabled=port.enabled,
        lag=port.lag,
        extra=port.extra,
    )


def _text(id: UUID | None) -> str | None:
    return None if id is None else str(id)


def _policy_view(policy: ShownPolicy) -> PolicyView:
    return PolicyView.model_validate(policy)


def _view(isolation: NodeIsolation) -> IsolationView:
    return IsolationView(
        node_id=isolation.node_id,
        node=isolation.node,
        phase=isolation.phase,
        agrees=isolation.agrees,
        nics=[nic_view(nic) for nic in isolation.nics],
    )


def nic_view(nic: NicIsolation) -> NicIsolationView:
    link = nic.link
    return NicIsolationView(
        mac=nic.mac,
        switch=(link.switch_name or link.switch_id) if link else None,
        port=link.port_id if link else None,
        role=nic.role,
        intended=NetworkViewView.model_validate(nic.intended),
        controller=NetworkViewView.model_validate(nic.controller),
        switch_view=NetworkViewView.model_validate(nic.switch) if nic.switch else None,
        verdict=nic.verdict,
        why=nic.why,
    )
