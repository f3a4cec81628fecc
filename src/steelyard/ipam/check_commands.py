"""CLI: steelyard ipam check."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from steelyard.client.errors import EXIT_FOUND
from steelyard.client.options import Format, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect

app = command_group("IPAM: is every address one owner's, and where it may be?")

COLUMNS: list[Column] = [
    ("Severity", "severity"),
    ("Kind", lambda row: row["kind"].replace("_", " ")),
    ("Of", "name"),
    ("What", "reason"),
]


@app.command(
    "check",
    epilog=examples("steelyard ipam check", "steelyard ipam check 10.20.30.0/24", "steelyard ipam check -f json"),
)
def check_addresses(
    subnet: Annotated[str | None, typer.Argument(help="Id, name or CIDR of a subnet. Default: all.")] = None,
    format: Format = "table",
) -> None:
    """Look at all addresses, of virtual machines and bare metal, for what is not as it should be (administrators).

    Two owners of one address, one MAC twice, an address outside of its pool, an owner that no longer exists, a
    brownfield address that would be handed out, subnets that overlap behind one router. Ends with code 7 when something
    is found, with 0 otherwise. Changes nothing.
    """
    found: dict[str, Any] = connect().get("/v1/ipam/check", {"subnet": subnet})
    if format == "json":
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    if not found["agrees"]:
        raise typer.Exit(EXIT_FOUND)


def _print(found: dict[str, Any]) -> None:
    if found["conflicts"]:
        show(found["conflicts"], COLUMNS)
    for each in found["conflicts"]:
        hint(f"{each['name']}: {each['next']}")
    if found["left_out"]:
        hint(f"{found['left_out']} more are not shown.")
    totals = found["totals"]
    number = len(found["conflicts"]) + found["left_out"]
    say(
        f"{totals['addresses']} addresses in {totals['subnets']} subnets, {totals['servers']} servers: "
        f"{number or 'nothing'} found."
    )
