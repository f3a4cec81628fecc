"""The switches' management API, on the same endpoint as their control:

* `GET /switches`, `GET /switches/{name}`             identity, as their LLDP frames carry it
* `GET /switches/{name}/ports`                        every port at once: the read-back
* `GET|PATCH /switches/{name}/ports/{port}`           `{untagged_vlan?, add_tagged?, remove_tagged?, clear_tagged?,
                                                      enabled?, lag?, filters?, add_filters?, remove_filters?}`;
                                                      with `only_if_untagged` the change is made only if that VLAN is
                                                      on, with `unless_untagged` if none of those VLANs is
* `PUT|DELETE /switches/{name}/vlans/{id}`            VLANs
* `GET /switches/{name}/filters`                      filters (access lists) with their rules
* `PUT|DELETE /switches/{name}/filters/{filter}`      `{rules}`; a port is given filters by their names
* `GET /log?after=N`                                  the append-only log of changes
* `GET /state`, `GET /feed`                           for tests and for the agents, who must know when they are cut off
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from steelyard.embedded.rack import control
from steelyard.embedded.rack.faults import SWITCH_KINDS, Fault, Faults
from steelyard.embedded.rack.feed import Feed
from steelyard.embedded.rack.process import RackHome
from steelyard.embedded.rack.records import Records
from steelyard.embedded.rack.switch.fabric import Fabric, Port, check_vlan
from steelyard.errors import Invalid

LOG = logging.getLogger("steelyard.rack.switch")

OPERATIONS = frozenset({"read", "plug", "unplug", "vlan", "filter"})
_FILTER_FIELDS = frozenset({"filters", "add_filters", "remove_filters"})
_CHANGE_FIELDS = _FILTER_FIELDS | {
    "untagged_vlan", "add_tagged", "remove_tagged", "clear_tagged", "enabled", "only_if_untagged", "unless_untagged",
    "lag",
}  # fmt: skip
_MAX_LAG_NAME = 64
_MAX_FILTERS, _MAX_RULES = 16, 1024
"""Filters of a port, rules of a filter."""
_NAME = r"[A-Za-z0-9._-]{1,64}"
_LIES_BY = 1
"""How far a `wrong_answer` is from the VLAN that is really there, and a `wrong_vlan` from the one asked for."""


class SwitchApi:
    """The HTTP face of a Fabric."""

    def __init__(self, fabric: Fabric, faults: Faults, feed: Feed):
        self._fabric = fabric
        self._faults = faults
        self._feed = feed
        self._later: set[asyncio.Task[None]] = set()

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/state", self._state)
        app.router.add_get("/feed", self._feed.handle)
        app.router.add_get("/log", self._log)
        app.router.add_get("/switches", self._list)
        app.router.add_get("/switches/{switch}", self._show)
        app.router.add_get("/switches/{switch}/ports", self._ports)
        app.router.add_get("/switches/{switch}/ports/{port:.+}", self._port)
        app.router.add_patch("/switches/{switch}/ports/{port:.+}", self._change)
        app.router.add_put(r"/switches/{switch}/vlans/{vlan:\d+}", self._add_vlan)
        app.router.add_delete(r"/switches/{switch}/vlans/{vlan:\d+}", self._remove_vlan)
        app.router.add_get("/switches/{switch}/filters", self._filters)
        app.router.add_put(rf"/switches/{{switch}}/filters/{{filter:{_NAME}}}", self._put_filter)
        app.router.add_delete(rf"/switches/{{switch}}/filters/{{filter:{_NAME}}}", self._remove_filter)

    # What a switch shows

    async def _state(self, _: web.Request) -> web.Response:
        # Bypasses faults on purpose: this is the truth, for tests; the switch's own answers are under /switches.
        ports = {port.key: port.as_json() for port in self._fabric.all_ports()}
        return web.json_response({"ports": ports})

    async def _log(self, request: web.Request) -> web.Response:
        try:
            after, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "10000"))
        except ValueError:
            raise Invalid("`after` and `limit` must be numbers", code="log") from None
        return web.json_response({"log": self._fabric.log(after=after, limit=max(1, min(limit, 10_000)))})

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"switches": [self._identity(switch.name) for switch in self._fabric.switches()]})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._identity(request.match_info["switch"]))

    async def _ports(self, request: web.Request) -> web.StreamResponse:
        switch = request.match_info["switch"]
        ports = self._fabric.ports(switch)
        fault = self._faults.take("read", switch, *(port.key for port in ports))
        chassis_id = self._fabric.switch(switch).chassis_mac
        shown = [_shown(port, fault) for port in ports]
        return await self._read(request, fault, {"chassis_id": chassis_id, "ports": shown})

    async def _port(self, request: web.Request) -> web.StreamResponse:
        port = self._fabric.port(request.match_info["switch"], request.match_info["port"])
        fault = self._faults.take("read", port.key, port.switch)
        return await self._read(request, fault, _shown(port, fault))

    async def _read(self, request: web.Request, fault: Fault | None, answer: Mapping[str, Any]) -> web.StreamResponse:
        if fault is not None and (broken := await _broken(request, fault)) is not None:
            return broken
        return web.json_response(answer)

    # What changes a switch

    async def _change(self, request: web.Request) -> web.StreamResponse:
        port = self._fabric.port(request.match_info["switch"], request.match_info["port"])
        body = await control.json_object(request)
        wanted = _changed(port, body)
        operation = _operation(body)
        by = request.headers.get("User-Agent", "?")[:100]

        def apply(name: str = port.name, shift: int = 0) -> None:
            # Read again: a late change must not undo what happened in between on the port's other properties.
            now = self._fabric.port(port.switch, name)
            changed = _changed(now, body)
            if shift and body.get("untagged_vlan") is not None and changed.untagged_vlan is not None:
                changed = replace(changed, untagged_vlan=changed.untagged_vlan + shift)
            if self._fabric.change(changed, by=by) != now:
                self._feed.changed(now.key)

        fault = self._faults.take(operation, port.key, port.switch)
        if fault is not None:
            if fault.kind == "not_applied":
                return web.json_response(wanted.as_json())
            if fault.kind == "late":
                self._after(fault.delay, apply)
                return web.json_response(wanted.as_json())
            if fault.kind in ("wrong_port", "wrong_vlan"):
                last = self._fabric.last_cabled(port.switch)
                if fault.kind == "wrong_vlan":
                    apply(shift=_LIES_BY)
                elif last != port.name:
                    apply(last)
                return web.json_response(wanted.as_json())
            if fault.kind == "wrong_answer":
                apply()
                return web.json_response(_shown(wanted, fault))
            if (broken := await _broken(request, fault)) is not None:
                return broken
        apply()
        return web.json_response(self._fabric.port(port.switch, port.name).as_json())

    async def _add_vlan(self, request: web.Request) -> web.StreamResponse:
        switch, vlan = request.match_info["switch"], _vlan_of(request)
        self._fabric.switch(switch)
        name = (await control.json_object(request)).get("name", "")
        if not isinstance(name, str):
            raise Invalid("A VLAN's name is text", code="vlan_name")
        check_vlan(vlan)
        if (answered := await self._absent_fault("vlan", request, {"vlan": vlan})) is None:
            self._fabric.add_vlan(switch, vlan, name[:64])
        return answered or web.json_response({"vlan": vlan, "name": name[:64]})

    async def _remove_vlan(self, request: web.Request) -> web.StreamResponse:
        switch, vlan = request.match_info["switch"], _vlan_of(request)
        self._fabric.switch(switch)
        if (answered := await self._absent_fault("vlan", request, {"vlan": vlan})) is None:
            self._fabric.remove_vlan(switch, vlan)
        return answered or web.json_response({"vlan": vlan})

    async def _filters(self, request: web.Request) -> web.Response:
        return web.json_response({"filters": dict(self._fabric.filters(request.match_info["switch"]))})

    async def _put_filter(self, request: web.Request) -> web.StreamResponse:
        switch, name = request.match_info["switch"], request.match_info["filter"]
        self._fabric.switch(switch)
        body = await control.json_object(request)
        rules = body.get("rules")
        known = isinstance(rules, list) and len(rules) <= _MAX_RULES and all(isinstance(rule, dict) for rule in rules)
        if body.keys() != {"rules"} or not known:
            raise Invalid(f"`rules` is a list of at most {_MAX_RULES} rules", code="filter_rules")
        if (answered := await self._absent_fault("filter", request, {"filter": name})) is None:
            self._fabric.put_filter(switch, name, body["rules"])
        return answered or web.json_response({"filter": name, "rules": body["rules"]})

    async def _remove_filter(self, request: web.Request) -> web.StreamResponse:
        switch, name = request.match_info["switch"], request.match_info["filter"]
        self._fabric.switch(switch)
        if (answered := await self._absent_fault("filter", request, {"filter": name})) is None:
            self._fabric.remove_filter(switch, name)
        return answered or web.json_response({"filter": name})

    async def _absent_fault(
        self, operation: str, request: web.Request, answer: Mapping[str, Any]
    ) -> web.StreamResponse | None:
        """What a switch with a fault answers, having done nothing; None when it is to do it."""
        fault = self._faults.take(operation, request.match_info["switch"])
        if fault is None:
            return None
        if fault.kind in ("not_applied", "late", "wrong_answer", "wrong_port", "wrong_vlan"):
            return web.json_response(answer)
        return await _broken(request, fault)

    def _after(self, seconds: float, apply: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            apply()

        task = asyncio.create_task(later())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _identity(self, name: str) -> dict[str, Any]:
        switch = self._fabric.switch(name)
        return {
            "name": switch.name,
            "chassis_id": switch.chassis_mac,
            "system_description": "Steelyard simulated switch",
            "ports": len(switch.ports),
            "vlans": {str(vlan): label for vlan, label in sorted(self._fabric.vlans(name).items())},
        }


async def serve(home: RackHome, stop: asyncio.Event) -> None:
    """The process: state from its records, the API, until told to stop."""
    records = Records(home.state / "switch.sqlite")
    fabric = Fabric(home.rack, records, home.discovery_vlan)

    def read(keys: list[str] | None) -> Mapping[str, Any]:
        return {port.key: port.as_json() for port in fabric.all_ports() if keys is None or port.key in keys}

    feed, faults = Feed(read), Faults(OPERATIONS, SWITCH_KINDS)
    app = control.application(home.token, faults, health=lambda: {"switches": len(home.rack.switches)})
    SwitchApi(fabric, faults, feed).add_routes(app)
    async with control.serving(app, home.port("rack_switch")):
        LOG.info("%d switches ready", len(home.rack.switches))
        await stop.wait()
        feed.close()
    records.close()


def _operation(body: Mapping[str, Any]) -> str:
    """What a PATCH is to a fault."""
    if body.keys() & _FILTER_FIELDS and body.keys() <= _FILTER_FIELDS | {"unless_untagged"}:
        return "filter"
    return "unplug" if body.get("untagged_vlan", 0) is None or body.get("remove_tagged") else "plug"


def _changed(port: Port, body: Mapping[str, Any]) -> Port:
    """The port as it would be after a PATCH. Raises Invalid."""
    if unknown := sorted(set(body) - _CHANGE_FIELDS):
        raise Invalid(f"Unknown fields: {', '.join(unknown)}", code="port_fields")
    if "only_if_untagged" in body and port.untagged_vlan != body["only_if_untagged"]:
        return port
    if port.untagged_vlan in _vlans(body, "unless_untagged"):
        return port
    clear, lag = body.get("clear_tagged", False), body.get("lag", port.lag)
    if not isinstance(clear, bool) or not (lag is None or (isinstance(lag, str) and 0 < len(lag) <= _MAX_LAG_NAME)):
        raise Invalid("`clear_tagged` is true or false, `lag` a name or null", code="port_fields")
    kept = frozenset[int]() if clear else port.tagged_vlans
    tagged = (kept | _vlans(body, "add_tagged")) - _vlans(body, "remove_tagged")
    untagged = body.get("untagged_vlan", port.untagged_vlan)
    if untagged is not None:
        if isinstance(untagged, bool) or not isinstance(untagged, int):
            raise Invalid("`untagged_vlan` is a number or null", code="vlan")
        check_vlan(untagged)
    enabled = body.get("enabled", port.enabled)
    if not isinstance(enabled, bool):
        raise Invalid("`enabled` is true or false", code="port_fields")
    filters = _names(body, "filters") if "filters" in body else port.filters
    filters = (filters | _names(body, "add_filters")) - _names(body, "remove_filters")
    if len(filters) > _MAX_FILTERS:
        raise Invalid(f"A port has at most {_MAX_FILTERS} filters", code="port_fields")
    return replace(
        port, untagged_vlan=untagged, tagged_vlans=frozenset(tagged), enabled=enabled, lag=lag, filters=filters
    )


def _names(body: Mapping[str, Any], field: str) -> frozenset[str]:
    value = body.get(field, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Invalid(f"`{field}` is a list of names of filters", code="port_fields")
    return frozenset(value)


def _vlans(body: Mapping[str, Any], name: str) -> frozenset[int]:
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(vlan, int) and not isinstance(vlan, bool) for vlan in value):
        raise Invalid(f"`{name}` is a list of VLAN ids", code="vlan")
    for vlan in value:
        check_vlan(vlan)
    return frozenset(value)


def _vlan_of(request: web.Request) -> int:
    return int(request.match_info["vlan"][:6])


def _shown(port: Port, fault: Fault | None) -> dict[str, Any]:
    """A port as the switch says it is, which a `wrong_answer` makes a lie."""
    if fault is None or fault.kind != "wrong_answer" or fault.target not in ("*", port.switch, port.key):
        return port.as_json()
    return replace(port, untagged_vlan=(port.untagged_vlan or _LIES_BY) + _LIES_BY).as_json()


async def _broken(request: web.Request, fault: Fault) -> web.StreamResponse | None:
    """The answer of a switch with a fault of transport, or None when it goes on (having been slow)."""
    if fault.kind in ("hang", "drop"):
        return await control.cut(request, fault)
    if fault.kind == "refuse":
        return control.problem(409, "refused", "The switch refuses: configuration is locked by another session")
    if fault.kind == "garbage":
        return web.Response(body=b"\x00\xff% Invalid input detected\r\n", content_type="application/json")
    if fault.kind == "slow":
        await asyncio.sleep(fault.delay)
    return None
