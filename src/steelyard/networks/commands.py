"""CLI: steelyard network …"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, say, show
from steelyard.client.rest import connect

app = command_group("Networks that servers are attached to.")


def _subnets(row: dict[str, Any]) -> str:
    return ", ".join(subnet["cidr"] for subnet in row["subnets"])


def _gateways(row: dict[str, Any]) -> str:
    return ", ".join(subnet["gateway"] or "none" for subnet in row["subnets"])


def _dns(row: dict[str, Any]) -> str:
    return ", ".join(dict.fromkeys(server for subnet in row["subnets"] for server in subnet["dns_servers"]))


def _subnet_ids(row: dict[str, Any]) -> str:
    return ", ".join(subnet["id"] for subnet in row["subnets"])


COLUMNS: list[Column] = [("Id", "id"), ("Name", "name"), ("Role", "role"), ("Subnets", _subnets), ("Status", "status")]
ADMIN_COLUMNS: list[Column] = [*COLUMNS, ("VLAN", "segmentation_id"), ("Project", "project_id")]
DETAILS: list[Column] = [
    *ADMIN_COLUMNS,
    ("Gateways", _gateways),
    ("DNS", _dns),
    ("Subnet ids", _subnet_ids),
    ("Shared", "shared"),
]


@app.command("list", epilog=examples("steelyard network list", "steelyard network list -f json"))
def list_networks(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List your networks; administrators see all, with their VLANs."""
    rows = connect().list_all("/v1/networks", limit=limit, marker=marker)
    sees_vlans = any(row["segmentation_id"] is not None for row in rows)
    show(rows, ADMIN_COLUMNS if sees_vlans else COLUMNS, format)


@app.command("show", epilog=examples("steelyard network show blue"))
def show_network(network: Annotated[str, typer.Argument(help="Id or name.")], format: Format = "table") -> None:
    """Show one network."""
    client = connect()
    show(client.get(client.path("/v1/networks", network))["network"], DETAILS, format)


@app.command(
    "create",
    epilog=examples(
        "steelyard network create blue --subnet 10.20.30.0/24",
        "steelyard network create blue --subnet 10.20.30.0/24 --gateway 10.20.30.254 --dns 9.9.9.9",
        "steelyard network create blue --subnet 10.20.30.0/24 --subnet fd00:20:30::/64",
    ),
)
def create_network(
    name: Annotated[str, typer.Argument(help="Name; used once in a project.")],
    subnet: Annotated[list[str], typer.Option("--subnet", help="CIDR, IPv4 or IPv6; repeatable.")],
    gateway: Annotated[
        list[str] | None, typer.Option("--gateway", help="Gateway of the subnet that it is in. Default: first address.")
    ] = None,
    dns: Annotated[list[str] | None, typer.Option("--dns", help="Address of a DNS server; repeatable.")] = None,
    format: Format = "table",
) -> None:
    """Create a network that only your project sees."""
    body = {"name": name, "subnets": subnet, "gateways": gateway or [], "dns_servers": dns or []}
    show(connect().post("/v1/networks", body)["network"], DETAILS, format)


@app.command("delete", epilog=examples("steelyard network delete blue"))
def delete_network(
    networks: Annotated[list[str], typer.Argument(metavar="NETWORK...", help="Ids or names.")],
) -> None:
    """Delete networks with their subnets. Refused while a server is attached."""
    client = connect()
    for network in networks:
        client.delete(client.path("/v1/networks", network))
        say(f"Deleted network {network}.", "table")
