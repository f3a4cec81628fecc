"""CLI: `steelyard operation list|show|wait|cancel`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from steelyard.client.options import Format, Limit, Marker, Reason, WaitTimeout, command_group, examples
from steelyard.client.output import OPERATION_COLUMNS, finish, show
from steelyard.client.progress import wait_operation
from steelyard.client.rest import connect

app = command_group("Operations: the work that somebody asked for, with its steps.")

PhaseName = Literal["pending", "running", "succeeded", "failed", "cancelled"]
Id = Annotated[str, typer.Argument(metavar="OPERATION", help="The operation's id.")]


@app.command(
    "list", epilog=examples("steelyard operation list --phase failed", "steelyard operation list --subject node:ID")
)
def list_operations(
    phase: Annotated[PhaseName | None, typer.Option(help="Only those in this phase.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only those about this: node:ID, server:ID, ...")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind.")] = None,
    format: Format = "table",
    limit: Limit = 50,
    marker: Marker = None,
) -> None:
    """List operations, the newest first."""
    rows = connect().list_all(
        "/v1/operations", {"phase": phase, "subject": subject, "kind": kind}, limit=limit, marker=marker
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
            ("Waited for", "waiting_for"),
            ("Since", "started_at"),
            ("Deadline", "deadline_at"),
            ("Error", "error"),
        ],
    )


@app.command("wait", epilog=examples("steelyard operation wait ID", "steelyard operation wait ID --wait-timeout 600"))
def wait(operation: Id, wait_timeout: WaitTimeout = None, format: Format = "table") -> None:
    """Wait for an operation, showing its progress. The exit code says whether it succeeded."""
    ended = wait_operation(connect(), operation, timeout=wait_timeout)
    show(ended, OPERATION_COLUMNS, format)


@app.command("cancel", epilog=examples("steelyard operation cancel ID --reason 'wrong server'"))
def cancel(operation: Id, reason: Reason = None, format: Format = "table") -> None:
    """Ask an operation to end. It does so between two attempts of a step."""
    client = connect()
    answer = client.post(client.path("/v1/operations", operation, "cancel"), {"reason": reason})
    finish(client, answer, wait=False, format=format)
