"""The fake `Images`: keeps the data, computes the checksum that is claimed for it."""

from __future__ import annotations

import hashlib
import uuid
from typing import BinaryIO

from steelyard.clouds.fake.port import FakePort, call
from steelyard.errors import Forbidden, Invalid, NotFound
from steelyard.nouns import Image, ImageSpec

FORMATS = frozenset({"ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "ploop", "iso", "gpt"})
VISIBILITIES = frozenset({"private", "shared", "community", "public"})


class FakeImages(FakePort):
    name = "images"

    @call
    def all(self) -> list[Image]:
        return [image for image in self.world.images.values() if self._visible(image)]

    @call
    def get(self, image_id: str) -> Image:
        image = self.world.images.get(image_id)
        if image is None or not self._visible(image):
            raise NotFound(f"no image {image_id}")
        return image

    @call
    def create(self, spec: ImageSpec, data: BinaryIO) -> Image:
        self.require_writer("adding an image")
        if spec.disk_format not in FORMATS:
            raise Invalid(f"disk format {spec.disk_format!r} is not one of {', '.join(sorted(FORMATS))}")
        if spec.visibility not in VISIBILITIES:
            raise Invalid(f"visibility {spec.visibility!r} is not one of {', '.join(sorted(VISIBILITIES))}")
        if spec.visibility == "public" and not self.actor.is_admin:
            raise Forbidden("adding a public image needs an administrator")
        if spec.project_id not in (None, self.actor.project_id):
            self.require_admin("adding an image for another project")
        algorithm, _, wanted = spec.checksum.partition(":")
        if algorithm not in {"sha256", "sha512"}:
            raise Invalid(f"checksum {spec.checksum!r} is neither sha256:… nor sha512:…")
        digest, content = hashlib.new(algorithm), bytearray()
        while chunk := data.read(1 << 20):
            digest.update(chunk)
            content += chunk
        if len(content) != spec.size_bytes:
            raise Invalid(f"{len(content)} bytes came, {spec.size_bytes} were announced")
        if digest.hexdigest() != wanted:
            raise Invalid(f"the data's checksum is {algorithm}:{digest.hexdigest()}, not {spec.checksum}")
        image = Image(
            id=str(uuid.uuid4()), name=spec.name, status="active", size_bytes=len(content),
            disk_format=spec.disk_format, checksum=spec.checksum, visibility=spec.visibility,
            project_id=spec.project_id or self.actor.project_id, created_at=self.world.now,
            properties=dict(spec.properties),
        )  # fmt: skip
        self.world.images[image.id] = image
        self.world.image_data[image.id] = bytes(content)
        return image

    @call
    def delete(self, image_id: str) -> None:
        image = self.world.images.get(image_id)
        if image is None or not self._visible(image):
            return
        if not self.sees(image.project_id):
            raise Forbidden("this image belongs to another project")
        self.require_writer("deleting an image")
        del self.world.images[image_id]
        del self.world.image_data[image_id]

    def _visible(self, image: Image) -> bool:
        return image.visibility in {"public", "community"} or self.sees(image.project_id)
