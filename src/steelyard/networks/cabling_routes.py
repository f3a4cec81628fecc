"""REST: /v1/nodes/{node}/bonds and /v1/nodes/{node}/recable, for administrators."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from steelyard.lifecycle.node_routes import MAX_REASON
from steelyard.networks.cabling import CablingService
from steelyard.operations.views import OperationAnswer, accepted
from steelyard.web.context import Admin, IdempotencyKey
from steelyard.web.schemas import Body, View

MAX_NICS = 32


class MemberView(View):
    mac: str
    switch: str | None
    port: str | None


class BondView(View):
    id: str
    name: str | None
    mac: str | None
    mode: str
    nics: list[MemberView]


class BondList(View):
    bonds: list[BondView]


class NewBondBody(Body):
    nics: list[str] = Field(
        default_factory=list, max_length=MAX_NICS, description="MACs. Default: all that are in no bond."
    )
    name: str | None = Field(default=None, max_length=255)
    mode: Literal["802.3ad", "active-backup", "balance-xor"] = Field(default="802.3ad", description="802.3ad is LACP.")
    reason: str | None = Field(default=None, max_length=MAX_REASON)


class RecableBody(Body):
    nic: str = Field(max_length=64, description="MAC.")
    switch: str = Field(max_length=255, description="Name or chassis id.")
    port: str = Field(max_length=255, description="As the switch calls it.")
    reason: str | None = Field(default=None, max_length=MAX_REASON)


def router(service: CablingService) -> APIRouter:
    routes = APIRouter(prefix="/nodes/{node}", tags=["networks"])

    @routes.get("/bonds")
    def list_bonds(_: Admin, node: str) -> BondList:
        """List a node's bonds with their NICs."""
        return BondList(
            bonds=[
                BondView(
                    id=found.bond.id,
                    name=found.bond.name,
                    mac=found.bond.mac,
                    mode=found.bond.mode,
                    nics=[
                        MemberView(
                            mac=nic.mac,
                            switch=(nic.link.switch_name or nic.link.switch_id) if nic.link else None,
                            port=nic.link.port_id if nic.link else None,
                        )
                        for nic in found.nics
                    ],
                )
                for found in service.bonds(node)
            ]
        )

    @routes.post("/bonds", status_code=202)
    def create_bond(caller: Admin, node: str, body: NewBondBody, key: IdempotencyKey = None) -> OperationAnswer:
        """Make one bond of several NICs of a node that nobody has."""
        return accepted(
            service.bond(
                caller.actor, node, nics=body.nics, name=body.name, mode=body.mode, reason=body.reason, key=key,
                request_id=caller.request_id,
            ),
            administrators=True,
        )  # fmt: skip

    @routes.delete("/bonds/{bond}", status_code=202)
    def delete_bond(
        caller: Admin,
        node: str,
        bond: str,
        reason: Annotated[str | None, Query(max_length=MAX_REASON)] = None,
        key: IdempotencyKey = None,
    ) -> OperationAnswer:
        """Part a bond: its NICs are by themselves again."""
        return accepted(
            service.unbond(caller.actor, node, bond, reason=reason, key=key, request_id=caller.request_id),
            administrators=True,
        )

    @routes.post("/recable", status_code=202)
    def recable(caller: Admin, node: str, body: RecableBody, key: IdempotencyKey = None) -> OperationAnswer:
        """A NIC's cable is in another switch port: its networks follow, proven at both, or it is put back."""
        return accepted(
            service.recable(
                caller.actor, node, body.nic, switch=body.switch, port=body.port, reason=body.reason, key=key,
                request_id=caller.request_id,
            ),
            administrators=True,
        )  # fmt: skip

    return routes
