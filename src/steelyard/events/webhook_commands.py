"""CLI: steelyard webhook …"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from steelyard.client.errors import UsageError
from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect

app = command_group("Webhooks: have events sent, signed, to a URL.")

COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("URL", "url"),
    ("Filter", "filter"),
    ("State", "state"),
    ("Waiting", "waiting"),
    ("Failing since", "failing_since"),
    ("Last error", "last_error"),
    ("Given up", "given_up"),
]
DETAILS: list[Column] = [
    *COLUMNS,
    ("Failures", "failures"),
    ("Next attempt", "next_attempt_at"),
    ("Last success", "last_success_at"),
    ("Added", "created_at"),
    ("Added by", "created_by"),
]
Name = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id or name.")]


@app.callback()
def webhook() -> None:
    """Webhooks: have events sent, signed, to a URL."""


@app.command("list", epilog=examples("steelyard webhook list", "steelyard webhook list -f json"))
def list_webhooks(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List the webhooks and how they do (administrators)."""
    show(connect().list_all("/v1/webhooks", limit=limit, marker=marker), COLUMNS, format)


@app.command("show", epilog=examples("steelyard webhook show tickets"))
def show_webhook(webhook: Name, format: Format = "table") -> None:
    """Show one (administrators)."""
    client = connect()
    show(client.get(client.path("/v1/webhooks", webhook))["webhook"], DETAILS, format)


@app.command(
    "add",
    epilog=examples(
        "steelyard webhook add tickets https://tickets.example.org/steelyard --kind 'finding.*'",
        "steelyard webhook add log https://log.example.org/in --secret-file webhook-secret",
    ),
)
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    url: Annotated[str, typer.Argument(help="http:// or https://, on a public network.")],
    secret_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File with the secret. Without it one is made, and shown once."),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only events about this: 'node:*'.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only events of this kind: 'operation.*'.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only events by this user.")] = None,
    format: Format = "table",
) -> None:
    """Have events sent to a URL from now on, each signed with a secret (administrators)."""
    secret = _secret(secret_file) if secret_file is not None else secrets.token_hex(32)
    wanted = {"subject": subject, "kind": kind, "actor": actor}
    body = {"name": name, "url": url, "secret": secret, "filter": {k: v for k, v in wanted.items() if v is not None}}
    made = connect().post("/v1/webhooks", body)["webhook"]
    show(made, DETAILS, format)
    if secret_file is None:
        hint(f"Secret, shown this once: {secret}")


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise UsageError(f"{path} cannot be read, or is no plain text.", next="openssl rand -hex 32 > FILE") from None


@app.command("delete", epilog=examples("steelyard webhook delete tickets"))
def delete(webhook: Name) -> None:
    """Send it nothing more; its secret is forgotten (administrators)."""
    client = connect()
    client.delete(client.path("/v1/webhooks", webhook))
    say(f"webhook {webhook} was deleted")


@app.command("test", epilog=examples("steelyard webhook test tickets"))
def send_test(webhook: Name, format: Format = "table") -> None:
    """Send a test event now, and show the answer. Ends with code 1 when it was not taken (administrators)."""
    client = connect()
    attempt: dict[str, Any] = client.post(client.path("/v1/webhooks", webhook, "test"))["attempt"]
    show(
        attempt, [("Delivered", "delivered"), ("Status", "status"), ("Error", "error"), ("Seconds", "seconds")], format
    )
    if not attempt["delivered"]:
        raise typer.Exit(1)


@app.command(
    "deliveries",
    epilog=examples("steelyard webhook deliveries tickets", "steelyard webhook deliveries tickets --state given-up"),
)
def deliveries(
    webhook: Name,
    state: Annotated[
        Literal["pending", "delivered", "given-up"] | None, typer.Option(help="Only those in this state.")
    ] = None,
    format: Format = "table",
    limit: Limit = 20,
    marker: Marker = None,
) -> None:
    """Show what became of the newest events (administrators)."""
    client = connect()
    rows = client.list_all(
        client.path("/v1/webhooks", webhook, "deliveries"), {"state": state}, limit=limit, marker=marker
    )
    columns: list[Column] = [
        ("Event", "event_id"),
        ("State", "state"),
        ("Attempts", "attempts"),
        ("First", "first_at"),
        ("Last", "last_at"),
        ("Status", "status"),
        ("Error", "error"),
    ]
    show(rows, columns, format)
