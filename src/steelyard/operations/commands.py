"""CLI: `steelyard operation list|show|items|wait|pause|resume|cancel|bulk`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from steelyard.client.options import (
    Concurrency,
    Format,
    Limit,
    Marker,
    MaxFailures,
    Reason,
    Wait,
    WaitTimeout,
    Wave,
    WavePause,
    bulk_limits,
    command_group,
    examples,
)
from steelyard.client.output import OPERATION_COLUMNS, finish, hint, show
from steelyard.client.progress import wait_operation
from steelyard.client.rest import connect, fresh_key

app = command_group("Operations: the work that somebody asked for, with its steps.")

PhaseName = Literal["pending", "running", "succeeded", "failed", "cancelled"]
ItemPhaseName = PhaseName
Id = Annotated[str, typer.Argument(metavar="OPERATION", help="The operation's id.")]


@app.command(
    "list", epilog=examples("steelyard operation list --phase failed", "steelyard operation list --subject node:ID")
)
def list_operations(
    phase: Annotated[PhaseName | None, typer.Option(help="Only those in this phase.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only those about this: node:ID, server:ID, ...")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only those that this bulk operation started.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Only those that are paused.")] = False,
    format: Format = "table",
    limit: Limit = 50,
    marker: Marker = None,
) -> None:
    """List operations, the newest first."""
    rows = connect().list_all(
        "/v1/operations",
        {"phase": phase, "subject": subject, "kind": kind, "parent": parent, "paused": paused or None},
        limit=limit,
        marker=marker,
    )
    show(
        rows,
        [
            ("Id", "id"),
            ("Kind", "kind"),
            ("Subject", "subject"),
            ("Phase", "phase"),
            ("Actor", "actor"),
            ("Created", "created_at"),
            ("Seconds", "seconds"),
            ("Waiting for", "waiting_for"),
            ("Stuck since", "stuck_since"),
        ],
        format,
    )


@app.command("show", epilog=examples("steelyard operation show ID", "steelyard operation show ID -f json"))
def show_operation(operation: Id, format: Format = "table") -> None:
    """Show an operation and its steps."""
    client = connect()
    shown = client.get(client.path("/v1/operations", operation))["operation"]
    if format == "json":
        show(shown, [], format)
        return
    show(
        shown,
        [
            *OPERATION_COLUMNS,
            ("Code", "error.code"),
            ("Actor", "actor"),
            ("Reason", "reason"),
            ("Created", "created_at"),
            ("Ended", "ended_at"),
            ("Request id", "request_id"),
            ("Waiting for", "waiting_for"),
            ("Stuck since", "stuck_since"),
            ("Paused", "paused_at"),
            ("Part of", "parent_id"),
            ("Server", "replica"),
        ],
    )
    print()
    show(
        shown["steps"],
        [
            ("Step", "name"),
            ("Phase", "phase"),
            ("Seconds", "seconds"),
            ("Attempts", "attempts"),
            ("Started", "started_at"),
            ("Waited for", "waiting_for"),
            ("Since", "waiting_since"),
            ("Deadline", "deadline_at"),
            ("Error", "error"),
        ],
    )


@app.command("wait", epilog=examples("steelyard operation wait ID", "steelyard operation wait ID --wait-timeout 600"))
def wait(operation: Id, wait_timeout: WaitTimeout = None, format: Format = "table") -> None:
    """Wait for an operation, showing its progress. The exit code says whether it succeeded."""
    ended = wait_operation(connect(), operation, timeout=wait_timeout)
    show(ended, OPERATION_COLUMNS, format)


@app.command("items", epilog=examples("steelyard operation items ID", "steelyard operation items ID --phase failed"))
def list_items(
    operation: Id,
    phase: Annotated[ItemPhaseName | None, typer.Option(help="Only those in this phase.")] = None,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List the items of a bulk operation: how far each is, and why one failed."""
    client = connect()
    path = client.path("/v1/operations", operation, "items")
    show(
        client.list_all(path, {"phase": phase}, limit=limit, marker=marker),
        [
            ("Number", "number"),
            ("Name", "name"),
            ("Phase", "phase"),
            ("Operation", "operation_id"),
            ("Error", "error.detail"),
            ("Next", "error.next"),
        ],
        format,
    )


@app.command("pause", epilog=examples("steelyard operation pause ID --reason 'the switch is being replaced'"))
def pause(operation: Id, reason: Reason = None, format: Format = "table") -> None:
    """Have an operation stop between two attempts of a step. A bulk one starts no more; those at work go on."""
    client = connect()
    answer = client.post(client.path("/v1/operations", operation, "pause"), {"reason": reason})
    show(answer["operation"], [*OPERATION_COLUMNS[:4], ("Waiting for", "waiting_for")], format)
    hint(f"It stays so until: steelyard operation resume {operation}")


@app.command("resume", epilog=examples("steelyard operation resume ID"))
def resume(
    operation: Id,
    reason: Reason = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Have a paused operation go on."""
    client = connect()
    answer = client.post(client.path("/v1/operations", operation, "resume"), {"reason": reason})
    finish(client, answer, wait=wait, format=format, timeout=wait_timeout)


@app.command(
    "cancel",
    epilog=examples(
        "steelyard operation cancel ID --reason 'wrong server'", "steelyard operation cancel ID --children"
    ),
)
def cancel(
    operation: Id,
    reason: Reason = None,
    children: Annotated[
        bool, typer.Option("--children", help="Of a bulk operation: cancel what is at work, too.")
    ] = False,
    format: Format = "table",
) -> None:
    """Ask an operation to end. It does so between two attempts of a step; a bulk one starts no more."""
    client = connect()
    body = {"reason": reason, **({"children": True} if children else {})}
    answer = client.post(client.path("/v1/operations", operation, "cancel"), body)
    finish(client, answer, wait=False, format=format)


@app.command("actions", epilog=examples("steelyard operation actions"))
def list_actions(format: Format = "table") -> None:
    """List what `steelyard operation bulk` can do."""
    show(connect().get("/v1/bulk/actions")["actions"], [("Action", "name"), ("What it does", "about")], format)


@app.command(
    "bulk",
    epilog=examples(
        "steelyard operation bulk servers.power items.json --concurrency 10 --wait",
        "echo '[{\"node\": \"bm-001\"}]' | steelyard operation bulk nodes.retire - --reason 'end of lease'",
    ),
)
def bulk(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="One of `steelyard operation actions`.")],
    items: Annotated[
        typer.FileText, typer.Argument(metavar="FILE", help="A JSON list of objects; - for standard input.")
    ],
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    reason: Reason = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Do the same to many things: one operation for each, so many at a time, shown as one."""
    client = connect()
    limits = bulk_limits(concurrency, wave, wave_pause, max_failures)
    body = {"action": action, "items": _items(items.read()), "reason": reason, **limits}
    finish(client, client.post("/v1/bulk", body, key=fresh_key()), wait=wait, format=format, timeout=wait_timeout)


def _items(text: str) -> list[dict[str, object]]:
    try:
        read = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"FILE is not JSON: {error}") from None
    if not isinstance(read, list) or not all(isinstance(each, dict) for each in read):
        raise typer.BadParameter("FILE must hold a list of objects.")
    return read
