"""The REST application: every room's routes under /v1, inside the frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI

import steelyard
from steelyard.nouns import Actor
from steelyard.settings import Settings
from steelyard.web import problems
from steelyard.web.frame import Authentication, BodyLimit, Frame
from steelyard.web.health import Checks
from steelyard.web.health import router as health_router
from steelyard.web.metrics import Metrics
from steelyard.web.metrics import router as metrics_router
from steelyard.web.schemas import FieldError, Problem

_DESCRIPTION = (
    "Bare metal servers for multi-tenant clouds. Every error is a problem (RFC 9457) with `code`, `detail` and `next`, "
    "the next safe command. Lists are paged by `limit` and `marker`; follow `next` until it is null. Long work is "
    "answered 202 with an operation. 422 means that the request's shape is wrong, 400 that it makes no sense."
)


def build_app(
    routers: Iterable[APIRouter],
    *,
    validate: Callable[[str], Actor],
    checks: Mapping[str, Callable[[], object]],
    settings: Settings,
    metrics: Metrics | None = None,
) -> FastAPI:
    """The application over any routers; `create_app` in `wiring` gives it those of the rooms.

    `validate` is `Identity.validate`; `checks` raise when a dependency is unavailable. Without `metrics` nothing is
    measured, and there is no /metrics.
    """
    app = FastAPI(
        title="Steelyard",
        version=steelyard.__version__,
        description=_DESCRIPTION,
        docs_url=None,  # the interactive pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    problems.install(app)
    app.include_router(health_router(Checks(checks)))
    if metrics is not None:
        app.include_router(metrics_router(metrics))
    for router in routers:
        app.include_router(router, prefix="/v1")
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes, max_upload_bytes=settings.max_image_bytes)
    app.add_middleware(Authentication, validate=validate)
    app.add_middleware(Frame, observe=metrics.http.observe if metrics else None)  # added last: outermost
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with our one shape of errors in place of its own."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = FastAPI.openapi(app)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for foreign in ("HTTPValidationError", "ValidationError"):
        schemas.pop(foreign, None)
    template = "#/components/schemas/{model}"
    schemas["Problem"] = Problem.model_json_schema(ref_template=template)
    schemas["Problem"].pop("$defs", None)
    schemas["FieldError"] = FieldError.model_json_schema(ref_template=template)
    answer = {
        "description": "A problem (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for operations in schema.get("paths", {}).values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = answer
    return schema
