"""CLI: steelyard ipam …"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import typer

from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, say, show
from steelyard.client.rest import connect

app = command_group("IPAM: one address plan for virtual machines and bare metal.")

SUBNET_COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Network", "network_name"),
    ("Subnet", "cidr"),
    ("Gateway", "gateway"),
    ("Usable", lambda row: _amount(row["utilisation"]["total"])),
    ("Allocated", "utilisation.allocated"),
    ("Reserved", "utilisation.reserved"),
    ("Gateway, services", lambda row: row["utilisation"]["gateway"] + row["utilisation"]["service"]),
    ("Free", lambda row: _amount(row["utilisation"]["free"])),
]


def _amount(number: int) -> str:
    """A number that people can read: an IPv6 subnet's are rounded to a power of two."""
    return str(number) if number < 1 << 40 else f"about 2^{round(math.log2(number))}"


def _owner(row: dict[str, Any]) -> str:
    name = row["instance_name"] or row["port_name"] or ""
    if row["owner"] == "nobody":
        return f"port {name}" if name else ""
    clash = " (collides!)" if row["collides"] else ""
    return f"{row['owner']}{clash} {name}".strip()


ADDRESS_COLUMNS: list[Column] = [
    ("Address", "address"),
    ("State", "state"),
    ("Owner", _owner),
    ("MAC", "mac"),
    ("Port", "port_id"),
]
ADMIN_ADDRESS_COLUMNS: list[Column] = [*ADDRESS_COLUMNS, ("Node", "node_name"), ("Project", "project_id")]


@app.command("subnets", epilog=examples("steelyard ipam subnets", "steelyard ipam subnets -f json"))
def list_subnets(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List the subnets of your networks with how much of each is taken."""
    show(connect().list_all("/v1/ipam/subnets", limit=limit, marker=marker), SUBNET_COLUMNS, format)


@app.command(
    "list",
    epilog=examples(
        "steelyard ipam list blue",
        "steelyard ipam list 10.20.30.0/24 --state reserved",
    ),
)
def list_addresses(
    subnet: Annotated[
        str, typer.Argument(help="Id, name or CIDR of a subnet, or the name of a network with one subnet.")
    ],
    state: Annotated[
        Literal["allocated", "reserved", "gateway", "service"] | None,
        typer.Option("--state", help="Only addresses in this state."),
    ] = None,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List every taken address of a subnet with its owner, virtual or physical."""
    client = connect()
    path = client.path("/v1/ipam/subnets", subnet, "addresses")
    params = {"state": state} if state else None
    rows = client.list_all(path, params, limit=limit, marker=marker)
    sees_nodes = any(row["node_name"] for row in rows)
    show(rows, ADMIN_ADDRESS_COLUMNS if sees_nodes else ADDRESS_COLUMNS, format)
    if format == "table":
        used = client.get(path, {"limit": 1})["subnet"]["utilisation"]
        say(
            f"{_amount(used['total'])} usable: {used['allocated']} allocated, {used['reserved']} reserved, "
            f"{used['gateway'] + used['service']} gateway and services, {_amount(used['free'])} free.",
            format,
        )
