"""The fake Keystone's records: projects, users and tokens."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from steelyard.errors import Unauthenticated
from steelyard.nouns import Actor

IMPLIED = {"admin": {"admin", "manager", "member", "reader"}, "manager": {"manager", "member", "reader"},
           "member": {"member", "reader"}}  # fmt: skip
"""Keystone's default implied roles."""


@dataclass(frozen=True)
class Token:
    actor: Actor
    expires_at: datetime | None


class FakeIdentities:
    """Projects and users come into being when first named."""

    def __init__(self) -> None:
        self.projects: dict[str, str] = {}
        """Id by name."""
        self.users: dict[str, str] = {}
        self._tokens: dict[str, Token] = {}

    def project(self, name: str) -> str:
        return self.projects.setdefault(name, uuid.uuid4().hex)

    def user(self, name: str) -> str:
        return self.users.setdefault(name, uuid.uuid4().hex)

    def actor(self, *, project: str | None, roles: set[str], user: str, system: bool) -> Actor:
        return Actor(
            user_id=self.user(user),
            user_name=user,
            project_id=None if system or project is None else self.project(project),
            project_name=None if system else project,
            roles=frozenset(roles.union(*(IMPLIED.get(role, {role}) for role in roles))),
            system=system,
        )

    def issue(self, actor: Actor, expires_at: datetime | None) -> str:
        token = f"fake-{secrets.token_hex(16)}"
        self._tokens[token] = Token(actor, expires_at)
        return token

    def revoke(self, token: str) -> None:
        self._tokens.pop(token, None)

    def holder(self, token: str, now: datetime) -> Actor:
        found = self._tokens.get(token)
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            raise Unauthenticated("the token is not valid, or no longer", next="openstack token issue")
        return found.actor


def lifetime(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else now + timedelta(seconds=seconds)
