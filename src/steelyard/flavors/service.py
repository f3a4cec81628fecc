"""Use cases of flavors and pools.

Flavors are listed with the caller's token, so that private ones stay private. What stands behind them is counted with
Steelyard's own rights; tenants get the numbers and never a node.
"""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.clouds.ports import Cloud, Clouds
from steelyard.errors import NotFound
from steelyard.flavors.model import (
    FlavorCapacity,
    Pool,
    count,
    nodes_for,
    parse_traits,
    pools,
    require_free_name,
    require_nodes,
    size_of,
    wanted_class,
)
from steelyard.naming import check_name, pick, placement_class
from steelyard.nouns import Actor, Flavor, FlavorSpec, Node


class FlavorService:
    """Flavors and pools as tenants and administrators handle them."""

    def __init__(self, *, clouds: Clouds):
        self._clouds = clouds

    def all(self, actor: Actor, token: str) -> list[FlavorCapacity]:
        """Every flavor that the caller may use, with what stands behind it."""
        return self._counted(self._seen_by(actor, token).flavors.all())

    def get(self, actor: Actor, token: str, reference: str) -> FlavorCapacity:
        """By id or name."""
        return self._counted([self._find(self._seen_by(actor, token), reference)])[0]

    def create(
        self,
        name: str,
        pool: str,
        *,
        traits: Iterable[str] = (),
        vcpus: int | None = None,
        ram_mib: int | None = None,
        disk_gib: int | None = None,
        allow_empty: bool = False,
    ) -> FlavorCapacity:
        """A flavor of a pool. What it says a server has is the least that any node of the pool has, unless given.

        `allow_empty` takes a pool that no node is in yet. Raises `Invalid`, `Duplicate`, `Refused`
        (`no_node_can_serve`).
        """
        check_name("flavor", name)
        wanted = parse_traits(traits)
        own = self._clouds.own
        nodes = own.nodes.all()
        resource_class = wanted_class(pool, nodes)
        if not allow_empty:
            require_nodes(resource_class, wanted, nodes)
        size = size_of(nodes_for(nodes, resource_class, wanted), vcpus=vcpus, ram_mib=ram_mib, disk_gib=disk_gib)
        require_free_name(name, own.flavors.all())
        created = own.flavors.create(
            FlavorSpec(
                name=name,
                resource_class=resource_class,
                traits=wanted,
                vcpus=size.vcpus,
                ram_mib=size.ram_mib,
                disk_gib=size.disk_gib,
            )
        )
        return self._counted([created], nodes)[0]

    def delete(self, reference: str) -> None:
        """Servers that were created from it go on."""
        own = self._clouds.own
        own.flavors.delete(self._find(own, reference).id)

    def pools(self) -> list[Pool]:
        """All pools with their capacity."""
        nodes = self._clouds.own.nodes.all()
        classes = {placement_class(node.resource_class) for node in nodes if node.resource_class}
        return pools(nodes, {resource_class: self._free(resource_class) for resource_class in sorted(classes)})

    def _counted(self, flavors: Iterable[Flavor], nodes: list[Node] | None = None) -> list[FlavorCapacity]:
        """One bulk list of nodes, and one question to Placement for each different demand."""
        free: dict[tuple[str, frozenset[str]], frozenset[str]] = {}
        found = []
        for flavor in flavors:
            if flavor.resource_class is None:
                found.append(FlavorCapacity(flavor, None))
                continue
            nodes = self._clouds.own.nodes.all() if nodes is None else nodes
            demand = (flavor.resource_class, flavor.traits)
            if demand not in free:
                free[demand] = self._free(*demand)
            found.append(FlavorCapacity(flavor, count(nodes_for(nodes, *demand), free[demand])))
        return found

    def _free(self, resource_class: str, traits: frozenset[str] = frozenset()) -> frozenset[str]:
        try:
            return self._clouds.own.placement.free(resource_class, traits)
        except NotFound:  # a class or trait that Placement has not heard of yet: nobody can be given one
            return frozenset()

    def _find(self, cloud: Cloud, reference: str) -> Flavor:
        return pick(
            "flavor",
            reference,
            cloud.flavors.all(),
            id=lambda flavor: flavor.id,
            name=lambda flavor: flavor.name,
            next="steelyard flavor list",
        )

    def _seen_by(self, actor: Actor, token: str) -> Cloud:
        return self._clouds.own if actor.is_admin else self._clouds.on_behalf_of(token)
