"""Keystone (Identity API v3): who holds a token, and what the cloud's projects are called."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from keystoneauth1 import access as ksa_access

from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import IDENTITY, Access, Rest
from steelyard.errors import NotFound, Unauthenticated
from steelyard.nouns import Actor

KEEP = 60.0
"""Seconds for which a validated token is believed without asking again. The services check it themselves at each
call, so a revoked token can at most look at what Steelyard itself keeps for this long."""
KEPT = 1024
"""Tokens remembered at once."""
LONGEST_TOKEN = 8192
"""Characters; a longer one is no token of Keystone's."""


@dataclass(frozen=True)
class Holder:
    """A validated token: whose it is, and (with the catalogue) where it can be used."""

    actor: Actor
    reference: ksa_access.AccessInfoV3 = field(repr=False)


class OpenstackIdentity:
    """Validates tokens with Steelyard's own credentials (GET /v3/auth/tokens)."""

    def __init__(self, access: Access, *, clock: Callable[[], float] = time.monotonic):
        self._rest = Rest(access, IDENTITY)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[float, Holder]] = OrderedDict()

    def validate(self, token: str) -> Actor:
        return self.holder(token).actor

    def holder(self, token: str) -> Holder:
        """The token's holder, from memory for up to `KEEP` seconds. Raises `Unauthenticated`."""
        if not token or len(token) > LONGEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise _not_valid()
        key = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] > self._clock():
                return known[1]
        holder, lifetime = self._ask(token)
        with self._lock:
            self._known[key] = (self._clock() + min(KEEP, lifetime), holder)
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return holder

    def _ask(self, token: str) -> tuple[Holder, float]:
        try:
            answer = self._rest.call("GET", "auth/tokens", headers={"X-Subject-Token": token})
        except NotFound:
            raise _not_valid() from None
        document = self._rest.document(answer, "a token")
        actor, expires_at = actor_of(document)
        lifetime = (expires_at - datetime.now(UTC)).total_seconds() if expires_at else KEEP
        if lifetime <= 0:
            raise _not_valid()
        return Holder(actor, ksa_access.AccessInfoV3(document.data, auth_token=token)), lifetime

    def project_names(self) -> Mapping[str, str]:
        """Name of every project by its id (GET /v3/projects; the API has no pages)."""
        answer = self._rest.get("projects", what="a list of projects")
        return {p.text("id"): p.text("name") for p in answer.required_documents("projects", "a project")}


def actor_of(document: Document) -> tuple[Actor, datetime | None]:
    """Who the token is of, and when it ends, from the answer to GET /v3/auth/tokens."""
    token = document.document("token", "a token")
    user = token.document("user", "a user")
    project = token.document("project", "a project") if token.data.get("project") else None
    system = token.mapping("system").get("all") is True
    # A role on a domain says who may manage that domain's users, and nothing about servers: the admin of a domain is no
    # administrator of the cloud. (An unscoped token has no roles.)
    placed = project is not None or system
    actor = Actor(
        user_id=user.text("id"),
        user_name=user.text("name"),
        project_id=project.text("id") if project else None,
        project_name=project.text("name") if project else None,
        roles=frozenset(role.text("name") for role in token.documents("roles", "a role")) if placed else frozenset(),
        system=system,
    )
    return actor, token.moment("expires_at")


def _not_valid() -> Unauthenticated:
    return Unauthenticated("the token is not valid, or no longer", next="openstack token issue")
