"""CLI: steelyard ipam reserve, allocate, release, import."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from steelyard.client.errors import EXIT_REFUSED, UsageError
from steelyard.client.options import Format, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect, fresh_key
from steelyard.ipam.commands import Subnet

app = command_group("IPAM: addresses that are kept by hand.")

Addresses = Annotated[list[str], typer.Argument(help="Addresses, and ranges like 10.20.30.5-10.20.30.9.")]
Note = Annotated[str, typer.Option("--note", help="What for.")]

KEPT_COLUMNS: list[Column] = [
    ("Address", "address"),
    ("Changed", lambda row: "yes" if row["changed"] else "as it was"),
    ("MAC", "mac"),
    ("Port", "port_id"),
]
ROW_COLUMNS: list[Column] = [
    ("Line", "line"),
    ("Address", "address"),
    ("Outcome", "outcome"),
    ("New", "new"),
    ("Error", lambda row: row["error"]["detail"] if row["error"] else ""),
]
FIELDS: Final = ("address", "note", "state", "mac")
LARGEST: Final = 1 << 20
"""Bytes of a file."""


@app.command(
    "reserve",
    epilog=examples(
        "steelyard ipam reserve blue 10.20.30.5 --note 'the printer'",
        "steelyard ipam reserve blue 10.20.30.16-10.20.30.31 --note 'load balancers'",
        "steelyard ipam reserve blue 10.20.30.7 --brownfield --note 'old database' --mac 52:54:00:12:34:56",
    ),
)
def reserve_addresses(
    subnet: Subnet,
    addresses: Addresses,
    note: Note,
    brownfield: Annotated[
        bool, typer.Option("--brownfield", help="Something that this cloud did not deploy uses it.")
    ] = False,
    mac: Annotated[str | None, typer.Option("--mac", help="Of what uses it; with a single address.")] = None,
    format: Format = "table",
) -> None:
    """Keep addresses, so that no server gets them: all of them, or none. The same again changes nothing."""
    client = connect()
    body = {
        "addresses": addresses, "note": note, "state": "brownfield" if brownfield else "reserved", "mac": mac,
    }  # fmt: skip
    answer = client.post(client.path("/v1/ipam/subnets", subnet, "reservations"), body, key=fresh_key())
    show(answer["addresses"], KEPT_COLUMNS, format)


@app.command(
    "allocate",
    epilog=examples(
        "steelyard ipam allocate blue --note 'virtual address of the cluster'",
        "steelyard ipam allocate blue --count 3 --note 'the cluster' -f json",
    ),
)
def allocate_addresses(
    subnet: Subnet,
    note: Note,
    count: Annotated[int, typer.Option("--count", min=1, help="How many.")] = 1,
    format: Format = "table",
) -> None:
    """Take the next free address of the subnet's pools, or several.

    A server can be given one by its port: openstack server create --port PORT.
    """
    client = connect()
    path = client.path("/v1/ipam/subnets", subnet, "allocations")
    answer = client.post(path, {"note": note, "count": count}, key=fresh_key())
    show(answer["addresses"], KEPT_COLUMNS, format)


@app.command("release", epilog=examples("steelyard ipam release blue 10.20.30.5 10.20.30.16-10.20.30.31"))
def release_addresses(subnet: Subnet, addresses: Addresses, format: Format = "table") -> None:
    """Give up addresses that are kept by hand. What is free already stays so; a server's is refused."""
    client = connect()
    answer = client.post(client.path("/v1/ipam/subnets", subnet, "releases"), {"addresses": addresses})
    show(answer["addresses"], KEPT_COLUMNS[:2], format)


@app.command(
    "import",
    epilog=examples(
        "steelyard ipam import blue reservations.csv --dry-run", "steelyard ipam import blue reservations.csv"
    ),
)
def import_reservations(
    subnet: Subnet,
    file: Annotated[Path, typer.Argument(help="CSV with a header: address,note and, where wanted, state,mac.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of each row.")] = False,
    format: Format = "table",
) -> None:
    """Reserve the addresses of a file: all rows, or none when one of them cannot be.

    `address` may be a range; `state` is reserved or brownfield. The same file again changes nothing. Ends with code 5
    when a row has an error.
    """
    lines, rows = _read(file)
    client = connect()
    path = client.path("/v1/ipam/subnets", subnet, "imports")
    answer = client.post(path, {"rows": rows, "dry_run": dry_run}, key=fresh_key())
    for row in answer["rows"]:
        row["line"] = lines[row["row"] - 1]
    show(answer if format == "json" else answer["rows"], ROW_COLUMNS, format)
    new = sum(row["new"] for row in answer["rows"])
    if answer["errors"]:
        hint(f"{answer['errors']} of {len(rows)} rows cannot be; nothing was reserved.")
        raise typer.Exit(EXIT_REFUSED)
    say(f"{new} addresses {'would be' if dry_run else 'were'} reserved, the others were already.", format)


def _read(file: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """The rows of a CSV file with the line that each ends on. Lines without an address are left out."""
    try:
        if file.stat().st_size > LARGEST:
            raise UsageError(f"{file} is larger than {LARGEST >> 20} MiB.", next="split it")
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            names = [name.strip().lower() for name in reader.fieldnames or ()]
            if "address" not in names or "note" not in names or set(names) - set(FIELDS):
                raise UsageError(
                    f"The first line of {file} must name its columns: address and note, and where wanted state and "
                    f"mac; it has {', '.join(names)[:80] or 'nothing'}.",
                    next="steelyard ipam import --help",
                )
            reader.fieldnames = names
            lines, rows = [], []
            for found in reader:
                if None in found or None in found.values():
                    raise UsageError(f"Line {reader.line_num} of {file} has not as many fields as the first line.")
                row = {name: (value or "").strip() for name, value in found.items()}
                if any(row.values()):
                    lines.append(reader.line_num)
                    rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read: {type(error).__name__}.") from None
    if not rows:
        raise UsageError(f"{file} has no rows.")
    return lines, rows
