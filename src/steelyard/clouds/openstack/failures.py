"""What an OpenStack service says when it refuses, as an error of ours that is readable and holds no secret.

Each service wraps its message in its own way: Keystone `{"error": {"message"}}`, Nova `{"badRequest": {"message"}}`,
Neutron `{"NeutronError": {"type", "message"}}`, Ironic `{"error_message": "{\\"faultstring\\": …}"}`, Placement
`{"errors": [{"detail"}]}`, Glance an HTML page.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oslo_utils.strutils import mask_password

from steelyard.errors import (
    Conflict,
    Duplicate,
    Forbidden,
    Invalid,
    NotFound,
    SteelyardError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)

LONGEST = 500
"""Characters of a service's message that are passed on."""

SECRET_NAMES = re.compile(r"pass|secret|token|key|credential|community|user_data|admin_?pass", re.IGNORECASE)
"""Fields of a request whose values must not come back in a message."""
URL_CREDENTIALS = re.compile(r"(\w://)[^\s/@]+@")
NOT_SECRET = frozenset({"key_name", "keypair"})

DUPLICATES = frozenset(
    {"IpAddressAlreadyAllocated", "IpAddressInUse", "MacAddressInUse", "VlanIdInUse", "OverlappingAllocationPools"}
)
"""Neutron's types of 409 that mean that something is taken."""

REFUSALS = ("can not be performed on node", "cannot be undeployed", "in maintenance mode", "while it is in state",
            "while in state", "when node is in state", "is retired", "in provision state")  # fmt: skip
"""Ironic answers 400 or 403 where the request is good and the node's state is not."""
TRANSIENT = (
    "database is locked",
    "Deadlock found",
    "Lock wait timeout",
    "could not serialize access",
    "QueuePool limit",
)
"""A 500 for one of these reasons is the service's database being busy: the same request succeeds a moment later."""

ANOTHERS_PROJECT = "other than the authenticated project"
"""Neutron answers 400 to a tenant who names somebody else's project."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which service did not do what was asked, in words, and whose credentials were used."""

    service: str
    """As in a sentence: `the bare metal service (Ironic)`."""
    service_type: str
    own: bool
    """Steelyard's own credentials, not a caller's token."""
    method: str
    path: str

    @property
    def look(self) -> str:
        """The next safe command if it does not answer."""
        return f"openstack catalog show {self.service_type}"


def error_of(
    place: Place, status: int, body: bytes, headers: Mapping[str, str], secrets: Iterable[str]
) -> SteelyardError:
    """The error that an answer with this status means."""
    kind, said = message_of(body, secrets)
    said = said or f"no reason given (HTTP {status})"
    request_id = headers.get("x-openstack-request-id") or headers.get("x-compute-request-id") or "-"
    internal = f"{place.method} {place.path}: HTTP {status} from {place.service_type}, request {request_id[:64]}"
    detail = f"{place.service}: {said}"
    if status == 401:
        return _unauthenticated(place, internal)
    if said.lower().startswith(("quota exceeded", "quota has been met")) or kind in {"OverQuota", "QuotaExceeded"}:
        return Conflict(detail, code="quota_exceeded", next="openstack quota show", internal=internal)
    if status in {400, 403} and place.service_type == "baremetal" and any(words in said for words in REFUSALS):
        return Conflict(detail, internal=internal)
    if status == 403 or ANOTHERS_PROJECT in said:
        return Forbidden(detail, internal=internal)
    if status == 404:
        return NotFound(detail, internal=internal)
    if status == 409:
        taken = "already exists" in said or kind in DUPLICATES
        return Duplicate(detail, internal=internal) if taken else Conflict(detail, internal=internal)
    if status == 412:  # it is not any more what whoever asked had seen
        return Conflict(detail, internal=internal)
    if status == 413:
        return TooLarge(detail, internal=internal)
    if status in {429, 502, 503, 504} or (status == 500 and any(words in said for words in TRANSIENT)):
        return Unavailable(detail, next=place.look, internal=internal)
    if status in {400, 415, 422}:
        return Invalid(detail, internal=internal)
    return UpstreamError(f"{place.service} failed (HTTP {status}): {said}", internal=internal)


def _unauthenticated(place: Place, internal: str) -> SteelyardError:
    if place.own:
        return UpstreamError(
            f"{place.service} does not accept Steelyard's own credentials",
            code="own_credentials_refused",
            next="check the entry that STEELYARD_CLOUD names in clouds.yaml",
            internal=internal,
        )
    return Unauthenticated("the token is not valid, or no longer", next="openstack token issue", internal=internal)


def message_of(body: bytes, secrets: Iterable[str] = ()) -> tuple[str | None, str]:
    """The service's own name for the error, if it gives one, and its message without the secrets; may be empty."""
    hidden = sorted(secrets, key=len, reverse=True)
    text = body[:65536].decode("utf-8", "replace").strip()
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None, _readable(_without_tags(text), hidden)
    kind = None
    for _ in range(4):  # as deep as any of them wraps it
        if isinstance(found, list):
            found = found[0] if found else ""
        if isinstance(found, str):
            if not found.lstrip().startswith("{"):
                break
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                break
        if isinstance(found, dict):
            kind = found["type"] if isinstance(found.get("type"), str) else kind
            found = _inner(found)
    return kind, _readable(found, hidden) if isinstance(found, str) else ""


def _inner(wrapped: dict[str, Any]) -> Any:
    for key in ("faultstring", "message", "detail", "title", "error_message", "error", "NeutronError", "errors"):
        if wrapped.get(key):
            return wrapped[key]
    if len(wrapped) == 1:
        return next(iter(wrapped.values()))
    return ""


def _without_tags(text: str) -> str:
    body = re.search(r"<body[^>]*>(.*?)</body>", text, re.DOTALL | re.IGNORECASE)
    if body is None and not text.startswith("<"):
        return text
    inner = re.sub(r"<(h1|title)[^>]*>.*?</\1>", " ", body.group(1) if body else text, flags=re.DOTALL | re.IGNORECASE)
    return html.unescape(re.sub(r"<[^>]*>", " ", inner))


def _readable(text: str, hidden: Sequence[str]) -> str:
    """One line, without secrets and control characters, of a length that a person reads."""
    line = " ".join("".join(c if c.isprintable() else " " for c in without(text, hidden)).split())
    line = masked(without(line, hidden))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def masked(text: str) -> str:
    """The text without what looks like a secret: `password='…'`, `agent_token=…`, `https://user:…@host`.

    For texts of which nobody knows what went into them, such as Ironic's last error of an agent that hung up.
    """
    return URL_CREDENTIALS.sub(r"\1***@", mask_password(text))


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced."""
    for secret in secrets:
        if len(secret) >= 3:
            text = text.replace(secret, "***")
    return text


def secrets_in(document: object) -> set[str]:
    """Values in a request that must not come back in a message, by the names of their fields."""
    found: set[str] = set()
    if isinstance(document, Mapping):
        path = str(document.get("path", ""))
        for key, value in document.items():
            # A JSON patch says the field's name in its `path`.
            name = path if key == "value" and path else str(key)
            if isinstance(value, str):
                if SECRET_NAMES.search(name) and name not in NOT_SECRET:
                    found.add(value)
            else:
                found |= secrets_in(value)
    elif isinstance(document, list | tuple):
        for entry in document:
            found |= secrets_in(entry)
    return found
