"""What of the inventory crosses the REST API. Part of its routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from steelyard.inventory.entries import PartKind
from steelyard.inventory.model import Group, Kind
from steelyard.inventory.notes import MAX_TAGS
from steelyard.inventory.query import FILTERS, MAX_QUERY, SORTS
from steelyard.web.schemas import Body, View

Place = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
Tag = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:=/@+-]*$")]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
Value = Annotated[str, StringConstraints(max_length=255)]


class HardwareView(View):
    vendor: str | None
    model: str | None
    cpus: int | None
    memory_mib: int | None
    disk_gib: int | None
    architecture: str | None


class FirmwareView(View):
    bmc: str | None
    bios: str | None


class LocationView(View):
    site: str | None
    room: str | None
    rack: str | None
    unit: int | None


class NicView(View):
    mac: str
    switch: str | None
    port: str | None
    pxe: bool
    physical_network: str | None


class DiskView(View):
    name: str | None
    serial: str | None
    wwn: str | None
    model: str | None
    size_gb: int | None


class NodeView(View):
    kind: Kind = Field(description="A candidate that becomes a node stays one record.")
    id: str
    name: str
    phase: str
    group: Group
    provision_state: str | None = Field(description="Ironic's; null for a candidate.")
    power: str | None
    resource_class: str | None
    traits: list[str]
    health: str | None = Field(description="ok, warning, critical; null where nobody says.")
    fault: str | None = Field(description="Why Ironic itself set the maintenance.")
    maintenance: bool
    maintenance_reason: str | None
    last_error: str | None
    project_id: str | None
    project: str | None
    instance_id: str | None
    instance: str | None
    addresses: list[str]
    flavor: str | None
    image: str | None
    serial: str | None
    hardware: HardwareView
    firmware: FirmwareView
    location: LocationView
    tags: list[str]
    nics: list[NicView]
    disks: list[DiskView]
    bmc_address: str | None
    candidate_id: str | None
    retired: bool
    since: str | None


class EventView(View):
    at: datetime
    kind: str
    actor: str
    reason: str | None
    operation_id: str | None
    detail: str


class NodeDetailView(NodeView):
    inventory: dict[str, Any] | None = Field(description="Disks and NICs, as the newest inspection found them.")
    events: list[EventView]


class NodeAnswer(View):
    node: NodeDetailView


class NodeList(View):
    nodes: list[NodeView]
    next: str | None
    observed_at: datetime = Field(description="When everything was last looked at; single servers may be newer.")
    problem: str | None = Field(description="Why it could not be looked at again just now.")


class CountView(View):
    value: str = Field(description="The empty text: of how many it is not known.")
    count: int


class FacetsAnswer(View):
    total: int = Field(description="How many pass all filters.")
    facets: dict[str, list[CountView]]
    observed_at: datetime
    problem: str | None


class ChangeView(View):
    id: int
    at: datetime
    field: str
    before: str | None
    after: str | None
    operation_id: str | None = Field(description="The operation that worked on the server meanwhile.")
    actor: str | None


class HistoryAnswer(View):
    id: str
    name: str
    kind: Kind
    changes: list[ChangeView]
    next: str | None


class StayView(View):
    kind: PartKind
    serial: str
    wwn: str | None
    model: str | None
    size_gb: int | None
    name: str | None = Field(description="As the server called it.")
    server_kind: Kind
    server_id: str
    server: str
    server_gone: bool
    since: datetime
    until: datetime | None = Field(description="Null while it is there.")


class PartAnswer(View):
    stays: list[StayView]


class DescriptionBody(Body):
    """A field that is left out stays; null or an empty text takes it away."""

    site: Place | None = None
    room: Place | None = None
    rack: Place | None = None
    unit: int | None = Field(default=None, ge=1, le=99, description="Height unit, counted from below.")
    add_tags: Tags = Field(default=[])
    remove_tags: Tags = Field(default=[])

    @model_validator(mode="after")
    def _says_something(self) -> DescriptionBody:
        if not self.model_fields_set:
            raise ValueError("says nothing to change")
        return self


class RecordAnswer(View):
    node: NodeView


class ViewQuery(Body):
    q: str | None = Field(default=None, max_length=MAX_QUERY)
    sort: str | None = Field(default=None, max_length=64, description=f"One of {', '.join(SORTS)}, or - and one.")
    filters: dict[str, Annotated[list[Value], Field(max_length=50)]] = Field(
        default={}, description=f"Values by filter: {', '.join(FILTERS)}.", max_length=len(FILTERS)
    )


class ViewBody(Body):
    name: str
    query: ViewQuery
    shared: bool = Field(default=False, description="Whether every administrator sees it.")
    replace: bool = Field(default=False, description="In the place of one's own view of this name.")


class SavedViewView(View):
    id: str
    name: str
    owner: str
    shared: bool
    query: dict[str, Any]
    changed_at: datetime


class ViewAnswer(View):
    view: SavedViewView


class ViewList(View):
    views: list[SavedViewView]
    next: str | None
