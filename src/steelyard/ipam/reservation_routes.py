"""REST: addresses that are kept by hand: /v1/ipam/subnets/{subnet}/reservations, allocations, releases, imports."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from steelyard.ipam.model import AddressState
from steelyard.ipam.ranges import MOST
from steelyard.ipam.reservations import AT_ONCE, Judged, Kept, ReservationService, Row
from steelyard.web.context import IdempotencyKey, Writer
from steelyard.web.schemas import Body, View

Ranges = list[str]


class ReservationBody(Body):
    addresses: Ranges = Field(
        min_length=1, max_length=MOST, description="Addresses, and ranges like 10.0.0.5-10.0.0.9."
    )
    note: str = Field(description="What for.")
    state: Literal["reserved", "brownfield"] = Field(
        default="reserved", description="brownfield: something that this cloud did not deploy uses it."
    )
    mac: str | None = Field(default=None, max_length=64, description="Of what uses it; with a single address.")


class AllocationBody(Body):
    note: str = Field(description="What for.")
    count: int = Field(default=1, ge=1, le=AT_ONCE)


class ReleaseBody(Body):
    addresses: Ranges = Field(min_length=1, max_length=MOST)


class RowBody(Body):
    address: str = Field(max_length=128, description="An address or a range.")
    note: str
    state: str = "reserved"
    mac: str = ""


class ImportBody(Body):
    rows: list[RowBody] = Field(min_length=1, max_length=MOST)
    dry_run: bool = False


class KeptView(View):
    address: str
    changed: bool = Field(description="False: it was so already.")
    port_id: str | None
    mac: str | None


class KeptAnswer(View):
    addresses: list[KeptView]


class RowError(View):
    code: str
    detail: str


class RowView(View):
    row: int
    address: str
    outcome: Literal["new", "unchanged", "error"]
    addresses: int = Field(description="How many the row names.")
    new: int = Field(description="How many of them were not kept yet.")
    error: RowError | None


class ImportAnswer(View):
    applied: bool = Field(description="All rows are applied, or none: none where one has an error, and in a dry run.")
    errors: int
    rows: list[RowView]


def router(service: ReservationService) -> APIRouter:
    routes = APIRouter(prefix="/ipam", tags=["ipam"])

    @routes.post("/subnets/{subnet:path}/reservations", status_code=201)
    def reserve_addresses(caller: Writer, subnet: str, body: ReservationBody) -> KeptAnswer:
        """Keep addresses by hand, all of them or none; what is kept already as it is wanted stays as it is."""
        kept = service.reserve(
            caller.actor, caller.token, subnet, body.addresses, note=body.note, state=AddressState(body.state),
            mac=body.mac, request_id=caller.request_id,
        )  # fmt: skip
        return _answer(kept)

    @routes.post("/subnets/{subnet:path}/allocations", status_code=201)
    def allocate_addresses(
        caller: Writer, subnet: str, body: AllocationBody, idempotency_key: IdempotencyKey = None
    ) -> KeptAnswer:
        """Take the next free addresses of the pools. The same idempotency key again answers with the same ones."""
        kept = service.allocate(
            caller.actor, caller.token, subnet, note=body.note, count=body.count, key=idempotency_key,
            request_id=caller.request_id,
        )  # fmt: skip
        return _answer(kept)

    @routes.post("/subnets/{subnet:path}/releases")
    def release_addresses(caller: Writer, subnet: str, body: ReleaseBody) -> KeptAnswer:
        """Give addresses up that are kept by hand. What is free already stays so; a server's is refused."""
        kept = service.release(caller.actor, caller.token, subnet, body.addresses, request_id=caller.request_id)
        return _answer(kept)

    @routes.post("/subnets/{subnet:path}/imports")
    def import_reservations(caller: Writer, subnet: str, body: ImportBody) -> ImportAnswer:
        """Reservations of a file, all rows or none. The answer says of each row what became, or would become, of it."""
        rows = [
            Row(number, row.address, row.note, row.state or "reserved", row.mac)
            for number, row in enumerate(body.rows, start=1)
        ]
        found = service.load(
            caller.actor, caller.token, subnet, rows, dry_run=body.dry_run, request_id=caller.request_id
        )
        return ImportAnswer(
            applied=found.applied, errors=found.errors, rows=[_row_view(judged) for judged in found.rows]
        )

    return routes


def _answer(kept: list[Kept]) -> KeptAnswer:
    return KeptAnswer(addresses=[KeptView.model_validate(each) for each in kept])


def _row_view(judged: Judged) -> RowView:
    error = judged.error
    return RowView(
        row=judged.row.number,
        address=judged.row.address,
        outcome="error" if error is not None else "new" if judged.new else "unchanged",
        addresses=len(judged.addresses),
        new=len(judged.new),
        error=RowError(code=error.code, detail=error.detail) if error is not None else None,
    )
