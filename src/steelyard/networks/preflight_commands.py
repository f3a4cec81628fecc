"""CLI: steelyard network preflight."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from steelyard.client.errors import EXIT_FOUND
from steelyard.client.options import Format, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect

app = command_group("Networks that servers are attached to.")

COLUMNS: list[Column] = [("Check", "title"), ("Status", "status"), ("Reason", "reason")]


@app.command(
    "preflight",
    epilog=examples(
        "steelyard network preflight", "steelyard network preflight --strict", "steelyard network preflight -f json"
    ),
)
def preflight(
    strict: Annotated[bool, typer.Option("--strict", help="What could not be checked counts as failed.")] = False,
    format: Format = "table",
) -> None:
    """Check the network controller's set-up before the first deployment; changes nothing (administrators).

    Ends with code 7 when a check failed, with 0 otherwise.
    """
    found: dict[str, Any] = connect().get("/v1/network-controller/preflight")
    if format == "json":
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    if not (found["complete"] if strict else found["passed"]):
        raise typer.Exit(EXIT_FOUND)


def _print(found: dict[str, Any]) -> None:
    show(found["checks"], COLUMNS)
    for each in found["checks"]:
        if each["status"] != "ok" and each["next"]:
            hint(f"{each['name']}: {each['next']}")
    by_status = [each["status"] for each in found["checks"]]
    say(
        f"{found['controller']}: {by_status.count('ok')} ok, {by_status.count('failed')} failed, "
        f"{by_status.count('unknown')} could not be checked."
    )
