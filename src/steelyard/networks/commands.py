"""CLI: steelyard network …"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steelyard.client.errors import UsageError
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


def _pools(row: dict[str, Any]) -> str:
    return ", ".join(f"{pool['first']}-{pool['last']}" for subnet in row["subnets"] for pool in subnet["pools"])


def _routes(row: dict[str, Any]) -> str:
    found = (route for subnet in row["subnets"] for route in subnet["host_routes"])
    return ", ".join(f"{route['destination']} via {route['next_hop']}" for route in found)


def _subnet_ids(row: dict[str, Any]) -> str:
    return ", ".join(subnet["id"] for subnet in row["subnets"])


COLUMNS: list[Column] = [("Id", "id"), ("Name", "name"), ("Role", "role"), ("Subnets", _subnets), ("Status", "status")]
ADMIN_COLUMNS: list[Column] = [*COLUMNS, ("VLAN", "segmentation_id"), ("Project", "project_id")]
DETAILS: list[Column] = [
    *ADMIN_COLUMNS,
    ("Gateways", _gateways),
    ("Pools", _pools),
    ("DNS", _dns),
    ("Routes", _routes),
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
        "steelyard network create blue --subnet 10.20.30.0/24 --pool 10.20.30.100-10.20.30.199",
        "steelyard network create blue --subnet 10.20.30.0/24 --route 10.99.0.0/16=10.20.30.2",
    ),
)
def create_network(
    name: Annotated[str, typer.Argument(help="Name; used once in a project.")],
    subnet: Annotated[list[str], typer.Option("--subnet", help="CIDR, IPv4 or IPv6; repeatable.")],
    gateway: Annotated[
        list[str] | None, typer.Option("--gateway", help="Gateway of the subnet that it is in. Default: first address.")
    ] = None,
    dns: Annotated[list[str] | None, typer.Option("--dns", help="Address of a DNS server; repeatable.")] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option("--pool", help="FIRST-LAST: what servers get addresses from, in its subnet; repeatable."),
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option("--route", help="CIDR=NEXT_HOP: a route that servers are given; repeatable."),
    ] = None,
    format: Format = "table",
) -> None:
    """Create a network that only your project sees."""
    body = {
        "name": name, "subnets": subnet, "gateways": gateway or [], "dns_servers": dns or [],
        "pools": [dict(zip(("first", "last"), _split(each, "-", "--pool"), strict=True)) for each in pool or []],
        "host_routes": [
            dict(zip(("destination", "next_hop"), _split(each, "=", "--route"), strict=True)) for each in route or []
        ],
    }  # fmt: skip
    show(connect().post("/v1/networks", body)["network"], DETAILS, format)


def _carried(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{each['network']}" + (f" ({'tagged ' if each['tagged'] else ''}{each['vlan']})" if each["vlan"] else "")
        for each in row["networks"]
    )


TOPOLOGY_COLUMNS: list[Column] = [
    ("Switch", lambda row: row["switch"] or row["switch_id"] or "not known"),
    ("Port", "port"),
    ("NIC", "mac"),
    ("Node", lambda row: row["node"] or row["node_id"]),
    ("Bond", "bond"),
    ("Networks", _carried),
]


@app.command(
    "topology",
    epilog=examples(
        "steelyard network topology",
        "steelyard network topology --switch leaf1",
        "steelyard network topology --network blue -o blue.dot",
        "steelyard network topology -o topology.json",
    ),
)
def show_topology(
    switch: Annotated[str | None, typer.Option("--switch", help="Name or chassis id.")] = None,
    node: Annotated[str | None, typer.Option("--node", help="Id or name.")] = None,
    network: Annotated[str | None, typer.Option("--network", help="Id or name.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a graph: FILE.dot (Graphviz) or FILE.json.")
    ] = None,
    format: Format = "table",
) -> None:
    """Show switch, port, NIC, node and networks, as the network controller has them (administrators)."""
    from steelyard.networks.graph import FORMATS

    if output is not None and output.suffix not in FORMATS:
        raise UsageError(f"{output.name} is of no kind that can be written.", next=f"one of: {', '.join(FORMATS)}")
    query = {"switch": switch, "node": node, "network": network}
    rows = connect().get("/v1/topology", {key: value for key, value in query.items() if value is not None})["cables"]
    if output is None:
        show(rows, TOPOLOGY_COLUMNS, format)
        return
    output.write_text(FORMATS[output.suffix](rows), encoding="utf-8")
    say(f"Wrote {len(rows)} cables to {output}.", format)


def _split(text: str, sign: str, option: str) -> tuple[str, str]:
    first, found, last = text.partition(sign)
    if not (first.strip() and found and last.strip()):
        raise UsageError(f"{option} takes two parts with {sign!r} between, not {text!r}.")
    return first.strip(), last.strip()


@app.command("delete", epilog=examples("steelyard network delete blue"))
def delete_network(
    networks: Annotated[list[str], typer.Argument(metavar="NETWORK...", help="Ids or names.")],
) -> None:
    """Delete networks with their subnets. Refused while a server is attached."""
    client = connect()
    for network in networks:
        client.delete(client.path("/v1/networks", network))
        say(f"Deleted network {network}.", "table")
