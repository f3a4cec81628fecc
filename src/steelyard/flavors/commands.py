"""CLI: steelyard flavor …, steelyard pool …"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steelyard.client.options import Format, Limit, Marker, command_group, examples
from steelyard.client.output import Column, say, show
from steelyard.client.rest import connect

app = command_group("Flavors: what a tenant asks for, backed by pools of nodes.")
pool_app = command_group("Pools: the nodes of one class, counted.")


def _traits(row: dict[str, Any]) -> str:
    return ", ".join(row["traits"])


def _pool_traits(row: dict[str, Any]) -> str:
    return ", ".join(f"{trait} ({count})" for trait, count in row["traits"].items())


COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Class", "resource_class"),
    ("Traits", _traits),
    ("CPUs", "vcpus"),
    ("RAM MiB", "ram_mib"),
    ("Disk GiB", "disk_gib"),
    ("Total", "capacity.total"),
    ("Free", "capacity.free"),
]
DETAILS: list[Column] = [
    *COLUMNS,
    ("Deployed", "capacity.deployed"),
    ("Other", "capacity.other"),
    ("Public", "is_public"),
]
POOL_COLUMNS: list[Column] = [
    ("Pool", "name"),
    ("Class in Placement", "resource_class"),
    ("Traits", _pool_traits),
    ("Total", "capacity.total"),
    ("Free", "capacity.free"),
    ("Deployed", "capacity.deployed"),
    ("Other", "capacity.other"),
]


@app.command("list", epilog=examples("steelyard flavor list", "steelyard flavor list -f json"))
def list_flavors(format: Format = "table", limit: Limit = None, marker: Marker = None) -> None:
    """List flavors with how many servers of each there are and how many are free."""
    show(connect().list_all("/v1/flavors", limit=limit, marker=marker), COLUMNS, format)


@app.command("show", epilog=examples("steelyard flavor show metal-large"))
def show_flavor(flavor: Annotated[str, typer.Argument(help="Id or name.")], format: Format = "table") -> None:
    """Show one flavor."""
    client = connect()
    show(client.get(client.path("/v1/flavors", flavor))["flavor"], DETAILS, format)


@app.command(
    "create",
    epilog=examples(
        "steelyard flavor create metal-large --pool bm.large",
        "steelyard flavor create metal-gpu --pool bm.large --trait CUSTOM_GPU",
    ),
)
def create_flavor(
    name: Annotated[str, typer.Argument(help="Name of the flavor.")],
    pool: Annotated[str, typer.Option("--pool", help="Resource class of the nodes; see: steelyard pool list.")],
    trait: Annotated[list[str] | None, typer.Option("--trait", help="Only nodes with this trait; repeatable.")] = None,
    vcpus: Annotated[int | None, typer.Option("--vcpus", min=1, help="Default: the least in the pool.")] = None,
    ram: Annotated[int | None, typer.Option("--ram", min=1, help="MiB. Default: the least in the pool.")] = None,
    disk: Annotated[int | None, typer.Option("--disk", min=0, help="GiB. Default: the least in the pool.")] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Create it although no node can serve it yet.")
    ] = False,
    format: Format = "table",
) -> None:
    """Create a flavor that is backed by a pool (administrators)."""
    body: dict[str, Any] = {"name": name, "pool": pool, "traits": trait or [], "allow_empty": allow_empty}
    sizes = {"vcpus": vcpus, "ram_mib": ram, "disk_gib": disk}
    body.update({key: value for key, value in sizes.items() if value is not None})
    show(connect().post("/v1/flavors", body)["flavor"], DETAILS, format)


@app.command("delete", epilog=examples("steelyard flavor delete metal-large"))
def delete_flavor(flavors: Annotated[list[str], typer.Argument(metavar="FLAVOR...", help="Ids or names.")]) -> None:
    """Delete flavors (administrators). Servers that were created from them go on."""
    client = connect()
    for flavor in flavors:
        client.delete(client.path("/v1/flavors", flavor))
        say(f"Deleted flavor {flavor}.", "table")


@pool_app.command("list", epilog=examples("steelyard pool list", "steelyard pool list -f json"))
def list_pools(format: Format = "table") -> None:
    """List the pools that flavors can be backed by (administrators)."""
    show(connect().list_all("/v1/pools"), POOL_COLUMNS, format)
