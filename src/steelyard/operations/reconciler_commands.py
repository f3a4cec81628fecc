"""CLI: `steelyard reconciler list|show|run`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from steelyard.client.errors import OperationFailed, WaitTimeout
from steelyard.client.options import Format, Wait, command_group, examples
from steelyard.client.options import WaitTimeout as Timeout
from steelyard.client.output import hint, show
from steelyard.client.progress import LATER_POLL, Patience
from steelyard.client.rest import Client, connect

app = command_group(
    "Reconcilers: work that nobody asked for, done again and again so that things are as they should be."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The reconciler's name.")]


@app.command("list", epilog=examples("steelyard reconciler list", "steelyard reconciler list -f json"))
def list_reconcilers(format: Format = "table") -> None:
    """List them: when each ran last, how long it took, and what it changed."""
    show(
        connect().get("/v1/reconcilers")["reconcilers"],
        [
            ("Name", "name"),
            ("Period", "period"),
            ("Last run", "last_started_at"),
            ("Seconds", "seconds"),
            ("Seen", "last_report.seen"),
            ("Changed", "last_report.changed"),
            ("Report", "last_report.detail"),
            ("Runs", "runs"),
            ("Failures", "failures"),
            ("Running since", "running_since"),
            ("Error", "last_error"),
            ("Server", "replica"),
        ],
        format,
    )


@app.command("show", epilog=examples("steelyard reconciler show inventory.index"))
def show_reconciler(name: Name, format: Format = "table") -> None:
    """Show one."""
    client = connect()
    _show(client.get(client.path("/v1/reconcilers", name))["reconciler"], format)


@app.command(
    "run",
    epilog=examples("steelyard reconciler run inventory.index", "steelyard reconciler run inventory.index --wait"),
)
def run(name: Name, wait: Wait = False, wait_timeout: Timeout = None, format: Format = "table") -> None:
    """Have it run now, not only at its next period."""
    client = connect()
    before = client.post(client.path("/v1/reconcilers", name, "run"))["reconciler"]
    if not wait:
        _show(before, format)
        hint(f"It was told to run: steelyard reconciler show {name}")
        return
    after = _ended(client, before, wait_timeout)
    _show(after, format)
    if after["failures"] > before["failures"] and after["last_error"]:
        raise OperationFailed(f"{name}: {after['last_error']}", next=f"steelyard reconciler show {name}")


def _ended(client: Client, before: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    """It, when a run that began after we asked has ended: the one that was under way at that moment does not count."""
    patience = Patience(client)
    begin = time.monotonic()
    wanted = before["runs"] + (2 if before["running_since"] else 1)
    while True:
        after: dict[str, Any] = patience.get(client.path("/v1/reconcilers", before["name"]))["reconciler"]
        if after["runs"] >= wanted and not after["running_since"]:
            return after
        if timeout is not None and time.monotonic() - begin >= timeout:
            raise WaitTimeout(
                f"{before['name']} had not run after {timeout:g} s.", next=f"steelyard reconciler show {before['name']}"
            )
        time.sleep(LATER_POLL / 2)


def _show(row: dict[str, Any], format: str) -> None:
    show(
        row,
        [
            ("Name", "name"),
            ("About", "about"),
            ("Period", "period"),
            ("Running since", "running_since"),
            ("Last run", "last_started_at"),
            ("Seconds", "seconds"),
            ("Last success", "last_succeeded_at"),
            ("Seen", "last_report.seen"),
            ("Changed", "last_report.changed"),
            ("Report", "last_report.detail"),
            ("Data", "last_report.data"),
            ("Error", "last_error"),
            ("Runs", "runs"),
            ("Failures", "failures"),
            ("Server", "replica"),
        ],
        format,
    )
