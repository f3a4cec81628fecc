"""The bulk form of onboarding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steelyard.discovery.service import ONBOARD, DiscoveryService
from steelyard.errors import Invalid
from steelyard.operations.bulk import BulkAction, BulkContext
from steelyard.operations.model import Operation

AT_A_TIME = 100
"""Few of them are at work: the kind has a limit of its own, which those that wait for Placement do not count in."""


def actions(service: DiscoveryService) -> tuple[BulkAction, ...]:
    """The bulk actions of this room, by the names of the kinds that they start."""

    def onboard(item: Mapping[str, Any], ctx: BulkContext) -> Operation:
        return service.onboard(
            ctx.actor, [item["candidate"]], resource_class=item.get("resource_class"),
            recabled=item.get("recabled") is True, reason=ctx.reason, key=ctx.key, request_id=ctx.request_id,
        )[0]  # fmt: skip

    return (
        BulkAction(
            ONBOARD, "Make nodes of candidates.", onboard, administrators=True, check=_check, concurrency=AT_A_TIME
        ),
    )


def _check(item: Mapping[str, Any]) -> None:
    for name, needed in (("candidate", True), ("resource_class", False)):
        value = item.get(name)
        if (needed or value is not None) and not (isinstance(value, str) and value):
            raise Invalid(f"An item's `{name}` is no text.", code="invalid_item")
    if not isinstance(item.get("recabled", False), bool):
        raise Invalid("An item's `recabled` is neither true nor false.", code="invalid_item")
