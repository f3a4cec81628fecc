"""Fetches an image from a URL that a user gave, without becoming the user's hand inside the data centre.

The name is resolved once; every address is checked; the connection goes to the address that was checked (a second
look-up could be answered differently). Each redirect is a new URL and is checked like the first. Proxies and .netrc
are not used: a credential of the server must not go where a user points.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin

from steelyard.errors import DeadlineExceeded, SteelyardError, TooLarge, Unavailable, UpstreamError
from steelyard.images.model import MAX_REDIRECTS, Net, check_source, parse_url
from steelyard.naming import shown

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""Longest silence."""
TOTAL_SECONDS = 3600.0
"""The whole fetch, however steadily a byte drips in."""
CHUNK_BYTES = 1 << 20

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, in the order to try them. Raises `Unavailable` (`source_unreachable`)."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(
            f"The name {shown(host)} cannot be resolved.",
            code="source_unreachable",
            next="check the host name in the URL",
        ) from None
    return list(dict.fromkeys(str(address[4][0]) for address in answers))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long."""

    max_bytes: int
    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS
    total_seconds: float = TOTAL_SECONDS


def fetch(
    url: str,
    sink: Callable[[bytes], None],
    *,
    allowed: Sequence[Net],
    limits: Limits,
    announce: Callable[[int], None],
    resolve: Resolve = resolve,
) -> None:
    """Give the body behind the URL to `sink`, in chunks; before that its length to `announce`, if the server tells it.

    Raises `Invalid` (`invalid_url`), `Forbidden` (`source_forbidden`), `TooLarge` (`image_too_large`),
    `UpstreamError` (`source_refused`) when the source answers but not with the image, `Unavailable`
    (`source_unreachable`) when trying again may help, and what `sink` and `announce` raise.
    """
    deadline = time.monotonic() + limits.total_seconds
    for _hop in range(MAX_REDIRECTS + 1):
        target = _fetch_one(url, sink, allowed, limits, announce, resolve, deadline)
        if target is None:
            return
        try:
            url = urljoin(url, target)
        except ValueError:
            raise UpstreamError("The source redirects to something that is no URL.", code="source_refused") from None
    raise UpstreamError(f"The source redirects more than {MAX_REDIRECTS} times.", code="source_refused")


def _fetch_one(
    text: str,
    sink: Callable[[bytes], None],
    allowed: Sequence[Net],
    limits: Limits,
    announce: Callable[[int], None],
    resolve: Resolve,
    deadline: float,
) -> str | None:
    """One request. The Location of a redirect, or None when the body was delivered."""
    url = parse_url(text)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    addresses = check_source(host, resolve(host, port), allowed)
    sock = _connect(url, host, addresses, port, limits)
    # A source that sends a byte now and then never runs into the socket's timeout; this ends it all the same.
    watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [sock])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection = _connection(host, port, sock)
        connection.request("GET", _target(url), headers={"Accept": "*/*", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        if response.status in (301, 302, 303, 307, 308):
            return _location(response)
        if response.status != 200:
            raise _refusal(host, response.status)
        _deliver(response, sink, limits, announce)
        if time.monotonic() >= deadline:  # hung up on, which looks like the end of a body of unknown length
            raise http.client.IncompleteRead(b"")
        return None
    except SteelyardError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise UpstreamError(
            f"The certificate of {shown(host)} cannot be trusted: {error.verify_message}.", code="source_refused"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"The source did not deliver the image within {limits.total_seconds:.0f} s.", code="source_too_slow"
            ) from None
        raise Unavailable(
            f"The connection to {shown(host)} broke before the image was complete.",
            code="source_unreachable",
            internal=repr(error),
        ) from None
    finally:
        watchdog.cancel()
        sock.close()


def _connect(url: SplitResult, host: str, addresses: Sequence[str], port: int, limits: Limits) -> socket.socket:
    problem: Exception | None = None
    for address in addresses:
        try:
            sock = socket.create_connection((address, port), timeout=limits.connect_seconds)
        except OSError as error:
            problem = error
            continue
        sock.settimeout(limits.read_seconds)
        if url.scheme == "https":
            context = ssl.create_default_context()
            return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        return sock
    raise Unavailable(
        f"{shown(host)} does not answer.",
        code="source_unreachable",
        next="check the URL: curl -I URL",
        internal=repr(problem),
    )


def _connection(host: str, port: int, sock: socket.socket) -> http.client.HTTPConnection:
    """A connection on the socket that was checked. Raises `ssl.SSLError` when TLS cannot be agreed on."""
    connection = http.client.HTTPConnection(host, port)
    if isinstance(sock, ssl.SSLSocket):
        sock.do_handshake()
        connection.default_port = 443  # so that the Host header leaves the port out
    connection.sock = sock
    return connection


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own, which would wait for an answer


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _location(response: http.client.HTTPResponse) -> str:
    location = response.getheader("Location")
    if not location:
        raise UpstreamError("The source redirects to nowhere.", code="source_refused")
    return location


def _refusal(host: str, status: int) -> SteelyardError:
    if status in (408, 425, 429) or status >= 500:
        return Unavailable(f"{shown(host)} answered with HTTP status {status}.", code="source_unreachable")
    if status in (401, 403):
        return UpstreamError(
            f"{shown(host)} does not give the image to everybody (HTTP {status}).",
            code="source_refused",
            next="download the file, then: steelyard image add NAME FILE",
        )
    return UpstreamError(
        f"{shown(host)} answered with HTTP status {status}, not with the image.",
        code="source_refused",
        next="check the URL: curl -I URL",
    )


def _deliver(
    response: http.client.HTTPResponse,
    sink: Callable[[bytes], None],
    limits: Limits,
    announce: Callable[[int], None],
) -> None:
    encoding = response.getheader("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UpstreamError("The source sends the image compressed, unasked.", code="source_refused")
    length = response.length
    if length is not None:
        if length > limits.max_bytes:
            raise TooLarge("The image is larger than this server takes.", code="image_too_large")
        announce(length)
    received = 0
    while chunk := response.read1(CHUNK_BYTES):
        received += len(chunk)
        if received > limits.max_bytes:
            raise TooLarge("The image is larger than this server takes.", code="image_too_large")
        sink(chunk)
    if length is not None and received != length:
        raise http.client.IncompleteRead(b"", length - received)


def without_query(text: str) -> str:
    """A URL as it may be shown and recorded: a query can hold a signature that gives access."""
    url = parse_url(text)
    if not url.query and not url.fragment:
        return text
    return url._replace(query="…" if url.query else "", fragment="").geturl()
