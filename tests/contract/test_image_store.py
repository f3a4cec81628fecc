"""The contract of `Images`."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest

from steelyard.clouds.ports import Images
from steelyard.errors import Forbidden, Invalid, NotFound, SteelyardError

from .stages import DATA, Stage


def test_an_image_is_stored_and_found(stage: Stage) -> None:
    assert isinstance(stage.tenant.images, Images)
    spec, data = stage.image(properties={"os_distro": "debian"})
    image = stage.tenant.images.create(spec, io.BytesIO(data))
    stage.after.callback(stage.own.images.delete, image.id)
    assert (image.name, image.status, image.size_bytes) == (spec.name, "active", len(data))
    assert image.checksum == spec.checksum
    assert (image.disk_format, image.visibility, image.project_id) == ("raw", "private", stage.project_id)
    assert image.properties["os_distro"] == "debian"
    assert image.created_at is not None
    assert image.created_at.tzinfo is not None
    assert stage.tenant.images.get(image.id) == image
    assert image in stage.tenant.images.all()
    assert image in stage.own.images.all()


def test_a_sha512_will_do(stage: Stage) -> None:
    spec, data = stage.image(checksum="sha512:" + hashlib.sha512(DATA).hexdigest())
    image = stage.tenant.images.create(spec, io.BytesIO(data))
    stage.after.callback(stage.own.images.delete, image.id)
    assert image.checksum == spec.checksum


@pytest.mark.parametrize(
    "wrong",
    [
        {"checksum": "sha256:" + "0" * 64},
        {"size_bytes": len(DATA) - 1},
        {"size_bytes": len(DATA) + 1},
        {"disk_format": "no-such-format"},
        {"visibility": "everywhere"},
        {"checksum": "md5:" + "0" * 32},
    ],
    ids=["checksum", "more bytes", "fewer bytes", "format", "visibility", "algorithm"],
)
def test_wrong_data_leaves_nothing_behind(stage: Stage, wrong: dict[str, Any]) -> None:
    spec, data = stage.image(**wrong)
    with pytest.raises(Invalid):
        stage.tenant.images.create(spec, io.BytesIO(data))
    assert spec.name not in {image.name for image in stage.own.images.all()}


def test_a_source_that_breaks_leaves_nothing_behind(stage: Stage) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the disk went away")

    spec, _ = stage.image()
    with pytest.raises((OSError, SteelyardError)):
        stage.tenant.images.create(spec, Broken())
    assert spec.name not in {image.name for image in stage.own.images.all()}


def test_tenants_do_not_see_each_others(stage: Stage) -> None:
    image = stage.add_image()
    assert image.id not in {found.id for found in stage.other.images.all()}
    with pytest.raises(NotFound):
        stage.other.images.get(image.id)
    stage.other.images.delete(image.id)
    assert stage.own.images.get(image.id).status == "active"


def test_readers_and_tenants_have_their_limits(stage: Stage) -> None:
    spec, data = stage.image()
    with pytest.raises(Forbidden):
        stage.reader.images.create(spec, io.BytesIO(data))
    spec, data = stage.image(visibility="public")
    with pytest.raises(Forbidden):
        stage.tenant.images.create(spec, io.BytesIO(data))
    assert spec.name not in {image.name for image in stage.own.images.all()}


def test_deleting_twice_is_fine(stage: Stage) -> None:
    image = stage.add_image()
    stage.tenant.images.delete(image.id)
    stage.tenant.images.delete(image.id)
    with pytest.raises(NotFound):
        stage.tenant.images.get(image.id)


@pytest.mark.parametrize("odd", ["", "..", "no-such", "a/b", "../flavors", "x\ny", "%2e%2e"])
def test_odd_ids_are_not_found(stage: Stage, odd: str) -> None:
    with pytest.raises((NotFound, Invalid)):
        stage.tenant.images.get(odd)


def test_an_administrator_stores_an_image_for_a_tenant(stage: Stage) -> None:
    spec, data = stage.image(project_id=stage.project_id)
    image = stage.own.images.create(spec, io.BytesIO(data))
    stage.after.callback(stage.own.images.delete, image.id)
    assert image.project_id == stage.project_id
    assert stage.tenant.images.get(image.id) == image
    spec, data = stage.image(project_id=stage.project_id)
    with pytest.raises(Forbidden):
        stage.other.images.create(spec, io.BytesIO(data))
