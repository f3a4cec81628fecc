"""The HTTP face: the paths of the config API.

Everything but `GET /` needs a token of Keystone in `X-Auth-Token`; `/control/` needs the control token instead.
"""

from __future__ import annotations

import re
import time
import uuid as uuids
from typing import Any

from aiohttp import web

from steelyard.embedded.contrail import addresses, lists, visibility
from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.frame import MAX_BODY, Frame, body_of, fault_of, who_asks
from steelyard.embedded.contrail.identity import Identities
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.schema import TYPES, Type
from steelyard.embedded.contrail.visibility import LINK, READ, WRITE
from steelyard.embedded.rack.faults import Faults

_HOST = re.compile(r"[\w.:\[\]-]{1,255}")
_MOST_ADDRESSES = 4096


class Api:
    """The routes of one controller."""

    def __init__(self, resources: Resources, identities: Identities, faults: Faults):
        self._resources = resources
        self._frame = Frame(resources, identities, faults)

    def application(self) -> web.Application:
        app = web.Application(
            middlewares=[self._frame.plain_errors, self._frame.authenticated, self._frame.faulty],
            client_max_size=MAX_BODY,
        )
        add = app.router
        add.add_get("/", self._home)
        add.add_get("/aaa-mode", self._aaa_mode)
        add.add_post("/fqname-to-id", self._fqname_to_id)
        add.add_post("/id-to-fqname", self._id_to_fqname)
        add.add_post("/ref-update", self._ref_update)
        add.add_post("/ref-relax-for-delete", self._ref_relax)
        add.add_post("/prop-collection-update", self._collection_update)
        add.add_get("/prop-collection-get", self._collection_get)
        add.add_post("/list-bulk-collection", self._bulk_list)
        add.add_post("/chmod", self._chmod)
        add.add_post("/execute-job", self._execute_job)
        add.add_post("/virtual-network/{uuid}/ip-alloc", self._ip_alloc)
        add.add_post("/virtual-network/{uuid}/ip-free", self._ip_free)
        add.add_post("/virtual-network/{uuid}/subnet-ip-count", self._ip_count)
        for type in TYPES.values():
            self._add_type(app, type)
        return app

    def _add_type(self, app: web.Application, type: Type) -> None:
        one, many = f"/{type.name}/{{uuid}}", f"/{type.name}s"

        async def create(request: web.Request) -> web.StreamResponse:
            body = (await body_of(request)).get(type.name)
            if not isinstance(body, dict):
                raise ApiError(400, f"Bad Request, no {type.name} in POST body")
            thing = self._resources.create(who_asks(request), type, body)
            shown = self._resources.shown(who_asks(request), thing, _base(request), fields=frozenset())
            for name in ("id_perms", "perms2"):
                shown.pop(name, None)
            return web.json_response({type.name: shown})

        async def read(request: web.Request) -> web.StreamResponse:
            thing = self._resources.get(type, request.match_info["uuid"])
            visibility.demand(who_asks(request), thing, READ)
            fields = request.query.get("fields")
            shown = self._resources.shown(
                who_asks(request), thing, _base(request),
                fields=frozenset(fields.split(",")) if fields is not None else None,
                children="exclude_children" not in request.query, back_refs="exclude_back_refs" not in request.query,
                hrefs="exclude_hrefs" not in request.query,
            )  # fmt: skip
            if (fault := fault_of(request)) is not None and fault.kind == "wrong_answer":
                shown = {name: value for name, value in shown.items() if not name.endswith("_refs")}
            return web.json_response({type.name: shown})

        async def update(request: web.Request) -> web.StreamResponse:
            uuid = request.match_info["uuid"]
            body = (await body_of(request)).get(type.name)
            if body:
                if not isinstance(body, dict):
                    raise ApiError(400, f"Bad Request, {type.name} in PUT body is no object")
                self._resources.update(who_asks(request), type, uuid, body)
            return web.json_response({type.name: {"uuid": uuid, "href": f"{_base(request)}/{type.name}/{uuid}"}})

        async def delete(request: web.Request) -> web.StreamResponse:
            self._resources.delete(who_asks(request), type, request.match_info["uuid"])
            return web.Response()

        async def collection(request: web.Request) -> web.StreamResponse:
            query = lists.query_of(self._resources, type, request.query)
            return web.json_response(lists.listed(self._resources, who_asks(request), type, query, _base(request)))

        app.router.add_post(many, create)
        app.router.add_get(many, collection)
        app.router.add_get(one, read)
        app.router.add_put(one, update)
        app.router.add_delete(one, delete)

    # -- names and lists -----------------------------------------------------------------------------------------------

    async def _home(self, request: web.Request) -> web.StreamResponse:
        base = _base(request)
        links = [{"link": {"href": f"{base}/{name}s", "name": name, "rel": "collection"}} for name in TYPES]
        return web.json_response({"href": base, "links": links})

    async def _aaa_mode(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"aaa-mode": "rbac"})

    async def _fqname_to_id(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        thing = self._resources.named(self._resources.type(body.get("type")), body.get("fq_name"))
        visibility.demand(who_asks(request), thing, READ)
        return web.json_response({"uuid": thing.uuid})

    async def _id_to_fqname(self, request: web.Request) -> web.StreamResponse:
        uuid = str((await body_of(request)).get("uuid"))
        thing = self._resources.database.get(uuid)
        if thing is None:
            raise ApiError(404, f"UUID {uuid[:100]} not found")
        visibility.demand(who_asks(request), thing, READ)
        return web.json_response({"fq_name": list(thing.fq_name), "type": thing.type})

    async def _bulk_list(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        type = self._resources.type(body.get("type"))
        query = lists.query_of(self._resources, type, body)
        return web.json_response(lists.listed(self._resources, who_asks(request), type, query, _base(request)))

    # -- single references and keys ------------------------------------------------------------------------------------

    async def _ref_update(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        type, to = self._resources.type(body.get("type")), self._resources.type(body.get("ref-type"))
        uuid, operation = body.get("uuid"), body.get("operation")
        if not isinstance(uuid, str) or not isinstance(operation, str):
            raise ApiError(400, f"Bad Request: type/uuid/ref-type/operation is null: {type.name}, {uuid}, {to.name}.")
        if operation.upper() not in ("ADD", "DELETE"):
            raise ApiError(400, f"Bad Request: operation should be add or delete: {operation[:50]}")
        if not body.get("ref-uuid") and not body.get("ref-fq-name"):
            raise ApiError(400, "Bad Request: ref-uuid or ref-fq-name must be specified")
        if not isinstance(body.get("attr"), dict | None):
            raise ApiError(400, "Bad reference in ref-update: the attr is a structure or null")
        if body.get("ref-uuid"):
            target = self._resources.get(to, str(body["ref-uuid"]))
        else:
            target = self._resources.named(to, body["ref-fq-name"])
        if operation.upper() == "ADD":
            relaxed = bool(body.get("relax_ref_for_delete", False))
            self._resources.add_ref(who_asks(request), type, uuid, target, body.get("attr"), relaxed=relaxed)
        else:
            self._resources.remove_ref(who_asks(request), type, uuid, target)
        return web.json_response({"uuid": uuid})

    async def _ref_relax(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        uuid, target = str(body.get("uuid")), str(body.get("ref-uuid"))
        thing = self._resources.database.get(uuid)
        if thing is None:
            raise ApiError(404, f"uuid {uuid[:100]} not found")
        visibility.demand(who_asks(request), thing, WRITE)
        self._resources.relax(thing, target)
        return web.json_response({"uuid": uuid})

    async def _collection_update(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        uuid, updates = body.get("uuid"), body.get("updates") or []
        if not isinstance(uuid, str):
            raise ApiError(400, "Error: prop_collection_update needs obj_uuid")
        if not isinstance(updates, list) or not all(isinstance(update, dict) for update in updates):
            raise ApiError(400, "Error: updates is a list of operations")
        self._resources.change_keys(who_asks(request), uuid, updates)
        return web.Response()

    async def _collection_get(self, request: web.Request) -> web.StreamResponse:
        for name in ("uuid", "fields"):
            if name not in request.query:
                raise ApiError(400, f"Object {name} needed for property collection get")
        thing = self._resources.database.get(request.query["uuid"])
        if thing is None:
            raise ApiError(404, f"Object Not Found: {request.query['uuid'][:100]}")
        visibility.demand(who_asks(request), thing, READ)
        answer = {}
        for name in request.query["fields"].split(","):
            if name not in TYPES[thing.type].maps:
                raise ApiError(400, f'{name[:100]} neither "ListProperty" nor "MapProperty"')
            pairs = (thing.properties.get(name) or {}).get("key_value_pair") or []
            position = request.query.get("position")
            answer[name] = [[pair, pair["key"]] for pair in pairs if position in (None, pair.get("key"))]
        return web.json_response(answer)

    async def _chmod(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        thing = self._resources.database.get(str(body.get("uuid")))
        if thing is None:
            raise ApiError(400, "Bad Request, invalid object id")
        visibility.demand(who_asks(request), thing, READ | WRITE)
        given = {name: body[name] for name in ("owner", "owner_access", "global_access", "share") if name in body}
        self._resources.change_perms(thing, given)
        return web.json_response({})

    # -- addresses and jobs --------------------------------------------------------------------------------------------

    async def _ip_alloc(self, request: web.Request) -> web.StreamResponse:
        body, network = await body_of(request), self._network(request, LINK)
        count, subnet = body.get("count", 1), body.get("subnet")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= _MOST_ADDRESSES:
            raise ApiError(400, f"count must be 1 to {_MOST_ADDRESSES}")
        if not isinstance(subnet, str | None):
            raise ApiError(400, "subnet is the uuid of a subnet or null")
        family = "v6" if body.get("family") == "v6" else "v4"
        try:
            with self._resources.database.transaction():
                given = [
                    addresses.allocate(self._resources.database, network, "", subnet_uuid=subnet, family=family)[0]
                    for _ in range(count)
                ]
        except ApiError as error:
            raise ApiError(409 if "exhausted" in error.text else 404, error.text) from None
        return web.json_response({"ip_addr": given})

    async def _ip_free(self, request: web.Request) -> web.StreamResponse:
        body, network = await body_of(request), self._network(request, LINK)
        given = body.get("ip_addr") or []
        if not isinstance(given, list) or not all(isinstance(address, str) for address in given):
            raise ApiError(400, "ip_addr is a list of addresses")
        with self._resources.database.transaction():
            for address in given:
                # Whosever it is: an instance-ip that has it keeps it, and the next one gets it too.
                self._resources.database.free_address(network.uuid, address)
        return web.json_response({})

    async def _ip_count(self, request: web.Request) -> web.StreamResponse:
        body, network = await body_of(request), self._network(request, READ)
        subnets = {subnet.uuid: subnet for subnet in addresses.subnets_of(network)}
        counts = [
            addresses.taken_in(self._resources.database, network, subnets[uuid]) if uuid in subnets else 0
            for uuid in (body.get("subnet_list") or [])
            if isinstance(uuid, str)
        ]
        return web.json_response({"ip_count_list": counts})

    def _network(self, request: web.Request, access: int) -> Any:
        network = self._resources.database.get(request.match_info["uuid"])
        if network is None or network.type != "virtual-network":
            raise ApiError(404, f"Virtual Network {request.match_info['uuid'][:100]} not found!")
        visibility.demand(who_asks(request), network, access)
        return network

    async def _execute_job(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        if not body.get("job_template_id") and not body.get("job_template_fq_name"):
            raise ApiError(400, "Either job_template_id or job_template_fq_name required in request")
        if not who_asks(request).is_admin:
            raise ApiError(403, "Permission Denied")
        type = TYPES["job-template"]
        if body.get("job_template_id"):
            self._resources.get(type, str(body["job_template_id"]))
        else:
            self._resources.named(type, body["job_template_fq_name"])
        # The id is all that anybody hears of it here: results go to the message bus and to analytics.
        return web.json_response({"job_execution_id": f"{round(time.time() * 1000)}_{uuids.uuid4()}"})


def _base(request: web.Request) -> str:
    return f"http://{request.host if _HOST.fullmatch(request.host) else 'localhost'}"
