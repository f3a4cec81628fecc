"""What a webhook is, and how a delivery is signed. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult

from steelyard.errors import Forbidden, Invalid
from steelyard.events.model import Event, EventFilter, shown
from steelyard.images.model import Net, may_fetch_from, parse_url
from steelyard.naming import shown as quoted

WEBHOOK_ID = "Steelyard-Webhook-Id"
EVENT_ID = "Steelyard-Event-Id"
TIMESTAMP = "Steelyard-Timestamp"
SIGNATURE = "Steelyard-Signature"
WINDOW = 300
"""Seconds around its own clock in which a receiver should believe a timestamp."""
MIN_SECRET, MAX_SECRET = 16, 1024
PAUSES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 900.0)
"""Seconds until the next attempt after the first, second, … failure in a row; the last one from then on."""
REFUSALS = 5
"""Attempts after which an event is given up that the receiver calls malformed (`REFUSED`): it will not change its mind,
and those that follow wait."""
REFUSED = frozenset({400, 413, 415, 422})
FILTERS = ("subject", "kind", "actor")


class DeliveryState(StrEnum):
    """What became of one event for one webhook."""

    PENDING = "pending"
    """An attempt failed; there will be another."""
    DELIVERED = "delivered"
    GIVEN_UP = "given-up"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are sent. Its secret is in `store.secrets`."""

    id: str
    name: str
    url: str
    secret_id: str = field(repr=False)
    filter: Mapping[str, str]
    created_at: datetime
    created_by: str
    cursor: int
    """The last event that needs nothing any more: delivered, given up, or not wanted."""
    failures: int = 0
    """Failed attempts in a row."""
    failing_since: datetime | None = None
    next_attempt_at: datetime | None = None
    last_error: str | None = None
    last_success_at: datetime | None = None
    given_up: int = 0
    """Events that were never delivered, since it was added."""

    @property
    def wanted(self) -> EventFilter:
        return EventFilter(self.filter.get("subject"), self.filter.get("kind"), self.filter.get("actor"))

    @property
    def pause(self) -> float:
        """Seconds until the next attempt, after this many failures."""
        return PAUSES[min(max(self.failures, 1), len(PAUSES)) - 1]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook, as it was last tried."""

    webhook_id: str
    event_id: int
    state: DeliveryState
    attempts: int
    first_at: datetime
    last_at: datetime
    status: int | None = None
    """HTTP status of the last answer."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt came to."""

    status: int | None
    error: str | None
    seconds: float

    @property
    def delivered(self) -> bool:
        return self.error is None


def check_filter(given: Mapping[str, Any]) -> dict[str, str]:
    """A filter as it is kept. Raises `Invalid` for a field that there is not."""
    if unknown := sorted(set(given) - set(FILTERS)):
        raise Invalid(f"A webhook's filter has no {quoted(unknown[0])}; it has {', '.join(FILTERS)}.")
    return {name: str(value) for name, value in given.items() if value}


def check_secret(secret: str) -> str:
    """Raises `Invalid` (`invalid_secret`) for one that is too short to be one, or is no plain text."""
    if not MIN_SECRET <= len(secret) <= MAX_SECRET or not secret.isascii() or not secret.isprintable():
        raise Invalid(
            f"A webhook's secret has {MIN_SECRET} to {MAX_SECRET} ASCII characters.",
            code="invalid_secret",
            next="openssl rand -hex 32 > FILE",
        )
    return secret


def check_url(text: str) -> SplitResult:
    """A URL that events may be sent to, as far as the text shows: http or https, no password, no fragment.

    Raises `Invalid` (`invalid_url`).
    """
    try:
        url = parse_url(text)
    except Invalid as error:
        raise Invalid(error.detail, code=error.code, next="steelyard webhook add --help") from None
    if url.fragment:
        raise Invalid("A webhook's URL has no fragment (#…).", code="invalid_url")
    return url


def check_addresses(host: str, addresses: Sequence[str], allowed: Sequence[Net]) -> list[str]:
    """The addresses of the receiver that may be connected to: all of them, or none.

    One that leads inside spoils the name, as for images (`images.model.check_source`). Raises `Forbidden`
    (`target_forbidden`).
    """
    for text in addresses:
        if not may_fetch_from(ip_address(text.partition("%")[0]), allowed):
            raise Forbidden(
                f"Events may not be sent to {quoted(host)}: it is not on a public network.",
                code="target_forbidden",
                next="allow its network: STEELYARD_WEBHOOK_TARGETS='[\"10.1.0.0/16\"]'",
            )
    return list(addresses)


def body_of(webhook: Webhook, event: Event) -> bytes:
    """What is sent: `{"webhook": name, "event": {…}}`, the event as administrators see it."""
    content = {"webhook": webhook.name, "event": shown(event, administrator=True)}
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and HMAC-SHA256 (hex) over the timestamp in decimal digits, a dot, and the body."""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"v1={mac}"


def headers_of(webhook: Webhook, event: Event, secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "steelyard-webhook",
        WEBHOOK_ID: webhook.id,
        EVENT_ID: str(event.id),
        TIMESTAMP: str(timestamp),
        SIGNATURE: sign(secret, timestamp, body),
    }
