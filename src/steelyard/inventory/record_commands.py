"""CLI: steelyard node history, node set, steelyard view …, steelyard part show."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steelyard.client.errors import UsageError
from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, say, show
from steelyard.client.rest import connect
from steelyard.inventory.commands import (
    Candidates,
    Filters,
    Phases,
    Pool,
    Q,
    SortBy,
    State,
    Tags,
    filters_of,
    where_it_is,
    with_candidates,
)

node_app = command_group("Nodes: servers under management.")
view_app = command_group("Saved views of the inventory.")
part_app = command_group("Parts of servers: where a disk or NIC is, and was.")

CHANGE_COLUMNS: list[Column] = [
    ("At", lambda row: row["at"][:19]),
    ("Field", "field"),
    ("From", "before"),
    ("To", "after"),
    ("By", "actor"),
    ("Operation", "operation_id"),
]
VIEW_COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Owner", "owner"),
    ("Shared", "shared"),
    ("Search", "query.q"),
    ("Filters", "query.filters"),
    ("Sort", "query.sort"),
]
STAY_COLUMNS: list[Column] = [
    ("Part", "kind"),
    ("Serial", "serial"),
    ("Model", "model"),
    ("Server", lambda row: f"{row['server']} (gone)" if row["server_gone"] else row["server"]),
    ("Server id", "server_id"),
    ("From", lambda row: row["since"][:19]),
    ("Until", lambda row: row["until"][:19] if row["until"] else "now"),
]


@node_app.command(
    "history", epilog=examples("steelyard node history bm-001", "steelyard node history bm-001 --limit 5")
)
def show_history(
    node: Annotated[str, typer.Argument(help="Id, name or serial number; also of one that has left.")],
    limit: Limit = 100,
    format: Format = "table",
) -> None:
    """What changed about a server: from what to what, when, and by which operation (administrators)."""
    client = connect()
    show(client.list_all(f"{client.path('/v1/nodes', node)}/history", limit=limit), CHANGE_COLUMNS, format)


@node_app.command(
    "set",
    epilog=examples(
        "steelyard node set bm-001 --site berlin --room 2 --rack r12 --unit 7",
        "steelyard node set bm-001 --tag spare --untag loaned --rack ''",
    ),
)
def set_node(
    node: Annotated[str, typer.Argument(help="Node or candidate: id, name or serial number.")],
    site: Annotated[str | None, typer.Option("--site", help="An empty text takes it away.")] = None,
    room: Annotated[str | None, typer.Option("--room")] = None,
    rack: Annotated[str | None, typer.Option("--rack")] = None,
    unit: Annotated[
        int | None, typer.Option("--unit", min=0, max=99, help="Height unit from below; 0 takes it away.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Add this tag.")] = None,
    untag: Annotated[list[str] | None, typer.Option("--untag", help="Take this tag away.")] = None,
    format: Format = "table",
) -> None:
    """Say where a server stands, and tag it (administrators)."""
    body: dict[str, Any] = {
        name: value for name, value in (("site", site), ("room", room), ("rack", rack)) if value is not None
    }
    if unit is not None:
        body["unit"] = unit or None
    body |= {name: values for name, values in (("add_tags", tag), ("remove_tags", untag)) if values}
    if not body:
        raise UsageError("Nothing to change was named.", next="steelyard node set --help")
    client = connect()
    row = client.patch(client.path("/v1/nodes", node), body)["node"]
    show(row, [("Id", "id"), ("Name", "name"), ("Location", where_it_is), ("Tags", "tags")], format)


@view_app.command(
    "save",
    epilog=examples(
        "steelyard view save broken --filter health=critical --sort rack",
        "steelyard view save 'free in berlin' --state available --filter site=berlin --shared --replace",
    ),
)
def save_view(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    state: State = None,
    pool: Pool = None,
    q: Q = None,
    phase: Phases = None,
    tag: Tags = None,
    filter: Filters = None,
    candidates: Candidates = False,
    sort: SortBy = None,
    shared: Annotated[bool, typer.Option("--shared", help="Every administrator sees it.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of your view of this name.")] = False,
    format: Format = "table",
) -> None:
    """Keep a search with its filters and order; `steelyard node list --view NAME` asks it (administrators)."""
    query: dict[str, Any] = {
        "filters": with_candidates(filters_of(state, pool, phase, tag, filter), candidates=candidates)
    }
    query |= {key: value for key, value in (("q", q), ("sort", sort)) if value}
    body = {"name": name, "query": query, "shared": shared, "replace": replace}
    show(connect().post("/v1/views", body)["view"], VIEW_COLUMNS, format)


@view_app.command("list", epilog=examples("steelyard view list"))
def list_views(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List your views, and those that others share (administrators)."""
    show(connect().list_all("/v1/views", limit=limit, marker=marker), VIEW_COLUMNS, format)


@view_app.command("delete", epilog=examples("steelyard view delete broken"))
def delete_view(name: Annotated[str, typer.Argument(help="Name or id.")]) -> None:
    """Delete one of your views (administrators)."""
    client = connect()
    client.delete(client.path("/v1/views", name))
    say("Deleted.")


@part_app.command(
    "show", epilog=examples("steelyard part show S4EVNF0M912345", "steelyard part show 52:54:00:00:02:01")
)
def show_part(
    serial: Annotated[str, typer.Argument(help="Serial number, WWN, or MAC.")], format: Format = "table"
) -> None:
    """In which servers a disk or NIC is and was, from when to when (administrators)."""
    client = connect()
    show(client.get(client.path("/v1/parts", serial))["stays"], STAY_COLUMNS, format)
