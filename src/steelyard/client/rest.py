"""The REST client: JSON in, JSON out, problems as `ApiError`.

    client = connect()
    for node in client.list_all("/v1/nodes", {"state": "available"}):
        print(node["name"])

What it returns is what the API documents (`/openapi.json`); the types below say how it is asked.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias
from urllib.parse import parse_qs, quote, urlsplit

from steelyard.client.errors import ApiError, ClientError, ServerUnreachable
from steelyard.client.session import Choices, Session, chosen
from steelyard.client.text import safe

if TYPE_CHECKING:
    import httpx

Json: TypeAlias = dict[str, Any]
Params: TypeAlias = Mapping[str, str | int | float | bool | list[str] | None]

PAGE = 1000
UPLOAD_CHUNK = 1 << 20
SILENCE = 45.0
"""Seconds without a line after which a stream counts as broken."""
RETRY_AFTER = 0.5
"""Seconds before a request that got no answer is sent again; each wait is twice as long as the one before."""
LONGEST_BETWEEN_TRIES = 4.0
RETRY_WITHIN = 15.0
"""Seconds for which it is sent again: longer than a restart of the server takes."""


def fresh_key() -> str:
    """An idempotency key for one request."""
    return str(uuid.uuid4())


def connect() -> Client:
    """A client by the global options of this run."""
    return Client(Session(chosen.get()), timeout=chosen.get().timeout)


class Client:
    """One connection to Steelyard, as one user.

    Raises `ApiError` for every problem the server answers with, `ServerUnreachable` when it does not answer, and what
    `Session` raises. A token that has expired is replaced once, unnoticed. What may be asked twice (a GET, and a POST
    with an idempotency key) is asked again for `RETRY_WITHIN` seconds when nobody answers, with a word on standard
    error.
    """

    def __init__(
        self,
        session: Session,
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._timeout = timeout
        self._transport = transport
        self._sleep = sleep
        self._clock = clock
        self._http_known: httpx.Client | None = None

    @classmethod
    def from_environment(cls, cloud: str | None = None) -> Client:
        """A client for an entry of clouds.yaml, or for what the environment says."""
        return cls(Session(Choices(cloud=cloud)))

    def get(self, path: str, params: Params | None = None, *, patient: bool = True) -> Json:
        """`patient`: asked again when nobody answers; False for those who ask again by themselves."""
        if not patient:
            return self._request("GET", path, params=params)
        return self._again(lambda: self._request("GET", path, params=params))

    def post(
        self, path: str, json: Mapping[str, Any] | None = None, *, params: Params | None = None, key: str | None = None
    ) -> Json:
        """`key`: the idempotency key (`fresh_key()`). With it, asking twice does the work once; so a request whose
        answer was lost is asked again with the same key."""
        if not key:
            return self._request("POST", path, params=params, json=dict(json or {}))
        headers = {"Idempotency-Key": key}
        return self._again(lambda: self._request("POST", path, params=params, json=dict(json or {}), headers=headers))

    def _again(self, ask: Callable[[], Json]) -> Json:
        """Ask until somebody answers, or it has taken too long. An answer that says no is an answer."""
        until, wait, told = self._clock() + RETRY_WITHIN, RETRY_AFTER, False
        while True:
            try:
                return ask()
            except ServerUnreachable as error:
                if self._clock() + wait > until:
                    raise
                if not told:
                    told = True
                    print(
                        safe(f"{error.detail} Asking again for up to {RETRY_WITHIN:g} s."), file=sys.stderr, flush=True
                    )
                self._sleep(wait)
                wait = min(wait * 2, LONGEST_BETWEEN_TRIES)

    def put(self, path: str, json: Mapping[str, Any]) -> Json:
        return self._request("PUT", path, json=dict(json))

    def patch(self, path: str, json: Mapping[str, Any]) -> Json:
        return self._request("PATCH", path, json=dict(json))

    def delete(self, path: str, params: Params | None = None) -> Json:
        return self._request("DELETE", path, params=params)

    def upload(self, path: str, file: BinaryIO, *, params: Params | None = None, size: int | None = None) -> Json:
        """Send a file as the body of a POST. `size` in bytes, if it is known. Takes as long as it takes."""
        headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            headers["Content-Length"] = str(size)
        return self._request("POST", path, params=params, headers=headers, file=file)

    def download(self, path: str, params: Params | None = None) -> Iterator[bytes]:
        """The body of an answer, piece by piece; takes as long as it takes."""
        import httpx

        options: dict[str, Any] = {"params": _present(params), "timeout": httpx.Timeout(None, connect=10.0)}
        for last_try in (False, True):
            headers = {"X-Auth-Token": self._session.token(fresh=last_try), "Accept": "*/*"}
            try:
                with self._http.stream("GET", path, headers=headers, **options) as answer:
                    if answer.status_code == 401 and not last_try:
                        continue
                    if not answer.is_success:
                        answer.read()
                        _read(answer)
                    yield from answer.iter_bytes()
                    return
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise ServerUnreachable(
                    f"Steelyard cannot be reached at {self._session.url()}: {error}", next="steelyard status"
                ) from None

    @contextmanager
    def lines(
        self, path: str, params: Params | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[str]]:
        """The lines of an answer that lasts, as they come. Silence for three times the keep-alive of 15 s is a break.

        Raises `ApiError`, and `ServerUnreachable` also when the connection breaks on the way.
        """
        import httpx

        for last_try in (False, True):
            sent = {
                **(headers or {}),
                "X-Auth-Token": self._session.token(fresh=last_try),
                "Accept": "text/event-stream",
            }
            timeout = httpx.Timeout(self._timeout, connect=10.0, read=SILENCE)
            try:
                with self._http.stream("GET", path, params=_present(params), headers=sent, timeout=timeout) as answer:
                    if answer.status_code == 401 and not last_try:
                        continue
                    if not answer.is_success:
                        answer.read()
                        _read(answer)
                    yield answer.iter_lines()
                    return
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise ServerUnreachable(
                    f"Steelyard cannot be reached at {self._session.url()}: {error}", next="steelyard status"
                ) from None

    def list_all(
        self,
        path: str,
        params: Params | None = None,
        *,
        limit: int | None = None,
        marker: str | None = None,
        heed: Callable[[Json], None] = lambda _: None,
    ) -> list[Json]:
        """All rows of a list, or the first `limit` after `marker`, over as many pages as it takes. `heed` sees each
        answer, for what it says beside the rows."""
        rows: list[Json] = []
        query: dict[str, Any] = {**(params or {}), "marker": marker}
        while True:
            wanted = PAGE if limit is None else min(PAGE, limit - len(rows))
            answer = self.get(path, {**query, "limit": wanted})
            heed(answer)
            page = next((value for value in answer.values() if isinstance(value, list)), [])
            rows += page
            following = answer.get("next")
            if not following or not page or (limit is not None and len(rows) >= limit):
                return rows
            # Only the query is taken: behind a proxy, the path that the server knows may not be ours.
            query = parse_qs(urlsplit(str(following)).query, keep_blank_values=True)

    def find(self, path: str, reference: str) -> str:
        """The id of the row with this id or name. Raises `ApiError` 404 `not_found`, or 409 `ambiguous`."""
        rows = self.list_all(path)
        if any(row.get("id") == reference for row in rows):
            return reference
        named = [str(row["id"]) for row in rows if row.get("name") == reference]
        noun = path.rstrip("/").rpartition("/")[2].removesuffix("s")
        if not named:
            raise ApiError(404, "not_found", f"There is no {noun} '{reference}'.", next=f"steelyard {noun} list")
        if len(named) > 1:
            raise ApiError(
                409,
                "ambiguous",
                f"{len(named)} {noun}s have the name '{reference}': {', '.join(named)}.",
                next="use the id",
            )
        return named[0]

    @staticmethod
    def path(base: str, *parts: str) -> str:
        """A path with parts that were given by people, quoted."""
        return "/".join([base.rstrip("/"), *(quote(part, safe="") for part in parts)])

    def close(self) -> None:
        if self._http_known is not None:
            self._http_known.close()

    @property
    def _http(self) -> httpx.Client:
        if self._http_known is None:
            import httpx

            self._http_known = httpx.Client(
                base_url=self._session.url(),
                verify=self._session.verify() if self._transport is None else False,
                timeout=httpx.Timeout(self._timeout, connect=10.0),
                transport=self._transport,
                follow_redirects=False,  # a redirect would carry the token to wherever it says
                headers={"User-Agent": "steelyard-client", "Accept": "application/json"},
            )
        return self._http_known

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Json | None = None,
        headers: Mapping[str, str] | None = None,
        file: BinaryIO | None = None,
    ) -> Json:
        import httpx

        options: dict[str, Any] = {"params": _present(params)}
        if json is not None:
            options["json"] = json
        if file is not None:
            options["timeout"] = httpx.Timeout(None, connect=10.0)
        begin = file.tell() if file is not None and file.seekable() else None
        for last_try in (False, True):
            token = self._session.token(fresh=last_try)
            if file is not None:
                options["content"] = iter(lambda: file.read(UPLOAD_CHUNK), b"")
            try:
                answer = self._http.request(method, path, headers={**(headers or {}), "X-Auth-Token": token}, **options)
            except httpx.TimeoutException:
                raise ServerUnreachable(
                    f"Steelyard did not answer within {self._timeout:g} s.", next="steelyard status"
                ) from None
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise ServerUnreachable(
                    f"Steelyard cannot be reached at {self._session.url()}: {error}", next="steelyard status"
                ) from None
            again = answer.status_code == 401 and not last_try and (file is None or begin is not None)
            if not again:
                return _read(answer)
            if file is not None and begin is not None:
                file.seek(begin)
        raise AssertionError("unreachable")


def _present(params: Params | None) -> dict[str, Any]:
    return {key: value for key, value in (params or {}).items() if value is not None}


def _read(answer: httpx.Response) -> Json:
    request_id = answer.headers.get("X-Request-Id")
    if answer.status_code == 204 or (answer.is_success and not answer.content):
        return {}
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.is_success and isinstance(body, dict):
        return body
    if answer.is_success or answer.is_redirect:
        raise ClientError(
            f"What answers at {answer.url.host}:{answer.url.port} is not Steelyard (status {answer.status_code}).",
            next="check STEELYARD_URL, or the endpoint in the catalogue",
            request_id=request_id,
        )
    if not isinstance(body, dict):
        body = {}
    raise ApiError(
        answer.status_code,
        str(body.get("code") or "http_error"),
        str(body.get("detail") or f"The server answered {answer.status_code} {answer.reason_phrase}."),
        next=body.get("next"),
        request_id=body.get("request_id") or request_id,
    )
