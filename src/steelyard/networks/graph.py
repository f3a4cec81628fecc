"""The topology as a file that other programs draw: Graphviz's DOT, or JSON with nodes and edges. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Row = Mapping[str, Any]
SHAPES: Final = {"switch": "box3d", "node": "box", "network": "ellipse"}


def graph(rows: Iterable[Row]) -> dict[str, list[dict[str, Any]]]:
    """Switches, nodes and networks, and what is between them.

    A cable is an edge between a switch and a node; what the network controller has on it is an edge between the node
    and the network, or where no node is known, between the switch and the network.
    """
    nodes: dict[str, dict[str, Any]] = {}
    edges: list[dict[str, Any]] = []

    def put(kind: str, id: str, label: str) -> str:
        key = f"{kind}:{id}"
        nodes.setdefault(key, {"id": key, "kind": kind, "label": label})
        return key

    for row in rows:
        switch = row["switch_id"] and put("switch", row["switch_id"], row["switch"] or row["switch_id"])
        node = row["node_id"] and put("node", row["node_id"], row["node"] or row["node_id"])
        if switch and node:
            edges.append({
                "source": switch, "target": node, "kind": "cable", "port": row["port"], "mac": row["mac"],
                "bond": row["bond"],
            })  # fmt: skip
        for each in row["networks"]:
            network = put("network", each["network_id"], each["network"])
            edges.append({
                "source": node or switch, "target": network, "kind": "attachment", "port": row["port"],
                "mac": row["mac"], "vlan": each["vlan"], "tagged": each["tagged"], "status": each["status"],
            })  # fmt: skip
    return {"nodes": list(nodes.values()), "edges": edges}


def as_json(rows: Iterable[Row]) -> str:
    """A node-link document: `nodes` with id, kind and label, `edges` with source and target."""
    return json.dumps(graph(rows), indent=2) + "\n"


def as_dot(rows: Iterable[Row]) -> str:
    """Graphviz's language: `dot -Tsvg FILE > topology.svg`."""
    found = graph(rows)
    lines = ["graph topology {", "  rankdir=LR;"]
    for node in found["nodes"]:
        lines.append(f"  {_quoted(node['id'])} [label={_quoted(node['label'])}, shape={SHAPES[node['kind']]}];")
    for edge in found["edges"]:
        ends = f"{_quoted(edge['source'])} -- {_quoted(edge['target'])}"
        if edge["kind"] == "cable":
            bond = f" ({edge['bond']})" if edge["bond"] else ""
            lines.append(f"  {ends} [label={_quoted(str(edge['port']) + bond)}];")
        else:
            vlan = f"{'tagged' if edge['tagged'] else 'VLAN'} {edge['vlan']}" if edge["vlan"] is not None else ""
            lines.append(f"  {ends} [style=dashed, label={_quoted(vlan)}];")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    """A double-quoted string of DOT: no backslash of a name is an escape in it, and no line ends in it."""
    clean = "".join(sign if sign.isprintable() else " " for sign in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


FORMATS: Final[Mapping[str, Callable[[Iterable[Row]], str]]] = {".dot": as_dot, ".gv": as_dot, ".json": as_json}
"""By the ending of the file's name."""
