"""CLI: steelyard node release|clean|inspect|maintenance|retire|unretire|delete (administrators)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from steelyard.client.bulk import for_each
from steelyard.client.errors import UsageError
from steelyard.client.options import (
    Concurrency,
    Format,
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
from steelyard.client.output import finish
from steelyard.client.rest import connect, fresh_key

app = command_group("Nodes: servers under management.")

Nodes = Annotated[list[str], typer.Argument(metavar="NODE...", help="Ids or names.")]
DURATION = re.compile(r"(\d{1,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@app.command(
    "release",
    epilog=examples(
        "steelyard node release bm-001 --wait", "steelyard node release bm-001 bm-002 --reason 'disks replaced'"
    ),
)
def release_nodes(
    nodes: Nodes,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Let nodes out of quarantine: each is cleaned, recorded and available. A failure leaves it in quarantine."""
    limits = bulk_limits(concurrency, wave, wave_pause, max_failures)
    _ask("release", nodes, limits, reason=reason, wait=wait, timeout=wait_timeout, format=format)


@app.command("clean", epilog=examples("steelyard node clean bm-001 --wait"))
def clean_nodes(
    nodes: Nodes,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Erase the disks of nodes that nobody has again, and make them available."""
    limits = bulk_limits(concurrency, wave, wave_pause, max_failures)
    _ask("clean", nodes, limits, reason=reason, wait=wait, timeout=wait_timeout, format=format)


@app.command("inspect", epilog=examples("steelyard node inspect bm-001 --reason 'new memory' --wait"))
def inspect_nodes(
    nodes: Nodes,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Look at nodes from within again; those that were available are cleaned and available afterwards."""
    limits = bulk_limits(concurrency, wave, wave_pause, max_failures)
    _ask("inspect", nodes, limits, reason=reason, wait=wait, timeout=wait_timeout, format=format)


@app.command(
    "maintenance",
    epilog=examples(
        "steelyard node maintenance on bm-001 --reason 'fan swap' --until 4h",
        "steelyard node maintenance off bm-001 bm-002",
    ),
)
def maintenance(
    state: Annotated[Literal["on", "off"], typer.Argument(help="on or off.")],
    nodes: Nodes,
    reason: Reason = None,
    until: Annotated[
        str | None, typer.Option("--until", help="When it should be over: 90m, 4h, 2d, or a time. Nothing ends by it.")
    ] = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Keep nodes out of the offer while somebody works on them, or end that. It takes a reason to begin."""
    on = state == "on"
    if on and not reason:
        raise UsageError(
            "A maintenance needs a reason.", next=f"steelyard node maintenance on {nodes[0]} --reason TEXT"
        )
    moment = _moment(until) if until and on else None
    if len(nodes) > 1:
        items = [{"node": node, "on": on, **({"until": moment} if moment else {})} for node in nodes]
        for_each(
            connect(), "nodes.maintenance", items, limits=bulk_limits(concurrency, wave, wave_pause, max_failures),
            reason=reason, wait=wait, timeout=wait_timeout, format=format,
        )  # fmt: skip
        return
    client = connect()
    path = client.path("/v1/nodes", nodes[0], "maintenance")
    if on:
        body: dict[str, Any] = {"reason": reason, **({"until": moment} if moment else {})}
        answer = client.post(path, body, key=fresh_key())
    else:
        answer = client.delete(path, {"reason": reason} if reason else None)
    finish(client, answer, wait=wait, timeout=wait_timeout, format=format)


@app.command("retire", epilog=examples("steelyard node retire bm-001 bm-002 --reason 'end of lease'"))
def retire_nodes(
    nodes: Nodes,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Take nodes out of service for good. A tenant's server stays; after its release the node is cleaned and rests."""
    limits = bulk_limits(concurrency, wave, wave_pause, max_failures)
    _ask("retire", nodes, limits, reason=reason, wait=wait, timeout=wait_timeout, format=format)


@app.command("unretire", epilog=examples("steelyard node unretire bm-001 --wait"))
def unretire_nodes(
    nodes: Nodes,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Take retired nodes back into service: each is cleaned, recorded and available."""
    limits = bulk_limits(concurrency, wave, wave_pause, max_failures)
    _ask("unretire", nodes, limits, reason=reason, wait=wait, timeout=wait_timeout, format=format)


@app.command(
    "delete",
    epilog=examples(
        "steelyard node delete bm-001 --reason 'sold' --wait",
        "steelyard node delete bm-001 --force --reason 'burnt out, INC-2041' --wait",
    ),
)
def delete_nodes(
    nodes: Nodes,
    reason: Reason = None,
    force: Annotated[
        bool, typer.Option("--force", help="Whatever it is doing, whoever has it. The disks are NOT erased.")
    ] = False,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Delete nodes. Refused for a node that is not unprovisioned and available, unless it is forced."""
    if force and not reason:
        raise UsageError(
            "A forced removal needs a reason.", next=f"steelyard node delete {nodes[0]} --force --reason TEXT"
        )
    client = connect()
    if len(nodes) > 1:
        for_each(
            client, "nodes.remove" if force else "nodes.delete", [{"node": node} for node in nodes],
            limits=bulk_limits(concurrency, wave, wave_pause, max_failures), reason=reason, wait=wait,
            timeout=wait_timeout, format=format,
        )  # fmt: skip
        return
    params: dict[str, Any] = {"reason": reason, "force": "true" if force else None}
    answer = client.delete(client.path("/v1/nodes", nodes[0]), params)
    finish(client, answer, wait=wait, timeout=wait_timeout, format=format)


def _ask(
    verb: str, nodes: list[str], limits: dict[str, Any], *, reason: str | None, wait: bool, timeout: float | None,
    format: str,
) -> None:  # fmt: skip
    """One node: its own operation; several: a bulk operation."""
    client = connect()
    if len(nodes) > 1:
        items = [{"node": node} for node in nodes]
        for_each(
            client, f"nodes.{verb}", items, limits=limits, reason=reason, wait=wait, timeout=timeout, format=format
        )  # fmt: skip
        return
    body = {"reason": reason} if reason else {}
    answer = client.post(client.path("/v1/nodes", nodes[0], verb), body, key=fresh_key())
    finish(client, answer, wait=wait, timeout=timeout, format=format)


def _moment(text: str) -> str:
    """A duration from now (90m, 4h, 2d) or a time, as ISO 8601 with a time zone."""
    if found := DURATION.fullmatch(text.strip()):
        amount, unit = found.groups()
        return (datetime.now(UTC) + timedelta(**{_UNITS[unit]: int(amount)})).isoformat(timespec="seconds")
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{text!r} is no duration and no time.", next="--until 4h, or 2030-01-31T18:00+01:00"
        ) from None
    return (moment if moment.tzinfo else moment.astimezone()).isoformat()
