"""CLI: steelyard isolation segments."""

from __future__ import annotations

import json
from typing import Any

from steelyard.client.options import Format, command_group, examples
from steelyard.client.output import Column, hint, say, show
from steelyard.client.rest import connect

app = command_group("Isolation: is every NIC on the network it must be on, and on no other?")

COLUMNS: list[Column] = [
    ("Segment", lambda row: row["network"] + ("" if row["in_pool"] else " (no longer in the pool)")),
    ("VLAN", "vlan"),
    ("Node", lambda row: row["node"] or "free"),
    ("Role", "role"),
    ("Since", "since"),
]


@app.command("segments", epilog=examples("steelyard isolation segments", "steelyard isolation segments -f json"))
def list_segments(format: Format = "table") -> None:
    """List the segments of which each node in transition has one to itself, who has which, and who waits for one.

    Administrators only. Empty when STEELYARD_SEGMENTS names none: then nodes in transition share their networks.
    """
    found: dict[str, Any] = connect().get("/v1/isolation/segments")
    if format == "json":
        print(json.dumps(found, indent=2))
        return
    show(found["segments"], COLUMNS)
    for wait in found["waiting"]:
        hint(f"{wait['node']} waits since {wait['since']} for a segment ({wait['role']} network)")
    free = sum(segment["node"] is None for segment in found["segments"])
    say(f"{len(found['segments'])} segments, {free} free, {len(found['waiting'])} nodes wait.")
