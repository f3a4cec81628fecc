"""REST: /v1/nodes (GET, PATCH), its facets, export and history; /v1/views; /v1/parts. Administrators only."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from steelyard.inventory.asking import AskedFor, NodesPage, malformed, marker_of, place_of
from steelyard.inventory.export import csv_pieces, json_pieces
from steelyard.inventory.query import FILTERS, QueryError, facets_of
from steelyard.inventory.service import PLACES, Description, InventoryService
from steelyard.inventory.shapes import (
    ChangeView,
    CountView,
    DescriptionBody,
    EventView,
    FacetsAnswer,
    HistoryAnswer,
    NodeAnswer,
    NodeDetailView,
    NodeList,
    NodeView,
    PartAnswer,
    RecordAnswer,
    SavedViewView,
    StayView,
    ViewAnswer,
    ViewBody,
    ViewList,
)
from steelyard.naming import check_name
from steelyard.store.inventory_parts import PartStay
from steelyard.web.context import Admin
from steelyard.web.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, page_of

DEFAULT_FACETS = ("state", "phase", "pool", "health", "project", "site", "rack", "tag")


def router(service: InventoryService) -> APIRouter:
    routes = APIRouter(tags=["inventory"])
    _of_nodes(routes, service)
    _of_one(routes, service)
    _of_views(routes, service)
    return routes


def _of_nodes(routes: APIRouter, service: InventoryService) -> None:
    @routes.get("/nodes", response_model=NodeList)
    def list_nodes(caller: Admin, asked: AskedFor, page: NodesPage) -> Response:
        """List every server, in one view joined from Ironic, Nova, Neutron, Glance and Keystone.

        Search, filter and sort; several values of one filter mean any of them, an empty one those of which it is not
        known. Without `kind`, nodes only.
        """
        query, sort = asked.question(service, caller.actor)
        found = service.page(query, sort, after=place_of(page.marker, sort), limit=page.limit)
        following = page.next_url(marker_of(found.last, sort)) if found.last else None
        ending = json.dumps({
            "next": following,
            "observed_at": found.freshness.observed_at.isoformat(),
            "problem": found.freshness.problem,
        })  # fmt: skip
        # The records are kept as JSON: taking them apart to put them together again would be most of the work.
        return Response(f'{{"nodes":[{",".join(found.documents)}],{ending[1:]}', media_type="application/json")

    @routes.get("/nodes/facets")
    def count_nodes(
        caller: Admin,
        asked: AskedFor,
        facet: Annotated[
            list[str] | None, Query(max_length=len(FILTERS), description=f"Of {', '.join(FILTERS)}.")
        ] = None,
    ) -> FacetsAnswer:
        """Count the servers that pass, by each value of some facets; a facet's own filter is left out of its counts."""
        query, _ = asked.question(service, caller.actor)
        try:
            names = facets_of(DEFAULT_FACETS if facet is None else facet)
        except QueryError as error:
            raise malformed(error) from None
        found = service.facets(query, names)
        return FacetsAnswer(
            total=found.total,
            facets={name: [CountView.model_validate(each) for each in counts] for name, counts in found.counts.items()},
            observed_at=found.freshness.observed_at,
            problem=found.freshness.problem,
        )

    @routes.get("/nodes/export", response_class=StreamingResponse)
    def export_nodes(
        caller: Admin, asked: AskedFor, format: Annotated[Literal["csv", "json"], Query()] = "csv"
    ) -> StreamingResponse:
        """All servers that pass, as a file, however many.

        In CSV a cell that a spreadsheet would take for a formula begins with an apostrophe.
        """
        query, sort = asked.question(service, caller.actor)
        pieces = service.export(query, sort)
        return StreamingResponse(
            csv_pieces(pieces) if format == "csv" else json_pieces(pieces),
            media_type="text/csv; charset=utf-8; header=present" if format == "csv" else "application/json",
            headers={"Content-Disposition": f'attachment; filename="servers.{format}"'},
        )


def _of_one(routes: APIRouter, service: InventoryService) -> None:
    @routes.get("/nodes/{node}")
    def show_node(caller: Admin, node: str) -> NodeAnswer:
        """Show one, by id, name or serial number, as it is now."""
        detail = service.get(node)
        events = [EventView.model_validate(each) for each in detail.events]
        return NodeAnswer(node=NodeDetailView(**detail.document, inventory=detail.inventory, events=events))

    @routes.patch("/nodes/{node}")
    def describe_node(caller: Admin, node: str, body: DescriptionBody) -> RecordAnswer:
        """Say where a node or candidate stands, and tag it.

        Kept in Ironic (`extra.steelyard`), and on the candidate.
        """
        given = body.model_fields_set
        location: dict[str, str | int | None] = {name: getattr(body, name) or None for name in PLACES if name in given}
        description = Description(location, tuple(body.add_tags), tuple(body.remove_tags))
        record = service.describe(caller.actor, node, description, request_id=caller.request_id)
        return RecordAnswer(node=NodeView(**record))

    @routes.get("/nodes/{node}/history")
    def show_history(
        caller: Admin,
        node: str,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        marker: Annotated[int | None, Query(ge=0, lt=1 << 62, description="Id of the last change seen.")] = None,
    ) -> HistoryAnswer:
        """What changed about a server, the newest first; also of one that has left."""
        record, lines = service.history(node, limit=limit + 1, before=marker)
        more = len(lines) > limit
        lines = lines[:limit]
        following = f"/v1/nodes/{record['id']}/history?limit={limit}&marker={lines[-1].id}" if more else None
        return HistoryAnswer(
            id=record["id"],
            name=record["name"],
            kind=record["kind"],
            changes=[ChangeView.model_validate(line) for line in lines],
            next=following,
        )

    @routes.get("/parts/{serial}")
    def show_part(caller: Admin, serial: str) -> PartAnswer:
        """In which servers a disk or NIC was, by its serial number, MAC or WWN; the newest first."""
        return PartAnswer(stays=[_stay(each) for each in service.part(serial)])


def _of_views(routes: APIRouter, service: InventoryService) -> None:
    @routes.get("/views")
    def list_views(caller: Admin, page: Page) -> ViewList:
        """One's own saved views, and those that others share."""
        cut = page_of(service.views(caller.actor), page)
        return ViewList(views=[SavedViewView.model_validate(each) for each in cut.items], next=cut.next)

    @routes.post("/views", status_code=201)
    def save_view(caller: Admin, body: ViewBody) -> ViewAnswer:
        """Keep a search with its filters and order under a name."""
        check_name("view", body.name)
        query: dict[str, Any] = body.query.model_dump(exclude_unset=True)
        try:
            saved = service.save_view(caller.actor, body.name, query, shared=body.shared, replace=body.replace)
        except QueryError as error:
            raise malformed(error, where="body") from None
        return ViewAnswer(view=SavedViewView.model_validate(saved))

    @routes.delete("/views/{view}", status_code=204)
    def delete_view(caller: Admin, view: str) -> None:
        """Delete one's own."""
        service.delete_view(caller.actor, view)


def _stay(stay: PartStay) -> StayView:
    part = stay.part
    return StayView(
        kind=part.kind,
        serial=part.serial,
        wwn=part.wwn,
        model=part.model,
        size_gb=part.size_gb,
        name=part.name,
        server_kind=stay.kind,
        server_id=stay.id,
        server=stay.name,
        server_gone=stay.gone,
        since=stay.since,
        until=stay.until,
    )
