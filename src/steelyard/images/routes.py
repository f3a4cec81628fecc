"""REST: /v1/images."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from steelyard.errors import Invalid
from steelyard.images.model import DiskFormat, NewImage, new_image
from steelyard.images.service import ImageService
from steelyard.images.spool import SpoolFile
from steelyard.naming import shown
from steelyard.nouns import Image
from steelyard.operations.views import OperationAnswer, accepted
from steelyard.web.context import Caller, Context, IdempotencyKey, Writer
from steelyard.web.paging import Page, page_of
from steelyard.web.schemas import Body, View

BLOCK_BYTES = 1 << 20
"""What is handed to the disk at once: large enough that the change of threads costs nothing beside it."""


class ImageView(View):
    id: str
    name: str
    status: str = Field(description="The image service's: queued, saving, active, ...")
    disk_format: str | None
    size_bytes: int | None
    checksum: str | None
    visibility: str
    project_id: str | None
    created_at: datetime | None


class ImageAnswer(View):
    image: ImageView


class ImageList(View):
    images: list[ImageView]
    next: str | None


class ImageFromUrl(Body):
    """An image that the server fetches."""

    name: str
    url: str = Field(description="http or https, on a public network, without a password.")
    checksum: str = Field(description="sha256:<hex> or sha512:<hex> of the data.")
    disk_format: str = Field(default="raw", description="raw, qcow2 or iso.")
    visibility: str = "private"


def view(image: Image) -> ImageView:
    return ImageView.model_validate(image)


_UPLOAD_FIELDS = frozenset({"name", "checksum", "disk_format", "visibility"})
"""The query is an upload's form: an unknown field in it is refused as one in a body is."""

_REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The image's data, described by the query; or where to fetch it, described in JSON.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": ImageFromUrl.model_json_schema()},
        },
    }
}


def router(service: ImageService) -> APIRouter:
    routes = APIRouter(prefix="/images", tags=["images"])

    @routes.get("")
    def list_images(caller: Caller, page: Page) -> ImageList:
        """List the images that you may use."""
        cut = page_of(service.all(caller.actor, caller.token), page)
        return ImageList(images=[view(image) for image in cut.items], next=cut.next)

    @routes.get("/{image:path}")
    def show_image(caller: Caller, image: str) -> ImageAnswer:
        """Show an image, by id or name."""
        return ImageAnswer(image=view(service.get(caller.actor, caller.token, image)))

    @routes.delete("/{image:path}", status_code=204)
    def delete_image(caller: Writer, image: str) -> Response:
        """Delete an image, by id or name. Servers that were deployed from it go on."""
        service.delete(caller.actor, caller.token, image)
        return Response(status_code=204)

    @routes.post(
        "",
        status_code=201,
        response_model=ImageAnswer,
        responses={202: {"model": OperationAnswer, "description": "The server fetches the image."}},
        openapi_extra=_REQUEST_BODY,
    )
    async def add_image(
        caller: Writer,
        request: Request,
        name: Annotated[str | None, Query(description="For an upload.")] = None,
        checksum: Annotated[str | None, Query(description="For an upload: sha256:<hex> or sha512:<hex>.")] = None,
        disk_format: Annotated[str, Query(description="For an upload: raw, qcow2 or iso.")] = DiskFormat.RAW.value,
        visibility: Annotated[str, Query(description="For an upload: private or public.")] = "private",
        key: IdempotencyKey = None,
    ) -> JSONResponse:
        """Add an image: upload its data (201), or have the server fetch it (202 and an operation)."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/octet-stream":
            if unknown := sorted(set(request.query_params) - _UPLOAD_FIELDS):
                raise Invalid(
                    f"The upload has an unknown field: {shown(unknown[0])}.",
                    code="unknown_field",
                    next=f"known are {', '.join(sorted(_UPLOAD_FIELDS))}",
                )
            if name is None or checksum is None:
                raise Invalid(
                    "An upload takes the name and the checksum in the query: ?name=…&checksum=sha256:….",
                    code="checksum_missing" if name else "name_missing",
                    next="sha256sum FILE",
                )
            new = new_image(caller.actor, name, checksum, disk_format, visibility)
            image = await _receive(service, caller, new, request)
            return JSONResponse(ImageAnswer(image=view(image)).model_dump(mode="json"), status_code=201)
        if kind != "application/json":
            raise Invalid(
                "The body is either the data (application/octet-stream) or JSON (application/json).",
                code="unknown_content_type",
            )
        try:
            body = ImageFromUrl.model_validate_json(await request.body())
        except ValidationError as error:
            raise RequestValidationError(
                [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)]
            ) from None
        new = new_image(caller.actor, body.name, body.checksum, body.disk_format, body.visibility)
        operation = await run_in_threadpool(
            service.start_fetch, caller.actor, caller.token, new, body.url, key=key, request_id=caller.request_id
        )
        return JSONResponse(accepted(operation).model_dump(mode="json"), status_code=202)

    return routes


async def _receive(service: ImageService, caller: Context, new: NewImage, request: Request) -> Image:
    """Take an upload in. Nothing is left of it when it is refused, or when the caller goes away."""
    length = request.headers.get("content-length")
    size = int(length) if length is not None and length.isdecimal() else None
    spooled: SpoolFile = await run_in_threadpool(service.receive, caller.actor, caller.token, new, size)
    with spooled:
        block = bytearray()
        try:
            async for chunk in request.stream():
                block += chunk
                if len(block) >= BLOCK_BYTES:
                    await run_in_threadpool(spooled.write, bytes(block))
                    block.clear()
        except ClientDisconnect:
            raise Invalid("The upload ended before all data had come.", code="upload_incomplete") from None
        await run_in_threadpool(spooled.write, bytes(block))
        return await run_in_threadpool(service.store, caller.actor, caller.token, new, spooled)
