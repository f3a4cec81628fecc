"""CLI: steelyard server …, steelyard node wait."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from steelyard.client.bulk import for_each
from steelyard.client.errors import UsageError
from steelyard.client.options import (
    Concurrency,
    Format,
    Limit,
    Marker,
    MaxFailures,
    Reason,
    Wait,
    WaitTimeout,
    Wave,
    WavePause,
    bulk_limits,
    command_group,
    examples,
)
from steelyard.client.output import Column, finish, hint, show
from steelyard.client.progress import raise_if_failed, wait_for
from steelyard.client.rest import Client, connect, fresh_key
from steelyard.client.waiting import Look, Thing, Verdict, wait_until

server_app = command_group("Servers: what tenants deploy.")
node_app = command_group("Nodes: servers under management.")

MAX_USER_DATA = 48 * 1024
Servers = Annotated[list[str], typer.Argument(metavar="SERVER...", help="Ids or names.")]


def _addresses(row: dict[str, Any]) -> str:
    return ", ".join(row["addresses"])


COLUMNS: list[Column] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Phase", "phase"),
    ("Power", "power"),
    ("Addresses", _addresses),
    ("Flavor", "flavor"),
    ("Image", "image"),
]
NODE_COLUMNS: list[Column] = [("Id", "id"), ("Name", "name"), ("Phase", "phase"), ("Class", "resource_class")]
NODE_PHASES = (
    "enrolled", "manageable", "inspecting", "cleaning", "available", "deploying", "active", "powered-off", "servicing",
    "rescue", "reclaiming", "adopted", "quarantined", "retired", "deleted",
)  # fmt: skip
"""As `lifecycle.model.Phase` has them (a test compares), and that there is no such node."""
DETAILS: list[Column] = [
    *COLUMNS,
    ("Status in Nova", "status"),
    ("Task", "task"),
    ("Project", "project_id"),
    ("Created", "created_at"),
    ("Fault", "fault"),
]


@server_app.command("list", epilog=examples("steelyard server list", "steelyard server list --all-projects"))
def list_servers(
    all_projects: Annotated[bool, typer.Option("--all-projects", help="Of everybody (administrators).")] = False,
    format: Format = "table",
    limit: Limit = None,
    marker: Marker = None,
) -> None:
    """List servers."""
    rows = connect().list_all("/v1/servers", {"all_projects": all_projects or None}, limit=limit, marker=marker)
    columns = [*COLUMNS, ("Project", "project_id")] if all_projects else list(COLUMNS)
    if any(row["node"] for row in rows):
        columns.append(("Node", "node"))
    show(rows, columns, format)


@server_app.command("show", epilog=examples("steelyard server show web-1"))
def show_server(server: Annotated[str, typer.Argument(help="Id or name.")], format: Format = "table") -> None:
    """Show one server."""
    client = connect()
    _show(client.get(client.path("/v1/servers", server))["server"], format)


def _show(row: dict[str, Any], format: Literal["table", "json"]) -> None:
    show(row, [*DETAILS, ("Node", "node")] if row.get("node") else DETAILS, format)


@server_app.command(
    "create",
    epilog=examples(
        "steelyard server create web-1 --flavor metal-small --image debian-12 --network blue --wait",
        "steelyard server create db-1 --flavor metal-large --image debian-12 --network blue --network storage",
        "steelyard server create web --count 20 --flavor metal-small --image debian-12 --network blue --max-failures 2",
    ),
)
def create_server(
    name: Annotated[str, typer.Argument(help="Name of the server.")],
    flavor: Annotated[str, typer.Option("--flavor", help="Id or name; see: steelyard flavor list.")],
    image: Annotated[str, typer.Option("--image", help="Id or name; see: steelyard image list.")],
    network: Annotated[list[str], typer.Option("--network", help="Id or name; one per NIC, repeatable.")],
    key_name: Annotated[str | None, typer.Option("--key-name", help="SSH key pair known to Nova.")] = None,
    user_data: Annotated[Path | None, typer.Option("--user-data", help="File for cloud-init.")] = None,
    property: Annotated[list[str] | None, typer.Option("--property", help="KEY=VALUE; repeatable.")] = None,
    security_group: Annotated[
        list[str] | None, typer.Option("--security-group", help="Refused where nothing enforces it; repeatable.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, max=10_000, help="So many, called NAME-1, NAME-2, ...")
    ] = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Deploy a server."""
    body: dict[str, Any] = {"name": name, "flavor": flavor, "image": image, "networks": network}
    if key_name is not None:
        body["key_name"] = key_name
    if user_data is not None:
        body["user_data"] = _encoded(user_data)
    if property:
        body["metadata"] = _properties(property)
    if security_group:
        body["security_groups"] = security_group
    client = connect()
    if count is not None:
        for_each(
            client, "servers.create", [{**body, "name": f"{name}-{number}"} for number in range(1, count + 1)],
            limits=bulk_limits(concurrency, wave, wave_pause, max_failures), reason=None, wait=wait,
            timeout=wait_timeout, format=format,
        )  # fmt: skip
        return
    follow(client, client.post("/v1/servers", body, key=fresh_key()), wait=wait, timeout=wait_timeout, format=format)


def follow(
    client: Client,
    answer: dict[str, Any],
    *,
    wait: bool,
    timeout: float | None,
    format: Literal["table", "json"],
) -> None:
    """Show the server, at once or when its operation has ended."""
    if wait:
        ended = wait_for(client, [answer["operation"]], timeout=timeout)
        raise_if_failed(ended)
        answer = client.get(client.path("/v1/servers", answer["server"]["id"]))
    _show(answer["server"], format)
    if not wait and format == "table":
        hint(f"It goes on in the background: steelyard operation wait {answer['operation']['id']}")


def _encoded(path: Path) -> str:
    import base64

    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    if path.stat().st_size > MAX_USER_DATA:
        raise UsageError(f"The file {path} is larger than {MAX_USER_DATA // 1024} KiB; Nova takes no more user data.")
    return base64.b64encode(path.read_bytes()).decode()


def _properties(given: list[str]) -> dict[str, str]:
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise UsageError(f"{each!r} is not KEY=VALUE.", next="--property role=web")
        found[name] = value
    return found


@server_app.command(
    "power",
    epilog=examples(
        "steelyard server power web-1 off --wait",
        "steelyard server power web-1 'soft off'",
        "steelyard server power web-1 web-2 web-3 on --concurrency 2 --wait",
    ),
)
def power_servers(
    servers: Servers,
    action: Annotated[Literal["on", "off", "soft off", "reboot"], typer.Argument(help="on, off, 'soft off', reboot.")],
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Power servers on or off, or reboot them."""
    client = connect()
    if len(servers) > 1:
        for_each(
            client, "servers.power", [{"server": server, "action": action} for server in servers],
            limits=bulk_limits(concurrency, wave, wave_pause, max_failures), reason=None, wait=wait,
            timeout=wait_timeout, format=format,
        )  # fmt: skip
        return
    answer = client.post(client.path("/v1/servers", servers[0], "power"), {"action": action}, key=fresh_key())
    follow(client, answer, wait=wait, timeout=wait_timeout, format=format)


@server_app.command(
    "delete", epilog=examples("steelyard server delete web-1 --wait", "steelyard server delete web-1 web-2 --wave 10")
)
def delete_servers(
    servers: Servers,
    reason: Reason = None,
    concurrency: Concurrency = None,
    wave: Wave = None,
    wave_pause: WavePause = None,
    max_failures: MaxFailures = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Release servers. Their disks are erased before anybody else gets the hardware.

    With --wait: until they are gone, and for administrators until the nodes are clean and available.
    """
    client = connect()
    if len(servers) > 1:
        for_each(
            client, "servers.delete", [{"server": server} for server in servers],
            limits=bulk_limits(concurrency, wave, wave_pause, max_failures), reason=reason, wait=wait,
            timeout=wait_timeout, format=format,
        )  # fmt: skip
        return
    answer = client.delete(client.path("/v1/servers", servers[0]), {"reason": reason} if reason else None)
    finish(client, {"operation": answer["operation"]}, wait=wait, timeout=wait_timeout, format=format)


SERVER_PHASES = Literal["active", "powered-off", "rescue", "deleted"]


@server_app.command(
    "wait",
    epilog=examples("steelyard server wait web-1 web-2", "steelyard server wait web-1 --phase deleted"),
)
def wait_servers(
    servers: Annotated[list[str], typer.Argument(metavar="SERVER...", help="Ids or names.")],
    phase: Annotated[SERVER_PHASES, typer.Option("--phase", help="What to wait for.")] = "active",
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Wait until servers are in a phase, whoever brings them there.

    Exit code 0 when all are, 1 when one failed, 6 when the time is over.
    """
    client = connect()
    judge = partial(judge_server, phase)
    things = [Thing(f"server {name}", client.path("/v1/servers", name), "server", judge) for name in servers]
    found = wait_until(client, things, timeout=wait_timeout)
    show([row for row in found if row is not None], COLUMNS, format)


def judge_server(wanted: str, row: dict[str, Any] | None) -> Look:
    """One look at a server, as `server wait` takes it."""
    if row is None:
        return Look(Verdict.REACHED if wanted == "deleted" else Verdict.NOT_YET, "deleted")
    says = str(row["phase"]) + (f" ({row['task']})" if row["task"] else "")
    if row["phase"] == wanted and row["task"] is None:
        return Look(Verdict.REACHED, says)
    if row["status"] == "ERROR" and row["task"] is None:
        fault = f": {row['fault']}" if row["fault"] else ""
        return Look(Verdict.FAILED, f"in error{fault}", f"steelyard server delete {row['id']} --wait")
    return Look(Verdict.NOT_YET, says, f"steelyard server show {row['id']}")


@node_app.command(
    "wait",
    epilog=examples("steelyard node wait bm-001", "steelyard node wait bm-001 --phase manageable --wait-timeout 600"),
)
def wait_nodes(
    nodes: Annotated[list[str], typer.Argument(metavar="NODE...", help="Ids, names or serial numbers.")],
    phase: Annotated[str, typer.Option("--phase", help="Phase to wait for, as node list shows it.")] = "available",
    wait_timeout: WaitTimeout = None,
    format: Format = "table",
) -> None:
    """Wait until nodes are in a phase, whoever brings them there (administrators).

    Exit code 0 when all are, 1 when one is quarantined, 6 when the time is over.
    """
    if phase not in NODE_PHASES:
        raise UsageError(f"There is no phase {phase!r}.", next="one of: " + ", ".join(NODE_PHASES))
    client = connect()
    judge = partial(judge_node, phase)
    things = [Thing(f"node {name}", client.path("/v1/nodes", name), "node", judge) for name in nodes]
    found = wait_until(client, things, timeout=wait_timeout)
    show([row for row in found if row is not None], NODE_COLUMNS, format)


def judge_node(wanted: str, row: dict[str, Any] | None) -> Look:
    """One look at a node, as `node wait` takes it."""
    if row is None:
        return Look(Verdict.REACHED if wanted == "deleted" else Verdict.NOT_YET, "deleted")
    says = str(row["phase"])
    if says == wanted:
        return Look(Verdict.REACHED, says)
    if says == "quarantined":
        why = f": {row['last_error']}" if row["last_error"] else ""
        again = f"steelyard node release {row['id']} --wait"
        return Look(Verdict.FAILED, f"quarantined ({row['provision_state']}){why}", again)
    return Look(Verdict.NOT_YET, says, f"steelyard node show {row['id']}")
