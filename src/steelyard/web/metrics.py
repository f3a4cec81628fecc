"""`GET /metrics` for Prometheus, and what is measured of every request.

Whoever scrapes shows the token in the file `STEELYARD_METRICS_TOKEN_FILE` (`Authorization: Bearer …`), also on
loopback: behind a proxy on this machine everybody comes from loopback. The file is read at each scrape, so that the
token can be changed while the server runs.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Header, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from steelyard.errors import SteelyardError, Unauthenticated, Unavailable

log = structlog.get_logger("steelyard.metrics")

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "/v1"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "unmatched"
"""The route of a request to a path that does not exist: what strangers type must not become a label."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
MIN_TOKEN: Final = 16
"""Characters; less is a mistake, such as an empty file."""


class HttpMetrics:
    """How many requests, by route template and status, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "steelyard_http_requests",
            "Requests, by method, route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "steelyard_http_request_duration_seconds",
            "How long they took, streams of events aside.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=registry,
        )

    def observe(self, scope: Any, status: int, seconds: float, *, stream: bool) -> None:
        """One request has been answered. `scope` is ASGI's, after routing."""
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = _template(scope)
        self._requests.labels(method, route, str(status)).inc()
        if not stream:
            self._seconds.labels(method, route).observe(seconds)


def _template(scope: Any) -> str:
    """The path with its parameters' names in place of their values."""
    path: str | None = getattr(scope.get("route"), "path_format", None)
    if path is None:
        return UNMATCHED
    # FastAPI tells the path within the router that was included, with or without the prefix of the inclusion
    inside = scope["path"].startswith(f"{PREFIX}/") and not path.startswith(f"{PREFIX}/")
    return f"{PREFIX}{path}" if inside else path


class Metrics:
    """The registry of one application: two in one process do not share anything."""

    def __init__(self, token_file: Path) -> None:
        self.registry = CollectorRegistry()
        self.http = HttpMetrics(self.registry)
        self._token_file = token_file
        self._before: list[Callable[[], None]] = []
        ProcessCollector(registry=self.registry)

    def make_token(self) -> None:
        """Make the token's file if it is missing, so that Prometheus can be told. One that is unusable is logged."""
        try:
            read_token(self._token_file)
        except SteelyardError as error:
            log.warning("nobody can read the metrics", code=error.code, detail=error.detail, reason=error.internal)

    def before_each(self, prepare: Callable[[], None]) -> None:
        """Have this called before each scrape. What it raises of ours is logged, and the scrape goes on."""
        self._before.append(prepare)

    def text(self) -> bytes:
        """What Prometheus reads (text format 0.0.4)."""
        for prepare in self._before:
            try:
                prepare()
            except SteelyardError as error:
                log.warning("metrics cannot be counted", code=error.code, detail=error.detail)
        return generate_latest(_WithoutCreated(self.registry))

    def admit(self, authorization: str | None) -> None:
        """Raises `Unauthenticated` for all but the bearer of the token, `Unavailable` when its file is unusable."""
        scheme, _, given = (authorization or "").partition(" ")
        token = read_token(self._token_file)
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise Unauthenticated(
                "Metrics are for the bearer of their token.",
                code="metrics_token",
                next='curl -H "Authorization: Bearer $(cat METRICS_TOKEN_FILE)" URL/metrics',
            )


class _WithoutCreated(Collector):
    """The registry without the time series that tell when each series began: a third of all, and nobody reads them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def read_token(path: Path) -> str:
    """The token in the file, which is made if there is none (0600). Raises `Unavailable` for one that is unusable."""
    try:
        if not path.exists():
            _make_token(path)
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(type(error).__name__) from None
    if len(token) < MIN_TOKEN:
        raise _unusable(f"it has fewer than {MIN_TOKEN} characters")
    return token


def _make_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # whole or not at all, and the first of two wins
    finally:
        draft.unlink(missing_ok=True)


def _unusable(why: str) -> Unavailable:
    return Unavailable(
        "The file of the metrics' token cannot be used.",
        code="metrics_token_file",
        next="check STEELYARD_METRICS_TOKEN_FILE",
        internal=why,
    )


def router(metrics: Metrics) -> APIRouter:
    routes = APIRouter(tags=["metrics"])

    @routes.get("/metrics", response_class=PlainTextResponse)
    def show_metrics(
        authorization: Annotated[str | None, Header(description="`Bearer` and the metrics' token.")] = None,
    ) -> Response:
        """Metrics in Prometheus' text format. Takes the metrics' own token, and asks nothing of the cloud."""
        metrics.admit(authorization)
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    return routes
