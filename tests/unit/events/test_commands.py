"""The commands of events, audit and webhooks, against a real server over fakes."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from steelyard import main
from steelyard.client.errors import ApiError, ClientError, ServerUnreachable
from steelyard.client.rest import Client
from steelyard.client.streaming import follow, messages
from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Unavailable
from steelyard.hardware.redfish.fake import FakeBmcProber
from steelyard.hardware.switches.port import SwitchReaders
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.store.tables import events as table
from steelyard.wiring import Steelyard, assemble, create_app

from .receiver import Receiver
from .serving import Served, serving


class KnownSession:
    """A session with a token that is there, and an address that may change."""

    def __init__(self, token: str, url: str) -> None:
        self.given, self.address = token, url

    def token(self, *, fresh: bool = False) -> str:
        return self.given

    def url(self) -> str:
        return self.address

    def verify(self) -> bool:
        return False


@dataclass
class Site:
    world: FakeWorld
    built: Steelyard
    served: Served
    monkeypatch: pytest.MonkeyPatch

    @property
    def store(self) -> Store:
        return self.built.store

    def client(self, *roles: str, project: str = "demo") -> Client:
        token = self.world.token(project=project, roles=set(roles or {"admin"}))
        return Client(KnownSession(token, self.served.url), timeout=20)  # type: ignore[arg-type]

    def run(self, *words: str, roles: tuple[str, ...] = ("admin",)) -> Any:
        client = self.client(*roles)
        for module in ("steelyard.events.commands", "steelyard.events.webhook_commands"):
            self.monkeypatch.setattr(f"{module}.connect", lambda: client)
        command: Any = main._load(words[0])
        result = CliRunner().invoke(command, list(words[1:]))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def happen(self, count: int = 1, **values: Any) -> None:
        for _ in range(count):
            self.store.events.append(
                **{"subject": "node:1", "kind": "node.thing", "actor": "ada", "detail": "x\x1b[2J", **values}
            )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    world = FakeWorld()
    settings = Settings(home=tmp_path, webhook_targets=("127.0.0.0/8",))
    store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
    built = assemble(
        settings, clouds=FakeClouds(world), store=store, operations=FakeOperations(), switches=SwitchReaders(),
        prober=FakeBmcProber(),
    )  # fmt: skip
    with structlog.testing.capture_logs(), serving(create_app(built), going_down=built.streams.stop) as served:
        yield Site(world, built, served, monkeypatch)
    store.close()


class TestAudit:
    def test_list(self, site: Site) -> None:
        site.happen(3)
        site.happen(kind="operation.failed", actor="bob", reason="why")
        text = site.run("audit", "list").output
        assert text.splitlines()[0].split() == ["ID", "AT", "SUBJECT", "KIND", "ACTOR", "DETAIL", "REASON"]
        assert len(text.splitlines()) == 5
        assert "\x1b" not in text
        rows = json.loads(site.run("audit", "list", "--kind", "operation.*", "-f", "json").output)
        assert [(row["id"], row["actor"], row["reason"]) for row in rows] == [(4, "bob", "why")]
        assert len(rows[0]["hash"]) == 64
        for options, count in (
            (("--actor", "ada"), 3), (("--subject", "node:2"), 0), (("--since", "1h"), 4), (("--until", "1h"), 0),
            (("--since", "2020-01-01T00:00:00Z", "--limit", "2"), 2), (("--marker", "3"), 2),
        ):  # fmt: skip
            assert len(json.loads(site.run("audit", "list", *options, "-f", "json").output)) == count, options
        with pytest.raises(ClientError):
            site.run("audit", "list", "--since", "yesterday")

    def test_export(self, site: Site, tmp_path: Path) -> None:
        site.happen(2300)
        file = tmp_path / "events.jsonl"
        assert "2300 events" in site.run("audit", "list", "--export", str(file)).output
        assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == list(range(2300, 0, -1))
        with pytest.raises(FileExistsError):
            site.run("audit", "list", "--export", str(file))

    def test_verify(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site.happen(30)
        heads = tmp_path / "heads.jsonl"
        heads.write_text(site.run("audit", "head", "-f", "json").output)
        site.happen(20)
        whole = site.run("audit", "verify")
        assert (whole.exit_code, whole.output) == (0, "50 lines verified: the record is whole.\n")
        assert "and fits what was noted earlier (1)" in site.run("audit", "verify", "--head", str(heads)).output
        assert json.loads(site.run("audit", "verify", "--from", str(heads), "-f", "json").output) == {
            "checked": 20, "through": 50, "whole": True, "breaches": [],
        }  # fmt: skip
        with site.store.database.write() as connection:
            connection.execute(table.delete().where(table.c.id == 17))
            connection.execute(table.update().where(table.c.id == 40).values(actor="eve"))
        broken = site.run("audit", "verify")
        assert broken.exit_code == 1
        assert [line.split()[:2] for line in broken.output.splitlines()[1:3]] == [["17", "removed"], ["40", "changed"]]
        assert "2 breaches" in broken.output
        with site.store.database.write() as connection:
            connection.execute(table.delete().where(table.c.id >= 30))
        found = json.loads(site.run("audit", "verify", "--head", str(heads), "-f", "json").output)
        assert [each["what"] for each in found["breaches"]] == ["removed", "truncated", "noted"]

    def test_files_that_hold_no_heads(self, site: Site, tmp_path: Path) -> None:
        for text in ("", "nonsense", "{}", "[]\n"):
            (tmp_path / "x").write_text(text)
            with pytest.raises(ClientError):
                site.run("audit", "verify", "--head", str(tmp_path / "x"))

    def test_only_for_administrators(self, site: Site) -> None:
        for words in (("audit", "verify"), ("audit", "head"), ("webhook", "list")):
            with pytest.raises(ApiError) as refused:
                site.run(*words, roles=("member",))
            assert refused.value.status == 403


class TestEvents:
    def test_the_newest_last(self, site: Site) -> None:
        mine = site.world.project("demo")
        site.happen(5)
        site.happen(subject="server:1", project_id=mine, detail="yours", data={"node": "bm-1"}, reason="why")
        lines = site.run("events", "--limit", "3").output.splitlines()
        assert len(lines) == 3
        assert lines[-1].endswith("server:1  node.thing  ada: yours (why)")
        tenants = [json.loads(line) for line in site.run("events", "-f", "json", roles=("member",)).output.splitlines()]
        assert [(row["id"], row["detail"], row["data"], row["hash"]) for row in tenants] == [(6, "yours", None, None)]

    def test_following_goes_on_after_a_restart_of_the_server(self, site: Site, tmp_path: Path) -> None:
        site.happen(3)
        client = site.client("admin")
        slept: list[float] = []
        stream = follow(client, "/v1/events/stream", {"subject": None}, after=1, sleep=slept.append)
        assert [next(stream)["id"] for _ in range(2)] == [2, 3]
        timer = threading.Timer(0.3, lambda: site.happen(2))
        timer.start()
        assert [next(stream)["id"] for _ in range(2)] == [4, 5]
        assert slept == []
        site.served.stop()
        site.happen(2)
        built = site.built
        built.streams._stopping = False
        built.streams._threads = None
        with serving(create_app(built), going_down=built.streams.stop) as again:
            client._session.address = again.url  # type: ignore[attr-defined]
            client._http_known = None
            assert [next(stream)["id"] for _ in range(2)] == [6, 7]
        assert slept

    def test_a_server_that_does_not_come_back(self, site: Site) -> None:
        client = site.client("admin")
        site.served.stop()
        clock = itertools.count(0.0, 50.0)
        with pytest.raises(ServerUnreachable):
            next(follow(client, "/v1/events/stream", {}, sleep=lambda _: None, clock=lambda: next(clock)))

    def test_what_is_refused_is_not_asked_again(self, site: Site) -> None:
        with pytest.raises(ApiError) as refused:
            next(follow(site.client("barista"), "/v1/events/stream", {}))
        assert refused.value.status == 403

    def test_messages_of_any_make(self) -> None:
        lines = [": hello", "", "id:7", "data: a", "data: b", "event:end", "", "data", "unknown: x", "", "data: left"]
        assert list(messages(lines)) == [("message", None, ""), ("end", "7", "a\nb"), ("message", None, "")]


class TestTimelines:
    def test_of_a_node(self, site: Site) -> None:
        node = site.world.add_node("bm-001", state="manageable")
        site.built.clouds.own.provisioning.request(node.id, "provide")
        site.world.settle()
        site.happen(3, subject=f"node:{node.id}", detail="thing")
        text = site.run("node", "timeline", "bm-001").output
        assert len(text.splitlines()) == 6
        assert "ironic" in text
        page = json.loads(site.run("node", "timeline", "bm-001", "--limit", "2", "-f", "json").output)
        assert len(page["timeline"]) == 2
        rest = site.run("node", "timeline", "bm-001", "--marker", page["timeline"][-1]["id"], "-f", "json")
        assert len(json.loads(rest.output)["timeline"]) == 3
        site.world.fail("provisioning.history", Unavailable("Ironic does not answer"))
        assert "ironic could not be asked: Ironic does not answer" in site.run("node", "timeline", "bm-001").output

    def test_the_table_is_no_wider_than_people_read(self, site: Site) -> None:
        node = site.world.add_node("bm-001", state="manageable")
        site.happen(subject=f"node:{node.id}", detail="step " * 1000)
        assert max(map(len, site.run("node", "timeline", "bm-001").output.splitlines())) < 300
        (line,) = json.loads(site.run("node", "timeline", "bm-001", "-f", "json").output)["timeline"]
        assert line["detail"] == "step " * 1000

    def test_of_a_server(self, site: Site) -> None:
        site.happen(subject="server:s1", project_id=site.world.project("demo"), detail="yours")
        assert "yours" in site.run("server", "timeline", "s1", roles=("member",)).output
        with pytest.raises(ApiError) as refused:
            site.run("server", "timeline", "s2", roles=("member",))
        assert refused.value.status == 404


class TestWebhooks:
    def test_a_whole_life(self, site: Site, tmp_path: Path) -> None:
        receiver = Receiver().start()
        try:
            made = site.run("webhook", "add", "tickets", receiver.url, "--kind", "node.*")
            secret = made.output.split("Secret, shown this once: ")[1].strip()
            assert len(secret) == 64
            assert "hidden" not in made.output, "the URL's query may be a key"
            site.happen(2)
            site.built.webhooks.run()
            assert len(receiver.accepted) == 2
            shown = site.run("webhook", "list", "-f", "json").output + site.run("webhook", "show", "tickets").output
            assert secret not in shown
            assert json.loads(site.run("webhook", "list", "-f", "json").output)[0]["state"] == "ok"
            assert site.run("webhook", "test", "tickets").exit_code == 0
            rows = json.loads(site.run("webhook", "deliveries", "tickets", "-f", "json").output)
            assert [(row["event_id"], row["state"], row["status"]) for row in rows] == [
                (3, "delivered", 204), (2, "delivered", 204),
            ]  # fmt: skip
            receiver.stop()
            assert site.run("webhook", "test", "tickets").exit_code == 1
            assert "deleted" in site.run("webhook", "delete", "tickets").output
            assert json.loads(site.run("webhook", "list", "-f", "json").output) == []
        finally:
            receiver.stop()

    def test_a_secret_of_ones_own(self, site: Site, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text("canary-0123456789\n")
        made = site.run("webhook", "add", "log", "http://127.0.0.1:1/", "--secret-file", str(file))
        assert "canary" not in made.output
        file.write_text("short")
        with pytest.raises(ApiError) as refused:
            site.run("webhook", "add", "other", "http://127.0.0.1:1/", "--secret-file", str(file))
        assert "short" not in refused.value.detail.replace("shorter", "")

    def test_new_events_wake_the_reconciler(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        signalled: list[str] = []
        monkeypatch.setattr(site.built.reconcilers, "signal", signalled.append)
        site.happen()
        assert signalled == [], "nobody wants them"
        site.run("webhook", "add", "log", "http://127.0.0.1:1/")
        site.happen()
        assert "events.webhooks" in signalled


def test_the_reconcilers_are_registered(site: Site) -> None:
    assert {"events.chain", "events.webhooks"} <= {each.name for each in site.built.reconcilers.all()}
