"""CLI: steelyard ipam subnets, networks, list, export, history."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from steelyard.client.errors import UsageError
from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect

app = command_group("IPAM: one address plan for virtual machines and bare metal.")

Subnet = Annotated[str, typer.Argument(help="Id, name or CIDR of a subnet, or the name of a network with one subnet.")]

SUBNET_COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Network", "network_name"),
    ("Subnet", "cidr"),
    ("Gateway", "gateway"),
    ("Usable", lambda row: _amount(row["utilisation"]["total"])),
    ("Allocated", "utilisation.allocated"),
    ("Reserved", "utilisation.reserved"),
    ("Brownfield", "utilisation.brownfield"),
    ("Gateway, services", lambda row: row["utilisation"]["gateway"] + row["utilisation"]["service"]),
    ("Free", lambda row: _amount(row["utilisation"]["free"])),
]
NETWORK_COLUMNS: list[Column] = [
    ("Network", "network_name"),
    ("IP", "version"),
    ("Subnets", lambda row: ", ".join(row["cidrs"])),
    *SUBNET_COLUMNS[4:],
    ("Used", lambda row: _share(row["utilisation"])),
]


def _amount(number: int) -> str:
    """A number that people can read: an IPv6 subnet's are rounded to a power of two."""
    return str(number) if number < 1 << 40 else f"about 2^{round(math.log2(number))}"


def _share(used: dict[str, int]) -> str:
    """How full it is, in percent."""
    return f"{100 * (used['total'] - used['free']) / max(used['total'], 1):.1f} %"


def _addresses(row: dict[str, Any]) -> str:
    return f"{row['address']}-{row['last']}" if row["last"] else str(row["address"])


def _state(row: dict[str, Any]) -> str:
    return f"{row['state']}, outside of the pools" if row["state"] == "free" and not row["pool"] else str(row["state"])


def _owner(row: dict[str, Any]) -> str:
    name = row["instance_name"] or row["port_name"] or ""
    if row["owner"] == "nobody":
        return f"port {name or row['port_id']}" if row["port_id"] else ""
    clash = " (collides!)" if row["collides"] else ""
    return f"{row['owner']}{clash} {name}".strip()


ADDRESS_COLUMNS: list[Column] = [
    ("Address", _addresses),
    ("State", _state),
    ("Owner", _owner),
    ("MAC", "mac"),
    ("Since", lambda row: str(row["since"] or "")[:19].replace("T", " ")),
    ("Port", "port_id"),
]
ADMIN_ADDRESS_COLUMNS: list[Column] = [*ADDRESS_COLUMNS, ("Node", "node_name"), ("Project", "project_id")]


@app.command("subnets", epilog=examples("steelyard ipam subnets", "steelyard ipam subnets -f json"))
def list_subnets(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List the subnets of your networks with how much of each is taken."""
    show(connect().list_all("/v1/ipam/subnets", limit=limit, marker=marker), SUBNET_COLUMNS, format)


@app.command("networks", epilog=examples("steelyard ipam networks", "steelyard ipam networks -f json"))
def list_networks(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List your networks with how much of all their subnets is taken, IPv4 and IPv6 apart."""
    show(connect().list_all("/v1/ipam/networks", limit=limit, marker=marker), NETWORK_COLUMNS, format)


@app.command(
    "list",
    epilog=examples(
        "steelyard ipam list blue",
        "steelyard ipam list blue --all",
        "steelyard ipam list 10.20.30.0/24 --state reserved",
    ),
)
def list_addresses(
    subnet: Subnet,
    state: Annotated[
        Literal["allocated", "reserved", "brownfield", "gateway", "service", "free"] | None,
        typer.Option("--state", help="Only addresses in this state."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what nobody has, as ranges.")] = False,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List every taken address of a subnet with its owner, virtual or physical; with --all the free ones too."""
    client = connect()
    path = client.path("/v1/ipam/subnets", subnet, "addresses")
    params = {"state": state, "free": everything or None}
    subnets: list[dict[str, Any]] = []
    rows = client.list_all(
        path, params, limit=limit, marker=marker, heed=lambda answer: subnets.append(answer["subnet"])
    )
    sees_nodes = any(row["node_name"] for row in rows)
    show(rows, ADMIN_ADDRESS_COLUMNS if sees_nodes else ADDRESS_COLUMNS, format)
    if format == "table":
        used = subnets[-1]["utilisation"]
        say(
            f"{_amount(used['total'])} usable: {used['allocated']} allocated, {used['reserved']} reserved, "
            f"{used['brownfield']} brownfield, {used['gateway'] + used['service']} gateway and services, "
            f"{_amount(used['free'])} free.",
            format,
        )


@app.command("export", epilog=examples("steelyard ipam export blue -o blue.csv", "steelyard ipam export blue --all"))
def export_addresses(
    subnet: Subnet,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File. Default: standard output.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what nobody has, as ranges.")] = False,
) -> None:
    """Write the whole list of a subnet as CSV."""
    client = connect()
    pieces = client.download(client.path("/v1/ipam/subnets", subnet, "export"), {"free": everything or None})
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


HISTORY_COLUMNS: list[Column] = [
    ("From", lambda row: _time(row["since"])),
    ("To", lambda row: _time(row["until"]) or "now"),
    ("Owner", lambda row: f"{row['owner']} {row['owner_name'] or row['owner_id'] or ''}".strip()),
    ("Node", "node_name"),
    ("MAC", "mac"),
    ("Project", "project_id"),
    ("Port", "port_id"),
]


def _time(text: str | None) -> str:
    return "" if text is None else text[:19].replace("T", " ")


@app.command(
    "history",
    epilog=examples(
        "steelyard ipam history blue 10.20.30.7", "steelyard ipam history blue 10.20.30.7 --at 2026-03-01",
        "steelyard ipam history blue 10.20.30.7 --at 2026-03-01T14:30:00+01:00",
    ),
)  # fmt: skip
def show_history(
    subnet: Subnet,
    address: Annotated[str, typer.Argument(help="One address.")],
    at: Annotated[
        str | None, typer.Option("--at", help="Who had it at this moment (ISO 8601, UTC), or on this day.")
    ] = None,
    format: Format = "table",
) -> None:
    """Show who had an address, and when, the newest first (the last hundred). Times are UTC.

    Of a subnet that is gone, administrators ask by its id or CIDR.
    """
    client = connect()
    path = client.path("/v1/ipam/subnets", subnet, "history")
    begin, end = _moments(at)
    answer = client.get(path, {"address": address, "at": begin, "to": end})
    rows: list[dict[str, Any]] = answer["history"]
    show(rows, HISTORY_COLUMNS, format)
    if not rows:
        hint("Nobody was seen to have it." if at is None else f"Nobody was seen to have it at {at}.")


def _moments(text: str | None) -> tuple[str | None, str | None]:
    """The two ends of a day, or one moment twice; neither where nothing was asked for."""
    if text is None:
        return None, None
    try:
        begin = datetime.fromisoformat(text)
        begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
        end = begin + timedelta(days=1) if len(text) == len("2026-03-01") else begin
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time.", next="write it like 2026-03-01 or 2026-03-01T14:30:00") from None
    return begin.isoformat(), end.isoformat()
