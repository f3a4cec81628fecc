"""REST: /v1/webhooks. Administrators only. A secret goes in and never comes out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from steelyard.errors import Invalid
from steelyard.events.hooks import MAX_SECRET, MIN_SECRET, Delivery, DeliveryState, Webhook
from steelyard.events.webhooks import WebhookService
from steelyard.images.fetch import without_query
from steelyard.web.context import Admin
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View


class FilterBody(Body):
    subject: str | None = Field(default=None, max_length=255, description="`node:<id>`, or `node:*`.")
    kind: str | None = Field(default=None, max_length=64, description="`operation.failed`, or `operation.*`.")
    actor: str | None = Field(default=None, max_length=255)


class NewWebhookBody(Body):
    name: str = Field(max_length=255)
    url: str = Field(max_length=2048, description="http or https, on a public network, without a password.")
    secret: str = Field(
        min_length=MIN_SECRET, max_length=MAX_SECRET, description="Signs each delivery. Never shown again."
    )
    filter: FilterBody = Field(default_factory=FilterBody)


class WebhookView(View):
    id: str
    name: str
    url: str = Field(description="Without its query, which may hold a secret.")
    filter: dict[str, str]
    created_at: datetime
    created_by: str
    state: str = Field(description="ok, failing, or new: nothing was sent yet.")
    waiting: int = Field(description="Events after the last one that was dealt with; not all of them may be wanted.")
    failures: int = Field(description="Failed attempts in a row.")
    failing_since: datetime | None
    next_attempt_at: datetime | None
    last_error: str | None
    last_success_at: datetime | None
    given_up: int = Field(description="Events that were never delivered.")


class WebhookAnswer(View):
    webhook: WebhookView


class WebhookList(View):
    webhooks: list[WebhookView]
    next: str | None


class AttemptView(View):
    delivered: bool
    status: int | None
    error: str | None
    seconds: float


class AttemptAnswer(View):
    attempt: AttemptView


class DeliveryView(View):
    event_id: int
    state: DeliveryState
    attempts: int
    first_at: datetime
    last_at: datetime
    status: int | None
    error: str | None


class DeliveryList(View):
    deliveries: list[DeliveryView]
    next: str | None


def router(service: WebhookService) -> APIRouter:
    routes = APIRouter(prefix="/webhooks", tags=["events"])

    def view(webhook: Webhook) -> WebhookView:
        state = "failing" if webhook.failures else "ok" if webhook.last_success_at else "new"
        return WebhookView(
            id=webhook.id,
            name=webhook.name,
            url=without_query(webhook.url),
            filter=dict(webhook.filter),
            created_at=webhook.created_at,
            created_by=webhook.created_by,
            state=state,
            waiting=service.waiting(webhook),
            failures=webhook.failures,
            failing_since=webhook.failing_since,
            next_attempt_at=webhook.next_attempt_at,
            last_error=webhook.last_error,
            last_success_at=webhook.last_success_at,
            given_up=webhook.given_up,
        )

    @routes.get("")
    def list_webhooks(caller: Admin, page: Page) -> WebhookList:
        """List the webhooks."""
        cut = page_of(service.all(), page)
        return WebhookList(webhooks=[view(each) for each in cut.items], next=cut.next)

    @routes.get("/{webhook}")
    def show_webhook(caller: Admin, webhook: str) -> WebhookAnswer:
        """Show one, by id or name."""
        return WebhookAnswer(webhook=view(service.get(webhook)))

    @routes.post("", status_code=201)
    def add_webhook(caller: Admin, body: NewWebhookBody) -> WebhookAnswer:
        """Send events, from now on, to a URL, each signed with the secret."""
        made = service.add(
            body.name,
            body.url,
            body.secret,
            filter={name: value for name, value in body.filter.model_dump().items() if value},
            actor=caller.actor.user_name,
            request_id=caller.request_id,
        )
        return WebhookAnswer(webhook=view(made))

    @routes.delete("/{webhook}", status_code=204)
    def delete_webhook(caller: Admin, webhook: str) -> Response:
        """Send it nothing more, by id or name."""
        service.delete(webhook, actor=caller.actor.user_name, request_id=caller.request_id)
        return Response(status_code=204)

    @routes.post("/{webhook}/test")
    def test_webhook(caller: Admin, webhook: str) -> AttemptAnswer:
        """Send an event of the kind `webhook.test`, now and once, and say what the receiver answered."""
        return AttemptAnswer(attempt=AttemptView.model_validate(service.test(webhook)))

    @routes.get("/{webhook}/deliveries")
    def list_deliveries(
        caller: Admin,
        webhook: str,
        page: Page,
        state: Annotated[DeliveryState | None, Query(description="Only those in this state.")] = None,
    ) -> DeliveryList:
        """What became of the newest events; those that were not wanted are not in the list."""
        if page.marker is not None and not (page.marker.isascii() and page.marker.isdecimal()):
            raise Invalid("The marker names no event.", code="unknown_marker", next="ask again without marker")
        before = int(page.marker[:19]) if page.marker is not None else None
        _, found = service.deliveries(webhook, state=state, limit=page.limit + 1, before=before)
        cut: list[Delivery] = found[: page.limit]
        more = len(found) > page.limit
        return DeliveryList(
            deliveries=[DeliveryView.model_validate(each) for each in cut],
            next=page.next_url(str(cut[-1].event_id)) if more else None,
        )

    return routes
