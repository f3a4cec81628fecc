"""The inventory over REST and on the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi.testclient import TestClient

from steelyard import main
from steelyard.client import rest
from steelyard.inventory import commands, export, record_commands
from steelyard.inventory.export import cell, csv_pieces
from steelyard.inventory.query import FILTERS, SORTS
from steelyard.inventory.routes import router
from steelyard.inventory.shapes import NodeList
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.web.app import build_app

from .conftest import Bench

NOWHERE = {"site": None, "room": None, "rack": None, "unit": None}


class Place:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        app = build_app(
            [router(bench.service)], validate=bench.clouds.identity.validate, checks={}, settings=Settings()
        )
        self.client = TestClient(app)
        self.token = self.as_("ada")
        self.other = self.as_("bob")

    def as_(self, user: str, *roles: str) -> dict[str, str]:
        return {"x-auth-token": self.bench.world.token(project="admin", roles=set(roles) or {"admin"}, user=user)}

    def get(self, path: str, status: int = 200, **params: Any) -> Any:
        answer = self.client.get(path, params=params or None, headers=self.token)
        assert answer.status_code == status, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None, status: int = 200, who: Any = None) -> Any:
        answer = self.client.request(method, path, json=body, headers=who or self.token)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def names(self, **params: Any) -> list[str]:
        return [row["name"] for row in self.get("/v1/nodes", **params)["nodes"]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """SQLite is enough here: what differs between databases is below."""
    opened = Store.open(f"sqlite:///{tmp_path}/steelyard.sqlite", key_file=tmp_path / "keys")
    yield opened
    opened.close()


@pytest.fixture
def place(bench: Bench) -> Iterator[Place]:
    with structlog.testing.capture_logs():
        yield Place(bench)


class TestTheList:
    def test_it_is_what_the_description_promises(self, place: Place) -> None:
        place.bench.candidate(1, macs=("52:54:00:aa:00:01",))
        answer = place.get("/v1/nodes", kind=["node", "candidate"])
        assert len(answer["nodes"]) == 6
        assert NodeList.model_validate(answer).model_dump(mode="json")["nodes"] == answer["nodes"]
        assert (answer["next"], answer["problem"]) == (None, None)

    def test_nodes_only_unless_asked_otherwise(self, place: Place) -> None:
        place.bench.candidate(1)
        assert place.names() == ["bm-1", "bm-2", "bm-3", "bm-4", "bm-5"]
        assert place.names(phase=["candidate", "active"]) == ["bm-1", "found-1"]
        assert place.names(kind="candidate") == ["found-1"]

    @pytest.mark.parametrize("sort", ["name", "-name", "pool", "-phase", "unit", "-since"])
    def test_pages_add_up_in_every_order(self, place: Place, sort: str) -> None:
        whole = place.names(sort=sort)
        assert len(whole) == 5
        found, url = [], f"/v1/nodes?limit=2&sort={sort}&state=deployed&state=available&state=other"
        while url:
            answer = place.get(url)
            found += [row["name"] for row in answer["nodes"]]
            url = answer["next"]
        assert found == whole

    def test_the_record_that_a_page_ended_with_may_change_its_place(self, place: Place) -> None:
        first = place.get("/v1/nodes?sort=health&limit=2")
        assert [row["name"] for row in first["nodes"]] != []
        last = first["nodes"][-1]["name"]
        place.bench.change(last, health="ok")
        place.bench.clock.pass_(60)
        following = place.get(first["next"])
        seen = [row["name"] for row in first["nodes"] + following["nodes"]]
        assert set(seen) | set(_rest(place, following)) == {"bm-1", "bm-2", "bm-3", "bm-4", "bm-5"}

    def test_an_id_as_a_marker(self, place: Place) -> None:
        assert place.names(marker=place.bench.id_of("bm-3")) == ["bm-4", "bm-5"]

    @pytest.mark.parametrize("marker", ["nothing", "~", "~!!", "~W10", "~WyJyYWNrIiwiIiwiIl0", "~WyJuYW1lIiwxLCIiXQ"])
    def test_a_marker_that_is_none(self, place: Place, marker: str) -> None:
        assert place.get("/v1/nodes", 400, marker=marker)["code"] == "unknown_marker"

    @pytest.mark.parametrize(
        ("path", "params", "known"),
        [
            ("/v1/nodes", {"sort": "colour"}, SORTS), ("/v1/nodes", {"colour": "red"}, FILTERS),
            ("/v1/nodes/facets", {"facet": "colour"}, FILTERS), ("/v1/nodes/export", {"phase": "ready"}, ["available"]),
            ("/v1/nodes/export", {"format": "xlsx"}, ["csv"]), ("/v1/nodes", {"q": "x" * 1001}, []),
            ("/v1/nodes", {"q": " ".join(map(str, range(20)))}, []), ("/v1/nodes", {"rack": "x" * 256}, []),
        ],
    )  # fmt: skip
    def test_what_is_unknown_is_refused_with_what_is_known(
        self, place: Place, path: str, params: dict[str, str], known: list[str]
    ) -> None:
        problem = place.get(path, 422, **params)
        assert problem["code"] == "malformed"
        assert all(name in problem["detail"] for name in known)

    def test_facets_leave_their_own_filter_out(self, place: Place) -> None:
        answer = place.get("/v1/nodes/facets", facet=["state", "pool"], state="available")
        assert answer["total"] == 2
        assert answer["facets"] == {
            "state": [
                {"value": "available", "count": 2}, {"value": "other", "count": 2}, {"value": "deployed", "count": 1}
            ],
            "pool": [{"value": "bm-small", "count": 2}],
        }  # fmt: skip

    def test_a_facet_shows_values_as_they_are_written(self, place: Place) -> None:
        place.send("PATCH", "/v1/nodes/bm-1", {"rack": "R12"})
        (unknown, rack) = place.get("/v1/nodes/facets", facet="rack")["facets"]["rack"]
        assert (unknown, rack) == ({"value": "", "count": 4}, {"value": "R12", "count": 1})
        assert place.names(rack="r12") == ["bm-1"]
        assert len(place.names(rack="")) == 4


class TestExport:
    def test_csv(self, place: Place) -> None:
        place.bench.change("bm-1", extra={"steelyard": {"model": '=HYPERLINK("http://evil")', "vendor": "A, B"}})
        answer = place.client.get("/v1/nodes/export?state=deployed", headers=place.token)
        assert answer.headers["content-type"].startswith("text/csv")
        assert "servers.csv" in answer.headers["content-disposition"]
        (row,) = csv.DictReader(io.StringIO(answer.text))
        assert (row["name"], row["phase"], row["addresses"], row["vendor"]) == ("bm-1", "active", "10.1.0.2", "A, B")
        assert row["model"] == '\'=HYPERLINK("http://evil")'

    @pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
    def test_no_cell_is_a_formula(self, value: str) -> None:
        assert cell(value) == "'" + value
        assert cell([value, "x"]) == f"'{value}, x"

    def test_json_is_the_list(self, place: Place) -> None:
        answer = place.client.get("/v1/nodes/export?format=json", headers=place.token)
        assert answer.json() == place.get("/v1/nodes")["nodes"]
        assert place.client.get("/v1/nodes/export?format=json&q=nobody", headers=place.token).json() == []

    def test_in_pieces_of_any_size(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("steelyard.inventory.service.EXPORT_PAGE", 2)
        answer = place.client.get("/v1/nodes/export?sort=-name", headers=place.token)
        names = [row["name"] for row in csv.DictReader(io.StringIO(answer.text))]
        assert names == ["bm-5", "bm-4", "bm-3", "bm-2", "bm-1"]
        json_answer = place.client.get("/v1/nodes/export?sort=-name&format=json", headers=place.token)
        assert [row["name"] for row in json_answer.json()] == names

    def test_every_field_of_a_record_is_in_the_csv(self, place: Place) -> None:
        (record, *_) = place.get("/v1/nodes")["nodes"]
        flat = set(record) - {"hardware", "firmware", "location"} | set(record["hardware"]) | set(record["location"])
        assert flat | {"bmc_firmware", "bios"} == {name for name, _ in export.CSV_COLUMNS}
        assert b"".join(csv_pieces([])).count(b"\n") == 1


class TestDescribing:
    def test_location_and_tags_are_kept_in_ironic(self, place: Place) -> None:
        body = {"site": "berlin", "room": "2", "rack": "r12", "unit": 7, "add_tags": ["spare", "gold"]}
        node = place.send("PATCH", "/v1/nodes/bm-2", body)["node"]
        assert node["location"] == {"site": "berlin", "room": "2", "rack": "r12", "unit": 7}
        notes = place.bench.world.nodes[place.bench.id_of("bm-2")].notes
        assert notes["location"] == {"site": "berlin", "room": "2", "rack": "r12", "unit": 7}
        assert notes["tags"] == ["gold", "spare"]
        assert place.names(q="rack:r12 tag:gold") == place.names(tag="spare", site="berlin") == ["bm-2"]
        again = place.send("PATCH", "/v1/nodes/bm-2", {"rack": "", "unit": None, "remove_tags": ["gold", "none"]})
        assert again["node"]["location"] == {"site": "berlin", "room": "2", "rack": None, "unit": None}
        assert again["node"]["tags"] == ["spare"]

    def test_other_notes_stay(self, place: Place) -> None:
        place.send("PATCH", "/v1/nodes/SN-5", {"rack": "r1"})
        assert place.bench.world.nodes[place.bench.id_of("bm-5")].notes["serial"] == "SN-5"

    def test_a_candidates_goes_along_when_it_becomes_a_node_and_stays_when_it_is_deleted(self, place: Place) -> None:
        candidate = place.bench.candidate(1)
        place.send("PATCH", f"/v1/nodes/{candidate.id}", {"rack": "r9", "add_tags": ["new"]})
        kept = place.bench.store.candidates.get(candidate.id)
        assert (kept.location, kept.tags) == ({"rack": "r9"}, ("new",))
        assert place.names(rack="r9", kind="candidate") == ["found-1"]

    def test_who_did_it_is_in_the_nodes_timeline(self, place: Place) -> None:
        place.send("PATCH", "/v1/nodes/bm-2", {"rack": "r12"})
        (event, *_) = place.get("/v1/nodes/bm-2")["node"]["events"]
        assert (event["kind"], event["actor"]) == ("inventory.described", "ada")
        assert "rack r12" in event["detail"]

    @pytest.mark.parametrize(
        "body",
        [
            {}, {"rack": "x" * 65}, {"rack": "a\nb"}, {"unit": 0}, {"unit": 100}, {"unit": "top"}, {"colour": "red"},
            {"add_tags": ["two words"]}, {"add_tags": [""]}, {"add_tags": [f"t{n}" for n in range(51)]},
        ],
    )  # fmt: skip
    def test_nonsense(self, place: Place, body: Any) -> None:
        place.send("PATCH", "/v1/nodes/bm-2", body, 422)

    def test_not_more_tags_than_one_can_read(self, place: Place) -> None:
        place.send("PATCH", "/v1/nodes/bm-2", {"add_tags": [f"a{n}" for n in range(30)]})
        refused = place.send("PATCH", "/v1/nodes/bm-2", {"add_tags": [f"b{n}" for n in range(30)]}, 400)
        assert refused["code"] == "too_many"

    def test_nobody_else_may(self, place: Place) -> None:
        place.send("PATCH", "/v1/nodes/bm-2", {"rack": "r1"}, 403, who=place.as_("eve", "member"))
        place.send("PATCH", "/v1/nodes/bm-404", {"rack": "r1"}, 404)


class TestViews:
    BODY: dict[str, Any] = {  # noqa: RUF012
        "name": "broken", "query": {"q": "fire", "sort": "-rack", "filters": {"phase": ["quarantined"]}}
    }  # fmt: skip

    def test_saved_used_and_deleted(self, place: Place) -> None:
        view = place.send("POST", "/v1/views", self.BODY, 201)["view"]
        assert (view["name"], view["owner"], view["shared"]) == ("broken", "ada", False)
        assert place.names(view="broken") == place.names(view=view["id"]) == ["bm-5"]
        said = place.names(view="broken", phase="available", q="", sort="name")
        assert said == ["bm-2", "bm-3", "bm-4"], "what is said comes before what is kept"
        assert [each["name"] for each in place.get("/v1/views")["views"]] == ["broken"]
        place.send("DELETE", "/v1/views/broken", status=204)
        place.get("/v1/nodes", 404, view="broken")

    def test_a_name_is_used_once_unless_replaced(self, place: Place) -> None:
        place.send("POST", "/v1/views", self.BODY, 201)
        assert place.send("POST", "/v1/views", self.BODY, 409)["code"] == "duplicate_name"
        other = {**self.BODY, "query": {"filters": {"state": ["available"]}}, "replace": True}
        place.send("POST", "/v1/views", other, 201)
        assert place.names(view="broken") == ["bm-2", "bm-3"]

    def test_ones_own_is_seen_by_oneself_alone(self, place: Place) -> None:
        place.send("POST", "/v1/views", self.BODY, 201)
        assert place.send("GET", "/v1/views", who=place.other)["views"] == []
        place.send("DELETE", "/v1/views/broken", status=404, who=place.other)

    def test_a_shared_one_is_seen_by_all_and_deleted_by_its_owner(self, place: Place) -> None:
        place.send("POST", "/v1/views", {**self.BODY, "shared": True}, 201)
        (seen,) = place.send("GET", "/v1/views", who=place.other)["views"]
        assert seen["owner"] == "ada"
        assert place.send("DELETE", "/v1/views/broken", status=403, who=place.other)["code"] == "not_owner"

    @pytest.mark.parametrize(
        "query",
        [{"sort": "colour"}, {"filters": {"colour": ["red"]}}, {"filters": {"phase": ["ready"]}}, {"q": "x" * 1001}],
    )
    def test_one_that_cannot_be_asked(self, place: Place, query: Any) -> None:
        place.send("POST", "/v1/views", {"name": "x", "query": query}, 422)


class TestHistoryAndParts:
    def test_history_in_pages(self, place: Place) -> None:
        place.names()
        for number in range(3):
            place.bench.change("bm-2", health=("ok", "warning", "critical")[number])
            place.bench.clock.pass_(60)
            place.names()
        first = place.get("/v1/nodes/bm-2/history?limit=2")
        assert [(each["before"], each["after"]) for each in first["changes"]] == [
            ("warning", "critical"),
            ("ok", "warning"),
        ]
        second = place.get(first["next"])
        assert [each["field"] for each in second["changes"]] == ["health", "kind"]
        assert second["next"] is None
        place.get("/v1/nodes/bm-404/history", 404)

    def test_a_part(self, place: Place) -> None:
        (row, *_) = place.get("/v1/nodes", q="bm-3")["nodes"]
        (stay,) = place.get(f"/v1/parts/{row['nics'][0]['mac']}")["stays"]
        assert (stay["kind"], stay["server"], stay["until"]) == ("nic", "bm-3", None)
        assert place.get("/v1/parts/nothing", 404)["code"] == "part_not_found"


# The command line


@pytest.fixture
def typed(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Types a line, and gives what it printed; the exit code must be 0 unless said."""

    class Session:
        def token(self, *, fresh: bool = False) -> str:
            return place.token["x-auth-token"]

        def url(self) -> str:
            return "http://testserver"

        def verify(self) -> bool:
            return False

    def connect() -> rest.Client:
        client = rest.Client(Session())  # type: ignore[arg-type]
        client._http_known = place.client
        return client

    for module in (commands, record_commands):
        monkeypatch.setattr(module, "connect", connect)

    def run(*line: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main.main(line)
        printed = capsys.readouterr()
        assert (end.value.code or 0) == code, printed.err
        return printed.out + printed.err

    return run


class TestCommands:
    def test_list_search_facets(self, place: Place, typed: Any) -> None:
        place.bench.candidate(1)
        listed = typed("node", "list", "--state", "available")
        assert ("bm-2" in listed, "bm-3" in listed, "bm-1" in listed) == (True, True, False)
        rows = json.loads(
            typed("node", "list", "--filter", "pool=bm_large", "--sort=-name", "-f", "json").partition("\nAs of")[0]
        )
        assert [row["name"] for row in rows] == ["bm-5", "bm-4"]
        assert "found-1" in typed("node", "search", "found")
        assert "found-1" in typed("node", "list", "--candidates")
        assert "bm-5" in typed("node", "search", "on fire", "pool:bm-large")
        facets = typed("node", "facets", "--facet", "phase")
        assert "quarantined" in facets
        assert "5 servers" in facets
        assert "--filter takes" in typed("node", "list", "--filter", "pool", code=2)
        assert "name, id" in typed("node", "list", "--sort", "colour", code=2)

    def test_export(self, typed: Any, tmp_path: Any) -> None:
        file = tmp_path / "out.csv"
        typed("node", "export", "--state", "available", "--output", str(file))
        assert [row["name"] for row in csv.DictReader(file.open())] == ["bm-2", "bm-3"]
        assert list(tmp_path.glob("*.part")) == []
        before = file.read_bytes()
        typed("node", "export", "--output", str(tmp_path / "no" / "where"), code=2)
        typed("node", "export", "--filter", "colour=red", "--output", str(file), code=2)
        assert file.read_bytes() == before, "a refusal leaves the old file"

    def test_set_history_part(self, place: Place, typed: Any) -> None:
        assert "berlin r12 U7" in typed(
            "node", "set", "bm-2", "--site", "berlin", "--rack", "r12", "--unit", "7", "--tag", "x"
        )
        assert "berlin r12 U7" in typed("node", "list")
        assert "berlin r12" in typed("node", "set", "bm-2", "--unit", "0", "--untag", "x")
        assert "location.rack" in typed("node", "history", "bm-2")
        assert "Nothing to change" in typed("node", "set", "bm-2", code=2)
        mac = place.get("/v1/nodes/bm-2")["node"]["nics"][0]["mac"]
        assert "now" in typed("part", "show", mac)
        assert "bm-2" in typed("node", "show", "bm-2")

    def test_views(self, typed: Any) -> None:
        typed("view", "save", "mine", "--state", "available", "--sort=-name")
        assert "--replace" in typed("view", "save", "mine", code=5)
        assert "mine" in typed("view", "list")
        assert "bm-3" in typed("node", "list", "--view", "mine")
        assert "Deleted" in typed("view", "delete", "mine")

    def test_an_old_list_says_so(self, place: Place, typed: Any) -> None:
        typed("node", "list")
        said = typed("node", "list")
        assert "As of" in said, "the bench's clock stands at the beginning of the year"


def _rest(place: Place, answer: Any) -> list[str]:
    found = []
    while answer["next"]:
        answer = place.get(answer["next"])
        found += [row["name"] for row in answer["nodes"]]
    return found


def test_a_download_that_is_refused_raises_before_anything_came(place: Place) -> None:
    class Session:
        def token(self, *, fresh: bool = False) -> str:
            return "nonsense"

        def url(self) -> str:
            return "http://testserver"

    client = rest.Client(Session(), transport=httpx.MockTransport(lambda _: httpx.Response(500)))  # type: ignore[arg-type]
    client._http_known = place.client
    with pytest.raises(rest.ApiError) as refused:
        next(client.download("/v1/nodes/export"))
    assert refused.value.status == 401
