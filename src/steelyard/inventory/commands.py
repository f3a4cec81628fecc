"""CLI: steelyard node list, steelyard node show."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import typer

from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, show
from steelyard.client.rest import connect

node_app = command_group("Nodes: servers under management.")


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
]
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
    ("BMC", "bmc_address"),
    ("Candidate", "candidate_id"),
]


@node_app.command(
    "list",
    epilog=examples(
        "steelyard node list",
        "steelyard node list --state available --pool bm-large",
        "steelyard node list --q 'leaf1 Ethernet3'",
    ),
)
def list_nodes(
    state: Annotated[
        Literal["deployed", "available", "other"] | None, typer.Option("--state", help="Only these.")
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", help="Only this resource class.")] = None,
    q: Annotated[str | None, typer.Option("--q", help="Words, all to be found in any field.")] = None,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List every server: deployed, available, and everything else (administrators)."""
    rows = connect().list_all("/v1/nodes", {"state": state, "pool": pool, "q": q}, limit=limit, marker=marker)
    show(rows, COLUMNS, format)


@node_app.command("show", epilog=examples("steelyard node show bm-001"))
def show_node(
    node: Annotated[str, typer.Argument(help="Id, name or serial number.")], format: Format = "table"
) -> None:
    """Show one server (administrators)."""
    client = connect()
    row = client.get(client.path("/v1/nodes", node))["node"]
    parts = [*_numbered("Disk", _disks(row)), *_numbered("NIC", _nics(row)), *_numbered("Event", _events(row))]
    show(row, [*DETAILS, *parts], format)
