"""Who asks: the dependencies by which a route demands a token, an administrator, or somebody who may write.

Use them as parameter types of an endpoint:

    @routes.get("")
    def list_nodes(caller: Admin, page: Page) -> NodeList: ...

The token itself is checked before the request's body is read, for every path under /v1 (`web.frame.Authentication`):
an endpoint that forgets to ask who is there is still not open to strangers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import APIKeyHeader

from steelyard.errors import Forbidden, Unauthenticated
from steelyard.nouns import Actor

_token_header = APIKeyHeader(
    name="X-Auth-Token", scheme_name="X-Auth-Token", description="A Keystone token.", auto_error=False
)

NEXT_TOKEN = "openstack token issue"  # noqa: S105 - a command, not a password

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key again, with the same request, answers with the operation of the first time.",
    ),
]


@dataclass(frozen=True, slots=True)
class Context:
    """One request: who makes it, with which token (never shown), under which id."""

    actor: Actor
    token: str = field(repr=False)
    request_id: str


async def _holder(request: Request, _: Annotated[str | None, Security(_token_header)]) -> Context:
    context = getattr(request.state, "context", None)
    if not isinstance(context, Context):
        raise Unauthenticated("The request has no X-Auth-Token header.", next=NEXT_TOKEN)
    return context


_Holder = Annotated[Context, Depends(_holder)]


async def _caller(holder: _Holder) -> Context:
    if not holder.actor.roles & {"admin", "member", "reader"}:
        raise Forbidden("The role service alone opens only what services need.")
    return holder


Caller = Annotated[Context, Depends(_caller)]
"""Anybody with a valid token; 401 otherwise."""


async def _admin(caller: Caller) -> Context:
    if not caller.actor.is_admin:
        raise Forbidden("Only administrators may do this.")
    return caller


async def _writer(caller: Caller) -> Context:
    if not caller.actor.may_write:
        raise Forbidden("Your role lets you look, not change anything; it takes the role member.")
    return caller


async def _service(holder: _Holder) -> Context:
    if not (holder.actor.is_admin or "service" in holder.actor.roles):
        raise Forbidden("Only the cloud's own services may do this.")
    return holder


Service = Annotated[Context, Depends(_service)]
"""A service of the cloud (the role service), or an administrator; 403 otherwise."""

Admin = Annotated[Context, Depends(_admin)]
"""An administrator; 403 otherwise."""

Writer = Annotated[Context, Depends(_writer)]
"""A member or administrator; 403 for readers."""
