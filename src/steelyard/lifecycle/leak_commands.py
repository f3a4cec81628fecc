"""CLI: steelyard leaks."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from steelyard.client.options import Format, examples
from steelyard.client.output import Column, say, show
from steelyard.client.rest import connect

EXAMPLES = examples(
    "steelyard leaks", "steelyard leaks --thorough --exit-code -f json", "steelyard leaks --forget-secrets"
)
COLUMNS: list[Column] = [("Kind", "kind"), ("Name", "name"), ("Reason", "reason"), ("Next", "next")]


def leaks(
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Ask Placement about every node that it does not offer, one by one.")
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 if something was left behind.")] = False,
    forget_secrets: Annotated[
        bool, typer.Option("--forget-secrets", help="Delete Steelyard's secrets that nothing refers to, and end.")
    ] = False,
    format: Format = "table",
) -> None:
    """Compare Nova, Ironic, Placement, Neutron and Steelyard, and list what was left behind; changes nothing.

    For administrators. What is found was found twice, a few seconds apart.
    """
    client = connect()
    if forget_secrets:
        answer = client.delete("/v1/leaks/secrets")
        say(f"{answer['forgotten']} secrets forgotten.", format)
        if format == "json":
            print(json.dumps(answer, indent=2))
        return
    answer = client.get("/v1/leaks", {"thorough": "true" if thorough else None})
    found: list[dict[str, Any]] = answer["leaks"]
    if format == "json":
        print(json.dumps(answer, indent=2))
    elif found:
        show(found, COLUMNS)
    else:
        compared = ", ".join(f"{number} {what}" for what, number in answer["compared"].items())
        say(f"Nothing was left behind ({compared}).", format)
    if exit_code and found:
        raise typer.Exit(1)
