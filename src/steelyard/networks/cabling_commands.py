"""CLI: steelyard node bond …, steelyard node recable (administrators)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from steelyard.client.options import Format, Reason, Wait, WaitTimeout, command_group, examples
from steelyard.client.output import Column, finish, show
from steelyard.client.rest import connect, fresh_key

app = command_group("Nodes: servers under management.")
bond_app = command_group("Bonds: NICs of a node that act as one.")
app.add_typer(bond_app, name="bond")

Node = Annotated[str, typer.Argument(metavar="NODE", help="Id or name.")]


def _members(row: dict[str, Any]) -> str:
    return ", ".join(f"{nic['mac']} ({nic['switch']} {nic['port']})" for nic in row["nics"])


COLUMNS: list[Column] = [("Id", "id"), ("Name", "name"), ("Mode", "mode"), ("MAC", "mac"), ("NICs", _members)]


@bond_app.callback()
def bonds() -> None:
    """Bonds: NICs of a node that act as one, on one leaf or on two (administrators)."""


@bond_app.command("list", epilog=examples("steelyard node bond list bm-001"))
def list_bonds(node: Node, format: Format = "table") -> None:
    """List a node's bonds with their NICs."""
    client = connect()
    show(client.get(client.path("/v1/nodes", node, "bonds"))["bonds"], COLUMNS, format)


@bond_app.command(
    "create",
    epilog=examples(
        "steelyard node bond create bm-001 --wait",
        "steelyard node bond create bm-001 --nic 52:54:00:00:01:01 --nic 52:54:00:00:01:02 --name bm-001-bond0",
    ),
)
def create_bond(
    node: Node,
    nic: Annotated[list[str] | None, typer.Option("--nic", help="MAC; repeatable. Default: all in no bond.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Default: NODE-bond0.")] = None,
    mode: Annotated[
        Literal["802.3ad", "active-backup", "balance-xor"], typer.Option("--mode", help="802.3ad is LACP.")
    ] = "802.3ad",
    reason: Reason = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Have several NICs of a node that nobody has act as one."""
    client = connect()
    body: dict[str, Any] = {"nics": nic or [], "mode": mode}
    body |= {key: value for key, value in (("name", name), ("reason", reason)) if value is not None}
    answer = client.post(client.path("/v1/nodes", node, "bonds"), body, key=fresh_key())
    finish(client, answer, wait=wait, timeout=wait_timeout, format=format)


@bond_app.command("delete", epilog=examples("steelyard node bond delete bm-001 bm-001-bond0 --wait"))
def delete_bond(
    node: Node,
    bond: Annotated[str, typer.Argument(metavar="BOND", help="Id or name.")],
    reason: Reason = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Part a bond: its NICs are by themselves again."""
    client = connect()
    answer = client.delete(client.path("/v1/nodes", node, "bonds", bond), {"reason": reason} if reason else None)
    finish(client, answer, wait=wait, timeout=wait_timeout, format=format)


@app.command(
    "recable",
    epilog=examples("steelyard node recable bm-001 52:54:00:00:01:01 --switch leaf2 --port Ethernet7 --wait"),
)
def recable_node(
    node: Node,
    nic: Annotated[str, typer.Argument(metavar="NIC", help="MAC.")],
    switch: Annotated[str, typer.Option("--switch", help="Name or chassis id.")],
    port: Annotated[str, typer.Option("--port", help="As the switch calls it.")],
    reason: Reason = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Tell that a NIC's cable is in another switch port: its networks follow, proven at both, or it is put back."""
    client = connect()
    body: dict[str, Any] = {"nic": nic, "switch": switch, "port": port, **({"reason": reason} if reason else {})}
    answer = client.post(client.path("/v1/nodes", node, "recable"), body, key=fresh_key())
    finish(client, answer, wait=wait, timeout=wait_timeout, format=format)
