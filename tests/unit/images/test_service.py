from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.errors import Conflict, Duplicate, Forbidden, Invalid, NotFound, Refused, SteelyardError, Unavailable
from steelyard.images import fetch as fetching
from steelyard.images import work
from steelyard.images.model import new_image
from steelyard.images.service import ImageService
from steelyard.nouns import Actor, Image, ImageSpec
from steelyard.operations.fake import FakeOperations
from steelyard.operations.model import Operation, Phase
from steelyard.settings import Settings
from steelyard.store import Store

DATA = b"a raw disk" * 100_000
CHECKSUM = "sha256:" + hashlib.sha256(DATA).hexdigest()
URL = "https://images.example/disk.raw?signature=hush"


class Place:
    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, **harness: Any) -> None:
        self.world = FakeWorld()
        self.clouds = FakeClouds(self.world)
        self.operations = FakeOperations(**harness)
        self.store = Store.open(f"sqlite:///{home / 'test.sqlite'}", key_file=home / "keys")
        self.service = ImageService(
            clouds=self.clouds,
            operations=self.operations,
            store=self.store,
            settings=Settings(home=home, max_image_bytes=10 << 20),
            resolve=lambda host, port: ["127.0.0.1"] if host == "inside.example" else ["9.9.9.9"],
        )
        self.operations.register(*work.kinds(self.service))
        self.demo = self.who("demo", "member")
        self.other = self.who("other", "member")
        self.admin = self.who("admin", "admin")
        self.fetched: list[str] = []
        self.answers: list[bytes | SteelyardError] = []
        monkeypatch.setattr(fetching, "fetch", self._fetch)

    def who(self, project: str, role: str) -> tuple[Actor, str]:
        token = self.world.token(project=project, roles={role})
        return self.clouds.identity.validate(token), token

    def _fetch(self, url: str, sink: Any, *, announce: Any, **_: Any) -> None:
        """The network alone is played; what it does in truth is tested in test_fetch."""
        self.fetched.append(url)
        answer = self.answers.pop(0) if self.answers else DATA
        if isinstance(answer, SteelyardError):
            raise answer
        announce(len(answer))
        sink(answer)

    def upload(self, who: tuple[Actor, str], name: str, data: bytes = DATA, **changes: str) -> Image:
        options = {"checksum": CHECKSUM, "disk_format": "raw", "visibility": "private"} | changes
        new = new_image(who[0], name, **options)
        with self.service.receive(*who, new, len(data)) as spooled:
            spooled.write(data)
            return self.service.store(*who, new, spooled)

    def fetch(self, who: tuple[Actor, str], name: str = "disk", url: str = URL, **changes: str) -> Operation:
        options = {"checksum": CHECKSUM, "disk_format": "raw", "visibility": "private"} | changes
        return self.service.start_fetch(*who, new_image(who[0], name, **options), url)

    def names(self, who: tuple[Actor, str]) -> list[str]:
        return sorted(image.name for image in self.service.all(*who))

    def secrets(self) -> int:
        """How many there are beside the key of the chain of events."""
        with self.store.database.read() as connection:
            query = "select id from secrets where id not in (select key_id from event_chain)"
            return len(connection.exec_driver_sql(query).all())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_an_upload_is_stored_for_the_project_that_sent_it(place: Place) -> None:
    image = place.upload(place.demo, "disk")
    assert (image.project_id, image.visibility, image.checksum) == (place.demo[0].project_id, "private", CHECKSUM)
    assert place.world.image_data[image.id] == DATA
    assert place.names(place.demo) == ["disk"]
    assert place.names(place.other) == []
    for reference in ("disk", image.id):
        assert place.service.get(*place.demo, reference) == image
        for attempt in (place.service.get, place.service.delete):
            with pytest.raises(NotFound):
                attempt(*place.other, reference)
    place.service.delete(*place.demo, "disk")
    assert place.names(place.demo) == []


def test_a_name_is_used_once_in_a_project(place: Place) -> None:
    place.upload(place.demo, "disk")
    place.upload(place.other, "disk")
    for attempt in (place.upload, place.fetch):
        with pytest.raises(Duplicate):
            attempt(place.demo, "disk")
    assert place.fetched == []


def test_data_that_is_not_as_said_is_never_stored(place: Place) -> None:
    for changes in ({"data": DATA + b"!"}, {"disk_format": "qcow2"}, {"disk_format": "iso"}):
        with pytest.raises(Invalid):
            place.upload(place.demo, "disk", **changes)  # type: ignore[arg-type]
    assert place.world.calls["images.create"] == 0


def test_public_images_are_the_administrators(place: Place) -> None:
    with pytest.raises(Forbidden):
        place.upload(place.demo, "disk", visibility="public")
    image = place.upload(place.admin, "disk", visibility="public")
    assert place.names(place.demo) == ["disk"]
    with pytest.raises(Forbidden) as refusal:
        place.service.delete(*place.demo, image.id)
    assert refusal.value.code == "not_owner"


def test_two_of_a_name_are_told_apart_by_id(place: Place) -> None:
    own = place.upload(place.demo, "disk")
    place.upload(place.admin, "disk", visibility="public")
    with pytest.raises(Conflict, match=own.id):
        place.service.get(*place.demo, "disk")


def test_a_fetch_stores_for_the_project_that_asked(place: Place) -> None:
    operation = place.fetch(place.demo)
    assert operation.phase is Phase.SUCCEEDED
    assert place.fetched == [URL]
    image = place.service.get(*place.demo, "disk")
    assert image.id == operation.result["image_id"]
    assert (image.project_id, image.visibility) == (place.demo[0].project_id, "private")
    assert place.names(place.other) == []


def test_the_signature_in_a_url_is_shown_nowhere(place: Place) -> None:
    operation = place.fetch(place.demo)
    assert operation.params["url"] == "https://images.example/disk.raw?…"
    assert "hush" not in repr(operation)
    assert place.secrets() == 0
    place.answers = [Unavailable("gone")] * 10
    failed = place.fetch(place.demo, "other")
    assert failed.phase is Phase.FAILED
    assert "hush" not in repr(failed)
    assert place.secrets() == 0


def test_each_step_done_twice_makes_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, monkeypatch, repeat_steps=True)
    assert place.fetch(place.demo).phase is Phase.SUCCEEDED
    assert place.names(place.demo) == ["disk"]
    assert len(place.fetched) == 1


@pytest.mark.parametrize("step", ["fetch, verify and store", "forget the source"])
def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    place = Place(tmp_path, monkeypatch, fail_step=step)
    operation = place.fetch(place.demo)
    assert operation.phase is Phase.FAILED
    assert place.world.images == {}
    assert place.secrets() == 0


def test_what_an_interrupted_store_left_is_cleared_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    own = place.clouds.own.images
    create = type(own).create

    def interrupted(self: Any, spec: ImageSpec, data: Any) -> Image:
        image = create(self, spec, data)
        if place.world.calls["images.create"] == 1:  # the server dies with the image half way in
            self.world.images[image.id] = replace(image, status="saving")
            raise Unavailable("killed")
        return image

    monkeypatch.setattr(type(own), "create", interrupted)
    assert place.fetch(place.demo).phase is Phase.SUCCEEDED
    assert [image.status for image in place.world.images.values()] == ["active"]


def test_a_source_that_hesitates_is_asked_again_and_then_given_up(place: Place) -> None:
    place.answers = [Unavailable("no answer")] * 2
    assert place.fetch(place.demo).phase is Phase.SUCCEEDED
    assert len(place.fetched) == 3
    place.answers = [Unavailable("no answer", code="source_unreachable")] * 20
    operation = place.fetch(place.demo, "other")
    assert operation.phase is Phase.FAILED
    assert operation.error
    assert operation.error.code == "source_unreachable"
    assert operation.error.next
    assert len(place.fetched) == 3 + work.ATTEMPTS


def test_a_wrong_checksum_ends_the_fetch_at_once(place: Place) -> None:
    place.answers = [b"other data"]
    operation = place.fetch(place.demo)
    assert operation.error
    assert operation.error.code == "checksum_mismatch"
    assert len(place.fetched) == 1
    assert place.world.images == {}


def test_a_source_inside_is_refused_before_anything_is_recorded(place: Place) -> None:
    for url, error in (("https://inside.example/", Forbidden), ("file:///etc/shadow", Invalid)):
        with pytest.raises(error):
            place.fetch(place.demo, url=url)
    assert place.operations.all() == []
    assert place.secrets() == 0


def test_a_system_scoped_administrator_lists_but_owns_nothing(place: Place) -> None:
    place.upload(place.demo, "disk")
    token = place.world.token(project=None, roles={"admin"}, system=True)
    who = (place.clouds.identity.validate(token), token)
    assert place.names(who) == ["disk"]
    for attempt in (place.upload, place.fetch):
        with pytest.raises(Forbidden) as refusal:
            attempt(who, "mine")
        assert refusal.value.code == "no_project"


def test_an_administrator_deletes_anothers_image_by_id_only(place: Place) -> None:
    theirs = place.upload(place.demo, "disk")
    with pytest.raises(Refused) as caught:
        place.service.delete(*place.admin, "disk")
    assert (caught.value.code, caught.value.next) == ("another_project", f"steelyard image delete {theirs.id}")
    assert place.names(place.demo) == ["disk"]
    place.service.delete(*place.admin, theirs.id)
    assert place.names(place.demo) == []
