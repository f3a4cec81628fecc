"""REST: the views of a node (administrators), policies of projects, and the gates that conductors ask at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from steelyard.isolation.model import NicIsolation, PowerOffPolicy, Role, Verdict
from steelyard.isolation.service import IsolationService, NodeIsolation, ShownPolicy
from steelyard.lifecycle.model import Phase
from steelyard.web.context import Admin, Caller, Service
from steelyard.web.schemas import Body
from steelyard.web.schemas import View as ApiView


class NetworkViewView(ApiView):
    network: str | None = Field(description="None: on no network.")
    vlan: int | None
    note: str | None


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


class GateAnswer(ApiView):
    allowed: bool = Field(description="Always true: a refusal is a problem.")


NodeId = Annotated[str, Path(description="Id or name.")]


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


def _policy_view(policy: ShownPolicy) -> PolicyView:
    return PolicyView.model_validate(policy)


def _view(isolation: NodeIsolation) -> IsolationView:
    return IsolationView(
        node_id=isolation.node_id,
        node=isolation.node,
        phase=isolation.phase,
        agrees=isolation.agrees,
        nics=[_nic_view(nic) for nic in isolation.nics],
    )


def _nic_view(nic: NicIsolation) -> NicIsolationView:
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
