"""Nothing of an administrator's or of another tenant's is shown or usable, over every route that the server describes.

The routes are taken from /openapi.json, so a new one cannot be forgotten: a path parameter that this test does not know
fails it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from itertools import product
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from .cloud_at_hand import EmbeddedCloud, until
from .leaks import Secrets, files_with, processes_with
from .tenants import OTHER, READER, TwoTenants, two_tenants
from .things import Things, unique

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
OPERATOR_NETWORKS = ("provisioning", "cleaning", "inspection", "rescue", "quarantine", "segment-001")
ANONYMOUS = {"/health"}
"""What needs no token, on purpose."""
OWN_TOKEN = {"/metrics"}
"""What takes no token of Keystone's, whoever has it."""
STREAM = "/v1/events/stream"
QUIET = 0.5
"""Seconds after which a stream has nothing more to tell."""
WORDS = {"/v1/isolation/policies": "quarantine", "/v1/operations": "quarantine rescue"}
"""Names of the operator's networks that are a word of the answer's own, too."""
TENANTS_MAY = {
    ("post", "/v1/images"),
    ("delete", "/v1/images/{image}"),
    ("post", "/v1/networks"),
    ("delete", "/v1/networks/{network}"),
    ("post", "/v1/servers"),
    ("delete", "/v1/servers/{server}"),
    ("post", "/v1/servers/{server}/power"),
    ("post", "/v1/servers/{server}/rebuild"),
    ("post", "/v1/servers/{server}/rescue"),
    ("post", "/v1/servers/{server}/unrescue"),
    ("post", "/v1/servers/{server}/nics"),
    ("delete", "/v1/servers/{server}/nics/{nic}"),
    ("post", "/v1/servers/{server}/nics/{nic}/move"),
    ("post", "/v1/servers/{server}/nics/{nic}/sub-interfaces"),
    ("delete", "/v1/servers/{server}/nics/{nic}/sub-interfaces/{network}"),
    ("post", "/v1/ipam/subnets/{subnet}/reservations"),
    ("post", "/v1/ipam/subnets/{subnet}/allocations"),
    ("post", "/v1/ipam/subnets/{subnet}/releases"),
    ("post", "/v1/ipam/subnets/{subnet}/imports"),
    ("post", "/v1/operations/{operation_id}/cancel"),
    ("post", "/v1/operations/{operation_id}/pause"),
    ("post", "/v1/operations/{operation_id}/resume"),
    ("post", "/v1/bulk"),
}
"""Every other route that changes something is for administrators."""
QUERIES = {"/v1/ipam/subnets/{subnet}/history": "?address=10.94.0.1"}
"""What a route demands beside its path."""


@dataclass
class World:
    """What there is to be seen, and to be kept from being seen."""

    cloud: TwoTenants
    routes: list[tuple[str, str]]
    operators: dict[str, list[str]]
    """Path parameter -> references to things of the administrator's."""
    demos: dict[str, list[str]]
    """Path parameter -> references to things of the tenant `demo`."""
    operators_marks: set[str]
    """What no tenant may ever read: ids, names and addresses of nodes, BMCs, switches, operator networks."""
    demos_marks: set[str]
    """What nobody but the tenant `demo` and administrators may read."""
    tokens: dict[str, str] = field(repr=False, default_factory=dict)
    bodies: list[str] = field(repr=False, default_factory=list)
    """Every answer, to be searched for secrets in the end."""

    def ask(self, method: str, path: str, token: str | None, **more: Any) -> httpx.Response:
        with self.cloud.rest(token) as rest:
            answer = (
                _begin(rest, more.get("params")) if path == STREAM and token else rest.request(method, path, **more)
            )
        self.bodies.append(f"{answer.headers}\n{answer.text}")
        return answer

    def paths(self, template: str, references: dict[str, list[str]]) -> list[str]:
        """The path for each reference to a thing, or for all combinations; itself where it names none."""
        parameters = re.findall(r"{(\w+)}", template)
        for parameter in parameters:
            known = parameter in self.demos or parameter in self.operators
            assert known, f"{template}: say in this test what {parameter} may be"
        pattern = template + QUERIES.get(template, "")
        return [
            pattern.format(**dict(zip(parameters, chosen, strict=True)))
            for chosen in product(*(references.get(parameter, []) for parameter in parameters))
        ]


def _begin(rest: httpx.Client, params: Json | None = None) -> httpx.Response:
    """The beginning of the stream of events, from the first event ever until it falls silent."""
    url = rest.base_url.join(f"{STREAM}?{urlencode(params or {})}")
    headers = {**rest.headers, "Last-Event-ID": "0", "Accept-Encoding": "identity"}
    with contextlib.closing(HTTPConnection(url.host, url.port, timeout=60.0)) as connection:
        connection.request("GET", url.raw_path.decode(), headers=headers)
        answer = connection.getresponse()
        body = b""
        connection.sock.settimeout(QUIET)
        with contextlib.suppress(TimeoutError):
            while chunk := answer.read1(1 << 16):
                body += chunk
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() != "transfer-encoding"]
        return httpx.Response(answer.status, headers=kept, content=body, request=httpx.Request("GET", url))


@pytest.fixture(scope="module")
def world(embedded_home: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two tenants; one of them has a server, an image, a network; the administrator has all the rest."""
    plain = EmbeddedCloud(embedded_home)
    directory = tmp_path_factory.mktemp("tenants")
    with two_tenants(plain, directory) as cloud, ExitStack() as stack:
        demo, other = Things(cloud, directory, stack), Things(cloud, directory, stack, who=OTHER)
        image, network, flavor = demo.image(), demo.network("10.94.0.0/24"), demo.flavor()
        other.network("10.94.0.0/24"), other.image()
        server = demo.server(flavor, image, network)
        yield _world(cloud, image, network, flavor, server, view=_view(cloud, stack), webhook=_webhook(cloud, stack))


def _view(cloud: TwoTenants, after: ExitStack) -> Json:
    """A saved view of an administrator's, that all administrators see."""
    body = {"name": unique("view"), "query": {"q": "bm-"}, "shared": True}
    return _made(cloud, after, "/v1/views", body)["view"]


def _webhook(cloud: TwoTenants, after: ExitStack) -> Json:
    """A webhook for what never happens: nothing is ever sent to it."""
    body = {
        "name": unique("webhook"), "url": "https://192.88.99.2/x", "secret": secrets.token_hex(16),
        "filter": {"kind": "never.happens"},
    }  # fmt: skip
    return _made(cloud, after, "/v1/webhooks", body)["webhook"]


def _made(cloud: TwoTenants, after: ExitStack, path: str, body: Json) -> Json:
    with cloud.rest(cloud.token("admin")) as rest:
        answer = rest.post(path, json=body)
    assert answer.status_code == 201, answer.text
    (made,) = answer.json().values()
    after.callback(_removed, cloud, f"{path}/{made['id']}")
    return dict(answer.json())


def _removed(cloud: TwoTenants, path: str) -> None:
    with cloud.rest(cloud.token("admin")) as rest:
        assert rest.delete(path).status_code == 204


def _world(
    cloud: TwoTenants, image: Json, network: Json, flavor: Json, server: Json, *, view: Json, webhook: Json
) -> World:
    with cloud.rest(None) as rest:
        schema = rest.get("/openapi.json").json()
    routes = [(method, path) for path, methods in schema["paths"].items() for method in methods]
    operator_networks = {
        found.name: found for found in cloud.connect("admin").network.networks() if found.name in OPERATOR_NETWORKS
    }
    assert set(operator_networks) == set(OPERATOR_NETWORKS)
    nodes, rack = cloud.nodes(), cloud.rack.servers
    candidates = cloud.get("admin", "/v1/candidates")["candidates"]
    operations = cloud.get("admin", "/v1/operations", limit=1000)["operations"]
    mine = [each["id"] for each in operations if each["subject"] == f"server:{server['id']}"]
    admins = [each["id"] for each in operations if each["kind"] == "nodes.onboard"][:2]
    assert mine
    read = cloud.get("admin", "/v1/isolation/switches")["switches"]
    switches = [switch[key] for switch in read for key in ("chassis_id", "name")]
    operators = {
        "network": [found.id for found in operator_networks.values()] + list(operator_networks),
        "subnet": [subnet for found in operator_networks.values() for subnet in found.subnet_ids],
        "node": [node["id"] for node in nodes.values()] + list(nodes),
        "candidate": [each["id"] for each in candidates] + [rack[name]["bmc_address"] for name in rack],
        "operation_id": admins,
        "flavor": [],
        "serial": [disk["serial"] for each in rack.values() for disk in each["disks"]][:2],
        "view": [view["id"]],
        "webhook": [webhook["id"]],
        "name": [each["name"] for each in cloud.get("admin", "/v1/reconcilers")["reconcilers"]],
        "project": [server["project_id"]],
        "switch": switches,
        "bond": ["11111111-2222-3333-4444-555555555555"],
    }
    (nic,) = cloud.get("demo", f"/v1/servers/{server['id']}/nics")["nics"]
    demos = {
        "image": [image["id"], image["name"]],
        "network": [network["id"], network["name"]],
        "subnet": [network["subnets"][0]["id"]],
        "server": [server["id"], server["name"]],
        "nic": [nic["port_id"], nic["mac"]],
        "operation_id": mine,
    }
    marks = {
        *(found.id for found in operator_networks.values()),
        *operators["subnet"],
        *operators["node"],
        *(each["id"] for each in candidates),
        *(each["bmc_address"] for each in rack.values()),
        *(each["serial"] for each in rack.values()),
        *operators["serial"], *switches, view["id"], view["name"], webhook["id"], webhook["name"],
        *admins,
    }  # fmt: skip
    demos_marks = {
        image["id"], image["name"], network["id"], network["name"], network["subnets"][0]["id"],
        server["id"], server["name"], *server["addresses"], *mine, server["project_id"], nic["port_id"], nic["mac"],
    }  # fmt: skip
    tokens = {who: cloud.token(who) for who in ("admin", "demo", READER, OTHER)}
    return World(cloud, routes, operators, demos, marks, demos_marks, tokens)


def _values(body: Any) -> Iterator[str]:
    if isinstance(body, dict):
        for key, value in body.items():
            yield from _values(key)
            yield from _values(value)
    elif isinstance(body, list):
        for value in body:
            yield from _values(value)
    elif isinstance(body, str):
        yield body


def _leaked(answer: httpx.Response, marks: set[str], *, asked: str = "") -> set[str]:
    """The marks in an answer, those aside that the caller named."""
    if not answer.headers.get("content-type", "").endswith("json"):
        return {mark for mark in marks if mark in answer.text and mark not in asked}
    found = set()
    for value in _values(answer.json()):
        found |= {mark for mark in marks if re.search(rf"(?<![\w.-]){re.escape(mark)}(?![\w-])", value)}
        found |= {name for name in OPERATOR_NETWORKS if value == name}
    return {mark for mark in found if mark not in asked}


def test_without_a_token_there_is_nothing(world: World) -> None:
    for method, template in world.routes:
        for path in world.paths(template, world.operators | world.demos):
            answer = world.ask(method, path, None)
            if template in ANONYMOUS:
                assert answer.status_code == 200
                assert not _leaked(answer, world.operators_marks | world.demos_marks)
            else:
                assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"
                assert answer.json()["code"] == ("metrics_token" if template in OWN_TOKEN else "unauthenticated")
                assert answer.json()["next"]


def _filters(world: World) -> list[Json]:
    """Filters and markers by which something foreign might come through."""
    foreign = world.demos["server"][0]
    node = world.operators["node"][0]
    return [
        {},
        {"limit": 1000},
        {"all_projects": "true"},
        {"q": "bm-"},
        {"state": "available"},
        {"kind": "nodes.onboard"},
        {"subject": f"server:{foreign}"},
        {"subject": f"node:{node}"},
        {"marker": foreign},
        {"marker": world.demos["operation_id"][0]},
        {"marker": world.operators["operation_id"][0] if world.operators["operation_id"] else node},
    ]


def test_no_list_shows_what_is_not_the_callers(world: World) -> None:
    asked = 0
    for who in ("demo", READER, OTHER):
        marks = world.operators_marks | (world.demos_marks if who == OTHER else set())
        for method, template in world.routes:
            if method != "get" or "{" in template:
                continue
            for params in _filters(world):
                answer = world.ask("get", template, world.tokens[who], params=params)
                asked += 1
                may = (401,) if template in OWN_TOKEN else (200, 400, 403, 422)
                assert answer.status_code in may, f"{who} {answer.url}: {answer.status_code} {answer.text}"
                leaked = _leaked(answer, marks, asked=f"{answer.url} {WORDS.get(template, '')}")
                assert not leaked, f"{who} {answer.url} shows {leaked}"
    assert asked > 200


def test_nothing_foreign_is_found_by_id_or_name(world: World) -> None:
    for who in ("demo", READER, OTHER):
        foreign = {name: list(references) for name, references in world.operators.items()}
        if who == OTHER:
            for name, references in world.demos.items():
                foreign[name] = [*foreign.get(name, []), *references]
        marks = world.operators_marks | (world.demos_marks if who == OTHER else set())
        for method, template in world.routes:
            if method != "get" or "{" not in template:
                continue
            for path in world.paths(template, foreign):
                answer = world.ask("get", path, world.tokens[who])
                assert answer.status_code in (403, 404), f"{who} {path}: {answer.status_code} {answer.text}"
                assert not _leaked(answer, marks, asked=path), f"{who} {path}: {answer.text}"


def test_ones_own_is_found(world: World) -> None:
    """The same questions, asked by those who may: otherwise refusing everything would pass for isolation."""
    for who in ("demo", READER, "admin"):
        for method, template in world.routes:
            if method == "get" and "{" in template:
                references = world.demos
                if who == "admin":  # finds what is not of the own project by id
                    references = {name: ids[:1] for name, ids in world.demos.items()}
                for path in world.paths(template, references):
                    answer = world.ask("get", path, world.tokens[who])
                    _found(answer, f"{who} {path}")
    for method, template in world.routes:
        if method == "get" and "{" in template:
            for path in world.paths(template, world.operators)[:1]:
                _found(world.ask("get", path, world.tokens["admin"]), f"admin {path}")
    for who, seen in ((READER, True), (OTHER, False)):
        begun = world.ask("get", STREAM, world.tokens[who]).text
        assert (world.demos["server"][0] in begun) is seen, f"the stream of {who}"


def _found(answer: httpx.Response, what: str) -> None:
    """It is told; of the items of an operation that has none, that it has none."""
    if what.endswith("/items"):
        assert (answer.status_code, answer.json().get("code")) == (400, "not_bulk"), f"{what}: {answer.text}"
    else:
        assert answer.status_code == 200, f"{what}: {answer.text}"


def test_readers_change_nothing(world: World) -> None:
    for method, template in world.routes:
        if method == "get":
            continue
        for path in world.paths(template, world.demos | world.operators):
            answer = world.ask(method, path, world.tokens[READER], json={})
            assert answer.status_code == 403, f"{method} {path}: {answer.status_code} {answer.text}"


def test_members_change_nothing_of_the_administrators(world: World) -> None:
    for method, template in world.routes:
        if method == "get" or (method, template) in TENANTS_MAY:
            continue
        for path in world.paths(template, world.operators):
            answer = world.ask(method, path, world.tokens["demo"], json={})
            assert answer.status_code == 403, f"{method} {path}: {answer.status_code} {answer.text}"
            assert not _leaked(answer, world.operators_marks, asked=path)
    _refused(world, "demo", world.operators, world.operators_marks)


def _refused(world: World, who: str, references: dict[str, list[str]], marks: set[str]) -> None:
    """What a tenant may do with things of its own, it may not do with these."""
    bodies = _bodies(_own(world, "networks", who))
    for method, template in sorted(TENANTS_MAY):
        if "{" not in template:
            continue
        for path in world.paths(template, references):
            answer = world.ask(method, path, world.tokens[who], json=bodies.get(template, {}))
            assert answer.status_code in (403, 404), f"{who} {method} {path}: {answer.status_code} {answer.text}"
            assert not _leaked(answer, marks, asked=path)


def _bodies(network: str) -> dict[str, Json]:
    """What would be accepted, were the thing one's own; with a network that is."""
    addresses = {"addresses": ["10.94.0.77"], "note": "an intruder's"}
    return {
        "/v1/servers/{server}/power": {"action": "off"},
        "/v1/servers/{server}/nics": {"network": network},
        "/v1/servers/{server}/nics/{nic}/move": {"network": network},
        "/v1/servers/{server}/nics/{nic}/sub-interfaces": {"network": network},
        "/v1/ipam/subnets/{subnet}/reservations": addresses,
        "/v1/ipam/subnets/{subnet}/allocations": {"note": "an intruder's"},
        "/v1/ipam/subnets/{subnet}/releases": {"addresses": addresses["addresses"]},
        "/v1/ipam/subnets/{subnet}/imports": {"rows": [{"address": "10.94.0.77", "note": "an intruder's"}]},
    }


def test_members_change_nothing_of_another_tenants(world: World) -> None:
    for _, template in TENANTS_MAY:
        assert world.paths(template, world.demos), f"nothing of the tenant's to try {template} with"
    _refused(world, OTHER, world.demos, world.demos_marks)
    (foreign, _) = world.demos["server"]
    in_bulk = {"action": "servers.delete", "items": [{"server": foreign}], "reason": "an intruder's"}
    answer = world.ask("post", "/v1/bulk", world.tokens[OTHER], json=in_bulk)
    assert answer.status_code == 202, answer.text
    (item,) = until("the intruder's item has ended", partial(_ended_items, world, answer.json()["operation"]["id"]))
    assert (item["phase"], item["error"]["code"]) == ("failed", "server_not_found")
    server = world.ask("get", f"/v1/servers/{foreign}", world.tokens["demo"]).json()["server"]
    assert server["phase"] == "active"
    node = world.cloud.get("admin", f"/v1/servers/{server['id']}")["server"]["node"]
    assert world.cloud.rack.hardware(node)["power"] == "On"


def _ended_items(world: World, operation: str) -> list[Json] | None:
    items: list[Json] = world.ask("get", f"/v1/operations/{operation}/items", world.tokens[OTHER]).json()["items"]
    return items if all(item["phase"] in ("succeeded", "failed") for item in items) else None


def test_foreign_networks_and_images_cannot_be_used(world: World) -> None:
    flavor = world.ask("get", "/v1/flavors", world.tokens["demo"]).json()["flavors"][0]["id"]
    image, network = world.demos["image"][0], world.demos["network"][0]
    foreign = [("demo", image, each) for each in world.operators["network"]]
    foreign += [(OTHER, _own(world, "images"), network), (OTHER, image, _own(world, "networks"))]
    for who, with_image, with_network in foreign:
        body = {"name": "e2e-intruder", "flavor": flavor, "image": with_image, "networks": [with_network]}
        answer = world.ask("post", "/v1/servers", world.tokens[who], json=body)
        assert answer.status_code in (403, 404, 409), f"{who} {body}: {answer.status_code} {answer.text}"
        asked = f"{with_image} {with_network}"
        assert not _leaked(answer, world.operators_marks, asked=asked)
        assert answer.json()["next"]
    server, nic = world.demos["server"][0], world.demos["nic"][0]
    for network in world.operators["network"]:
        for path in ("nics", f"nics/{nic}/move", f"nics/{nic}/sub-interfaces"):
            body = {"network": network}
            answer = world.ask("post", f"/v1/servers/{server}/{path}", world.tokens["demo"], json=body)
            assert answer.status_code in (403, 404), f"{path} {body}: {answer.status_code} {answer.text}"
            assert not _leaked(answer, world.operators_marks, asked=network)
    for who in ("demo", OTHER):
        names = {each["name"] for each in world.ask("get", "/v1/servers", world.tokens[who]).json()["servers"]}
        assert "e2e-intruder" not in names


def _own(world: World, noun: str, who: str = OTHER) -> str:
    return str(world.ask("get", f"/v1/{noun}", world.tokens[who]).json()[noun][0]["id"])


def test_the_same_by_the_command_line(world: World) -> None:
    cloud, server = world.cloud, world.demos["server"][1]
    assert cloud.steelyard(OTHER, "server", "show", server).code == 4
    assert cloud.steelyard(OTHER, "server", "delete", server).code == 4
    assert cloud.steelyard(OTHER, "server", "list", "--all-projects").code == 3
    assert cloud.steelyard(READER, "server", "delete", server).code == 3
    for who in ("demo", READER, OTHER):
        for words in (["node", "list"], ["candidate", "list"], ["pool", "list"], ["isolation", "show", "bm-001"]):
            refused = cloud.steelyard(who, *words)
            assert refused.code == 3, str(refused)
            assert refused.out == ""
        networks = {row["name"] for row in cloud.steelyard(who, "network", "list", "-f", "json").json}
        assert not networks & set(OPERATOR_NETWORKS)
        assert cloud.steelyard(who, "network", "show", "provisioning").code == 4
    nodes = set(cloud.nodes())
    for who in (OTHER, "demo"):
        shown = cloud.steelyard(who, "operation", "list", "-f", "json").out
        assert not {name for name in nodes if name in shown}


def test_no_secret_is_anywhere_but_in_its_file(world: World) -> None:
    home = world.cloud.home
    secrets = Secrets.of(home, tokens=world.tokens.values())
    assert files_with(secrets, [home / "rack" / "rack.json"]), "the search finds nothing even where there is something"
    for body in world.bodies:
        assert not secrets.in_text(body), f"an answer holds {secrets.in_text(body)}"
    for who in ("admin", "demo"):
        for method, template in world.routes:
            if method == "get":
                for path in world.paths(template, world.demos | world.operators):
                    text = world.ask("get", path, world.tokens[who]).text
                    assert not secrets.in_text(text), f"{who} {path} shows {secrets.in_text(text)}"
    assert files_with(secrets, (home / "log").rglob("*")) == {}
    assert files_with(secrets, (home / "steelyard").rglob("*")) == {}
    assert files_with(secrets, [home / "home.json", home / "run" / "status.json"]) == {}
    assert processes_with(secrets) == {}


def test_secret_files_are_for_their_owner_alone(world: World) -> None:
    home = world.cloud.home
    assert home.stat().st_mode & 0o077 == 0
    private = [home / "clouds.yaml", home / "rack" / "rack.json", home / "rack" / "credentials.yaml"]
    private += [path for path in (home / "secrets").rglob("*") if path.is_file()]
    assert [str(path) for path in private if path.stat().st_mode & 0o077] == []


def test_a_tenants_server_is_still_theirs(world: World) -> None:
    """After all attempts: the server runs, on its own network, and its owner sees it."""
    name = world.demos["server"][1]
    shown = until("the server", lambda: world.cloud.steelyard("demo", "server", "show", name, "-f", "json").json)
    assert shown["phase"] == "active"
    node = world.cloud.get("admin", f"/v1/servers/{shown['id']}")["server"]["node"]
    assert world.cloud.steelyard("admin", "isolation", "show", node, "-f", "json").json["agrees"]
