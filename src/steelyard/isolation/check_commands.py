"""CLI: steelyard isolation check."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from steelyard.client.errors import EXIT_FOUND
from steelyard.client.options import Format, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect
from steelyard.isolation.commands import COLUMNS

app = command_group("Isolation: is every NIC on the network it must be on, and on no other?")

CHECK_COLUMNS: list[Column] = [
    ("Node", "node"),
    ("Phase", "phase"),
    *COLUMNS[:-1],
    ("Verdict", lambda row: "DIFFER" if row["overdue"] or row["verdict"] == "differ" else row["verdict"]),
]


@app.command(
    "check",
    epilog=examples(
        "steelyard isolation check", "steelyard isolation check --node bm-001 --node bm-002",
        "steelyard isolation check -f json",
    ),
)  # fmt: skip
def check_isolation(
    node: Annotated[list[str] | None, typer.Option("--node", help="Id or name; several times. Default: all.")] = None,
    format: Format = "table",
) -> None:
    """Compare every NIC's network as intended, for the controller, and on the switch, and show those that differ.

    Ends with code 7 when one differs or could not be verified, with 0 when all agree (administrators). What is
    changing at this moment is shown, and is no difference until it has lasted too long.
    """
    client = connect()
    found: dict[str, Any] = client.get("/v1/isolation/check", {"node": node or None})
    if format == "json":
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    if not found["agrees"]:
        raise typer.Exit(EXIT_FOUND)


def _print(found: dict[str, Any]) -> None:
    totals = found["totals"]
    if found["attachments"]:
        show(found["attachments"], CHECK_COLUMNS)
    for each in found["attachments"]:
        if each["why"]:
            hint(f"{each['node']} {each['mac']}: {each['why']}")
    for switch, why in sorted(found["unread"].items()):
        hint(f"switch {switch}: {why}")
    if found["left_out"]:
        hint(f"{found['left_out']} more are not shown.")
    say(
        f"{totals['attachments']} NICs of {totals['nodes']} nodes, {totals['switches']} switches read: "
        f"{totals['agree']} agree, {totals['differ']} differ, {totals['unverified']} unverified, "
        f"{totals['changing']} changing."
    )
    wrong = next((each for each in found["attachments"] if each["verdict"] != "changing"), None)
    if not found["agrees"] and wrong is not None:
        hint(f"steelyard isolation show {wrong['node']}; steelyard drift plan -o plan.json mends what can be mended")
