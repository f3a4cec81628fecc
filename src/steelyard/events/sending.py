"""Sends a delivery to where an administrator pointed, without becoming a way into the data centre.

As for images (`images.fetch`): the name is resolved once, every address is checked, and the connection goes to an
address that was checked. Unlike there, redirects are not followed, every wait is short, and of the answer only the
status counts: a little of the rest is read, and thrown away.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import SplitResult

from steelyard.errors import SteelyardError
from steelyard.events.hooks import Attempt, check_addresses, check_url
from steelyard.images.model import Net

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
"""Longest silence."""
TOTAL_SECONDS = 15.0
"""The whole attempt, however steadily a byte drips in."""
ANSWER_BYTES = 64 << 10

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, in the order to try them. Raises `OSError`."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(str(error)) from None
    return list(dict.fromkeys(str(address[4][0]) for address in answers))


class Sender:
    """One receiver's connection, kept for the events of one run. Not for two threads at a time."""

    def __init__(
        self, url: str, *, allowed: Sequence[Net], resolve: Resolve = resolve, context: ssl.SSLContext | None = None
    ) -> None:
        self._url = url
        self._allowed = allowed
        self._resolve = resolve
        self._context = context
        self._connection: http.client.HTTPConnection | None = None

    def send(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """One attempt. Raises nothing: what went wrong is in the answer, in words without the URL's query."""
        start = time.monotonic()
        status: int | None = None
        error: str | None
        try:
            status, error = self._send(body, headers)
        except SteelyardError as refusal:
            error = refusal.detail
        except ssl.SSLCertVerificationError as problem:
            error = f"the certificate cannot be trusted: {problem.verify_message}"
        except TimeoutError:
            error = "no answer in time"
        except (OSError, http.client.HTTPException, ValueError) as problem:
            error = f"the connection failed: {type(problem).__name__}"
        if error is not None:
            self.close()
        return Attempt(status, error, time.monotonic() - start)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def _send(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str | None]:
        url = check_url(self._url)
        reused = self._connection is not None
        try:
            return self._post(url, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if not reused:
                raise
        self.close()  # the receiver had closed the connection that was kept; that is no failure
        return self._post(url, body, headers)

    def _post(self, url: SplitResult, body: bytes, headers: Mapping[str, str]) -> tuple[int, str | None]:
        deadline = time.monotonic() + TOTAL_SECONDS
        kept = self._connection
        connection = kept if kept is not None and kept.sock is not None else self._connect(url)
        sock = connection.sock
        # A receiver that sends a byte now and then never runs into the socket's timeout; this ends it all the same.
        watchdog = threading.Timer(deadline - time.monotonic(), _hang_up, [sock])
        watchdog.daemon = True
        watchdog.start()
        try:
            if isinstance(sock, ssl.SSLSocket) and connection is not kept:
                sock.do_handshake()
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("POST", target, body=body, headers=dict(headers))
            response = connection.getresponse()
            rest = response.read(ANSWER_BYTES)
            whole = response.isclosed() or len(rest) < ANSWER_BYTES
            if time.monotonic() >= deadline:  # hung up on, which looks like the end of the headers
                raise TimeoutError
        except (OSError, http.client.HTTPException):
            self.close()
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            raise
        finally:
            watchdog.cancel()
        if not whole:
            self.close()
        if 200 <= response.status < 300:
            return response.status, None
        if 300 <= response.status < 400:
            return response.status, f"HTTP {response.status}: a redirect, which is not followed"
        return response.status, f"HTTP {response.status}"

    def _connect(self, url: SplitResult) -> http.client.HTTPConnection:
        host = url.hostname or ""
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = check_addresses(host, self._resolve(host, port), self._allowed)
        problem: OSError = OSError("no address")
        for address in addresses:
            try:
                sock = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
            except OSError as error:
                problem = error
                continue
            sock.settimeout(READ_SECONDS)
            if url.scheme == "https":
                context = self._context or ssl.create_default_context()
                sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            connection = http.client.HTTPConnection(host, port)
            if url.scheme == "https":
                connection.default_port = 443  # so that the Host header leaves the port out
            connection.sock = sock
            # http.client connects again by itself, to wherever the name leads by then
            connection.auto_open = 0
            self._connection = connection
            return connection
        raise problem


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own, which would wait for an answer
