"""Event streams, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi import FastAPI

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Unavailable
from steelyard.events import routes, sse, streams
from steelyard.events.audit import AuditService
from steelyard.events.service import EventService
from steelyard.events.streams import Streams
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.web.app import build_app

from .serving import Reader, Served, serving


@dataclass
class Site:
    world: FakeWorld
    store: Store
    streams: Streams
    served: Served

    def headers(self, *roles: str, project: str = "demo", **more: str) -> dict[str, str]:
        return {"X-Auth-Token": self.world.token(project=project, roles=set(roles)), **more}

    def open(self, *roles: str, project: str = "demo", last: int | None = None, **params: Any) -> Reader:
        more = {"Last-Event-ID": str(last)} if last is not None else {}
        return Reader(self.served.url, self.headers(*roles, project=project, **more), **params)

    def happen(self, count: int = 1, **values: Any) -> None:
        for _ in range(count):
            given = {"subject": "node:1", "kind": "node.thing", "actor": "ada", "detail": "x", **values}
            self.store.events.append(**given)

    def until_closed(self) -> None:
        end = time.monotonic() + 10
        while len(self.streams):
            assert time.monotonic() < end, f"{len(self.streams)} streams are still open"
            time.sleep(0.01)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'steelyard.sqlite'}"


@pytest.fixture
def app_of() -> Any:
    def make(world: FakeWorld, store: Store, made: Streams, home: Path) -> FastAPI:
        clouds = FakeClouds(world)
        service = EventService(clouds=clouds, store=store, operations=FakeOperations())
        audit = AuditService(store=store, folder=home)
        router = routes.router(service, made, audit, clouds.identity.validate)
        return build_app([router], validate=clouds.identity.validate, checks={}, settings=Settings(home=home))

    return make


@pytest.fixture
def site(store: Store, tmp_path: Path, app_of: Any) -> Iterator[Site]:
    world = FakeWorld()
    made = Streams(store.events, per_user=3, total=5)
    app = app_of(world, store, made, tmp_path)
    with structlog.testing.capture_logs(), serving(app, going_down=made.stop) as served:
        yield Site(world, store, made, served)


class TestDelivery:
    def test_events_come_as_they_happen(self, site: Site) -> None:
        site.happen(3)
        reader = site.open("admin")
        assert reader.status == 200
        begin = time.monotonic()
        site.happen(2)
        got = reader.wait(2)
        assert time.monotonic() - begin < 0.9, "this process' own events are not polled for"
        assert [event["id"] for event in got] == [4, 5]
        assert got[0]["data"] == {}
        site.happen(1200)
        reader.wait(1202)
        assert reader.ids == list(range(4, 1206))
        reader.close()
        site.until_closed()

    def test_those_of_another_server_too(self, site: Site, url: str, key_file: Path) -> None:
        other = Store.open(url, key_file=key_file)
        reader = site.open("admin")
        other.events.append("node:1", "node.thing", actor="bob", detail="elsewhere")
        assert reader.wait(1)[0]["actor"] == "bob"
        other.close()

    def test_going_on_after_a_break(self, site: Site) -> None:
        site.happen(5)
        first = site.open("admin", last=2)
        first.wait(3)
        first.close()
        site.happen(5)
        again = site.open("admin", last=first.ids[-1])
        site.happen(2)
        again.wait(7)
        assert first.ids + again.ids == list(range(3, 13)), "nothing twice, nothing lost"
        assert site.open("admin", after=8).wait(4)[0]["id"] == 9

    def test_the_place_is_known_before_the_first_event(self, site: Site) -> None:
        site.happen(4)
        reader = site.open("admin")
        assert reader.messages[0] == ("message", "4", None)
        assert site.open("admin", last=10**15).messages[0][1] == "4", "an id that is not there yet is this moment"

    def test_a_long_backlog_while_more_happens(self, site: Site) -> None:
        with site.store.unit_of_work():
            site.happen(1300)
        reader = site.open("admin", last=0)
        site.happen(50)
        reader.wait(1350)
        assert reader.ids == list(range(1, 1351))

    @pytest.mark.parametrize(
        ("wanted", "ids"),
        [
            ({"subject": "node:1"}, [1, 4]),
            ({"subject": "node:*"}, [1, 2, 4]),
            ({"kind": "operation.*"}, [2, 3]),
            ({"kind": "operation.failed"}, [3]),
            ({"actor": "bob", "subject": "node:*"}, [4]),
        ],
    )
    def test_filters_hold_for_the_backlog_and_for_what_comes(
        self, site: Site, wanted: dict[str, str], ids: list[int]
    ) -> None:
        def all_four() -> None:
            site.happen(subject="node:1")
            site.happen(subject="node:2", kind="operation.started")
            site.happen(subject="server:1", kind="operation.failed")
            site.happen(subject="node:1", actor="bob")

        all_four()
        reader = site.open("admin", last=0, **wanted)
        all_four()
        reader.wait(2 * len(ids))
        assert reader.ids == ids + [id + 4 for id in ids]

    def test_silence_is_kept_alive(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sse, "KEEP_ALIVE", 0.1)
        reader = site.open("admin")
        time.sleep(0.5)
        assert 2 <= len(reader.comments) <= 5

    def test_with_no_stream_open_nothing_is_read(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        site.open("admin").close()
        site.until_closed()
        time.sleep(0.1)
        monkeypatch.setattr(site.store.events, "after", lambda *_, **__: pytest.fail("nobody listens"))
        site.happen(3)
        time.sleep(1.2)

    def test_a_database_that_is_away_for_a_moment(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        reader = site.open("admin")
        real = site.store.events.after

        def away(*_: Any, **__: Any) -> Any:
            raise Unavailable("away")

        monkeypatch.setattr(site.store.events, "after", away)
        site.happen(2)
        time.sleep(0.3)
        monkeypatch.setattr(site.store.events, "after", real)
        reader.wait(2)


class TestWhoSeesWhat:
    def test_tenants_see_their_projects_only(self, site: Site) -> None:
        mine, theirs = site.world.project("demo"), site.world.project("other")
        reader = site.open("member", last=0)
        secret = {"node": "bm-007"}
        site.happen(subject="node:1", detail="bm-007", data=secret)
        site.happen(subject="server:1", project_id=theirs, detail="not yours")
        site.happen(subject="server:2", project_id=mine, detail="yours", reason="operator's words", data=secret)
        site.happen(subject="server:2", project_id=mine, kind="operation.started", reason="own words", request_id="r")
        got = reader.wait(2)
        site.happen()
        time.sleep(0.2)
        assert [event["detail"] for event in reader.events] == ["yours", "x"]
        assert [event["reason"] for event in got] == [None, "own words"]
        assert [event["request_id"] for event in got] == [None, "r"]
        assert all("data" not in event and "hash" not in event for event in got)
        assert "bm-007" not in json.dumps(reader.messages)

    def test_the_same_for_what_has_been(self, site: Site) -> None:
        mine = site.world.project("demo")
        site.happen(subject="node:1", detail="bm-007", data={"node": "bm-007"})
        site.happen(subject="server:2", project_id=mine, detail="yours", data={"node": "bm-007"})
        reader = site.open("reader", last=0)
        assert [event["detail"] for event in reader.wait(1)] == ["yours"]
        assert "bm-007" not in json.dumps(reader.messages)

    def test_a_filter_opens_nothing(self, site: Site) -> None:
        reader = site.open("member", subject="node:*", last=0)
        site.happen(subject="node:1")
        time.sleep(0.3)
        assert reader.events == []

    def test_strangers(self, site: Site) -> None:
        assert Reader(site.served.url, {}).status == 401
        assert Reader(site.served.url, site.headers("barista")).status == 403
        for last in ("x", "-1", "1" * 30, "1.5", "²"):
            reader = Reader(
                site.served.url, site.headers("admin", **{"Last-Event-ID": last.encode().decode("latin-1")})
            )
            assert reader.status == 400, last
        assert len(site.streams) == 0

    def test_not_too_many_for_one_user(self, site: Site) -> None:
        mine = [site.open("admin") for _ in range(3)]
        refused = site.open("admin")
        assert refused.status == 409
        assert json.loads(refused.body)["code"] == "too_many_streams"
        others = [site.open("member", project="other") for _ in range(3)]
        assert [reader.status for reader in others] == [200, 200, 409], "and not too many for all"
        mine[0].close()
        end = time.monotonic() + 10
        while len(site.streams) > 4:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert site.open("admin").status == 200

    def test_a_token_that_is_revoked_ends_it(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sse, "RECHECK", 0.2)
        headers = site.headers("admin")
        reader = Reader(site.served.url, headers)
        kept = site.open("member")
        site.world.revoke(headers["X-Auth-Token"])
        assert reader.ended.wait(10)
        assert reader.messages[-1][0] == "end"
        assert reader.messages[-1][2]["reason"] == "token"
        site.world.fail("identity.validate", Unavailable("Keystone is away"), times=3)
        time.sleep(0.5)
        assert not kept.ended.is_set(), "while nobody can say, it holds"


class TestTheEnd:
    def test_a_burst_cuts_nobody_off(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "QUEUE", 50)
        reader = site.open("admin", kind="wanted")
        with site.store.unit_of_work():
            for _ in range(1200):
                site.happen(kind="wanted")
                site.happen(kind="unwanted")
        reader.wait(1200)
        assert reader.ids == list(range(1, 2401, 2))
        assert not reader.ended.is_set()

    def test_a_client_that_takes_nothing_is_hung_up_on(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sse, "STALLED", 1.0)
        sleeper = _sleeping(site)
        awake = site.open("admin")
        with site.store.unit_of_work():
            site.happen(1500, detail="x" * 20_000)
        awake.wait(1500, seconds=30)
        end = time.monotonic() + 20
        while len(site.streams) > 1:
            assert time.monotonic() < end, "the sleeper is still there"
            time.sleep(0.05)
        assert not awake.ended.is_set()
        sleeper.close()

    def test_a_slow_client_is_cut_off_and_learns_why_and_where_to_go_on(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "QUEUE", 50)
        monkeypatch.setattr(streams, "LAG", 0.5)
        sleeper = _sleeping(site)
        with site.store.unit_of_work():
            site.happen(1500, detail="x" * 20_000)
        time.sleep(1.5)
        site.happen()
        time.sleep(0.5)
        data = b""
        sleeper.settimeout(20)
        while chunk := sleeper.recv(1 << 20):
            data += chunk
            if b"event: end" in data and data.endswith(b"\r\n"):
                break
        sleeper.close()
        text = data.decode(errors="replace")
        assert '"reason": "slow"' in text
        last = int(text.rsplit("\nid: ", 1)[1].split("\n")[0])
        assert 0 < last < 1500
        again = site.open("admin", last=last)
        again.wait(1501 - last, seconds=30)
        assert again.ids == list(range(last + 1, 1502))

    def test_a_server_that_goes_down_says_so_and_is_not_held_up(self, site: Site) -> None:
        readers = [site.open("admin") for _ in range(3)]
        assert site.served.stop() < 3
        for reader in readers:
            assert reader.ended.wait(5)
            assert reader.messages[-1][0] == "end"
            assert reader.messages[-1][2]["reason"] == "stopping"
        assert len(site.streams) == 0

    def test_a_client_that_goes_leaves_nothing(self, site: Site) -> None:
        for _ in range(3):
            readers = [site.open("admin") for _ in range(3)]
            for reader in readers:
                reader.close()
            site.until_closed()


def _sleeping(site: Site) -> socket.socket:
    """A client that opens a stream and reads nothing."""
    host, port = site.served.url.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((host, int(port)))
    token = site.headers("admin")["X-Auth-Token"]
    sock.sendall(f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode())
    end = time.monotonic() + 10
    while not len(site.streams):
        assert time.monotonic() < end
        time.sleep(0.01)
    return sock


class TestOnPostgresql:
    @pytest.fixture
    def url(self, new_postgresql: Callable[[], str]) -> str:
        return new_postgresql()

    def test_events_of_two_servers_come_in_their_order(self, site: Site, url: str, key_file: Path) -> None:
        """Two servers commit at the same time; a stream misses none, though it only ever asks for what is newer."""
        other = Store.open(url, key_file=key_file)
        reader = site.open("admin")

        def write(store: Store) -> None:
            for _ in range(60):
                with store.unit_of_work():
                    store.events.append("node:1", "a", actor="x", detail="x")
                    store.events.append("node:1", "b", actor="x", detail="x")

        threads = [threading.Thread(target=write, args=(store,)) for store in (site.store, other, site.store)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reader.wait(360)
        assert reader.ids == list(range(1, 361))
        other.close()
