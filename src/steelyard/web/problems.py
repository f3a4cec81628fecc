"""Errors become problems (RFC 9457, `application/problem+json`). The only place that maps our errors to HTTP.

| error | status |
|---|---|
| malformed body, query or path (FastAPI, pydantic) | 422 `malformed`, with `errors` by field |
| Invalid | 400 |
| Unauthenticated | 401 |
| Forbidden | 403 |
| NotFound; a path that does not exist (`no_such_path`) | 404 |
| a method that the path has not (`no_such_method`) | 405 |
| Conflict, Refused, Duplicate | 409 |
| TooLarge | 413 |
| UpstreamError | 502 |
| Unavailable | 503 |
| DeadlineExceeded | 504 |
| anything else | 500 `internal`, nothing of its text |

422 is for requests whose shape is wrong, 400 for those that are well formed and make no sense. What was sent is never
quoted back: it may have been a password in the wrong field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from steelyard.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Invalid,
    NotFound,
    SteelyardError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)

log = structlog.get_logger("steelyard.web")

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 4000
MAX_FIELD_ERRORS = 20

_STATUS: tuple[tuple[type[SteelyardError], int], ...] = (
    (Invalid, 400),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (UpstreamError, 502),
    (DeadlineExceeded, 504),  # before Unavailable, which it is one of
    (Unavailable, 503),
)


def status_of(error: SteelyardError) -> int:
    """The HTTP status of one of our errors."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str,
    next: str | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response. `next` is present in every problem, null where there is nothing to advise."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail if len(detail) <= MAX_DETAIL else detail[: MAX_DETAIL - 1] + "…",
        "next": next,
        "request_id": request_id,
    }
    if errors:
        body["errors"] = list(errors)
    extra = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        extra["WWW-Authenticate"] = "Keystone"
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        extra["Retry-After"] = "5"
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=extra)


def problem_of(error: SteelyardError, request_id: str) -> JSONResponse:
    """The response to one of our errors. Its `internal` text goes to the log only."""
    status = status_of(error)
    if error.internal or status >= 500:
        log.warning("problem", status=status, code=error.code, detail=error.detail, internal=error.internal)
    return problem(status, error.code, error.detail, request_id=request_id, next=error.next)


def internal_problem(request_id: str) -> JSONResponse:
    """The response to an error that nobody foresaw: no text of it, only where to find it."""
    return problem(
        500,
        "internal",
        "Internal error; the server's log has the details under this request id.",
        request_id=request_id,
        next="steelyard logs steelyard",
    )


def install(app: FastAPI) -> None:
    """Make the application answer every error with a problem."""

    @app.exception_handler(SteelyardError)
    def on_steelyard_error(request: Request, error: SteelyardError) -> JSONResponse:
        return problem_of(error, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    def on_malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [_field_error(item) for item in error.errors()[:MAX_FIELD_ERRORS]]
        first = errors[0] if errors else {"field": "body", "message": "is malformed"}
        more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
        return problem(
            422,
            "malformed",
            f"{first['field']}: {first['message']}{more}",
            request_id=request.state.request_id,
            errors=errors,
        )

    @app.exception_handler(HTTPException)
    def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "no_such_path", 405: "no_such_method", 400: "malformed"}
        details = {
            404: f"There is no {request.url.path[:200]} here.",
            405: f"{request.url.path[:200]} does not know {request.method[:20]}.",
        }
        return problem(
            error.status_code,
            codes.get(error.status_code, "http_error"),
            details.get(error.status_code, str(error.detail)),
            request_id=request.state.request_id,
            next="see /openapi.json" if error.status_code in details else None,
            headers=error.headers,
        )


def _field_error(item: Mapping[str, Any]) -> dict[str, str]:
    """One of pydantic's errors, without the value that caused it."""
    if item.get("type") == "json_invalid":
        reason = (item.get("ctx") or {}).get("error", "")
        return {"field": "body", "message": f"not JSON ({reason}, at byte {item['loc'][-1]})"}
    field = ".".join(str(part) for part in item.get("loc", ()))[:200]
    if item.get("type") == "model_attributes_type" and tuple(item.get("loc", ())) == ("body",):
        return {"field": "body", "message": "should be a JSON object, with Content-Type: application/json"}
    if item.get("type") == "extra_forbidden":
        return {"field": field, "message": "this field is not known"}
    if item.get("type") == "value_error":
        # raised by a validator of ours: its text is meant for people
        return {"field": field, "message": str(item.get("msg", "")).removeprefix("Value error, ")}
    return {"field": field, "message": str(item.get("msg", "is malformed"))}
