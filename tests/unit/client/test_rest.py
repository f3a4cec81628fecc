from __future__ import annotations

import io
import json
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.client import rest
from steelyard.client.errors import ApiError, ClientError, ServerUnreachable
from steelyard.client.rest import Client
from steelyard.client.session import Choices, Session

PROBLEM = {
    "type": "about:blank", "title": "Conflict", "status": 409, "code": "node_deployed", "detail": "It is deployed.",
    "next": "steelyard server delete web", "request_id": "req-1",
}  # fmt: skip


class FakeSession(Session):
    """Tokens t1, t2, ... and one address; nothing is read or asked."""

    def __init__(self) -> None:
        super().__init__(Choices())
        self.given = 1

    def token(self, *, fresh: bool = False) -> str:
        self.given += fresh
        return f"t{self.given}"

    def url(self) -> str:
        return "http://steelyard"


def client(handler: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client(FakeSession(), transport=httpx.MockTransport(handler))


class TestRequests:
    def test_the_token_the_query_the_body_the_key(self) -> None:
        seen: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json={"ok": True})

        talk = client(handle)
        assert talk.get("/v1/nodes", {"pool": "a b", "state": None}) == {"ok": True}
        talk.post("/v1/nodes/onboard", {"candidates": ["c"]}, key="k")
        get, post = seen
        assert (get.headers["X-Auth-Token"], str(get.url)) == ("t1", "http://steelyard/v1/nodes?pool=a+b")
        assert json.loads(post.content) == {"candidates": ["c"]}
        assert post.headers["Idempotency-Key"] == "k"

    def test_nothing_to_read(self) -> None:
        assert client(lambda _: httpx.Response(204)).delete("/v1/nodes/1") == {}

    def test_parts_of_a_path_are_quoted(self) -> None:
        assert Client.path("/v1/nodes/", "../x?y#z", "a b") == "/v1/nodes/..%2Fx%3Fy%23z/a%20b"


class TestTokens:
    def test_one_that_expired_is_replaced_once(self) -> None:
        seen: list[str] = []

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request.headers["X-Auth-Token"])
            return httpx.Response(200, json={}) if seen[-1] == "t2" else httpx.Response(401, json={})

        assert client(handle).get("/v1/nodes") == {}
        assert seen == ["t1", "t2"]

    def test_twice_is_an_error(self) -> None:
        seen: list[str] = []

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request.headers["X-Auth-Token"])
            return httpx.Response(401, json={**PROBLEM, "status": 401, "code": "unauthenticated"})

        with pytest.raises(ApiError) as refused:
            client(handle).get("/v1/nodes")
        assert seen == ["t1", "t2"]
        assert refused.value.exit_code == 3

    def test_an_upload_begins_again_with_the_new_one(self) -> None:
        seen: list[bytes] = []

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request.read())
            return httpx.Response(200, json={}) if len(seen) == 2 else httpx.Response(401, json={})

        file = io.BytesIO(b"header" + b"x" * 100)
        file.seek(6)
        client(handle).upload("/v1/images", file, size=100)
        assert seen == [b"x" * 100] * 2

    def test_is_not_taken_along_by_a_redirect(self) -> None:
        def handle(request: httpx.Request) -> httpx.Response:
            assert request.url.host == "steelyard"
            return httpx.Response(302, headers={"Location": "http://evil/"})

        with pytest.raises(ClientError):
            client(handle).get("/v1/nodes")


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "exit_code"),
        [(400, 2), (401, 3), (403, 3), (404, 4), (405, 1), (409, 5), (413, 2), (422, 2), (500, 1), (502, 6), (503, 6)],
    )
    def test_a_problem(self, status: int, exit_code: int) -> None:
        with pytest.raises(ApiError) as refused:
            client(lambda _: httpx.Response(status, json={**PROBLEM, "status": status})).get("/v1/nodes")
        error = refused.value
        assert (error.status, error.code, error.detail) == (status, "node_deployed", "It is deployed.")
        assert (error.next, error.request_id) == ("steelyard server delete web", "req-1")
        assert error.exit_code == exit_code

    @pytest.mark.parametrize(
        ("status", "content"),
        [(200, content) for content in (b"<html>", b"[]", b'"x"', b"\xff")]
        + [(status, content) for status in (404, 502) for content in (b"", b"<html>", b"[]", b'"x"', b"{}", b"\xff")],
    )
    def test_an_answer_that_is_not_steelyards(self, status: int, content: bytes) -> None:
        with pytest.raises(ClientError) as refused:
            client(lambda _: httpx.Response(status, content=content)).get("/v1/nodes")
        assert refused.value.detail

    @pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("late"), httpx.ReadError("x")])
    def test_nobody_there(self, error: Exception) -> None:
        def handle(_: httpx.Request) -> httpx.Response:
            raise error

        with pytest.raises(ServerUnreachable) as refused:
            client(handle).get("/v1/nodes", patient=False)
        assert refused.value.exit_code == 6


class Ticking:
    """A clock on which every wait takes as long as it says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class TestAskingAgain:
    @pytest.fixture
    def clock(self) -> Ticking:
        return Ticking()

    def away(self, clock: Ticking, seconds: float) -> tuple[Client, list[httpx.Request]]:
        """A server that does not answer for so long, and the requests that it got."""
        asked: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            if clock() < seconds:
                raise httpx.ConnectError("refused")
            return httpx.Response(200, json={"operation": {"id": "op"}})

        talk = Client(FakeSession(), transport=httpx.MockTransport(handle), sleep=clock.sleep, clock=clock)
        return talk, asked

    def test_a_lost_answer_is_asked_for_again_with_the_same_key(
        self, clock: Ticking, capsys: pytest.CaptureFixture[str]
    ) -> None:
        talk, asked = self.away(clock, 10.0)
        assert talk.post("/v1/servers", {}, key=rest.fresh_key())["operation"]["id"] == "op"
        assert len({request.headers["idempotency-key"] for request in asked}) == 1
        assert clock.waits == [0.5, 1.0, 2.0, 4.0, 4.0]
        said = capsys.readouterr().err
        assert said.count("Asking again for up to 15 s.") == 1
        assert "cannot be reached" in said

    def test_so_is_what_only_reads(self, clock: Ticking) -> None:
        talk, asked = self.away(clock, 3.0)
        assert talk.get("/v1/operations/op")["operation"]["id"] == "op"
        assert len(asked) == 4

    def test_but_not_for_those_who_ask_again_by_themselves(self, clock: Ticking) -> None:
        talk, asked = self.away(clock, 3.0)
        with pytest.raises(ServerUnreachable):
            talk.get("/v1/operations/op", patient=False)
        assert len(asked) == 1

    def test_without_a_key_nothing_is_done_twice(self, clock: Ticking) -> None:
        talk, asked = self.away(clock, 3.0)
        for ask in (
            lambda: talk.post("/v1/networks", {}),
            lambda: talk.put("/v1/x", {}),
            lambda: talk.patch("/v1/x", {}),
            lambda: talk.delete("/v1/x"),
        ):
            with pytest.raises(ServerUnreachable):
                ask()
        assert len(asked) == 4

    def test_not_for_ever(self, clock: Ticking) -> None:
        talk, _ = self.away(clock, 1000.0)
        with pytest.raises(ServerUnreachable):
            talk.post("/v1/servers", {}, key="k")
        assert 10.0 < clock.now <= rest.RETRY_WITHIN

    def test_an_answer_that_says_no_is_an_answer(self, clock: Ticking) -> None:
        asked: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(503, json={"code": "unavailable", "detail": "Nova does not answer."})

        talk = Client(FakeSession(), transport=httpx.MockTransport(handle), sleep=clock.sleep, clock=clock)
        with pytest.raises(ApiError):
            talk.get("/v1/servers")
        assert len(asked) == 1

    def test_every_key_is_another(self) -> None:
        assert len({rest.fresh_key() for _ in range(100)}) == 100


class TestLists:
    @given(st.integers(0, 30), st.integers(1, 7), st.none() | st.integers(1, 40))
    def test_follows_the_pages(self, count: int, page: int, limit: int | None) -> None:
        rows = [{"id": str(number)} for number in range(count)]

        def handle(request: httpx.Request) -> httpx.Response:
            query = request.url.params
            assert query["pool"] == "a&b"
            start = int(query.get("marker", -1)) + 1
            cut = rows[start : start + min(int(query["limit"]), page)]
            more = start + len(cut) < count
            url = f"/behind/a/proxy/v1/nodes?pool=a%26b&limit={query['limit']}&marker={cut[-1]['id']}" if more else None
            return httpx.Response(200, json={"nodes": cut, "next": url})

        assert client(handle).list_all("/v1/nodes", {"pool": "a&b"}, limit=limit) == rows[:limit]

    def test_find(self) -> None:
        rows = [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}, {"id": "3", "name": "b"}, {"id": "4", "name": "1"}]
        talk = client(lambda _: httpx.Response(200, json={"images": rows, "next": None}))
        assert talk.find("/v1/images", "a") == "1"
        assert talk.find("/v1/images", "1") == "1", "an id comes before a name"
        for reference, status in (("c", 404), ("b", 409)):
            with pytest.raises(ApiError) as refused:
                talk.find("/v1/images", reference)
            assert refused.value.status == status
            assert refused.value.next
