"""Who a token belongs to: asked of Keystone, or read from a file where there is no Keystone (tests)."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from steelyard.embedded.contrail.visibility import Identity
from steelyard.errors import Invalid, Unavailable

BELIEVED_SECONDS = 60.0
_MOST_BELIEVED = 10_000


class Identities(Protocol):
    """Tells whose a token is."""

    async def of(self, token: str) -> Identity | None:
        """None for a token that is not good. Raises Unavailable when nobody can tell."""


class TokenFile:
    """`{"tokens": {TOKEN: {"user", "project_id", "project_name", "roles"}}}` in a file of mode 0600."""

    def __init__(self, path: Path):
        """Raises Invalid."""
        try:
            document = json.loads(path.read_text())
            self._known = {
                _digest(token): Identity(
                    user=str(one["user"]),
                    project_id=str(one["project_id"]),
                    project_name=str(one["project_name"]),
                    roles=frozenset(one["roles"]),
                )
                for token, one in document["tokens"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Invalid(f"{path} is no file of tokens ({type(error).__name__})", code="token_file") from None

    async def of(self, token: str) -> Identity | None:
        return self._known.get(_digest(token))


class Keystone:
    """A token is shown to Keystone by itself, and believed for a minute."""

    def __init__(self, url: str):
        """`url`: with its version, as http://127.0.0.1:5000/v3."""
        self._url = url.rstrip("/")
        self._believed: dict[str, tuple[float, Identity]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def of(self, token: str) -> Identity | None:
        digest = _digest(token)
        if (known := self._believed.get(digest)) is not None and known[0] > time.monotonic():
            return known[1]
        identity = await self._ask(token)
        if identity is not None:
            if len(self._believed) >= _MOST_BELIEVED:
                self._believed.clear()
            self._believed[digest] = (time.monotonic() + BELIEVED_SECONDS, identity)
        return identity

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, token: str) -> Identity | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), trust_env=False)
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        try:
            async with self._session.get(f"{self._url}/auth/tokens", headers=headers) as answer:
                if answer.status in (401, 404):
                    return None
                document = await answer.json() if answer.status == 200 else None
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise Unavailable(f"Keystone does not answer: {type(error).__name__}", code="keystone") from None
        if document is None:
            raise Unavailable(f"Keystone answered {answer.status}", code="keystone")
        return identity_of(document)


def identity_of(document: Any) -> Identity | None:
    """Whose a validated token is; None for one that has neither a project nor the system for its scope."""
    try:
        token = document["token"]
        project = token.get("project")
        if project is None and not token.get("system"):
            return None
        return Identity(
            user=str(token["user"]["name"]),
            project_id=str(project["id"]) if project else "",
            project_name=str(project["name"]) if project else "",
            roles=frozenset(str(role["name"]) for role in token["roles"]),
        )
    except (KeyError, TypeError, AttributeError):
        return None


def _digest(token: str) -> str:
    """Tokens are not kept in memory for longer than their request."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
