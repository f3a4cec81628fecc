"""CLI: steelyard events, steelyard audit …, steelyard node timeline, steelyard server timeline."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from steelyard.client.errors import UsageError
from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import Client, connect
from steelyard.client.text import safe

audit_app = command_group("The record of events: list it, export it, and verify that nobody has changed it.")
node_app = command_group("Nodes: servers under management.")
server_app = command_group("Servers.")

EXAMPLES = examples(
    "steelyard events",
    "steelyard events --follow --kind 'operation.*'",
    "steelyard events --follow --subject node:ID -f json",
)

Subject = Annotated[str | None, typer.Option(help="Only those about this: node:ID, or all nodes: 'node:*'.")]
Kind = Annotated[str | None, typer.Option(help="Only those of this kind, or 'operation.*'.")]
ByActor = Annotated[str | None, typer.Option("--actor", help="Only those by this user.")]
Since = Annotated[str | None, typer.Option(help="Not before: 2026-01-31T12:00:00Z, or an age: 30m, 12h, 7d.")]
Until = Annotated[str | None, typer.Option(help="Before: a time, or an age.")]

COLUMNS: list[Column] = [
    ("Id", "id"),
    ("At", lambda row: moment(row["at"])),
    ("Subject", "subject"),
    ("Kind", "kind"),
    ("Actor", "actor"),
    ("Detail", "detail"),
    ("Reason", "reason"),
]
TIMELINE: list[Column] = [
    ("At", lambda row: moment(row["at"])),
    ("Source", lambda row: "+".join(row["told_by"])),
    ("Kind", "kind"),
    ("Actor", "actor"),
    ("Detail", lambda row: _cut(row["detail"])),
    ("Reason", "reason"),
    ("Operation", "operation_id"),
    ("Request id", "request_id"),
]
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WIDEST = 120
"""Characters of a detail in the table; Ironic's name every step of a deployment. JSON has them whole."""


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def moment(text: str) -> str:
    """A time as people read it, in UTC to the second."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text


def _when(text: str | None) -> str | None:
    """A time for the API out of a time or an age. Raises `UsageError`."""
    if text is None:
        return None
    if text[:-1].isdecimal() and text[-1] in _AGES and len(text) < 10:
        return (datetime.now().astimezone() - timedelta(seconds=int(text[:-1]) * _AGES[text[-1]])).isoformat()
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"'{text[:40]}' is neither a time nor an age.", next="use 2026-01-31T12:00:00Z or 12h"
        ) from None
    return (given if given.tzinfo else given.astimezone()).isoformat()


def events(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens, until Ctrl-C.")] = False,
    subject: Subject = None,
    kind: Kind = None,
    actor: ByActor = None,
    after: Annotated[int | None, typer.Option(min=0, help="With --follow: begin after the event with this id.")] = None,
    format: Format = "table",
    limit: Limit = 20,
) -> None:
    """Show what happened, the newest last; with --follow, and what happens.

    Administrators see everything, others what happens to their project's servers. With -f json each event is a line.
    """
    client = connect()
    wanted = {"subject": subject, "kind": kind, "actor": actor}
    if not follow or after is None:
        rows = client.list_all("/v1/events", wanted, limit=limit)
        for row in reversed(rows):
            _print(row, format)
        if follow:
            after = rows[0]["id"] if rows else None
    if follow:
        from steelyard.client.streaming import follow as stream

        for row in stream(client, "/v1/events/stream", wanted, after=after):
            _print(row, format)


def _print(row: dict[str, Any], format: str) -> None:
    if format == "json":
        print(json.dumps(row), flush=True)
        return
    reason = f" ({row['reason']})" if row.get("reason") else ""
    line = f"{moment(row['at'])}  {row['subject']}  {row['kind']}  {row['actor']}: {row['detail']}{reason}"
    print(safe(line), flush=True)


def _timeline(path: str, format: str, limit: int, marker: str | None) -> None:
    answer = connect().get(path, {"limit": limit, "marker": marker})
    if format == "json":
        show(answer, [], format)
        return
    show(answer["timeline"], TIMELINE)
    for missing in answer["missing"]:
        hint(f"{missing['source']} could not be asked: {missing['reason']}")
    if answer["next"]:
        hint(f"There is more: --marker {answer['timeline'][-1]['id']}")


Lines = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most lines to show.")]


@node_app.command(
    "timeline", epilog=examples("steelyard node timeline bm-001", "steelyard node timeline bm-001 --limit 500 -f json")
)
def node_timeline(
    node: Annotated[str, typer.Argument(help="Id or name; the id of one that is gone.")],
    format: Format = "table",
    limit: Lines = 50,
    marker: Marker = None,
) -> None:
    """Show everything that is known of a node, the newest first: from Steelyard, Ironic, Nova and the network."""
    _timeline(Client.path("/v1/nodes", node, "timeline"), format, limit, marker)


@server_app.command("timeline", epilog=examples("steelyard server timeline web-1"))
def server_timeline(
    server: Annotated[str, typer.Argument(help="Id or name; the id of one that is deleted.")],
    format: Format = "table",
    limit: Lines = 50,
    marker: Marker = None,
) -> None:
    """Show what happened to a server, the newest first."""
    _timeline(Client.path("/v1/servers", server, "timeline"), format, limit, marker)


# Audit


@audit_app.callback()
def audit() -> None:
    """The record of events: list it, export it, and verify that nobody has changed it."""


@audit_app.command(
    "list",
    epilog=examples(
        "steelyard audit list --subject node:ID --since 7d",
        "steelyard audit list --actor ada --kind 'operation.*'",
        "steelyard audit list --export events.jsonl",
    ),
)
def list_audit(
    subject: Subject = None,
    kind: Kind = None,
    actor: ByActor = None,
    since: Since = None,
    until: Until = None,
    export: Annotated[Path | None, typer.Option(help="Write all of it to a file, one JSON object a line.")] = None,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List the record, the newest first: the first 100, or as many as --limit says (administrators)."""
    client = connect()
    wanted = {"subject": subject, "kind": kind, "actor": actor, "since": _when(since), "until": _when(until)}
    if export is None:
        show(client.list_all("/v1/events", wanted, limit=limit or 100, marker=marker), COLUMNS, format)
        return
    written = 0
    with export.open("x", encoding="utf-8") as file:
        for row in _pages(client, wanted, limit, marker):
            file.write(json.dumps(row) + "\n")
            written += 1
    say(f"{written} events written to {export}", format)


def _pages(client: Client, wanted: dict[str, Any], limit: int | None, marker: str | None) -> Any:
    """Every event, a page at a time: a record may be larger than memory."""
    left = limit
    while left is None or left > 0:
        page = client.list_all("/v1/events", wanted, limit=min(1000, left or 1000), marker=marker)
        yield from page
        if len(page) < min(1000, left or 1000):
            return
        marker = str(page[-1]["id"])
        left = left - len(page) if left is not None else None


@audit_app.command(
    "head", epilog=examples("steelyard audit head -f json >> heads.jsonl   # keep this file on another machine")
)
def show_head(format: Format = "table") -> None:
    """Show the newest line's seal, signed. Noted elsewhere, it proves later that nothing before it is gone."""
    head = connect().get("/v1/audit/head")["head"]
    if format == "json":
        print(json.dumps(head))
    else:
        show(head, [("Line", "id"), ("Seal", "hash"), ("At", "at"), ("Chain", "chain"), ("Signature", "signature")])


HeadFile = Annotated[
    Path | None,
    typer.Option("--head", exists=True, dir_okay=False, help="File with heads noted earlier, one JSON object a line."),
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        "--from", exists=True, dir_okay=False, help="Begin at the newest head in this file, and check that too."
    ),
]


@audit_app.command(
    "verify",
    epilog=examples(
        "steelyard audit verify", "steelyard audit verify --head heads.jsonl", "steelyard audit verify -f json"
    ),
)
def verify(head: HeadFile = None, start: FromFile = None, format: Format = "table") -> None:
    """Verify that no line of the record was changed, removed, put in, moved or cut off.

    Ends with code 1 when one was, and says which line and what (administrators).
    """
    client = connect()
    heads = _heads(head) + (_heads(start)[-1:] if start is not None else [])
    after = int(heads[-1]["id"]) if start is not None else 0
    checked, breaches, done = 0, [], False
    while not done:
        body = {"after": after, "heads": heads[-1000:]}
        found = client.post("/v1/audit/verify", body)["verification"]
        checked, after, done = checked + found["checked"], found["through"], found["done"]
        breaches += found["breaches"]
        if not done:
            print(f"{checked} lines verified ...", file=sys.stderr, flush=True)
    if format == "json":
        show({"checked": checked, "through": after, "whole": not breaches, "breaches": breaches}, [], format)
    else:
        if breaches:
            show(breaches, [("Line", "line"), ("What", "what"), ("Detail", "detail")])
        noted = f", and fits what was noted earlier ({len(heads)})" if heads else ""
        say(
            f"{checked} lines verified: "
            + (f"{len(breaches)} breaches." if breaches else f"the record is whole{noted}.")
        )
    if breaches:
        raise typer.Exit(1)


def _heads(path: Path | None) -> list[dict[str, Any]]:
    """The heads of a file. Raises `UsageError`."""
    if path is None:
        return []
    try:
        heads = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        raise UsageError(
            f"{path} holds no heads, one JSON object a line.", next="steelyard audit head -f json"
        ) from None
    if not heads or not all(isinstance(each, dict) and "signature" in each for each in heads):
        raise UsageError(f"{path} holds no heads, one JSON object a line.", next="steelyard audit head -f json")
    return heads
