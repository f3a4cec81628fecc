"""Through the whole frame: authentication, limits, problems."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

from steelyard.clouds.fake import FakeClouds, FakeWorld
from steelyard.images import work
from steelyard.images.routes import router
from steelyard.images.service import ImageService
from steelyard.operations.fake import FakeOperations
from steelyard.settings import Settings
from steelyard.store import Store
from steelyard.web.app import build_app

DATA = b"a raw disk" * 100_000
CHECKSUM = "sha256:" + hashlib.sha256(DATA).hexdigest()
BINARY = {"content-type": "application/octet-stream"}


class Place:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.world = FakeWorld()
        clouds = FakeClouds(self.world)
        settings = Settings(home=home, max_image_bytes=4 << 20)
        operations = FakeOperations()
        store = Store.open(f"sqlite:///{home / 'test.sqlite'}", key_file=home / "keys")
        service = ImageService(
            clouds=clouds,
            operations=operations,
            store=store,
            settings=settings,
            resolve=lambda host, port: ["10.0.0.1"],
        )
        operations.register(*work.kinds(service))
        self.app = build_app([router(service)], validate=clouds.identity.validate, checks={}, settings=settings)
        self.client = TestClient(self.app)

    def headers(self, project: str = "demo", role: str = "member") -> dict[str, str]:
        return {"x-auth-token": self.world.token(project=project, roles={role})}

    def upload(self, data: Any = DATA, who: dict[str, str] | None = None, **params: str) -> httpx.Response:
        query = {"name": "disk", "checksum": CHECKSUM, "disk_format": "raw"} | params
        headers = (who or self.headers()) | BINARY
        answer: httpx.Response = self.client.post("/v1/images", params=query, content=data, headers=headers)
        return answer

    def spooled(self) -> list[str]:
        """Spool files that are there by name, or still open without one."""
        spool = self.home / "steelyard" / "spool"
        opened = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                opened.append(str(descriptor.readlink()))
        return [str(path) for path in spool.glob("*")] + [path for path in opened if path.startswith(f"{spool}/")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body.get("code")) == (status, code), body
    assert answer.headers["content-type"].startswith("application/problem+json")
    return body


def test_nobody_gets_in_without_a_token(place: Place) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/x"), ("DELETE", "/x")):
        assert place.client.request(method, "/v1/images" + path).status_code == 401


def test_an_image_is_uploaded_listed_shown_and_deleted(place: Place) -> None:
    answer = place.upload()
    assert answer.status_code == 201
    image = answer.json()["image"]
    assert (image["name"], image["checksum"], image["size_bytes"]) == ("disk", CHECKSUM, len(DATA))
    me = place.headers()
    assert [row["id"] for row in place.client.get("/v1/images", headers=me).json()["images"]] == [image["id"]]
    assert place.client.get("/v1/images/disk", headers=me).json()["image"] == image
    assert place.client.delete("/v1/images/disk", headers=me).status_code == 204
    problem(place.client.get("/v1/images/disk", headers=me), 404, "image_not_found")
    assert place.spooled() == []


def test_an_upload_of_unknown_length_is_taken(place: Place) -> None:
    assert place.upload(iter([DATA[:10], DATA[10:]])).status_code == 201


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"checksum": "sha256:" + "0" * 64}, 400, "checksum_mismatch"),
        ({"checksum": "md5:" + "0" * 32}, 400, "invalid_checksum"),
        ({"disk_format": "qcow2"}, 400, "format_mismatch"),
        ({"disk_format": "vmdk"}, 400, "unknown_format"),
        ({"name": "bad\nname"}, 400, "invalid_name"),
        ({"visibility": "public"}, 403, "forbidden"),
        ({"visibility": "shared"}, 400, "unknown_visibility"),
        ({"visibilty": "private"}, 400, "unknown_field"),
    ],
)
def test_a_bad_upload_is_refused_and_leaves_nothing(
    place: Place, params: dict[str, str], status: int, code: str
) -> None:
    problem(place.upload(**params), status, code)
    assert place.world.images == {}
    assert place.spooled() == []


def test_name_and_checksum_are_demanded(place: Place) -> None:
    headers = place.headers() | BINARY
    problem(place.client.post("/v1/images", content=b"x", headers=headers), 400, "name_missing")
    missing = place.client.post("/v1/images?name=disk", content=b"x", headers=headers)
    assert problem(missing, 400, "checksum_missing")["next"] == "sha256sum FILE"


def test_a_second_image_of_the_name_is_refused(place: Place) -> None:
    place.upload()
    problem(place.upload(), 409, "duplicate_name")
    assert place.upload(who=place.headers("other")).status_code == 201


def test_too_much_is_refused_with_and_without_a_length(place: Place) -> None:
    big = bytes((4 << 20) + 1)
    assert place.upload(big).status_code == 413
    assert place.upload(iter([big[: 1 << 20]] * 5)).status_code == 413
    assert place.spooled() == []


def test_a_reader_may_look_only(place: Place) -> None:
    reader = place.headers(role="reader")
    problem(place.upload(who=reader), 403, "forbidden")
    assert place.client.get("/v1/images", headers=reader).status_code == 200
    problem(place.client.delete("/v1/images/x", headers=reader), 403, "forbidden")


def test_a_source_inside_is_refused(place: Place) -> None:
    body = {"name": "disk", "url": "http://metadata.example/", "checksum": CHECKSUM}
    problem(place.client.post("/v1/images", json=body, headers=place.headers()), 403, "source_forbidden")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "disk", "url": "http://e.org/"}, "body.checksum"),
        ({"name": "disk", "url": "http://e.org/", "checksum": CHECKSUM, "visibilty": "public"}, "body.visibilty"),
        ({"name": 5, "url": "http://e.org/", "checksum": CHECKSUM}, "body.name"),
    ],
)
def test_a_malformed_body_names_the_field(place: Place, body: dict[str, Any], field: str) -> None:
    answer = problem(place.client.post("/v1/images", json=body, headers=place.headers()), 422, "malformed")
    assert [error["field"] for error in answer["errors"]] == [field]


def test_what_is_neither_data_nor_json_is_refused(place: Place) -> None:
    headers = place.headers() | {"content-type": "multipart/form-data; boundary=x"}
    problem(place.client.post("/v1/images", content=b"--x--", headers=headers), 400, "unknown_content_type")
    headers["content-type"] = "application/json"
    assert place.client.post("/v1/images", content=b"{", headers=headers).status_code == 422


def test_the_document_describes_both_ways(place: Place) -> None:
    post = place.client.get("/openapi.json").json()["paths"]["/v1/images"]["post"]
    assert set(post["requestBody"]["content"]) == {"application/octet-stream", "application/json"}
    assert {"201", "202"} <= set(post["responses"])


@pytest.fixture
def address(place: Place) -> Iterator[tuple[str, int]]:
    """The same application behind a real server: what a broken connection does can be seen only there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(place.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join(10)


def test_a_client_that_goes_away_leaves_nothing(place: Place, address: tuple[str, int]) -> None:
    token = place.headers()["x-auth-token"]
    head = (
        f"POST /v1/images?name=disk&checksum={CHECKSUM} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(DATA)}\r\n\r\n"
    )
    with socket.create_connection(address) as connection:
        connection.sendall(head.encode() + DATA[: len(DATA) // 2])
        time.sleep(0.2)
        assert len(place.spooled()) == 1
    deadline = time.monotonic() + 5
    while place.spooled() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert place.spooled() == []
    assert place.world.images == {}
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        headers = {"x-auth-token": token} | BINARY
        answer = client.post("/v1/images", params={"name": "disk", "checksum": CHECKSUM}, content=DATA, headers=headers)
    assert answer.status_code == 201


def test_a_refusal_reaches_a_client_that_is_still_sending(place: Place, address: tuple[str, int]) -> None:
    place.upload()

    def slowly() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(100_000)
            time.sleep(0.005)

    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        headers = place.headers() | BINARY
        answer = client.post(
            "/v1/images", params={"name": "disk", "checksum": CHECKSUM}, content=slowly(), headers=headers
        )
    problem(answer, 409, "duplicate_name")
