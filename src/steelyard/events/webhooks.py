"""Webhooks: use cases of administrators, and the delivery itself.

Runbook of the reconciler events.webhooks: for each webhook that is due, a few at the same time: take the events after
its cursor that it wants, in their order; send each, signed; after an answer of 2xx note it as delivered and go on.
After anything else pause (`hooks.PAUSES`) and send the same event again, so that the order holds and each comes at
least once. An event that is as old as `webhook_hours` allows, after as long a time without a success, is given up, and
so is one that the receiver keeps calling malformed. By hand: `steelyard webhook test`, `steelyard webhook deliveries`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from steelyard.errors import Conflict, Invalid, SteelyardError
from steelyard.events.hooks import (
    REFUSALS,
    REFUSED,
    Attempt,
    Delivery,
    DeliveryState,
    Webhook,
    body_of,
    check_addresses,
    check_filter,
    check_secret,
    check_url,
    headers_of,
)
from steelyard.events.model import Event
from steelyard.events.sending import Resolve, Sender, resolve
from steelyard.images.model import parse_networks
from steelyard.naming import check_name, shown
from steelyard.operations.reconciling import Report
from steelyard.settings import Settings
from steelyard.store import Store

log = structlog.get_logger("steelyard.events")

MOST = 100
"""Webhooks that there may be."""
AT_ONCE = 8
"""Webhooks that are served at the same time."""
RUN_SECONDS = 20.0
"""How long one run may go on taking up new events; what is left comes with the next."""
PAGE = 100
FLUSH = 20
"""Deliveries that are noted together. After a crash so many may be sent a second time."""


class WebhookService:
    """Where events are sent, and sending them."""

    def __init__(
        self,
        *,
        store: Store,
        settings: Settings,
        resolve: Resolve = resolve,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._allowed = parse_networks(settings.webhook_targets, setting="webhook_targets")
        self._patience = timedelta(hours=settings.webhook_hours)
        self._resolve = resolve
        self._now = now
        self._stopping = threading.Event()

    # Administrators

    def add(
        self,
        name: str,
        url: str,
        secret: str,
        *,
        filter: Mapping[str, str],
        actor: str,
        request_id: str | None = None,
    ) -> Webhook:
        """Send the events that the filter wants, from now on, to this URL.

        Raises `Invalid` (`invalid_url`, `invalid_secret`, `target_unreachable`), `Forbidden` (`target_forbidden`),
        `Duplicate`.
        """
        check_name("webhook", name)
        check_secret(secret)
        parsed = check_url(url)
        host = parsed.hostname or ""
        try:
            addresses = self._resolve(host, parsed.port or 443)
        except OSError:
            raise Invalid(
                f"The name {shown(host)} cannot be resolved.", code="target_unreachable", next="check the URL"
            ) from None
        check_addresses(host, addresses, self._allowed)
        if len(self._store.webhooks.all()) >= MOST:
            raise Conflict(f"There are {MOST} webhooks; no more are allowed.", next="steelyard webhook list")
        with self._store.unit_of_work():
            webhook = Webhook(
                id=str(uuid.uuid4()), name=name, url=url, secret_id=self._store.secrets.put({"secret": secret}),
                filter=check_filter(filter), created_at=self._now(), created_by=actor,
                cursor=self._store.events.newest(),
            )  # fmt: skip
            self._store.webhooks.add(webhook)
            self._store.events.append(
                f"webhook:{webhook.id}", "webhook.added", actor=actor, request_id=request_id,
                detail=f"events are sent to {host} (webhook {name})",
            )  # fmt: skip
        return webhook

    def all(self) -> list[Webhook]:
        return self._store.webhooks.all()

    def get(self, reference: str) -> Webhook:
        """By id or name. Raises `NotFound`."""
        return self._store.webhooks.get(reference)

    def delete(self, reference: str, *, actor: str, request_id: str | None = None) -> None:
        """Send it nothing more. Its secret is gone, too. Raises `NotFound`."""
        webhook = self.get(reference)
        with self._store.unit_of_work():
            self._store.webhooks.delete(webhook.id)
            self._store.secrets.delete(webhook.secret_id)
            self._store.events.append(
                f"webhook:{webhook.id}", "webhook.deleted", actor=actor, request_id=request_id,
                detail=f"webhook {webhook.name} was deleted",
            )  # fmt: skip

    def deliveries(
        self, reference: str, *, state: DeliveryState | None, limit: int, before: int | None
    ) -> tuple[Webhook, list[Delivery]]:
        """What became of the newest events. Raises `NotFound`."""
        webhook = self.get(reference)
        return webhook, self._store.webhooks.deliveries(webhook.id, state=state, limit=limit, before=before)

    def test(self, reference: str) -> Attempt:
        """Send an event of the kind `webhook.test` with the id 0, now and once. Raises `NotFound`."""
        webhook = self.get(reference)
        event = Event(
            id=0, at=self._now(), subject=f"webhook:{webhook.id}", kind="webhook.test", actor="steelyard", reason=None,
            operation_id=None, request_id=None, detail="a test",
        )  # fmt: skip
        secret = self._store.secrets.get(webhook.secret_id)["secret"]
        with closing(self._sender(webhook)) as sender:
            return self._attempt(sender, webhook, event, secret)

    def waiting(self, webhook: Webhook) -> int:
        """Events that it has not been asked about yet, wanted or not."""
        return max(0, self._store.events.newest() - webhook.cursor)

    # Delivery

    def stop(self) -> None:
        """The server goes down: begin no further attempt."""
        self._stopping.set()

    def run(self) -> Report:
        """Bring every webhook that is due as far as it goes."""
        webhooks = self.all()
        newest = self._store.events.newest()
        now = self._now()
        due = [
            each
            for each in webhooks
            if each.cursor < newest and (each.next_attempt_at is None or each.next_attempt_at <= now)
        ]
        if not due:
            return Report(len(webhooks), 0)
        with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(due)), thread_name_prefix="webhooks") as workers:
            counts = list(workers.map(self._serve, due))
        failing = sum(1 for each in self.all() if each.failures)
        return Report(
            len(webhooks), sum(counts), f"{failing} cannot be reached" if failing else "", {"delivered": sum(counts)}
        )

    def _serve(self, webhook: Webhook) -> int:
        """One webhook: how many events were delivered. Raises nothing."""
        try:
            secret = self._store.secrets.get(webhook.secret_id)["secret"]
            with closing(self._sender(webhook)) as sender:
                return _Round(self, self._store, webhook, sender, secret).run()
        except SteelyardError as error:
            log.warning("a webhook was not served", webhook=webhook.name, code=error.code, internal=error.internal)
        except Exception:
            log.exception("serving a webhook broke", webhook=webhook.name)
        return 0

    def _sender(self, webhook: Webhook) -> Sender:
        return Sender(webhook.url, allowed=self._allowed, resolve=self._resolve)

    def _attempt(self, sender: Sender, webhook: Webhook, event: Event, secret: str) -> Attempt:
        body = body_of(webhook, event)
        return sender.send(body, headers_of(webhook, event, secret, int(self._now().timestamp()), body))


class _Round:
    """One run's work for one webhook."""

    def __init__(self, service: WebhookService, store: Store, webhook: Webhook, sender: Sender, secret: str) -> None:
        self._service = service
        self._store = store
        self._webhook = webhook
        self._sender = sender
        self._secret = secret
        self._done: list[Delivery] = []
        self._end = time.monotonic() + RUN_SECONDS

    def run(self) -> int:
        delivered = 0
        while time.monotonic() < self._end:
            upto = self._store.events.newest()
            events = self._store.events.after(self._webhook.cursor, wanted=self._webhook.wanted, limit=PAGE)
            for event in events:
                if time.monotonic() >= self._end or self._service._stopping.is_set():
                    break
                if not self._one(event):
                    return delivered
                delivered += 1
            else:
                # Those between the last wanted one and `upto` are not wanted.
                last = events[-1].id if len(events) == PAGE else max(upto, self._webhook.cursor)
                if not self._note(cursor=last) or len(events) < PAGE:
                    return delivered
                continue
            self._note()
            return delivered
        return delivered

    def _one(self, event: Event) -> bool:
        """One event. False when this webhook has to wait."""
        known = self._store.webhooks.delivery(self._webhook.id, event.id) if self._webhook.failures else None
        attempt = self._service._attempt(self._sender, self._webhook, event, self._secret)
        now = self._service._now()
        delivery = Delivery(
            webhook_id=self._webhook.id, event_id=event.id, state=DeliveryState.DELIVERED,
            attempts=known.attempts + 1 if known else 1, first_at=known.first_at if known else now, last_at=now,
            status=attempt.status, error=attempt.error,
        )  # fmt: skip
        if attempt.delivered:
            self._done.append(delivery)
            recovered = self._webhook.failures > 0
            self._webhook = replace(
                self._webhook, cursor=event.id, failures=0, failing_since=None, next_attempt_at=None, last_error=None,
                last_success_at=now,
            )  # fmt: skip
            return self._note() if recovered or len(self._done) >= FLUSH else True
        since = self._webhook.failing_since or now
        self._webhook = replace(
            self._webhook, failures=self._webhook.failures + 1, failing_since=since, last_error=attempt.error
        )
        self._webhook = replace(self._webhook, next_attempt_at=now + timedelta(seconds=self._webhook.pause))
        cutoff = now - self._service._patience
        if attempt.status in REFUSED and delivery.attempts >= REFUSALS:
            self._give_up([event], delivery)
        elif since <= cutoff and event.at <= cutoff:
            self._give_up(self._too_old(cutoff), delivery)
        else:
            self._done.append(replace(delivery, state=DeliveryState.PENDING))
        self._note()
        return False

    def _too_old(self, cutoff: datetime) -> list[Event]:
        """The wanted events that have waited for too long, from the one at the cursor on."""
        found: list[Event] = []
        cursor = self._webhook.cursor
        while True:
            page = self._store.events.after(cursor, wanted=replace(self._webhook.wanted, until=cutoff), limit=PAGE)
            found += page
            if len(page) < PAGE:
                return found
            cursor = page[-1].id

    def _give_up(self, events: Sequence[Event], last: Delivery) -> None:
        gone = replace(last, state=DeliveryState.GIVEN_UP)
        self._done += [
            gone if event.id == last.event_id else replace(gone, event_id=event.id, attempts=0, status=None)
            for event in events
        ]
        self._webhook = replace(
            self._webhook, cursor=max(event.id for event in events), given_up=self._webhook.given_up + len(events)
        )
        log.error("events were given up", webhook=self._webhook.name, events=len(events), error=last.error)
        first = events[0].id
        self._store.events.append(
            f"webhook:{self._webhook.id}", "webhook.given_up", actor="steelyard",
            detail=f"webhook {self._webhook.name}: {len(events)} events were given up, from {first} on: {last.error}",
            data={"events": len(events), "first": first},
        )  # fmt: skip

    def _note(self, *, cursor: int | None = None) -> bool:
        """Write down how far it is. False when the webhook is gone."""
        if cursor is not None:
            self._webhook = replace(self._webhook, cursor=cursor)
        hook = self._webhook
        with self._store.unit_of_work():
            there = self._store.webhooks.advance(
                hook.id, hook.cursor, failures=hook.failures, failing_since=hook.failing_since,
                next_attempt_at=hook.next_attempt_at, last_error=hook.last_error,
                last_success_at=hook.last_success_at, given_up=hook.given_up,
            )  # fmt: skip
            if there:
                self._store.webhooks.record(self._done)
        self._done = []
        return there
