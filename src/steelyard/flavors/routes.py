"""REST: /v1/flavors and /v1/pools."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from steelyard.flavors.model import FlavorCapacity, Pool
from steelyard.flavors.service import FlavorService
from steelyard.web.context import Admin, Caller
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View


class CapacityView(View):
    """Numbers of nodes; deployed + free + other = total."""

    total: int
    free: int
    deployed: int
    other: int


class FlavorView(View):
    id: str
    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int
    resource_class: str | None = Field(description="Null for a flavor of virtual machines.")
    traits: list[str]
    is_public: bool
    capacity: CapacityView | None


class FlavorAnswer(View):
    flavor: FlavorView


class FlavorList(View):
    flavors: list[FlavorView]
    next: str | None


class NewFlavor(Body):
    name: str
    pool: str = Field(description="A resource class, as Ironic or Placement spells it.")
    traits: list[str] = Field(default_factory=list, max_length=50, description="Only nodes that have all of them.")
    vcpus: int | None = Field(default=None, ge=1, le=1 << 20)
    ram_mib: int | None = Field(default=None, ge=1, le=1 << 30)
    disk_gib: int | None = Field(default=None, ge=0, le=1 << 30)
    allow_empty: bool = Field(default=False, description="Take a pool that no node is in yet.")


class PoolView(View):
    name: str
    resource_class: str
    traits: dict[str, int] = Field(description="Number of nodes that have the trait.")
    capacity: CapacityView


class PoolList(View):
    pools: list[PoolView]
    next: str | None


def view(counted: FlavorCapacity) -> FlavorView:
    flavor = counted.flavor
    return FlavorView(
        id=flavor.id,
        name=flavor.name,
        vcpus=flavor.vcpus,
        ram_mib=flavor.ram_mib,
        disk_gib=flavor.disk_gib,
        resource_class=flavor.resource_class,
        traits=sorted(flavor.traits),
        is_public=flavor.is_public,
        capacity=CapacityView.model_validate(counted.capacity) if counted.capacity else None,
    )


def router(service: FlavorService) -> APIRouter:
    routes = APIRouter(tags=["flavors"])

    @routes.get("/flavors")
    def list_flavors(caller: Caller, page: Page) -> FlavorList:
        """List the flavors that you may use, with how many servers of each there are and how many are free."""
        cut = page_of(
            service.all(caller.actor, caller.token),
            page,
            key=lambda counted: counted.flavor.name,
            id=lambda counted: counted.flavor.id,
        )
        return FlavorList(flavors=[view(counted) for counted in cut.items], next=cut.next)

    @routes.get("/flavors/{flavor:path}")
    def show_flavor(caller: Caller, flavor: str) -> FlavorAnswer:
        """Show a flavor, by id or name."""
        return FlavorAnswer(flavor=view(service.get(caller.actor, caller.token, flavor)))

    @routes.post("/flavors", status_code=201)
    def create_flavor(caller: Admin, body: NewFlavor) -> FlavorAnswer:
        """Create a flavor that is backed by a pool."""
        del caller
        created = service.create(
            body.name,
            body.pool,
            traits=body.traits,
            vcpus=body.vcpus,
            ram_mib=body.ram_mib,
            disk_gib=body.disk_gib,
            allow_empty=body.allow_empty,
        )
        return FlavorAnswer(flavor=view(created))

    @routes.delete("/flavors/{flavor:path}", status_code=204)
    def delete_flavor(caller: Admin, flavor: str) -> Response:
        """Delete a flavor, by id or name. Servers that were created from it go on."""
        del caller
        service.delete(flavor)
        return Response(status_code=204)

    @routes.get("/pools")
    def list_pools(caller: Admin, page: Page) -> PoolList:
        """List the pools: the nodes of each resource class, counted."""
        del caller
        cut = page_of(service.pools(), page, key=_pool_name, id=_pool_name)
        return PoolList(pools=[PoolView.model_validate(pool) for pool in cut.items], next=cut.next)

    return routes


def _pool_name(pool: Pool) -> str:
    return pool.name
