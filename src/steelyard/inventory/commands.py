"""CLI: steelyard node list, search, show, facets, export."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from steelyard.client.errors import UsageError
from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import Params, connect

node_app = command_group("Nodes: servers under management.")

OLD = 120.0
"""Seconds after which people are told how old a list is."""

Q = Annotated[str | None, typer.Option("--q", help="Words, all to be found in any field, or in one: rack:r12.")]
State = Annotated[Literal["deployed", "available", "other"] | None, typer.Option("--state", help="Only these.")]
Pool = Annotated[str | None, typer.Option("--pool", help="Only this resource class.")]
Phases = Annotated[list[str] | None, typer.Option("--phase", help="Only in this phase; may be given several times.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Only with this tag; several: with any of them.")]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter", metavar="NAME=VALUE", help="Only these: site, rack, project, health, vendor, image and others."
    ),
]
Candidates = Annotated[bool, typer.Option("--candidates", help="Also servers that are not nodes yet.")]
Gone = Annotated[bool, typer.Option("--gone", help="Also servers that have left.")]
SortBy = Annotated[str | None, typer.Option("--sort", help="A column, or -COLUMN for the other way round.")]
ViewName = Annotated[str | None, typer.Option("--view", help="A saved view; other options come before it.")]


def _phase(row: dict[str, Any]) -> str:
    return f"{row['phase']} (maintenance)" if row["maintenance"] else str(row["phase"])


def _size(row: dict[str, Any]) -> str:
    hardware = row["hardware"]
    parts = []
    if hardware["cpus"]:
        parts.append(f"{hardware['cpus']} CPUs")
    if hardware["memory_mib"]:
        parts.append(f"{hardware['memory_mib'] // 1024} GiB")
    return ", ".join(parts)


def _addresses(row: dict[str, Any]) -> str:
    return ", ".join(row["addresses"])


def _nics(row: dict[str, Any]) -> list[str]:
    return [
        f"{nic['mac']} -> {nic['switch']} {nic['port']}" if nic["port"] else f"{nic['mac']} (not cabled)"
        for nic in row["nics"]
    ]


def _disks(row: dict[str, Any]) -> list[str]:
    disks = (row["inventory"] or {}).get("disks", [])
    return [
        " ".join(
            str(part)
            for part in (disk.get("name"), f"{disk.get('size', 0) // 10**9} GB", disk.get("model"), disk.get("serial"))
            if part
        )
        for disk in disks
    ]


def _events(row: dict[str, Any]) -> list[str]:
    return [f"{each['at'][:19]} {each['detail']} ({each['actor']})" for each in row["events"]]


def where_it_is(row: dict[str, Any]) -> str:
    place = row["location"]
    unit = f"U{place['unit']}" if place["unit"] else None
    return " ".join(filter(None, (place["site"], place["room"], place["rack"], unit)))


def _numbered(title: str, lines: list[str]) -> list[Column]:
    """A row of its own for each line."""
    return [(title if len(lines) == 1 else f"{title} {n}", partial(_constant, line)) for n, line in enumerate(lines, 1)]


def _constant(line: str, _: Any) -> str:
    return line


COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Phase", _phase),
    ("Power", "power"),
    ("Class", "resource_class"),
    ("Size", _size),
    ("Project", "project"),
    ("Server", "instance"),
    ("Addresses", _addresses),
    ("Serial", "serial"),
    ("Location", where_it_is),
    ("Tags", "tags"),
]
RARE = ("Location", "Tags")
"""Columns of a list that are shown where some server has something there."""
DETAILS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Phase", _phase),
    ("State in Ironic", "provision_state"),
    ("Since", "since"),
    ("Power", "power"),
    ("Maintenance", "maintenance_reason"),
    ("Last error", "last_error"),
    ("Class", "resource_class"),
    ("Traits", lambda row: ", ".join(row["traits"])),
    ("Project", "project"),
    ("Server", "instance"),
    ("Server id", "instance_id"),
    ("Flavor", "flavor"),
    ("Image", "image"),
    ("Addresses", _addresses),
    ("Vendor", "hardware.vendor"),
    ("Model", "hardware.model"),
    ("Serial", "serial"),
    ("Size", _size),
    ("Architecture", "hardware.architecture"),
    ("Location", where_it_is),
    ("Tags", "tags"),
    ("Health", "health"),
    ("Fault", "fault"),
    ("BMC", "bmc_address"),
    ("BMC firmware", "firmware.bmc"),
    ("BIOS", "firmware.bios"),
    ("Candidate", "candidate_id"),
]


def filters_of(
    state: str | None, pool: str | None, phases: list[str] | None, tags: list[str] | None, others: list[str] | None
) -> dict[str, list[str]]:
    """The filters that were given, by name."""
    given: dict[str, list[str]] = {}
    named = (("state", [state] if state else []), ("pool", [pool] if pool else []), ("phase", phases), ("tag", tags))
    for name, values in named:
        if values:
            given[name] = list(values)
    for other in others or ():
        name, equals, value = other.partition("=")
        if not equals:
            raise UsageError("--filter takes NAME=VALUE.", next="steelyard node list --help")
        given.setdefault(name, []).append(value)
    return given


def with_candidates(filters: dict[str, list[str]], *, candidates: bool) -> dict[str, list[str]]:
    return {"kind": ["node", "candidate"], **filters} if candidates else filters


def _search(words: Iterable[str]) -> str:
    """Words as they were typed, those with blanks in quotes."""

    def quoted(word: str) -> str:
        if " " not in word or '"' in word:
            return word
        name, colon, value = word.partition(":")
        return f'{name}:"{value}"' if colon and " " not in name else f'"{word}"'

    return " ".join(quoted(word) for word in words)


def _say_age(answer: dict[str, Any]) -> None:
    """People are told when a list is old, and why."""
    seen = datetime.fromisoformat(answer["observed_at"])
    age = (datetime.now(UTC) - seen).total_seconds()
    if answer.get("problem") or age > OLD:
        reason = f": {answer['problem']}" if answer.get("problem") else ""
        hint(f"As of {max(0, round(age))} seconds ago{reason}")


def _print_nodes(params: Params, format: Literal["table", "json"], limit: int | None, marker: str | None) -> None:
    rows = connect().list_all("/v1/nodes", params, limit=limit, marker=marker, heed=_say_age)
    full = [(title, of) for title, of in COLUMNS if title not in RARE or any(_some(row, of) for row in rows)]
    show(rows, full, format)


def _some(row: dict[str, Any], of: Any) -> bool:
    return bool(of(row) if callable(of) else row[of])


@node_app.command(
    "list",
    epilog=examples(
        "steelyard node list",
        "steelyard node list --state available --pool bm-large",
        "steelyard node list --q 'leaf1 Ethernet3'",
        "steelyard node list --filter site=berlin --filter health=critical --sort rack",
        "steelyard node list --view 'broken in berlin'",
    ),
)
def list_nodes(
    state: State = None,
    pool: Pool = None,
    q: Q = None,
    phase: Phases = None,
    tag: Tags = None,
    filter: Filters = None,
    candidates: Candidates = False,
    gone: Gone = False,
    sort: SortBy = None,
    view: ViewName = None,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List every server: deployed, available, and everything else (administrators)."""
    filters = with_candidates(filters_of(state, pool, phase, tag, filter), candidates=candidates)
    _print_nodes({**filters, "q": q, "sort": sort, "view": view, "gone": gone or None}, format, limit, marker)


@node_app.command(
    "search",
    epilog=examples(
        "steelyard node search leaf1 Ethernet3",
        "steelyard node search serial:CZ3 rack:r12 phase:available",
        "steelyard node search 'disk failure' --limit 20",
    ),
)
def search_nodes(
    words: Annotated[list[str], typer.Argument(help="All to be found: anywhere, or as FIELD:WORD in one field.")],
    sort: SortBy = None,
    gone: Gone = False,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """Find servers, nodes and candidates alike, by anything that is known of them (administrators)."""
    params: Params = {"q": _search(words), "kind": ["node", "candidate"], "sort": sort, "gone": gone or None}
    _print_nodes(params, format, limit, marker)


@node_app.command("show", epilog=examples("steelyard node show bm-001"))
def show_node(
    node: Annotated[str, typer.Argument(help="Id, name or serial number.")], format: Format = "table"
) -> None:
    """Show one server (administrators)."""
    client = connect()
    row = client.get(client.path("/v1/nodes", node))["node"]
    parts = [*_numbered("Disk", _disks(row)), *_numbered("NIC", _nics(row)), *_numbered("Event", _events(row))]
    show(row, [*DETAILS, *parts], format)


@node_app.command(
    "facets",
    epilog=examples("steelyard node facets", "steelyard node facets --facet rack --facet health --state deployed"),
)
def count_nodes(
    facet: Annotated[list[str] | None, typer.Option("--facet", help="What to count by; several times.")] = None,
    state: State = None,
    pool: Pool = None,
    q: Q = None,
    phase: Phases = None,
    tag: Tags = None,
    filter: Filters = None,
    candidates: Candidates = False,
    view: ViewName = None,
    format: Format = "table",
) -> None:
    """Count servers by phase, pool, rack, whatever (administrators). A filter does not narrow its own counts."""
    filters = with_candidates(filters_of(state, pool, phase, tag, filter), candidates=candidates)
    answer = connect().get("/v1/nodes/facets", {**filters, "facet": facet, "q": q, "view": view})
    _say_age(answer)
    if format == "json":
        show(answer, [], format)
        return
    rows = [{"facet": name, **count} for name, counts in answer["facets"].items() for count in counts]
    show(rows, [("Facet", "facet"), ("Value", "value"), ("Servers", "count")], format)
    say(f"{answer['total']} servers pass all filters.")


@node_app.command(
    "export",
    epilog=examples("steelyard node export --output servers.csv", "steelyard node export --to json --state deployed"),
)
def export_nodes(
    to: Annotated[Literal["csv", "json"], typer.Option("--to", help="For spreadsheets, or for programs.")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File. Default: standard output.")] = None,
    state: State = None,
    pool: Pool = None,
    q: Q = None,
    phase: Phases = None,
    tag: Tags = None,
    filter: Filters = None,
    candidates: Candidates = False,
    gone: Gone = False,
    sort: SortBy = None,
    view: ViewName = None,
) -> None:
    """Write all servers that pass to a file (administrators)."""
    filters = with_candidates(filters_of(state, pool, phase, tag, filter), candidates=candidates)
    params: Params = {**filters, "q": q, "sort": sort, "view": view, "gone": gone or None, "format": to}
    pieces = connect().download("/v1/nodes/export", params)
    first = next(pieces, b"")  # a refusal comes before the file is touched
    if output is None:
        for piece in (first, *pieces):
            sys.stdout.buffer.write(piece)
        return
    unfinished = output.with_name(f"{output.name}.part")
    try:
        with unfinished.open("wb") as file:
            file.write(first)
            file.writelines(pieces)
        unfinished.replace(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}.", next="choose another --output") from None
    finally:
        unfinished.unlink(missing_ok=True)
    hint(f"Written to {output}.")
