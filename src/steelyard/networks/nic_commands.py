"""CLI: steelyard server nic …"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steelyard.client.options import Format, Wait, WaitTimeout, command_group, examples
from steelyard.client.output import Column, finish, show
from steelyard.client.rest import connect, fresh_key

app = command_group("Servers: what tenants deploy.")
nic_app = command_group("NICs of a running server: which networks they are on.")
app.add_typer(nic_app, name="nic")

Server = Annotated[str, typer.Argument(metavar="SERVER", help="Id or name.")]
Nic = Annotated[str, typer.Argument(metavar="NIC", help="MAC, address, port id, or its network.")]
OnNetwork = Annotated[str, typer.Option("--network", help="Id or name.")]


def _addresses(row: dict[str, Any]) -> str:
    return ", ".join(row["addresses"])


def _sub_interfaces(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{sub['network']} (VLAN {sub['vlan']}: {_addresses(sub) or 'no address'})" for sub in row["sub_interfaces"]
    )


def _links(row: dict[str, Any]) -> str:
    return ", ".join(f"{link['switch']} {link['port']}" for link in row["links"] or [])


COLUMNS: list[Column] = [
    ("NIC", "mac"),
    ("Network", "network"),
    ("Addresses", _addresses),
    ("Status", "status"),
    ("Sub-interfaces", _sub_interfaces),
    ("Security groups", lambda row: ", ".join(row["security_groups"])),
]


@nic_app.callback()
def nics() -> None:
    """NICs of a running server: which networks they are on."""


@nic_app.command("list", epilog=examples("steelyard server nic list web-1", "steelyard server nic list web-1 -f json"))
def list_nics(server: Server, format: Format = "table") -> None:
    """List the NICs of a server that are on networks; administrators see the switch ports."""
    client = connect()
    rows = client.get(client.path("/v1/servers", server, "nics"))["nics"]
    seen = any(row["links"] for row in rows)
    show(rows, [*COLUMNS, ("Switch ports", _links)] if seen else COLUMNS, format)


@nic_app.command(
    "attach",
    epilog=examples(
        "steelyard server nic attach web-1 --network storage --wait",
        "steelyard server nic attach web-1 --network storage --address 10.20.30.40",
    ),
)
def attach_nic(
    server: Server,
    network: OnNetwork,
    address: Annotated[str | None, typer.Option("--address", help="Default: the next free one.")] = None,
    security_group: Annotated[
        list[str] | None, typer.Option("--security-group", help="Refused where nothing enforces it; repeatable.")
    ] = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Put one more NIC on a network. Proven in the controller and on the switch, or undone."""
    client = connect()
    body: dict[str, Any] = {"network": network, "security_groups": security_group or []}
    if address is not None:
        body["address"] = address
    answer = client.post(client.path("/v1/servers", server, "nics"), body, key=fresh_key())
    finish(client, {"operation": answer["operation"]}, wait=wait, timeout=wait_timeout, format=format)


@nic_app.command("detach", epilog=examples("steelyard server nic detach web-1 storage --wait"))
def detach_nic(
    server: Server, nic: Nic, wait: Wait = False, wait_timeout: WaitTimeout = None, format: Format = "table"
) -> None:
    """Take a NIC off its network. Its address is free for others then."""
    client = connect()
    answer = client.delete(client.path("/v1/servers", server, "nics", nic))
    finish(client, {"operation": answer["operation"]}, wait=wait, timeout=wait_timeout, format=format)


@nic_app.command("move", epilog=examples("steelyard server nic move web-1 storage --network backup --wait"))
def move_nic(
    server: Server,
    nic: Nic,
    network: OnNetwork,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Take a NIC to another network. Where that cannot be proven, it is put back."""
    client = connect()
    answer = client.post(client.path("/v1/servers", server, "nics", nic, "move"), {"network": network}, key=fresh_key())
    finish(client, {"operation": answer["operation"]}, wait=wait, timeout=wait_timeout, format=format)


@nic_app.command("tag", epilog=examples("steelyard server nic tag web-1 blue --network backup --wait"))
def tag_nic(
    server: Server,
    nic: Nic,
    network: OnNetwork,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Have a NIC carry one more network, tagged. The tag is the network's VLAN; see: server nic list."""
    client = connect()
    path = client.path("/v1/servers", server, "nics", nic, "sub-interfaces")
    answer = client.post(path, {"network": network}, key=fresh_key())
    finish(client, {"operation": answer["operation"]}, wait=wait, timeout=wait_timeout, format=format)


@nic_app.command("untag", epilog=examples("steelyard server nic untag web-1 blue --network backup --wait"))
def untag_nic(
    server: Server,
    nic: Nic,
    network: OnNetwork,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Take a sub-interface off a NIC."""
    client = connect()
    answer = client.delete(client.path("/v1/servers", server, "nics", nic, "sub-interfaces", network))
    finish(client, {"operation": answer["operation"]}, wait=wait, timeout=wait_timeout, format=format)
