"""Glance (Image API v2)."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from typing import BinaryIO

from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import IMAGE, Access, Rest, part
from steelyard.errors import Invalid, SteelyardError, UpstreamError
from steelyard.nouns import Image, ImageSpec

CHECKSUM_PROPERTY = "steelyard_checksum"
"""The checksum that was demanded, kept with the image: Glance itself computes one of its own choice."""
CHUNK = 1 << 20
CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")

BASE = frozenset({
    "checksum", "container_format", "created_at", "direct_url", "disk_format", "file", "id", "locations", "min_disk",
    "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner", "protected", "schema", "self", "size",
    "status", "stores", "tags", "updated_at", "virtual_size", "visibility",
})  # fmt: skip
"""Glance's own fields; every other text of an image is a property that somebody set."""


class OpenstackImages:
    """Images as the credentials see them."""

    def __init__(self, access: Access):
        self._rest = Rest(access, IMAGE)

    def all(self) -> list[Image]:
        return [image_of(found) for found in self._rest.pages("images", "images", what="an image")]

    def get(self, image_id: str) -> Image:
        return image_of(self._rest.get(f"images/{part(image_id)}", what="an image"))

    def create(self, spec: ImageSpec, data: BinaryIO) -> Image:
        """Register, upload, verify. A failure at any point removes the image again."""
        if not CHECKSUM.match(spec.checksum):
            raise Invalid("the checksum must be sha256:… or sha512:…, in lower-case hex", code="invalid_checksum")
        if spec.size_bytes <= 0:
            raise Invalid("the image is empty", code="invalid_image")
        if taken := sorted(BASE & spec.properties.keys()):
            raise Invalid(f"not a property that can be set: {', '.join(taken)}")
        body = {
            **spec.properties, CHECKSUM_PROPERTY: spec.checksum, "name": spec.name, "disk_format": spec.disk_format,
            "container_format": "bare", "visibility": spec.visibility,
        }  # fmt: skip
        if spec.project_id is not None:
            body["owner"] = spec.project_id
        image_id = self._rest.post("images", body, what="an image").text("id")
        try:
            return self._fill(image_id, spec, data)
        except BaseException:
            with contextlib.suppress(SteelyardError):
                self.delete(image_id)
            raise

    def _fill(self, image_id: str, spec: ImageSpec, data: BinaryIO) -> Image:
        upload = Upload(data, spec)
        path = f"images/{part(image_id)}"
        self._rest.call("PUT", f"{path}/file", data=upload, headers={"Content-Type": "application/octet-stream"})
        found = self._rest.get(path, what="an image")
        image = image_of(found)
        if image.status != "active":
            raise UpstreamError(f"{IMAGE.title} took the data, but the image is {image.status}, not active")
        if found.maybe_text("os_hash_algo") == "sha512" and found.maybe_text("os_hash_value") != upload.sha512:
            raise Invalid("the image service stored other data than was sent", code="checksum_mismatch")
        if image.size_bytes != spec.size_bytes:
            raise Invalid(f"the image service stored {image.size_bytes} bytes of {spec.size_bytes}")
        return image

    def delete(self, image_id: str) -> None:
        self._rest.delete(f"images/{part(image_id)}")


class Upload:
    """The data on its way: hashed as it is read, and not finished unless it is what was announced.

    The last chunk is held back until the checksum of the whole is known, so that wrong data never becomes an image:
    the request breaks off instead. Raises `Invalid` from `__iter__` then.
    """

    def __init__(self, data: BinaryIO, spec: ImageSpec):
        self._data = data
        self._size = spec.size_bytes
        self._algorithm, _, self._wanted = spec.checksum.partition(":")
        self._sha512 = hashlib.sha512()

    def __len__(self) -> int:
        """Bytes, for the request's Content-Length."""
        return self._size

    @property
    def sha512(self) -> str:
        """Hex digest of what has been read: Glance's default algorithm."""
        return self._sha512.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        digest = self._sha512 if self._algorithm == "sha512" else hashlib.new(self._algorithm)
        held, read = b"", 0
        while chunk := self._data.read(CHUNK):
            read += len(chunk)
            if read > self._size:
                raise Invalid(f"more bytes came than the {self._size} that were announced", code="size_mismatch")
            self._sha512.update(chunk)
            if digest is not self._sha512:
                digest.update(chunk)
            if held:
                yield held
            held = chunk
        if read != self._size:
            raise Invalid(f"{read} bytes came, {self._size} were announced", code="size_mismatch")
        if digest.hexdigest() != self._wanted:
            raise Invalid(
                f"the data's checksum is {self._algorithm}:{digest.hexdigest()}, not {self._algorithm}:{self._wanted}",
                code="checksum_mismatch",
                next="check the source of the file, then repeat with its right checksum",
            )
        yield held


def image_of(found: Document) -> Image:
    """An image as the API has it."""
    algorithm, digest = found.maybe_text("os_hash_algo"), found.maybe_text("os_hash_value")
    own = found.data.get(CHECKSUM_PROPERTY)
    checksum = own if isinstance(own, str) and CHECKSUM.match(own) else None
    if checksum is None and algorithm in {"sha256", "sha512"} and digest:
        checksum = f"{algorithm}:{digest}"
    properties = {key: value for key, value in found.data.items() if key not in BASE and isinstance(value, str)}
    return Image(
        id=found.text("id"),
        name=found.maybe_text("name") or "",
        status=found.text("status"),
        size_bytes=found.maybe_integer("size"),
        disk_format=found.maybe_text("disk_format"),
        checksum=checksum,
        visibility=found.text("visibility"),
        project_id=found.maybe_text("owner"),
        created_at=found.moment("created_at"),
        properties=properties,
    )
