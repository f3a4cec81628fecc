"""Pools of nodes, what a flavor of a pool promises, and how many of it there are. Pure.

A pool is the nodes of one resource class; traits narrow it. Ironic, Nova and Placement each have a part of the truth:
Ironic knows the nodes and their states, Placement what the scheduler could give out now. A node counts as free only
when both say so, since a server can be created only then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.errors import Duplicate, Invalid, Refused
from steelyard.naming import placement_class, shown
from steelyard.nouns import Flavor, Node

_TRAIT = re.compile(r"[A-Z][A-Z0-9_]{0,254}")


def parse_traits(traits: Iterable[str]) -> frozenset[str]:
    """Raises `Invalid` (`invalid_trait`) for what Placement would not take as a trait's name."""
    wanted = frozenset(traits)
    for trait in sorted(wanted):
        if not _TRAIT.fullmatch(trait):
            raise Invalid(
                f"{shown(trait)} cannot be a trait: those are capitals, digits and underscores, like CUSTOM_GPU.",
                code="invalid_trait",
            )
    return wanted


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many nodes there are for something. `deployed + free + other == total`."""

    total: int
    free: int
    """Could be given out now."""
    deployed: int
    """Hold an instance."""
    other: int
    """Being cleaned, in maintenance, failed, retired, ..."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The nodes of one resource class."""

    name: str
    """The resource class as Ironic has it (`bm.large`)."""
    resource_class: str
    """The same as Placement has it (`CUSTOM_BM_LARGE`)."""
    traits: Mapping[str, int]
    """Every trait of a node of the pool, with the number of nodes that have it."""
    capacity: Capacity


@dataclass(frozen=True, slots=True)
class FlavorCapacity:
    """A flavor and what stands behind it. None for a flavor of virtual machines."""

    flavor: Flavor
    capacity: Capacity | None


def count(nodes: Iterable[Node], free: frozenset[str]) -> Capacity:
    """Count nodes; `free` are the ids that Placement would give out."""
    counts = {"free": 0, "deployed": 0, "other": 0}
    for node in nodes:
        if node.instance_id is not None:
            counts["deployed"] += 1
        elif node.id in free and is_offered(node):
            counts["free"] += 1
        else:
            counts["other"] += 1
    return Capacity(total=sum(counts.values()), **counts)


def is_offered(node: Node) -> bool:
    """Whether Ironic would let Nova take this node now."""
    return node.provision_state == "available" and not (node.maintenance or node.retired or node.instance_id)


def nodes_for(nodes: Iterable[Node], resource_class: str, traits: frozenset[str] = frozenset()) -> list[Node]:
    """The nodes of a class (as Placement names it) that have all the traits."""
    return [
        node
        for node in nodes
        if node.resource_class and placement_class(node.resource_class) == resource_class and traits <= node.traits
    ]


def pools(nodes: Iterable[Node], free: Mapping[str, frozenset[str]]) -> list[Pool]:
    """All pools, by name. `free` gives Placement's answer for each class, as Placement names it."""
    members: dict[str, list[Node]] = {}
    for node in nodes:
        if node.resource_class:
            members.setdefault(placement_class(node.resource_class), []).append(node)
    found = []
    for resource_class, group in members.items():
        traits: dict[str, int] = {}
        for node in group:
            for trait in node.traits:
                traits[trait] = traits.get(trait, 0) + 1
        found.append(
            Pool(
                name=min(node.resource_class or "" for node in group),
                resource_class=resource_class,
                traits=dict(sorted(traits.items())),
                capacity=count(group, free.get(resource_class, frozenset())),
            )
        )
    return sorted(found, key=lambda pool: pool.name)


def wanted_class(pool: str, nodes: Iterable[Node]) -> str:
    """The class (as Placement names it) that a user means by a pool's name, in Ironic's or in Placement's spelling.

    Raises `Invalid` (`invalid_pool`).
    """
    if not re.search("[0-9A-Za-z]", pool) or len(placement_class(pool)) > 255:
        raise Invalid(f"{shown(pool)} cannot be a pool.", code="invalid_pool", next="steelyard pool list")
    known = {placement_class(node.resource_class) for node in nodes if node.resource_class}
    normalised = placement_class(pool)
    if normalised in known:
        return normalised
    return pool.upper() if pool.upper().startswith("CUSTOM_") else normalised


def require_nodes(resource_class: str, traits: frozenset[str], nodes: Iterable[Node]) -> None:
    """Raises `Refused` (`no_node_can_serve`), naming what there is, when no node has the class and the traits."""
    known = list(nodes)
    of_class = nodes_for(known, resource_class)
    if not of_class:
        names = sorted({node.resource_class for node in known if node.resource_class})
        there_is = f"The pools are: {', '.join(names)}." if names else "There are no nodes with a class yet."
        raise Refused(
            f"No node has the class {resource_class}, so nobody could ever get this flavor. {there_is}",
            code="no_node_can_serve",
            next="steelyard pool list" if names else "steelyard node list",
        )
    if not nodes_for(known, resource_class, traits):
        missing = sorted(traits - frozenset().union(*(node.traits for node in of_class)))
        why = f"none has {', '.join(missing)}" if missing else "no single one has all the traits"
        raise Refused(
            f"Of the {len(of_class)} nodes of class {resource_class}, {why}, so nobody could ever get this flavor.",
            code="no_node_can_serve",
            next="steelyard pool list",
        )


@dataclass(frozen=True, slots=True)
class Size:
    """What a flavor says a server has."""

    vcpus: int
    ram_mib: int
    disk_gib: int


_SMALLEST = Size(vcpus=1, ram_mib=1024, disk_gib=10)
"""For a pool that is empty or was never inspected."""


def size_of(
    nodes: Iterable[Node], *, vcpus: int | None = None, ram_mib: int | None = None, disk_gib: int | None = None
) -> Size:
    """The size that a flavor of these nodes may promise: of each the least that any node has, or what was asked.

    Raises `Invalid` (`flavor_too_large`) when more is asked than a node has: Nova would promise it all the same.
    """
    known = list(nodes)

    def pick(what: str, key: str, unit: str, asked: int | None, fallback: int) -> int:
        values = [value for node in known if (value := _number(node.properties.get(key))) is not None]
        least = min(values, default=None)
        if asked is None:
            return least if least is not None else fallback
        if least is not None and asked > least:
            raise Invalid(
                f"The smallest node of this pool has {least} {unit} of {what}; the flavor would promise {asked}.",
                code="flavor_too_large",
                next="leave the size out, or narrow the pool with --trait",
            )
        return asked

    return Size(
        vcpus=pick("processors", "cpus", "threads", vcpus, _SMALLEST.vcpus),
        ram_mib=pick("memory", "memory_mb", "MiB", ram_mib, _SMALLEST.ram_mib),
        disk_gib=pick("disk", "local_gb", "GiB", disk_gib, _SMALLEST.disk_gib),
    )


def _number(value: Any) -> int | None:
    """Ironic's properties are free text: numbers, numbers as text, or nonsense."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number > 0 else None


def require_free_name(name: str, flavors: Iterable[Flavor]) -> None:
    """Raises `Duplicate` (`duplicate_name`)."""
    for flavor in flavors:
        if flavor.name == name:
            raise Duplicate(
                f"There is already a flavor {shown(name)} ({flavor.id}).",
                code="duplicate_name",
                next=f"steelyard flavor show {flavor.id}",
            )
