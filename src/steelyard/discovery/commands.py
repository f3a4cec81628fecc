"""CLI: steelyard discover, steelyard candidate …, steelyard node onboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from steelyard.client.bulk import for_each
from steelyard.client.errors import UsageError
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
from steelyard.client.output import Column, finish, hint, say, show
from steelyard.client.progress import raise_if_failed, wait_for
from steelyard.client.rest import connect, fresh_key

candidate_app = command_group("Candidates: servers that were found by their BMCs.")
node_app = command_group("Nodes: servers under management.")

EXAMPLES = examples(
    "steelyard discover 10.0.8.0/24 --credentials bmc.yaml --wait",
    "steelyard discover 10.0.8.17 10.0.9.0/28 --credentials bmc.yaml --port 8443",
)
MAX_FILE_BYTES = 1 << 20


def _memory(row: dict[str, Any]) -> str:
    return f"{row['memory_mib'] // 1024} GiB" if row.get("memory_mib") else ""


def _links(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{mac} -> {link['switch_name'] or link['switch_id']} {link['port_id']}"
        for mac, link in sorted(row["links"].items())
    )


COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("BMC", "address"),
    ("Vendor", "vendor"),
    ("Model", "model"),
    ("Serial", "serial"),
    ("CPUs", "cpus"),
    ("Memory", _memory),
    ("Power", "power_state"),
    ("State", "state"),
]
DETAILS: list[Column] = [
    *COLUMNS,
    ("Port", "port"),
    ("System", "system_path"),
    ("Asset tag", "asset_tag"),
    ("Host name", "hostname"),
    ("UUID", "uuid"),
    ("MACs", lambda row: ", ".join(row["macs"])),
    ("Switch ports", _links),
    ("BMC firmware", "bmc_firmware"),
    ("Certificate", "fingerprint"),
    ("Node", "node_id"),
    ("Note", "note"),
    ("Reason", "reason"),
    ("Next", "next"),
    ("First seen", "first_seen_at"),
    ("Last seen", "last_seen_at"),
]
FOUND_COLUMNS: list[Column] = [
    ("Candidate", "id"),
    ("Name", "name"),
    ("BMC", "address"),
    ("State", "state"),
    ("New", lambda row: "yes" if row["new"] else "no"),
    ("Note", "note"),
]
ONBOARD_COLUMNS: list[Column] = [
    ("Candidate", "params.candidate"),
    ("Node", "result.node"),
    ("Class", "result.resource_class"),
    ("Switch ports", lambda row: ", ".join(f"{n['switch']} {n['port']}" for n in row["result"].get("nics", []))),
    ("Outcome", "phase"),
    ("Seconds", "seconds"),
    ("Failed at", "error.step"),
]
TROUBLE_COLUMNS: list[Column] = [("BMC", "address"), ("Trouble", "verdict"), ("Reason", "reason")]


def discover(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET", help="CIDRs or addresses where BMCs may be.")],
    credentials: Annotated[
        Path,
        typer.Option(
            "--credentials",
            help="YAML file: `credentials: [{username, password, addresses: [CIDR or address]}]`; addresses optional.",
        ),
    ],
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="TCP port of the BMCs.")] = 443,
    timeout: Annotated[
        float, typer.Option("--answer-timeout", min=0.5, max=60, help="Seconds that one answer may take.")
    ] = 10.0,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Find servers by their BMCs (administrators).

    Every address is asked whether a Redfish service answers there; at most two of the credentials that fit the
    address are tried, over TLS only. What is found becomes a candidate. Nothing is changed on any BMC.
    """
    body = {"targets": targets, "credentials": _read(credentials), "port": port, "timeout": timeout}
    client = connect()
    answer = client.post("/v1/discoveries", body, key=fresh_key())
    if not wait or format == "json":
        finish(client, answer, wait=wait, timeout=wait_timeout, format=format)
        return
    ended = wait_for(client, [answer["operation"]], timeout=wait_timeout)
    raise_if_failed(ended)
    _report(ended[0]["result"])


def _report(result: dict[str, Any]) -> None:
    """What a sweep found, then what stood in its way."""
    found, troubles = result["candidates"], result["troubles"]
    if found:
        show(found, FOUND_COLUMNS)
    if troubles:
        show(troubles, TROUBLE_COLUMNS)
    new = sum(1 for each in found if each["new"])
    others = {name: count for name, count in result["verdicts"].items() if name not in ("found", "nobody") and count}
    also = "".join(f", {count} {name.replace('_', ' ')}" for name, count in sorted(others.items()))
    asked = "1 address" if result["asked"] == 1 else f"{result['asked']} addresses"
    servers = "1 server" if len(found) == 1 else f"{len(found)} servers"
    say(f"{asked} asked: {servers} found ({new} new){also}.")
    if any(each["state"] in ("found", "failed") for each in found):
        hint("Next: steelyard node onboard --all --wait")


def _read(path: Path) -> list[dict[str, Any]]:
    """The credentials file. What is in it is never printed, not even when it is wrong."""
    import yaml

    if not path.is_file():
        raise UsageError(f"There is no file {path}.", next="steelyard discover --help")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UsageError(f"The file {path} is larger than 1 MiB; it cannot be a list of credentials.")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file {path} cannot be read: {type(error).__name__}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise UsageError(f"The file {path} is not YAML{where}.") from None
    listed = document.get("credentials") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise UsageError(
            f"The file {path} has no list `credentials` of mappings.",
            next="credentials: [{username: admin, password: ...}]",
        )
    allowed = {"username", "password", "addresses"}
    for number, each in enumerate(listed, start=1):
        if unknown := {str(name) for name in each} - allowed:
            raise UsageError(f"Credential {number} in {path} has unknown fields: {', '.join(sorted(unknown))}.")
        if not all(isinstance(each.get(name), str) for name in ("username", "password")):
            raise UsageError(
                f"Credential {number} in {path} needs a username and a password, both text.",
                next="put numbers in quotes",
            )
        if isinstance(each.get("addresses"), str):
            each["addresses"] = [each["addresses"]]
    if path.stat().st_mode & 0o077:
        hint(f"Warning: {path} can be read by others; chmod 600 {path}")
    return [{name: value for name, value in each.items() if value is not None} for each in listed]


@candidate_app.command("list", epilog=examples("steelyard candidate list", "steelyard candidate list --state failed"))
def list_candidates(
    state: Annotated[
        Literal["found", "onboarding", "onboarded", "failed"] | None, typer.Option("--state", help="Only these.")
    ] = None,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List the servers that were found (administrators)."""
    rows = connect().list_all("/v1/candidates", {"state": state}, limit=limit, marker=marker)
    show(rows, COLUMNS, format)
    failed = sum(1 for row in rows if row["state"] == "failed")
    if failed and format == "table":
        hint(f"{failed} failed; why: steelyard candidate show CANDIDATE")


@candidate_app.command("show", epilog=examples("steelyard candidate show bm-001"))
def show_candidate(
    candidate: Annotated[str, typer.Argument(help="Id, host name, serial number or BMC address.")],
    format: Format = "table",
) -> None:
    """Show one candidate (administrators)."""
    client = connect()
    show(client.get(client.path("/v1/candidates", candidate))["candidate"], DETAILS, format)


@candidate_app.command("delete", epilog=examples("steelyard candidate delete bm-001"))
def delete_candidates(
    candidates: Annotated[list[str], typer.Argument(metavar="CANDIDATE...", help="Ids or names.")],
) -> None:
    """Forget candidates and their credentials (administrators). Refused for those that are nodes."""
    client = connect()
    for candidate in candidates:
        client.delete(client.path("/v1/candidates", candidate))
        say(f"Deleted candidate {candidate}.")


@node_app.command(
    "onboard",
    epilog=examples(
        "steelyard node onboard --all --wait", "steelyard node onboard bm-001 bm-002 --class bm-large --wait"
    ),
)
def onboard(
    candidates: Annotated[
        list[str] | None, typer.Argument(metavar="[CANDIDATE...]", help="Ids, host names or serial numbers.")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="All candidates that are not nodes yet.")] = False,
    resource_class: Annotated[
        str | None, typer.Option("--class", help="Resource class. Default: bm-small, bm-medium or bm-large by size.")
    ] = None,
    recabled: Annotated[
        bool, typer.Option("--recabled", help="Its cables were moved on purpose: take what LLDP tells now.")
    ] = False,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Make nodes of candidates: enroll, verify, inspect, bind switch ports, clean, offer (administrators).

    Onboarding a candidate again goes on where it failed.
    """
    if all == bool(candidates):
        raise UsageError("Name the candidates, or say --all.", next="steelyard candidate list")
    client = connect()
    chosen = list(candidates or [])
    if all:
        rows = client.list_all("/v1/candidates")
        chosen = [row["id"] for row in rows if row["state"] in ("found", "failed")]
        if not chosen and format == "table":
            say("Every candidate is a node already.")
            return
    how: dict[str, Any] = {"resource_class": resource_class} if resource_class is not None else {}
    if recabled:
        how["recabled"] = True
    if len(chosen) > 1:
        for_each(
            client, "nodes.onboard", [{"candidate": candidate, **how} for candidate in chosen],
            limits=bulk_limits(concurrency, wave, wave_pause, max_failures), reason=reason, wait=wait,
            timeout=wait_timeout, format=format, columns=ONBOARD_COLUMNS,
        )  # fmt: skip
        return
    body = {"candidates": chosen, **how, **({"reason": reason} if reason is not None else {})}
    answer = client.post("/v1/nodes/onboard", body, key=fresh_key()) if chosen else {"operations": []}
    if not wait or format == "json":
        finish(client, answer, wait=wait, timeout=wait_timeout, format=format)
        return
    ended = wait_for(client, answer["operations"], timeout=wait_timeout)
    show(ended, ONBOARD_COLUMNS)
    raise_if_failed(ended)
