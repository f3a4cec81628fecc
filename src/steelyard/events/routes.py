"""REST: events, their stream, timelines, the audit. Webhooks are in `webhook_routes`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from steelyard.errors import Invalid
from steelyard.events.audit import MAX_HEADS, MAX_STRETCH, AuditService
from steelyard.events.chain import Head, Trouble
from steelyard.events.model import Event, EventFilter, seen_by, shown
from steelyard.events.service import EventService, Timeline
from steelyard.events.sse import EventStream
from steelyard.events.streams import Streams
from steelyard.events.timeline import Line
from steelyard.nouns import Actor
from steelyard.web.context import Admin, Caller
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View

_MAX = 1 << 62


class EventView(View):
    id: int
    at: datetime
    subject: str
    kind: str
    actor: str
    reason: str | None
    operation_id: str | None
    request_id: str | None
    detail: str
    project_id: str | None
    data: dict[str, Any] | None = Field(default=None, description="Administrators only.")
    prev: str | None = Field(default=None, description="The seal of the event before it. Administrators only.")
    hash: str | None = Field(default=None, description="Its seal. Administrators only.")


class EventList(View):
    events: list[EventView]
    next: str | None


class LineView(View):
    id: str
    at: datetime
    source: str = Field(description="steelyard, network, ironic or nova.")
    told_by: list[str] = Field(description="Everybody who told it.")
    kind: str
    subject: str
    actor: str | None
    reason: str | None
    detail: str
    severity: str | None = Field(description="ERROR where it tells of something that went wrong.")
    operation_id: str | None
    request_id: str | None


class MissingView(View):
    source: str
    reason: str


class TimelineAnswer(View):
    timeline: list[LineView]
    missing: list[MissingView] = Field(description="Who could not be asked, and why.")
    next: str | None


class HeadView(View):
    """The head of the chain, signed; to be noted elsewhere."""

    id: int
    hash: str
    at: str
    chain: str
    signature: str


class HeadAnswer(View):
    head: HeadView


class NotedHead(Body):
    id: int = Field(ge=0, le=_MAX)
    hash: str = Field(max_length=64)
    at: str = Field(max_length=64)
    chain: str = Field(max_length=64)
    signature: str = Field(max_length=64)


class VerifyBody(Body):
    """Which part of the chain to check. Asking again with `after` = `through` goes on, until `done`."""

    after: int = Field(default=0, ge=0, le=_MAX)
    limit: int = Field(default=20_000, ge=1, le=MAX_STRETCH)
    heads: list[NotedHead] = Field(
        default_factory=list, max_length=MAX_HEADS, description="Checked with the last part."
    )


class BreachView(View):
    line: int
    what: Trouble
    detail: str


class VerdictView(View):
    checked: int
    through: int
    done: bool
    breaches: list[BreachView]


class VerdictAnswer(View):
    verification: VerdictView


SubjectQuery = Annotated[
    str | None, Query(max_length=255, description="Only those about this: `node:<id>`, or all nodes: `node:*`.")
]
KindQuery = Annotated[str | None, Query(max_length=64, description="Only those of this kind, or `operation.*`.")]
ActorQuery = Annotated[str | None, Query(max_length=255, description="Only those by this actor.")]
SinceQuery = Annotated[datetime | None, Query(description="Not before this time (RFC 3339).")]
UntilQuery = Annotated[datetime | None, Query(description="Before this time (RFC 3339).")]


def router(service: EventService, streams: Streams, audit: AuditService, validate: Any) -> APIRouter:
    """`validate`: `Identity.validate`, to look at the tokens of open streams again."""
    routes = APIRouter(tags=["events"])

    @routes.get("/events")
    def list_events(
        caller: Caller,
        page: Page,
        subject: SubjectQuery = None,
        kind: KindQuery = None,
        actor: ActorQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
    ) -> EventList:
        """List events, the newest first: administrators all, others those of their project's servers."""
        wanted = EventFilter(subject, kind, actor, _zoned(since), _zoned(until))
        before = _marker(page.marker)
        found = service.page(caller.actor, wanted, limit=page.limit + 1, before=before)
        cut = found[: page.limit]
        more = len(found) > page.limit
        return EventList(
            events=[_view(event, caller.actor) for event in cut],
            next=page.next_url(str(cut[-1].id)) if more else None,
        )

    @routes.get(
        "/events/stream",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}, "description": "Events as they happen."}},
    )
    async def stream_events(
        caller: Caller,
        request: Request,
        subject: SubjectQuery = None,
        kind: KindQuery = None,
        actor: ActorQuery = None,
        after: Annotated[int | None, Query(ge=0, le=_MAX, description="Begin after this event.")] = None,
    ) -> Response:
        """Events as they happen (server-sent events). `Last-Event-ID` goes on where another stream ended.

        Administrators see all events, others those of their project's servers. A comment every 15 s keeps the
        connection alive. The last event is of the type `end` and says why the server ends the stream.
        """
        given = request.headers.get("last-event-id", "").strip()
        if given:
            after = _marker(given)
        administrator = caller.actor.is_admin
        wanted = EventFilter(subject, kind, actor, project_id=seen_by(caller.actor))
        stream = await streams.open(caller.actor.user_id, wanted, administrator=administrator)

        def still() -> Actor:
            actor: Actor = validate(caller.token)
            return actor

        return EventStream(streams, stream, after=after, still=still, actor=caller.actor)

    @routes.get("/nodes/{node}/timeline")
    def node_timeline(caller: Admin, node: str, page: Page) -> TimelineAnswer:
        """Everything that is known of a node, the newest first: Steelyard's, Ironic's and Nova's memory as one."""
        return _timeline(service.node_timeline(node), page)

    @routes.get("/servers/{server}/timeline")
    def server_timeline(caller: Caller, server: str, page: Page) -> TimelineAnswer:
        """What happened to a server, the newest first; also to one that is deleted, by its id."""
        return _timeline(service.server_timeline(caller.actor, caller.token, server), page)

    @routes.get("/audit/head")
    def show_head(caller: Admin) -> HeadAnswer:
        """The head of the chain of events, signed. Noted elsewhere, it proves later that nothing before it is gone."""
        return HeadAnswer(head=HeadView.model_validate(audit.head()))

    @routes.post("/audit/verify")
    def verify(caller: Admin, body: VerifyBody) -> VerdictAnswer:
        """Check a part of the chain of events: has a line been changed, removed, put in, moved, or cut off?"""
        heads = [Head(**head.model_dump()) for head in body.heads]
        return VerdictAnswer(
            verification=VerdictView.model_validate(audit.verify(after=body.after, limit=body.limit, heads=heads))
        )

    return routes


def _marker(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or int(text[:20]) > _MAX:
        raise Invalid("The marker names no event.", code="unknown_marker", next="ask again without marker")
    return int(text)


def _zoned(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise Invalid("A time needs its zone: 2026-01-31T12:00:00Z.", code="no_time_zone")
    return moment


def _view(event: Event, actor: Actor) -> EventView:
    body = shown(event, administrator=actor.is_admin)
    if actor.is_admin:
        body |= {"prev": event.prev, "hash": event.hash}
    return EventView.model_validate(body)


def _timeline(found: Timeline, page: Page) -> TimelineAnswer:
    places = {line.id: place for place, line in enumerate(found.lines)}
    cut = page_of(found.lines, page, key=lambda line: places[line.id], id=_id)
    return TimelineAnswer(
        timeline=[LineView.model_validate(line) for line in cut.items],
        missing=[MissingView.model_validate(each) for each in found.missing],
        next=cut.next,
    )


def _id(line: Line) -> str:
    return line.id
