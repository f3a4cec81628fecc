"""CLI: steelyard drift, steelyard drift plan, steelyard drift apply (administrators)."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from steelyard.client.errors import EXIT_FOUND, UsageError
from steelyard.client.options import Format, Reason, Wait, WaitTimeout, command_group, examples
from steelyard.client.output import Column, finish, hint, say, show
from steelyard.client.rest import connect, fresh_key

app = command_group("Drift: what the systems do not agree on, and mending it by a plan.")

MOST_BYTES = 1 << 20
"""Of a plan file: what a request may hold."""

COLUMNS: list[Column] = [
    ("Severity", "severity"),
    ("Kind", "kind"),
    ("Name", "name"),
    ("Age", lambda row: _age(row["since"])),
    ("Reason", "reason"),
    ("Mended by", lambda row: row["action"]["verb"] if row["action"] else row["next"]),
]
STEP_COLUMNS: list[Column] = [
    ("Step", "number"),
    ("Severity", "severity"),
    ("Name", "name"),
    ("Action", lambda row: _action(row["action"])),
    ("Why", "reason"),
]


@app.callback(
    invoke_without_command=True,
    no_args_is_help=False,
    epilog=examples("steelyard drift", "steelyard drift --exit-code -f json", "steelyard drift plan -o plan.json"),
)
def drift(
    context: typer.Context,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 7 if something was found.")] = False,
    format: Format = "table",
) -> None:
    """Compare Ironic, Nova, Placement, Neutron, the switches and Steelyard; show what they do not agree on.

    For administrators; changes nothing. What is found was found twice, a few seconds apart. The worst comes first.
    """
    if context.invoked_subcommand is not None:
        return
    answer = connect().get("/v1/drift")
    found: list[dict[str, Any]] = answer["drift"]
    if format == "json":
        print(json.dumps(answer, indent=2))
    else:
        compared = ", ".join(f"{number} {what}" for what, number in answer["compared"].items())
        if found:
            show(found, COLUMNS)
            if any(each["action"] for each in found):
                hint("steelyard drift plan -o plan.json")
        else:
            say(f"All systems agree ({compared}).")
        for switch, why in sorted(answer["unread"].items()):
            hint(f"switch {switch}: {why}")
        if answer["unverified"]:
            hint(f"{answer['unverified']} NICs are unverified: their switch ports could not be read.")
        if answer["left_out"]:
            hint(f"{answer['left_out']} more are not shown.")
    if exit_code and found:
        raise typer.Exit(EXIT_FOUND)


@app.command(
    "plan",
    epilog=examples(
        "steelyard drift plan -o plan.json", "steelyard drift plan -o plan.json --kind allocation_without_server"
    ),
)
def plan(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; it must not exist.")],
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only drift of this kind; several times.")] = None,
    subject: Annotated[
        list[str] | None, typer.Option("--subject", help="Only of this subject, as -f json shows it; several times.")
    ] = None,
    format: Format = "table",
) -> None:
    """Write a plan that would mend what was found, with what each step saw; changes nothing."""
    if output.exists():
        raise UsageError(f"{output} is there already.", next="choose another file, or remove it")
    found: dict[str, Any] = connect().get("/v1/drift/plan", {"kind": kind or None, "subject": subject or None})["plan"]
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(found, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.", next="choose another file") from None
    if format == "json":
        print(json.dumps(found, indent=2))
        return
    _show_steps(found)
    if found["steps"]:
        hint(f"steelyard drift apply {output}")


@app.command(
    "apply",
    epilog=examples(
        "steelyard drift apply plan.json --wait", "steelyard drift apply plan.json --yes --reason 'ticket 4711' --wait"
    ),
)
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `drift plan` wrote it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Reason = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Do exactly what a plan says, step by step, and record each step.

    Refused as a whole when anything that it would change is another thing than the plan saw.
    """
    found = read_plan(file)
    if not yes:
        if format != "json":
            _show_steps(found)
        if not sys.stdin.isatty() or not typer.confirm("Do this?", err=True):
            raise UsageError("Nothing was done.", next=f"steelyard drift apply {file} --yes")
    client = connect()
    answer = client.post("/v1/drift/apply", {"plan": found, "reason": reason}, key=fresh_key())
    finish(client, answer, wait=wait, format=format, timeout=wait_timeout)


def read_plan(file: Path) -> dict[str, Any]:
    """The plan in a file. Raises `UsageError` for what is none; the server checks it to the last field."""
    again = "steelyard drift plan -o FILE"
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.", next=again) from None
    if len(content) > MOST_BYTES:
        raise UsageError(f"{file} is larger than any plan.", next=again)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError(f"{file} is no plan: it is not JSON.", next=again) from None
    if not isinstance(found, dict) or found.get("format") != "steelyard-drift-plan":
        raise UsageError(f"{file} is no plan.", next=again)
    return found


def _show_steps(found: dict[str, Any]) -> None:
    steps = found.get("steps")
    rows = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    if rows:
        show([_row(step) for step in rows], STEP_COLUMNS)
    say(f"{len(rows)} steps, {found.get('left_out')} findings without one.")


def _row(step: dict[str, Any]) -> dict[str, Any]:
    return {name: step.get(name) for name in ("number", "severity", "name", "reason", "action")}


def _action(action: object) -> str:
    if not isinstance(action, dict):
        return "no action"
    return " ".join([str(action.get("verb")), *(f"{key}={value}" for key, value in action.items() if key != "verb")])


def _age(since: str | None) -> str:
    if since is None:
        return ""
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds(), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "new"
