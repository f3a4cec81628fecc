"""How nodes and servers look, in short, and what changed between two looks. Pure.

A sighting is a small JSON object that is kept between two looks and compared with the next one. What changed in between
is told on the timelines of the node and of the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from steelyard.lifecycle.records import notes_cleans, stay_of
from steelyard.nouns import Instance, Node

Sighting = Mapping[str, Any]

CLEANING: Final = frozenset({"cleaning", "clean wait", "clean hold"})
"""Ironic's states while it cleans."""
HOLDING: Final = frozenset({
    "deploying", "wait call-back", "deploy hold", "deploy failed", "active", "rescuing", "rescue wait", "rescue",
    "rescue failed", "unrescuing", "unrescue failed", "servicing", "service wait", "service hold", "service failed",
    "deleting", "error",
})  # fmt: skip
"""Ironic's states in which a tenant's data may be on the disks, also where no instance is named (adopted)."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a timeline. `detail` is for all who may see the subject, `data` for administrators."""

    kind: str
    detail: str
    data: Mapping[str, Any] = field(default_factory=dict)


# Nodes


def node_seen(node: Node, before: Sighting | None, now: datetime) -> dict[str, Any]:
    """The node's sighting; `before` is the last one, from which a clean that goes on is carried over."""
    seen: dict[str, Any] = {
        "name": node.name, "state": node.provision_state, "power": node.power_state, "instance": node.instance_id,
        "maintenance": (node.maintenance_reason or "no reason given") if node.maintenance else None,
        "retired": node.retired, "protected": node.protected, "stay": stay_of(node),
    }  # fmt: skip
    if (clean := _clean_goes_on(node, before, now)) is not None:
        seen["clean"] = clean
    return seen


def _clean_goes_on(node: Node, before: Sighting | None, now: datetime) -> dict[str, Any] | None:
    """What is known of the automated clean that runs now; None when there is none, or the conductor tells by itself.

    A manual clean (target manageable) has whatever steps somebody chose, so it is none.
    """
    automated = node.target_provision_state == "available" and node.automated_clean is not False
    if node.provision_state not in CLEANING or not automated or notes_cleans(node):
        return None
    known = before.get("clean") if before is not None and before["state"] in CLEANING else None
    clean: dict[str, Any] = {"since": now.isoformat(), "waited": False, "steps": [], **(known or {})}
    clean["waited"] = clean["waited"] or node.provision_state == "clean wait"
    if node.step is not None and node.step not in clean["steps"]:
        clean["steps"] = [*clean["steps"], node.step]
    return clean


def clean_ended(node: Node, before: Sighting | None) -> Mapping[str, Any] | None:
    """The clean that was seen to lead to the node's present stay in `available`; None when none was.

    The agent must have been waited for: Ironic passes `cleaning` also when it cleans nothing.
    """
    if node.provision_state != "available" or before is None or before["state"] not in CLEANING:
        return None
    clean = before.get("clean")
    return clean if clean and clean["waited"] and node.automated_clean is not False else None


def tenant_of(seen: Sighting | None) -> str | None:
    """Who has the node: an instance's id, "" for somebody of whom Ironic knows no instance, None for nobody.

    A node that Nova has only claimed is still available, and its disks are as they were.
    """
    return None if seen is None or seen["state"] not in HOLDING else seen["instance"] or ""


def node_changes(before: Sighting, after: Sighting) -> list[Change]:
    """What happened to a node between two looks, in the order in which it is told."""
    changes = []
    if before["state"] != after["state"]:
        data = {"from": before["state"], "to": after["state"]}
        changes.append(Change("node.state", f"{before['state']} → {after['state']}", data))
    if before["power"] != after["power"]:
        was, now = before["power"] or "unknown", after["power"] or "unknown"
        changes.append(Change("node.power", f"power {was} → {now}", {"from": was, "to": now}))
    if before["instance"] != after["instance"]:
        if before["instance"]:
            changes.append(Change("node.freed", f"no more of server {before['instance']}", {"by": before["instance"]}))
        if after["instance"]:
            changes.append(Change("node.taken", f"given to server {after['instance']}", {"by": after["instance"]}))
    if before["maintenance"] != after["maintenance"]:
        why = after["maintenance"]
        changes.append(Change("node.maintenance", f"in maintenance: {why}" if why else "no more in maintenance"))
    for flag in ("retired", "protected"):
        if before[flag] != after[flag]:
            changes.append(Change(f"node.{flag}", f"{flag}" if after[flag] else f"no more {flag}"))
    if before["name"] != after["name"]:
        changes.append(Change("node.renamed", f"{before['name']} is called {after['name']} now"))
    return changes


# Servers


def server_seen(instance: Instance) -> dict[str, Any]:
    """The server's sighting."""
    return {
        "name": instance.name, "status": instance.status, "power": instance.power_state, "image": instance.image_id,
        "node": instance.node_id, "locked": instance.locked, "project": instance.project_id,
    }  # fmt: skip


def server_changes(before: Sighting, after: Sighting) -> list[Change]:
    """What happened to a server between two looks. A tenant reads it, so no node is named outside of `data`."""
    changes = []
    if before["status"] != after["status"]:
        data = {"from": before["status"], "to": after["status"]}
        changes.append(Change("server.status", f"{before['status'].lower()} → {after['status'].lower()}", data))
    elif before["power"] != after["power"]:
        was, now = before["power"] or "unknown", after["power"] or "unknown"
        changes.append(Change("server.power", f"power {was} → {now}", {"from": was, "to": now}))
    if before["image"] != after["image"]:
        changes.append(Change("server.image", "another image was written", {"image": after["image"]}))
    if before["node"] != after["node"] and after["node"]:
        changes.append(Change("server.placed", "a server of iron was found for it", {"node": after["node"]}))
    if before["locked"] != after["locked"]:
        changes.append(Change("server.locked", "locked" if after["locked"] else "no more locked"))
    if before["name"] != after["name"]:
        changes.append(Change("server.renamed", f"{before['name']} is called {after['name']} now"))
    return changes
