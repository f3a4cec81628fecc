"""Switch, port, NIC, node, network: as rows, as JSON and as a graph."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from steelyard.clouds.observing import Observer
from steelyard.networks.graph import as_dot, as_json, graph
from steelyard.networks.service import TopologyService
from steelyard.networks.topology import cables
from steelyard.networks.topology_routes import Topology, router
from steelyard.nouns import NodePort, SwitchLink
from steelyard.web.app import build_app

if TYPE_CHECKING:
    from .conftest import Bench


@pytest.fixture
def client(bench: Bench) -> TestClient:
    bench.build(bond=True)
    bench.clouds.own.sub_interfaces.add(bench.ports[0].id, network_id=bench.network("red").id, name="web-red")
    app = build_app(
        [router(TopologyService(Observer(bench.clouds, fresh=0.0)))], validate=bench.clouds.identity.validate,
        checks={}, settings=bench.settings,
    )  # fmt: skip
    return TestClient(app)


def rows(bench: Bench, client: TestClient, **query: str) -> list[dict[str, Any]]:
    answer = client.get("/v1/topology", headers={"x-auth-token": bench.admin_token}, params=query)
    assert answer.status_code == 200
    Topology.model_validate(answer.json())
    found: list[dict[str, Any]] = answer.json()["cables"]
    return found


def test_both_cables_of_a_bond_carry_its_networks(bench: Bench, client: TestClient) -> None:
    first, second = rows(bench, client)
    assert (first["switch"], first["port"], first["node"]) == ("leaf1", "Ethernet1", "bm-1")
    assert (second["switch"], second["mac"]) == ("leaf2", bench.nics[1].mac)
    for row in (first, second):
        assert row["bond"] == "bm-1-bond0"
        assert [(each["network"], each["vlan"], each["tagged"]) for each in row["networks"]] == [
            ("blue", bench.network("blue").segmentation_id, False),
            ("red", bench.network("red").segmentation_id, True),
        ]


def test_what_is_bound_where_nobody_is_known_to_be_is_shown(bench: Bench, client: TestClient) -> None:
    port = bench.ports[0]
    link = SwitchLink("02:00:5E:00:00:01", "Ethernet44", "leaf1")
    bench.world.fabric.ports[port.id] = replace(port, link=link, more_links=())
    found = {(row["port"], row["mac"] is None): row for row in rows(bench, client)}
    assert found["Ethernet44", True]["networks"][0]["network"] == "blue"
    assert found["Ethernet1", False]["networks"] == []


@pytest.mark.parametrize(
    ("query", "found"),
    [({"switch": "leaf2"}, 1), ({"node": "bm-1"}, 2), ({"network": "red"}, 2), ({"network": "green"}, 0)],
)
def test_filters(bench: Bench, client: TestClient, query: dict[str, str], found: int) -> None:
    assert len(rows(bench, client, **query)) == found


def test_administrators_only(bench: Bench, client: TestClient) -> None:
    assert client.get("/v1/topology").status_code == 401
    assert client.get("/v1/topology", headers={"x-auth-token": bench.token}).status_code == 403


def test_the_graph_has_every_thing_once_and_every_cable(bench: Bench, client: TestClient) -> None:
    found = json.loads(as_json(rows(bench, client)))
    assert sorted(node["kind"] for node in found["nodes"]) == ["network", "network", "node", "switch", "switch"]
    ids = {node["id"] for node in found["nodes"]}
    assert len(ids) == 5
    assert all(edge["source"] in ids and edge["target"] in ids for edge in found["edges"])
    assert [edge["kind"] for edge in found["edges"]].count("cable") == 2
    assert [edge["kind"] for edge in found["edges"]].count("attachment") == 4


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_name_breaks_out_of_the_graph(switch: str, network: str) -> None:
    row = {
        "switch_id": "a", "switch": switch or "x", "port": "e1", "mac": "m", "node_id": "n", "node": None, "bond": None,
        "networks": [
            {"network_id": "i", "network": network, "vlan": 1, "tagged": False, "status": None, "port_id": "p"}
        ],
    }  # fmt: skip
    text = as_dot([row])
    inside, escaped, strings = False, False, 0
    for sign in text:
        if inside and not escaped and sign == "\\":
            escaped = True
            continue
        if sign == '"' and not escaped:
            inside, strings = not inside, strings + (not inside)
        assert not (inside and sign == "\n")
        escaped = False
    assert not inside
    assert len(text.splitlines()) == 2 + 3 + 2 + 1
    assert strings == 3 * 2 + 2 * 3
    assert len(graph([row])["nodes"]) == 3


def test_ports_come_in_the_order_in_which_people_count() -> None:
    names = ["Ethernet1", "Ethernet2", "Ethernet10", "Ethernet10/1", "Ethernet10/2", "xe-0/0/3", "1", "ethernet"]
    nics = [
        NodePort(name, "n", f"m{name}", False, None, SwitchLink("aa", name, "leaf1"))
        for name in random.sample(names, len(names))
    ]  # fmt: skip
    found = [row.port for row in cables(nodes=[], nics=nics, bonds=[], networks=[], attachments=[])]
    assert found == ["1", *[n for n in names if n.startswith("E")], "ethernet", "xe-0/0/3"]
