"""CLI: steelyard isolation …"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from steelyard.client.options import Format, Reason, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect

app = command_group("Isolation: is every NIC on the network it must be on, and on no other?")


class Policy(StrEnum):
    """What an administrator may choose."""

    QUARANTINE = "quarantine"
    KEEP = "keep"


def _view(name: str) -> Any:
    def cell(row: dict[str, Any]) -> str:
        view = row[name]
        if view is None:
            return "unverified"
        if view["network"] is None and view["vlan"] is None:
            return "none"
        network = view["network"] or "unknown network"
        vlan = f" ({view['vlan']})" if view["vlan"] is not None else ""
        note = f", {view['note']}" if view["note"] else ""
        tagged = f", tagged {', '.join(str(each) for each in view['tagged'])}" if view["tagged"] else ""
        return f"{network}{vlan}{tagged}{note}"

    return cell


COLUMNS: list[Column] = [
    ("NIC", "mac"),
    ("Switch port", lambda row: f"{row['switch']} {row['port']}" if row["port"] else "not known"),
    ("Role", "role"),
    ("Intended", _view("intended")),
    ("Controller", _view("controller")),
    ("Switch", _view("switch_view")),
    ("Agree", lambda row: {"agree": "yes", "differ": "NO"}.get(row["verdict"], row["verdict"])),
]


policy_app = command_group("Policies: where the NICs of a project's servers go while they are off.")
app.add_typer(policy_app, name="policy")

POLICY_COLUMNS: list[Column] = [
    ("Project", "project"),
    ("While off", "power_off"),
    ("Set by", lambda row: "default" if row["is_default"] else row["actor"] or "an administrator"),
    ("Reason", "reason"),
]


switch_app = command_group("The switches: what their ports carry, read back from themselves.")
app.add_typer(switch_app, name="switch")

SWITCH_COLUMNS: list[Column] = [
    ("Switch", "name"),
    ("Chassis id", "chassis_id"),
    ("Type", "type"),
    ("Reachable", lambda row: "yes" if row["reachable"] else "NO"),
    ("Ports", "ports"),
    ("Seconds", "seconds"),
    ("Error", "error"),
]
PORT_COLUMNS: list[Column] = [
    ("Port", "port"),
    ("Enabled", lambda row: "yes" if row["enabled"] else "no"),
    ("Mode", "mode"),
    ("Untagged", lambda row: f"idle ({row['parked_vlan']})" if row["parked_vlan"] else row["untagged_vlan"]),
    ("Tagged", "tagged_vlans"),
    ("LAG", "lag"),
    ("Beyond that", "extra"),
]


@app.callback()
def isolation() -> None:
    """Isolation: is every NIC on the network it must be on, and on no other?"""


@app.command("show", epilog=examples("steelyard isolation show bm-001", "steelyard isolation show bm-001 -f json"))
def show_isolation(node: Annotated[str, typer.Argument(help="Id or name.")], format: Format = "table") -> None:
    """Show each NIC's network (VLAN) as intended, for the controller, and read back from the switch.

    Ends with code 1 when they do not agree or a switch could not be read (administrators).
    """
    client = connect()
    found = client.get(client.path("/v1/nodes", node, "isolation"))["isolation"]
    if format == "json":
        show(found, [], format)
    else:
        show(found["nics"], COLUMNS)
        for nic in found["nics"]:
            if nic["why"]:
                hint(f"{nic['mac']}: {nic['why']}")
        say(f"{found['node']} is {found['phase']}: {_summary(found)}")
    if not found["agrees"]:
        raise typer.Exit(1)


@app.command("switches", epilog=examples("steelyard isolation switches", "steelyard isolation switches -f json"))
def list_switches(format: Format = "table") -> None:
    """Read every switch of the switches file back, at this moment, and say which can be read.

    Ends with code 1 when one could not be: what it carries is then unverified (administrators).
    """
    found = connect().get("/v1/isolation/switches")["switches"]
    show(found, SWITCH_COLUMNS, format)
    if not all(switch["reachable"] for switch in found):
        raise typer.Exit(1)


@switch_app.command("show", epilog=examples("steelyard isolation switch show leaf1"))
def show_switch(switch: Annotated[str, typer.Argument(help="Name or chassis id.")], format: Format = "table") -> None:
    """Read one switch back, at this moment, and show what each of its ports carries (administrators).

    Ends with code 1 when it could not be read.
    """
    client = connect()
    found = client.get(client.path("/v1/isolation/switches", switch))["switch"]
    if format == "json":
        show(found, [], format)
    else:
        show(found, SWITCH_COLUMNS)
        if found["port_list"]:
            show(found["port_list"], PORT_COLUMNS)
    if not found["reachable"]:
        raise typer.Exit(1)


@policy_app.command("list", epilog=examples("steelyard isolation policy list"))
def list_policies(format: Format = "table") -> None:
    """List where the NICs of each project's servers go while they are off. Tenants see their own project's.

    quarantine: to the quarantine network, until the server is powered on again. keep: they stay, for wake-on-LAN.
    """
    show(connect().get("/v1/isolation/policies")["policies"], POLICY_COLUMNS, format)


@policy_app.command(
    "set",
    epilog=examples(
        "steelyard isolation policy set demo keep --reason 'wake-on-LAN'",
        "steelyard isolation policy set demo quarantine",
    ),
)
def set_policy(
    project: Annotated[str, typer.Argument(help="Id or name.")],
    policy: Annotated[Policy, typer.Argument(help="quarantine or keep.")],
    reason: Reason = None,
    format: Format = "table",
) -> None:
    """Set where the NICs of a project's servers go while they are off (administrators).

    Servers that are off now follow within one run of the reconciler isolation.power.
    """
    client = connect()
    body = {"power_off": policy.value, "reason": reason}
    found = client.put(client.path("/v1/isolation/policies", project), body)["policy"]
    show([found] if format == "table" else found, POLICY_COLUMNS, format)


def _summary(found: dict[str, Any]) -> str:
    if not found["nics"]:
        return "it has no NICs that are known."
    if found["agrees"]:
        return "intended, controller and switch agree."
    verdicts = {nic["verdict"] for nic in found["nics"]}
    if "differ" in verdicts:
        return "they do NOT agree."
    return "it is changing; look again." if "changing" in verdicts else "not verified on the switch."
