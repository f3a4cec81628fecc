"""Bulk forms of what can be done with servers and nodes: how one item of each is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from steelyard.errors import Invalid
from steelyard.lifecycle.model import Power
from steelyard.lifecycle.nodes import (
    CLEAN,
    DELETE_NODE,
    INSPECT,
    MAINTENANCE,
    RELEASE,
    REMOVE,
    RETIRE,
    UNRETIRE,
    NodeLifecycle,
)
from steelyard.lifecycle.powering import POWER
from steelyard.lifecycle.renewal import REBUILD, RESCUE, UNRESCUE
from steelyard.lifecycle.service import CREATE, DELETE, LifecycleService
from steelyard.operations.bulk import BulkAction, BulkContext, Starter
from steelyard.operations.model import Operation

Item = Mapping[str, Any]


def actions(service: LifecycleService) -> tuple[BulkAction, ...]:
    """The bulk actions of this room, by the names of the kinds that they start."""
    return (*_on_servers(service), *_on_nodes(service.nodes))


def _on_servers(service: LifecycleService) -> tuple[BulkAction, ...]:
    """For tenants, with their own token."""

    def create(item: Item, ctx: BulkContext) -> Operation:
        _, operation = service.create(
            ctx.actor, ctx.token(), _text(item, "name"), flavor=_text(item, "flavor"), image=_text(item, "image"),
            networks=_texts(item, "networks"), key_name=item.get("key_name"), user_data=item.get("user_data"),
            metadata=item.get("metadata"),
            security_groups=_texts(item, "security_groups") if item.get("security_groups") else (),
            key=ctx.key, request_id=ctx.request_id,
        )  # fmt: skip
        return operation

    def power(item: Item, ctx: BulkContext) -> Operation:
        action = _power(item)
        return service.power(
            ctx.actor, ctx.token(), _text(item, "server"), action, key=ctx.key, request_id=ctx.request_id
        )[1]

    def rebuild(item: Item, ctx: BulkContext) -> Operation:
        return service.renewal.rebuild(
            ctx.actor, ctx.token(), _text(item, "server"), image=item.get("image"), reason=ctx.reason, key=ctx.key,
            request_id=ctx.request_id,
        )[1]  # fmt: skip

    def rescue(item: Item, ctx: BulkContext) -> Operation:
        return service.renewal.rescue(
            ctx.actor, ctx.token(), _text(item, "server"), reason=ctx.reason, key=ctx.key, request_id=ctx.request_id
        )[1]

    def unrescue(item: Item, ctx: BulkContext) -> Operation:
        return service.renewal.unrescue(
            ctx.actor, ctx.token(), _text(item, "server"), reason=ctx.reason, key=ctx.key, request_id=ctx.request_id
        )[1]

    def delete(item: Item, ctx: BulkContext) -> Operation:
        return service.delete(
            ctx.actor, ctx.token(), _text(item, "server"), reason=ctx.reason, key=ctx.key, request_id=ctx.request_id
        )[1]

    def server(about: str, name: str, start: Starter, **more: Any) -> BulkAction:
        check = more.pop("check", lambda item: _text(item, "server"))
        return BulkAction(name, about, start, needs_token=True, check=check)

    return (
        server("Deploy servers.", CREATE, create, check=_check_order),
        server("Change servers' power.", POWER, power, check=lambda item: (_text(item, "server"), _power(item))),
        server("Write images anew.", REBUILD, rebuild),
        server("Boot rescue systems, with a password that Nova makes up.", RESCUE, rescue),
        server("Leave rescue systems.", UNRESCUE, unrescue),
        server("Release servers. Their disks are erased.", DELETE, delete),
    )


def _on_nodes(nodes: NodeLifecycle) -> tuple[BulkAction, ...]:
    """For administrators."""

    def starter(act: Callable[..., Operation]) -> Starter:
        def start(item: Item, ctx: BulkContext) -> Operation:
            return act(
                ctx.actor, _text(item, "node"), reason=ctx.reason, key=ctx.key, request_id=ctx.request_id
            )  # fmt: skip

        return start

    def maintenance(item: Item, ctx: BulkContext) -> Operation:
        on, until = _maintenance(item)
        return nodes.maintenance(
            ctx.actor, _text(item, "node"), on=on, reason=ctx.reason, until=until, key=ctx.key,
            request_id=ctx.request_id,
        )  # fmt: skip

    def node(about: str, name: str, start: Starter, **more: Any) -> BulkAction:
        check = more.pop("check", lambda item: _text(item, "node"))
        return BulkAction(name, about, start, administrators=True, check=check)

    def on_off(item: Item) -> object:
        return _text(item, "node"), _maintenance(item)

    return (
        node("Let nodes out of quarantine, clean.", RELEASE, starter(nodes.release)),
        node("Erase the disks of nodes that nobody has.", CLEAN, starter(nodes.clean)),
        node("Look at nodes from within again.", INSPECT, starter(nodes.inspect)),
        node("Begin or end maintenance.", MAINTENANCE, maintenance, check=on_off),
        node("Take nodes out of service.", RETIRE, starter(nodes.retire)),
        node("Take nodes back into service.", UNRETIRE, starter(nodes.unretire)),
        node("Delete nodes.", DELETE_NODE, starter(nodes.delete)),
        node("Remove nodes by force.", REMOVE, starter(nodes.remove)),
    )


def _text(item: Item, name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid(f"An item has no `{name}`.", code="invalid_item")
    return value


def _texts(item: Item, name: str) -> list[str]:
    value = item.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise Invalid(f"An item has no list `{name}`.", code="invalid_item")
    return value


def _check_order(item: Item) -> None:
    for name in ("name", "flavor", "image"):
        _text(item, name)
    _texts(item, "networks")
    metadata = item.get("metadata")
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    ):
        raise Invalid("An item's `metadata` is no object of texts.", code="invalid_item")
    for name in ("key_name", "user_data"):
        if item.get(name) is not None:
            _text(item, name)


def _power(item: Item) -> Power:
    try:
        return Power(str(item.get("action")))
    except ValueError:
        wanted = ", ".join(each.value for each in Power)
        raise Invalid(f"An item's `action` is none of {wanted}.", code="invalid_item") from None


def _maintenance(item: Item) -> tuple[bool, datetime | None]:
    on, until = item.get("on"), item.get("until")
    if not isinstance(on, bool):
        raise Invalid("An item's `on` is neither true nor false.", code="invalid_item")
    try:
        return on, datetime.fromisoformat(until) if until is not None else None
    except (TypeError, ValueError):
        raise Invalid("An item's `until` is no time (ISO 8601).", code="invalid_item") from None
