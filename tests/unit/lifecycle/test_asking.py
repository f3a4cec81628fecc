"""A request for a server that is cut off in the middle: the same one again goes on with its own server, no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from steelyard.clouds.fake.compute import FakeCompute
from steelyard.errors import Conflict, Duplicate, Forbidden, Refused, SteelyardError, Unavailable, UpstreamError
from steelyard.lifecycle import asking
from steelyard.lifecycle.asking import ON_ITS_WAY, Asking
from steelyard.lifecycle.bulk import actions
from steelyard.lifecycle.renewal import Renewal
from steelyard.lifecycle.service import CREATE, LifecycleService
from steelyard.nouns import Instance, ServerSpec
from steelyard.operations.bulking import Bulk
from steelyard.operations.model import Operation
from steelyard.operations.model import Phase as End
from steelyard.store.engine_tables import intents

from .test_work import create

if TYPE_CHECKING:
    from .conftest import Bench


class Killed(BaseException):
    """SIGKILL: nothing of ours runs after it."""


def dies(*_: Any, **__: Any) -> Operation:
    raise Killed


def written(bench: Bench) -> int:
    """How many intents there are."""
    with bench.store.database.read() as connection:
        return len(connection.execute(intents.select()).all())


def cut_off(bench: Bench, key: str | None = "k", **changes: Any) -> Instance:
    """Nova has accepted it, and the server is killed before the operation is written down."""
    service = bench.service()
    service._operations.start = dies  # type: ignore[method-assign]
    before = set(bench.world.instances)
    with pytest.raises(Killed):
        create(bench, service, key=key, **changes)
    [made] = set(bench.world.instances) - before
    return bench.world.instances[made]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked before is dead for long."""
    monkeypatch.setattr(asking, "ON_ITS_WAY", 0.0)


class TestKilled:
    def test_between_the_ask_and_the_record_the_same_request_goes_on_with_its_own_server(self, bench: Bench) -> None:
        made = cut_off(bench)
        service = bench.service()
        server, operation = create(bench, service, key="k")
        assert (server.instance.id, server.image_name) == (made.id, "debian")
        assert (operation.phase, operation.params["server_id"]) == (End.SUCCEEDED, made.id)
        assert len(bench.world.instances) == 1
        assert create(bench, service, key="k")[1].id == operation.id
        assert written(bench) == 0

    @pytest.mark.usefixtures("at_once")
    def test_before_nova_has_it_the_same_request_asks_and_makes_one(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(FakeCompute, "create", dies)
            with pytest.raises(Killed):
                create(bench, bench.service(), key="k")
        assert (len(bench.world.instances), written(bench)) == (0, 1)
        assert create(bench, bench.service(), key="k")[1].phase is End.SUCCEEDED
        assert (len(bench.world.instances), written(bench)) == (1, 0)

    @pytest.mark.parametrize("error", [Unavailable("the answer was lost"), UpstreamError("HTTP 502")])
    def test_an_answer_of_novas_that_was_lost_is_the_same(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, error: SteelyardError
    ) -> None:
        really = FakeCompute.create

        def lost(self: FakeCompute, spec: ServerSpec) -> Instance:
            really(self, spec)
            raise error

        service = bench.service()
        with monkeypatch.context() as patch:
            patch.setattr(FakeCompute, "create", lost)
            with pytest.raises(type(error)):
                create(bench, service, key="k")
        assert create(bench, service, key="k")[1].phase is End.SUCCEEDED
        assert len(bench.world.instances) == 1

    def test_an_intent_that_outlived_its_operation_does_no_harm(self, bench: Bench) -> None:
        service = bench.service()
        server, operation = create(bench, service, key="k")
        bench.store.intents.begin(bench.tenant.user_id, CREATE, "k", "whatever it was")
        again, same = create(bench, service, key="k")
        assert (again.instance.id, same.id) == (server.instance.id, operation.id)

    def test_another_request_with_its_key_is_told_so(self, bench: Bench) -> None:
        cut_off(bench)
        with pytest.raises(Conflict) as caught:
            create(bench, bench.service(), key="k", networks=["blue", "blue"])
        assert caught.value.code == "key_reused"

    @pytest.mark.usefixtures("at_once")
    def test_in_bulk_the_item_succeeds(self, bench: Bench) -> None:
        operations = bench.operations()
        bulk, started = Bulk(operations, bench.store), operations.start
        bulk.register(*actions(bench.over(operations)))
        left = [1]

        def killed_once(kind: str, *given: Any, **named: Any) -> Operation:
            if kind == CREATE and left:
                left.pop()
                raise Unavailable("the server was killed here")
            return started(kind, *given, **named)

        operations.start = killed_once  # type: ignore[method-assign]
        items = [
            {"name": name, "flavor": "metal-small", "image": "debian", "networks": ["blue"]} for name in ("a", "b")
        ]
        ended = bulk.start(bench.tenant, bench.token, CREATE, items)
        assert not left
        assert (ended.phase, ended.error) == (End.SUCCEEDED, None)
        assert sorted(each.name for each in bench.world.instances.values()) == ["a", "b"]


@pytest.mark.usefixtures("at_once")
class TestNobodyElsesServer:
    def test_a_server_of_that_name_without_the_mark(self, bench: Bench) -> None:
        made = cut_off(bench)
        bench.world.instances[made.id] = replace(made, mark=None)
        with pytest.raises(Duplicate) as caught:
            create(bench, bench.service(), key="k")
        assert caught.value.code == "duplicate_name"

    @pytest.mark.parametrize("change", [{"user_id": "a-colleague"}, {"mark": "0" * 32}])
    def test_a_colleagues_with_a_mark(self, bench: Bench, change: dict[str, str]) -> None:
        made = cut_off(bench)
        bench.world.instances[made.id] = replace(made, **change)
        with pytest.raises(Duplicate):
            create(bench, bench.service(), key="k")

    def test_one_that_was_renamed_is_left_alone(self, bench: Bench) -> None:
        made = cut_off(bench)
        bench.world.instances[made.id] = replace(made, name="mine now")
        server, _ = create(bench, bench.service(), key="k")
        assert server.instance.id != made.id

    def test_another_project_with_the_same_key(self, bench: Bench) -> None:
        made = cut_off(bench)
        elsewhere = bench.clouds.on_behalf_of(bench.world.token(project="other", user="demo"))
        intent = bench.store.intents.find(bench.tenant.user_id, CREATE, "k")
        assert intent is not None
        again = Asking(bench.store.intents, bench.tenant, CREATE, "k", intent.request)
        assert again.made(elsewhere, made.name) is None

    @pytest.mark.parametrize("key", [None, "another"])
    def test_without_that_key_the_name_is_taken(self, bench: Bench, key: str | None) -> None:
        cut_off(bench)
        with pytest.raises(Duplicate):
            create(bench, bench.service(), key=key)

    def test_marks_are_told_to_nobody(self, bench: Bench) -> None:
        made = cut_off(bench)
        _, operation = create(bench, bench.service(), key="k")
        assert made.mark is not None
        events = bench.store.events.of(f"server:{made.id}")
        assert made.mark not in repr([operation, events])
        assert len({cut_off(bench, key=f"k{n}", name=f"web{n}").mark for n in range(3)} | {made.mark}) == 4


class TestOnItsWay:
    """Whoever asked is dead, and Nova has not got round to it."""

    def waiting(self, bench: Bench, service: LifecycleService, then: Callable[[int], None]) -> tuple[Any, list[float]]:
        """What is found of a request that was cut off just now; `then` happens between two looks."""
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            then(len(slept))

        bench.store.intents.begin(bench.tenant.user_id, CREATE, "k", "digest")
        found = Asking(bench.store.intents, bench.tenant, CREATE, "k", "digest", sleep=sleep).made(
            service.clouds.on_behalf_of(bench.token), "web"
        )
        return found, slept

    def test_it_is_waited_for(self, bench: Bench) -> None:
        service = bench.service()

        def arrives(looks: int) -> None:
            if looks == 3:
                create(bench, service)
                [made] = bench.world.instances.values()
                intent = bench.store.intents.find(bench.tenant.user_id, CREATE, "k")
                assert intent is not None
                bench.world.instances[made.id] = replace(made, mark=intent.mark)

        found, slept = self.waiting(bench, service, arrives)
        assert found.name == "web"
        assert len(slept) == 3

    def test_not_for_ever(self, bench: Bench) -> None:
        found, slept = self.waiting(bench, bench.service(), lambda _: None)
        assert found is None
        assert ON_ITS_WAY - 1 < sum(slept) <= ON_ITS_WAY

    def test_nor_for_one_that_was_asked_for_long_ago(self, bench: Bench) -> None:
        bench.store.intents.begin(bench.tenant.user_id, CREATE, "k", "digest")
        with bench.store.database.write() as connection:
            connection.execute(intents.update().values(asked_at=datetime.now(UTC) - timedelta(minutes=1)))
        again = Asking(bench.store.intents, bench.tenant, CREATE, "k", "digest", sleep=dies)
        assert again.made(bench.clouds.on_behalf_of(bench.token), "web") is None

    def test_a_clock_that_was_ahead_makes_nobody_wait_longer(self, bench: Bench) -> None:
        bench.store.intents.begin(bench.tenant.user_id, CREATE, "k", "digest")
        with bench.store.database.write() as connection:
            connection.execute(intents.update().values(asked_at=datetime.now(UTC) + timedelta(hours=1)))
        slept: list[float] = []
        again = Asking(bench.store.intents, bench.tenant, CREATE, "k", "digest", sleep=slept.append)
        assert again.made(bench.clouds.on_behalf_of(bench.token), "web") is None
        assert sum(slept) <= ON_ITS_WAY


class TestOfAServerThatExists:
    """Nova's own record tells whether it has accepted the request, whatever became of the server since."""

    @pytest.fixture
    def running(self, bench: Bench) -> LifecycleService:
        bench.world.now = datetime.now(UTC)
        service = bench.service()
        create(bench, service)
        return service

    def cut_off(self, bench: Bench, name: str, act: Any) -> None:
        service = bench.service()
        service.renewal._operations.start = dies  # type: ignore[method-assign]
        with pytest.raises(Killed):
            act(service.renewal, bench.tenant, bench.token, "web", key="k")
        assert bench.store.intents.find(bench.tenant.user_id, f"servers.{name}", "k") is not None

    @pytest.mark.parametrize("settled", [False, True], ids=["under way", "long over"])
    @pytest.mark.parametrize(("name", "act"), [("rebuild", Renewal.rebuild), ("rescue", Renewal.rescue)])
    def test_nova_is_asked_once(
        self, bench: Bench, running: LifecycleService, name: str, act: Any, *, settled: bool
    ) -> None:
        """Above all not again for a rebuild that is over: the tenant may have written to the disk since."""
        self.cut_off(bench, name, act)
        if settled:
            bench.world.settle()
        _, operation = act(running.renewal, bench.tenant, bench.token, "web", key="k")
        assert operation.phase is End.SUCCEEDED, operation.error
        assert bench.world.calls[f"compute.{name}"] == 1
        assert written(bench) == 0

    def test_out_of_rescue_too(self, bench: Bench, running: LifecycleService) -> None:
        running.renewal.rescue(bench.tenant, bench.token, "web")
        self.cut_off(bench, "unrescue", Renewal.unrescue)
        bench.world.settle()
        _, operation = running.renewal.unrescue(bench.tenant, bench.token, "web", key="k")
        assert operation.phase is End.SUCCEEDED, operation.error
        assert bench.world.calls["compute.rescue"] == 2

    @pytest.mark.usefixtures("at_once")
    @pytest.mark.parametrize("earlier", ["mine, of yesterday", "a colleague's"])
    def test_what_was_asked_by_others_or_before_is_another_request(
        self, bench: Bench, running: LifecycleService, monkeypatch: pytest.MonkeyPatch, earlier: str
    ) -> None:
        token = bench.token if earlier.startswith("mine") else bench.world.token(project="demo", user="colleague")
        now = bench.world.now
        if earlier.startswith("mine"):
            bench.world.now = now - timedelta(days=1)
        running.renewal.rebuild(bench.clouds.identity.validate(token), token, "web")
        bench.world.now = now
        with monkeypatch.context() as patch:
            patch.setattr(FakeCompute, "rebuild", dies)
            with pytest.raises(Killed):
                bench.service().renewal.rebuild(bench.tenant, bench.token, "web", key="k")
        _, operation = running.renewal.rebuild(bench.tenant, bench.token, "web", key="k")
        assert operation.phase is End.SUCCEEDED
        assert bench.world.calls["compute.rebuild"] == 2

    def test_what_the_phase_refuses_stays_refused(self, bench: Bench, running: LifecycleService) -> None:
        with pytest.raises(Refused):
            running.renewal.unrescue(bench.tenant, bench.token, "web", key="k")
        assert written(bench) == 0


class TestIntents:
    def test_a_refusal_ends_it(self, bench: Bench) -> None:
        service = bench.service()
        bench.world.fail("compute.create", Forbidden("the quota is exceeded"))
        with pytest.raises(Forbidden):
            create(bench, service, key="k")
        assert written(bench) == 0
        assert create(bench, service, key="k")[1].phase is End.SUCCEEDED

    def test_nothing_is_written_down_without_a_key_or_for_what_is_not_asked(self, bench: Bench) -> None:
        made = cut_off(bench, key=None)
        assert (made.mark, written(bench)) == (None, 0)
        with pytest.raises(SteelyardError):
            create(bench, bench.service(), name="b", key="k", flavor="gold")
        assert written(bench) == 0

    def test_old_ones_go_when_a_new_one_comes(self, bench: Bench) -> None:
        bench.store.intents.begin("u", CREATE, "old", "digest")
        with bench.store.database.write() as connection:
            connection.execute(intents.update().values(asked_at=datetime.now(UTC) - timedelta(days=8)))
        bench.store.intents.begin("u", CREATE, "new", "digest")
        assert (bench.store.intents.find("u", CREATE, "old"), written(bench)) == (None, 1)

    def test_one_that_is_asked_again_keeps_its_mark(self, bench: Bench) -> None:
        first = bench.store.intents.begin("u", CREATE, "k", "digest")
        again = bench.store.intents.begin("u", CREATE, "k", "digest")
        assert again.mark == first.mark
        assert again.asked_at >= first.asked_at
        assert bench.store.intents.begin("u", CREATE, "other", "digest").mark != first.mark
