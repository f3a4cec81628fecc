"""HTTP to our own services with the standard library: the supervisor has to stay small."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

from steelyard.errors import Unavailable, UpstreamError


def call(
    port: int,
    method: str,
    path: str,
    *,
    body: Any = None,
    headers: dict[str, str] | None = None,
    timeout_seconds: float = 30.0,
) -> tuple[int, dict[str, str], Any]:
    """One request to 127.0.0.1; gives status, headers (lower case) and the parsed JSON (None when there is none).

    Raises Unavailable when nobody answers, UpstreamError when the answer is not HTTP.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        content = response.read(16 << 20)
    except http.client.HTTPException as error:
        raise UpstreamError(f"port {port} does not speak HTTP: {error}") from error
    except OSError as error:
        raise Unavailable(f"nothing answers on port {port}: {error}") from error
    finally:
        connection.close()
    try:
        parsed = json.loads(content) if content else None
    except ValueError:
        parsed = None
    return response.status, {name.lower(): value for name, value in response.getheaders()}, parsed


class Session:
    """A user's login in Keystone and calls with its token; a refused token is renewed once. For several threads."""

    def __init__(self, keystone_port: int, user: str, password: str, project: str):
        self._port = keystone_port
        self._scope = {"project": {"name": project, "domain": {"id": "default"}}}
        self._user = {"name": user, "domain": {"id": "default"}, "password": password}
        self._token: str | None = None
        self._lock = threading.Lock()

    def token(self) -> str:
        """A token, the same one as long as it serves. Raises Unavailable or UpstreamError."""
        with self._lock:
            if self._token is None:
                self._token = self._log_in()
            return self._token

    def _log_in(self) -> str:
        identity = {"methods": ["password"], "password": {"user": self._user}}
        body = {"auth": {"identity": identity, "scope": self._scope}}
        status, headers, _ = call(self._port, "POST", "/v3/auth/tokens", body=body)
        if status != 201:
            raise UpstreamError(f"Keystone answered {status} to the login of {self._user['name']}")
        return headers["x-subject-token"]

    def request(
        self, port: int, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """The JSON of an authenticated call. Raises Unavailable at a 503, UpstreamError unless the status is 2xx."""
        for attempt in (1, 2):
            token = self.token()
            with_token = {**(headers or {}), "X-Auth-Token": token}
            status, _, content = call(port, method, path, body=body, headers=with_token)
            if status == 401 and attempt == 1:
                with self._lock:
                    if self._token == token:
                        self._token = None
                continue
            break
        if status == 503:
            raise Unavailable(f"{method} {path} on port {port}: {status}")
        if not 200 <= status < 300:
            raise UpstreamError(f"{method} {path} on port {port}: {status}")
        return content
