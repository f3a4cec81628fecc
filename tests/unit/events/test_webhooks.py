"""Webhooks, with a real receiver on loopback."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound, SteelyardError
from steelyard.events import sending
from steelyard.events import webhooks as webhooks_module
from steelyard.events.hooks import PAUSES, DeliveryState, Webhook, sign
from steelyard.events.webhooks import WebhookService
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.store.tables import events, secrets, webhooks

from .receiver import Receiver, dripping, hanging_up, huge, slow, status

SECRET = "canary-" + "s" * 32


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'steelyard.sqlite'}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(store: Store, tmp_path: Path, clock: Clock) -> WebhookService:
    settings = Settings(home=tmp_path, webhook_targets=("127.0.0.0/8",), webhook_hours=24)
    return WebhookService(store=store, settings=settings, now=clock)


def add(service: WebhookService, receiver: Receiver, **filter: str) -> Webhook:
    made = service.add("hook", receiver.url, SECRET, filter=filter, actor="ada")
    assert service.run().changed == 1 or filter, "the event that it was added is the first"
    receiver.received.clear()
    receiver.accepted.clear()
    return made


def happen(store: Store, count: int = 1, **values: str) -> None:
    for _ in range(count):
        store.events.append(**{"subject": "node:1", "kind": "node.thing", "actor": "ada", "detail": "x", **values})


class TestDelivery:
    def test_signed_in_order_and_once(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        hook = add(service, receiver)
        happen(store, 30)
        assert service.run().changed == 30
        ids = [got.event["id"] for got in receiver.accepted]
        assert ids == sorted(set(ids))
        assert len(ids) == 30
        for got in receiver.accepted:
            assert got.path == "/in?key=hidden"
            stamp = got.headers["steelyard-timestamp"]
            mac = hmac.new(SECRET.encode(), stamp.encode() + b"." + got.body, hashlib.sha256).hexdigest()
            assert got.headers["steelyard-signature"] == f"v1={mac}"
            assert got.headers["steelyard-webhook-id"] == hook.id
            assert got.headers["steelyard-event-id"] == str(got.event["id"])
            assert abs(int(stamp) - time.time()) < 300
            assert SECRET not in str(got.headers)
        assert service.run().changed == 0
        assert receiver.connections <= 2, "one connection serves a run"
        _, deliveries = service.deliveries("hook", state=None, limit=100, before=None)
        assert {each.state for each in deliveries} == {DeliveryState.DELIVERED}
        assert service.get("hook").cursor == store.events.newest()

    def test_only_what_is_wanted(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        add(service, receiver, kind="operation.*", subject="node:*")
        happen(store, 3)
        happen(store, 2, kind="operation.failed")
        happen(store, 2, kind="operation.failed", subject="server:1")
        service.run()
        assert [got.event["kind"] for got in receiver.accepted] == ["operation.failed"] * 2
        assert service.waiting(service.get("hook")) == 0, "what is not wanted does not wait"

    def test_events_of_before_are_not_sent(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        happen(store, 5)
        service.add("hook", receiver.url, SECRET, filter={}, actor="ada")
        service.run()
        assert [got.event["kind"] for got in receiver.accepted] == ["webhook.added"]

    def test_more_than_a_page(
        self, store: Store, service: WebhookService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks_module, "PAGE", 7)
        add(service, receiver, kind="wanted")
        with store.unit_of_work():
            for _ in range(25):
                happen(store)
                happen(store, kind="wanted")
        assert service.run().changed == 25

    def test_nobody_waits_for_a_slow_one(
        self, store: Store, service: WebhookService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sending, "READ_SECONDS", 0.5)
        add(service, receiver)
        other = Receiver(habit=slow(30)).start()
        try:
            service.add("slow", other.url, SECRET, filter={}, actor="ada")
            happen(store, 5)
            service.run()
            assert len(receiver.accepted) == 6
            assert service.get("slow").failures == 1
            assert service.get("slow").last_error == "no answer in time"
        finally:
            other.stop()

    def test_a_stop_ends_a_run(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        add(service, receiver)
        happen(store, 200)

        def stop(handler: object) -> None:
            service.stop()
            status(204)(handler)  # type: ignore[arg-type]

        receiver.habit = stop
        service.run()
        assert len(receiver.received) == 1
        assert service.get("hook").cursor == store.events.newest() - 199


class TestTrouble:
    def test_down_then_up(self, store: Store, service: WebhookService, receiver: Receiver, clock: Clock) -> None:
        add(service, receiver)
        receiver.stop()
        happen(store, 3)
        assert service.run().detail == "1 cannot be reached"
        failing = service.get("hook")
        assert failing.failures == 1
        assert failing.next_attempt_at == clock.now + timedelta(seconds=PAUSES[0])
        assert service.run().changed == 0, "not before its pause is over"
        clock.advance(seconds=PAUSES[0])
        service.run()
        assert service.get("hook").failures == 2
        assert service.get("hook").next_attempt_at == clock.now + timedelta(seconds=PAUSES[1])
        assert [each.name for each in store.webhooks.failing(before=clock.now)] == ["hook"]
        receiver.start()
        clock.advance(seconds=PAUSES[1])
        assert service.run().changed == 3
        ids = [got.event["id"] for got in receiver.accepted]
        assert ids == sorted(ids)
        assert len(ids) == 3, "nothing is lost, nothing overtakes"
        assert store.webhooks.failing(before=clock.now) == []
        _, deliveries = service.deliveries("hook", state=None, limit=10, before=None)
        assert [each.attempts for each in deliveries[:3]] == [1, 1, 3]

    @pytest.mark.parametrize("code", [500, 503, 404, 401, 100, 199])
    def test_an_answer_that_is_no_success(
        self, store: Store, service: WebhookService, receiver: Receiver, clock: Clock, code: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(sending, "READ_SECONDS", 1.0)
        add(service, receiver)
        receiver.habit = status(code)
        happen(store)
        service.run()
        (delivery, *_) = service.deliveries("hook", state=None, limit=1, before=None)[1]
        assert delivery.state is DeliveryState.PENDING
        if code >= 200:
            assert (delivery.status, delivery.error) == (code, f"HTTP {code}")
        receiver.habit = None
        clock.advance(minutes=1)
        assert service.run().changed == 1

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(
        self, store: Store, service: WebhookService, receiver: Receiver, code: int
    ) -> None:
        other = Receiver().start()
        try:
            add(service, receiver)
            receiver.habit = status(code, location=other.url)
            happen(store)
            service.run()
            assert other.received == []
            assert "redirect" in (service.get("hook").last_error or "")
        finally:
            other.stop()

    @pytest.mark.parametrize("habit", [hanging_up, dripping, slow(20)])
    def test_a_receiver_without_manners(
        self, store: Store, service: WebhookService, receiver: Receiver, habit: object,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(sending, "READ_SECONDS", 1.0)
        monkeypatch.setattr(sending, "TOTAL_SECONDS", 1.5)
        add(service, receiver)
        receiver.habit = habit  # type: ignore[assignment]
        happen(store)
        begin = time.monotonic()
        service.run()
        assert time.monotonic() - begin < 5
        assert service.get("hook").failures == 1

    def test_a_huge_answer_is_not_read(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        add(service, receiver)
        receiver.habit = huge
        huge.sent = 0  # type: ignore[attr-defined]
        happen(store, 2)
        begin = time.monotonic()
        assert service.run().changed == 2, "the status says that it was taken"
        assert time.monotonic() - begin < 5
        assert huge.sent < 20  # type: ignore[attr-defined]

    def test_no_http_at_all(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        add(service, receiver)
        receiver.habit = lambda handler: handler.wfile.write(b"\x00\xff" * 1000 + b"\r\n\r\n")
        happen(store)
        service.run()
        assert service.get("hook").failures == 1

    def test_a_kept_connection_that_was_closed_is_no_failure(
        self, store: Store, service: WebhookService, receiver: Receiver
    ) -> None:
        add(service, receiver)

        def close_after(handler: object) -> None:
            handler.send_response(204)  # type: ignore[attr-defined]
            handler.end_headers()  # type: ignore[attr-defined]
            handler.close_connection = True  # type: ignore[attr-defined]

        receiver.habit = close_after
        happen(store, 5)
        assert service.run().changed == 5
        assert service.get("hook").failures == 0

    def test_an_end_after_a_day(self, store: Store, service: WebhookService, receiver: Receiver, clock: Clock) -> None:
        add(service, receiver)
        receiver.stop()
        happen(store, 3)
        service.run()
        clock.advance(hours=12)
        service.run()
        assert service.get("hook").given_up == 0
        clock.advance(hours=12.1)
        service.run()
        hook = service.get("hook")
        assert hook.given_up == 3
        _, deliveries = service.deliveries("hook", state=DeliveryState.GIVEN_UP, limit=10, before=None)
        assert len(deliveries) == 3
        (told,) = store.events.of(f"webhook:{hook.id}", limit=1)
        assert told.kind == "webhook.given_up"
        assert told.data["events"] == 3
        receiver.start()
        clock.advance(hours=1)
        happen(store)
        service.run()
        kinds = [got.event["kind"] for got in receiver.accepted]
        assert kinds == ["webhook.given_up", "node.thing"], "what is new is sent, and the receiver learns of its loss"

    def test_an_event_that_the_receiver_calls_malformed_does_not_hold_up_the_others(
        self, store: Store, service: WebhookService, receiver: Receiver, clock: Clock
    ) -> None:
        add(service, receiver)
        happen(store, detail="poison")
        happen(store)

        def picky(handler: object) -> None:
            poison = b"poison" in receiver.received[-1].body and b"node.thing" in receiver.received[-1].body
            status(422 if poison else 200)(handler)  # type: ignore[arg-type]

        receiver.habit = picky
        for _ in range(6):
            service.run()
            clock.advance(minutes=15)
        hook = service.get("hook")
        assert (hook.given_up, hook.failures) == (1, 0)
        assert receiver.received[-1].event["kind"] in ("node.thing", "webhook.given_up")

    def test_deleted_while_it_is_served(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        add(service, receiver)
        happen(store, 50)

        def delete(handler: object) -> None:
            if len(receiver.received) == 3:
                service.delete("hook", actor="ada")
            status(200)(handler)  # type: ignore[arg-type]

        receiver.habit = delete
        service.run()
        assert store.webhooks.all() == []
        assert len(receiver.received) <= 3 + webhooks_module.FLUSH

    def test_a_secret_that_is_gone_harms_nobody_else(
        self, store: Store, service: WebhookService, receiver: Receiver
    ) -> None:
        hook = add(service, receiver)
        service.add("other", receiver.url, SECRET, filter={"kind": "node.*"}, actor="ada")
        store.secrets.delete(hook.secret_id)
        happen(store)
        assert service.run().changed == 1


class TestTargets:
    @pytest.mark.parametrize(
        "text",
        [
            "file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "https://user:pass@example.org/",
            "https://", "http://exa mple.org", "https://example.org/#x", "https://example.org:0/", "x" * 3000,
            "http://example.org\r\nX: y/",
        ],
    )  # fmt: skip
    def test_what_is_no_url_for_a_webhook(self, service: WebhookService, text: str) -> None:
        with pytest.raises(Invalid):
            service.add("hook", text, SECRET, filter={}, actor="ada")
        assert service.all() == []

    @pytest.mark.parametrize(
        "address",
        [
            "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "fc00::1",  # noqa: S104
            "::ffff:10.0.0.1", "64:ff9b::a00:1", "100.64.0.1", "224.0.0.1",
        ],
    )  # fmt: skip
    def test_private_addresses(self, store: Store, tmp_path: Path, address: str) -> None:
        service = WebhookService(store=store, settings=Settings(home=tmp_path), resolve=lambda *_: [address])
        with pytest.raises(Forbidden) as refused:
            service.add("hook", "https://inside.example.org/", SECRET, filter={}, actor="ada")
        assert refused.value.code == "target_forbidden"
        assert address not in refused.value.detail

    def test_loopback_is_private_unless_it_is_allowed(self, store: Store, tmp_path: Path, receiver: Receiver) -> None:
        service = WebhookService(store=store, settings=Settings(home=tmp_path))
        with pytest.raises(Forbidden):
            service.add("hook", receiver.url, SECRET, filter={}, actor="ada")

    def test_a_name_that_leads_inside_later_is_not_followed(
        self, store: Store, tmp_path: Path, receiver: Receiver
    ) -> None:
        """DNS rebinding: a public address at the registration, loopback at the delivery."""
        answers = [["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8", "127.0.0.1"]]
        settings = Settings(home=tmp_path)
        service = WebhookService(store=store, settings=settings, resolve=lambda *_: answers.pop(0))
        service.add("hook", f"http://rebinding.example.org:{receiver.port}/", SECRET, filter={}, actor="ada")
        service.run()
        assert "not on a public network" in (service.get("hook").last_error or "")
        assert not service.test("hook").delivered
        assert receiver.received == []

    def test_the_connection_goes_to_the_address_that_was_checked(
        self, store: Store, tmp_path: Path, receiver: Receiver
    ) -> None:
        settings = Settings(home=tmp_path, webhook_targets=("127.0.0.0/8",))
        asked: list[str] = []

        def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        service = WebhookService(store=store, settings=settings, resolve=resolve)
        service.add("hook", f"http://nowhere.invalid:{receiver.port}/", SECRET, filter={}, actor="ada")
        assert service.test("hook").delivered
        assert asked == ["nowhere.invalid"] * 2, "once for the check, once for the one connection"
        assert receiver.received[0].headers["host"] == f"nowhere.invalid:{receiver.port}"

    def test_a_setting_that_is_no_network(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(Invalid) as refused:
            WebhookService(store=store, settings=Settings(home=tmp_path, webhook_targets=("here",)))
        assert "webhook_targets" in refused.value.detail


class TestAdministration:
    def test_the_secret_stays_inside(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        hook = add(service, receiver)
        assert SECRET not in repr(hook)
        assert hook.secret_id not in repr(hook)
        with store.database.read() as connection:
            for table in (webhooks, secrets, events):
                for row in connection.execute(sa.select(table)):
                    assert SECRET not in str(row)
                    assert b"canary" not in b"".join(v for v in row if isinstance(v, bytes))
        assert "hidden" not in str([event.detail for event in store.events.of(f"webhook:{hook.id}")])
        before = _count(store)
        service.delete("hook", actor="ada")
        assert _count(store) == before - 1, "the secret goes with it"
        with pytest.raises(NotFound):
            service.get("hook")

    @pytest.mark.parametrize("secret", ["", "short", "x" * 2000, "ä" * 20, "new\nline" * 4])
    def test_secrets_that_are_none(self, service: WebhookService, receiver: Receiver, secret: str) -> None:
        with pytest.raises(Invalid) as refused:
            service.add("hook", receiver.url, secret, filter={}, actor="ada")
        assert refused.value.code == "invalid_secret"
        assert not secret or secret not in refused.value.detail

    def test_a_name_is_taken_once(self, service: WebhookService, receiver: Receiver, store: Store) -> None:
        add(service, receiver)
        before = _count(store)
        with pytest.raises(Duplicate):
            add(service, receiver)
        assert _count(store) == before, "and no secret is left behind"

    def test_not_too_many(self, service: WebhookService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhooks_module, "MOST", 1)
        add(service, receiver)
        with pytest.raises(Conflict):
            service.add("another", receiver.url, SECRET, filter={}, actor="ada")

    def test_a_name_that_does_not_resolve(self, service: WebhookService) -> None:
        def fail(*_: object) -> list[str]:
            raise OSError

        service._resolve = fail
        with pytest.raises(Invalid) as refused:
            service.add("hook", "https://nowhere.invalid/", SECRET, filter={}, actor="ada")
        assert refused.value.code == "target_unreachable"

    def test_a_test(self, service: WebhookService, receiver: Receiver) -> None:
        add(service, receiver)
        attempt = service.test("hook")
        assert (attempt.delivered, attempt.status) == (True, 204)
        assert receiver.received[-1].event["kind"] == "webhook.test"
        receiver.habit = status(500)
        assert service.test("hook").error == "HTTP 500"
        assert service.get("hook").failures == 0, "a test is no delivery"

    def test_old_deliveries_are_forgotten(
        self, store: Store, service: WebhookService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("steelyard.store.webhooks.KEEP", 10)
        add(service, receiver)
        happen(store, 50)
        service.run()
        assert len(service.deliveries("hook", state=None, limit=100, before=None)[1]) == 10

    def test_two_servers_deliver_at_least_once(self, store: Store, service: WebhookService, receiver: Receiver) -> None:
        """Reconcilers run in one server at a time; if two ever overlap, the cursor does not go back."""
        add(service, receiver)
        happen(store, 40)
        failures: list[SteelyardError] = []

        def run() -> None:
            try:
                service.run()
            except SteelyardError as error:
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert {got.event["id"] for got in receiver.accepted} == {e.id for e in store.events.after(1)}
        assert service.get("hook").cursor == store.events.newest()


def test_on_postgresql(
    new_postgresql: Callable[[], str], key_file: Path, tmp_path: Path, clock: Clock, receiver: Receiver
) -> None:
    store = Store.open(new_postgresql(), key_file=key_file)
    settings = Settings(home=tmp_path, webhook_targets=("127.0.0.0/8",))
    service = WebhookService(store=store, settings=settings, now=clock)
    add(service, receiver, kind="node.*")
    with pytest.raises(Duplicate):
        add(service, receiver)
    receiver.stop()
    happen(store, 3)
    service.run()
    receiver.start()
    clock.advance(minutes=1)
    assert service.run().changed == 3
    service.delete("hook", actor="ada")
    assert store.webhooks.all() == []
    store.close()


def test_the_signature_is_that_of_the_documents() -> None:
    assert sign("It is a secret to everybody", 1767225600, b'{"webhook":"tickets"}') == (
        "v1=" + hmac.new(b"It is a secret to everybody", b'1767225600.{"webhook":"tickets"}', "sha256").hexdigest()
    )


def _count(store: Store) -> int:
    with store.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(secrets)).scalar_one())
