"""What the OpenStack adapters make of answers that are no answers."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.clouds.openstack import session as session_module
from steelyard.clouds.openstack.baremetal import agree, node_of, node_port_of
from steelyard.clouds.openstack.compute import flavor_of, instance_of
from steelyard.clouds.openstack.images import image_of
from steelyard.clouds.openstack.network import network_of, port_of, subnet_of
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.ports import Cloud
from steelyard.errors import Invalid, SteelyardError, Unauthenticated, Unavailable, UpstreamError
from steelyard.nouns import ServerSpec

from .answering import TENANT_TOKEN, AnsweringCloud, Reply, answering_cloud

NODE = {"uuid": "n1", "driver": "redfish", "provision_state": "available"}
LISTS: dict[str, tuple[str, Callable[[Cloud], object]]] = {
    "nodes": ("/baremetal/v1/nodes", lambda own: own.nodes.all()),
    "ports of nodes": ("/baremetal/v1/ports", lambda own: own.node_ports.all()),
    "servers": ("/compute/v2.1/servers/detail", lambda own: own.compute.all()),
    "flavors": ("/compute/v2.1/flavors/detail", lambda own: own.flavors.all()),
    "images": ("/image/v2/images", lambda own: own.images.all()),
    "networks": ("/network/v2.0/networks", lambda own: own.networks.all()),
    "subnets": ("/network/v2.0/subnets", lambda own: own.networks.subnets()),
    "ports": ("/network/v2.0/ports", lambda own: own.attachments.all()),
    "a node's history": ("/baremetal/v1/nodes/n1/history", lambda own: own.provisioning.history("n1")),
    "a server's actions": (
        "/compute/v2.1/servers/s1/os-instance-actions",
        lambda own: own.compute.history("s1"),
    ),
    "providers": ("/placement/resource_providers", lambda own: own.placement.free("bm")),
}


@pytest.fixture
def cloud() -> Iterator[AnsweringCloud]:
    with answering_cloud() as cloud:
        yield cloud


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.parametrize(
    "body",
    [
        b"<html><body><h1>It works!</h1></body></html>", b'{"nodes": [{"uuid": "n1", ', b"", b"null", b"[]", b"42",
        b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b"{}", b'{"nodes": 1, "ports": 1, "servers": 1}',
        b'{"nodes": ["x"], "ports": ["x"], "servers": ["x"], "flavors": ["x"], "images": ["x"], "networks": ["x"],'
        b' "subnets": ["x"], "resource_providers": ["x"]}',
    ],
    ids=["html", "truncated", "empty", "null", "list", "number", "text", "binary", "deep", "nothing", "number in it",
         "texts in it"],
)  # fmt: skip
def test_nonsense_is_an_upstream_error(cloud: AnsweringCloud, which: str, body: bytes) -> None:
    path, ask = LISTS[which]
    cloud.answers["GET", path] = Reply(200, body, {"Content-Type": "application/json"})
    with pytest.raises(UpstreamError) as caught:
        ask(cloud.clouds().own)
    assert "service (" in caught.value.detail
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize("which", LISTS)
def test_a_service_that_fails_is_named(cloud: AnsweringCloud, which: str) -> None:
    path, ask = LISTS[which]
    for status, kind in ((500, UpstreamError), (503, Unavailable), (504, Unavailable), (418, UpstreamError)):
        cloud.answers["GET", path] = Reply(status, b"<html><body>Oh dear</body></html>")
        with pytest.raises(kind) as caught:
            ask(cloud.clouds().own)
        assert "Oh dear" in caught.value.detail
        assert caught.value.next or kind is UpstreamError


def test_too_much_is_cut(cloud: AnsweringCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_ANSWER", 1 << 20)
    written = 0

    def flood(handler: Any) -> None:
        nonlocal written
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        for _ in range(512):
            try:
                handler.wfile.write(b" " * (1 << 20))
            except OSError:
                return
            written += 1

    cloud.answers["GET", "/baremetal/v1/nodes"] = Reply(raw=flood)
    with pytest.raises(UpstreamError):
        cloud.clouds().own.nodes.all()
    assert written < 100


def test_a_dripping_answer_is_cut(cloud: AnsweringCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "SLOWEST_ANSWER", 0.3)

    def drip(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            try:
                handler.wfile.write(b"1\r\n \r\n")
            except OSError:
                return
            time.sleep(0.05)

    cloud.answers["GET", "/baremetal/v1/nodes"] = Reply(raw=drip)
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        cloud.clouds().own.nodes.all()
    assert caught.value.code == "timeout"
    assert time.monotonic() - started < 3


def test_a_silent_service_is_unavailable(cloud: AnsweringCloud) -> None:
    def silence(handler: Any) -> None:
        time.sleep(2)

    cloud.answers["GET", "/network/v2.0/ports"] = Reply(raw=silence)
    with pytest.raises(Unavailable) as caught:
        cloud.clouds(timeout=0.3).own.attachments.all()
    assert caught.value.code == "timeout"
    assert "Neutron" in caught.value.detail
    assert caught.value.next == "openstack catalog show network"


def test_a_broken_connection_is_tried_once_more_for_a_look_and_never_for_a_change(cloud: AnsweringCloud) -> None:
    def hang_up(handler: Any) -> None:
        handler.connection.shutdown(2)

    cloud.answers["GET", "/image/v2/images"] = Reply(raw=hang_up)
    cloud.answers["POST", "/network/v2.0/networks"] = Reply(raw=hang_up)
    own = cloud.clouds().own
    with pytest.raises(Unavailable):
        own.images.all()
    with pytest.raises(Unavailable):
        own.networks.create("n")
    assert len(cloud.seen("GET", "/image/v2/images")) == 2
    assert len(cloud.seen("POST", "/network/v2.0/networks")) == 1


def test_a_cut_answer_is_unavailable(cloud: AnsweringCloud) -> None:
    def cut(handler: Any) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"images": [')

    cloud.answers["GET", "/image/v2/images"] = Reply(raw=cut)
    with pytest.raises(SteelyardError) as caught:
        cloud.clouds().own.images.all()
    assert isinstance(caught.value, Unavailable | UpstreamError)


def test_nobody_listening_is_unavailable() -> None:
    with answering_cloud() as gone:
        clouds = gone.clouds()
    with pytest.raises(Unavailable) as caught:
        clouds.own.nodes.all()
    assert caught.value.next
    with pytest.raises(Unavailable):
        clouds.identity.validate("x" * 30)


def test_an_endless_list_ends(cloud: AnsweringCloud) -> None:
    again = {"nodes": [NODE], "next": f"{cloud.base}/baremetal/v1/nodes?marker=n1"}
    cloud.answers["GET", "/baremetal/v1/nodes"] = Reply(200, again)
    with pytest.raises(UpstreamError):
        cloud.clouds().own.nodes.all()
    assert len(cloud.seen("GET", "/baremetal/v1/nodes")) < 5


def test_a_list_of_many_pages_comes_whole(cloud: AnsweringCloud) -> None:
    def page(request: Any) -> Reply:
        marker = int(dict(p.split("=") for p in request.query.split("&")).get("marker", "n-1")[1:])
        nodes = [{**NODE, "uuid": f"n{i}"} for i in range(marker + 1, min(marker + 11, 95))]
        more = {"next": "http://192.0.2.1/elsewhere"} if nodes and nodes[-1]["uuid"] != "n94" else {}
        return Reply(200, {"nodes": nodes, **more})

    cloud.answers["GET", "/baremetal/v1/nodes"] = page
    assert [node.id for node in cloud.clouds().own.nodes.all()] == [f"n{i}" for i in range(95)]


def test_an_old_ironic_is_told_apart(cloud: AnsweringCloud) -> None:
    for version, code in (("1.60", "cloud_too_old"), ("", "upstream_error"), ("x.y", "upstream_error")):
        cloud.answers["GET", "/baremetal/v1"] = Reply(headers={"X-OpenStack-Ironic-API-Maximum-Version": version})
        with pytest.raises(UpstreamError) as caught:
            cloud.clouds().own.nodes.all()
        assert caught.value.code == code
    assert agree({"x-openstack-ironic-api-maximum-version": "1.200"}) == "1.115"
    assert agree({"x-openstack-ironic-api-maximum-version": "1.99"}) == "1.99"


def test_tokens_that_make_no_sense(cloud: AnsweringCloud) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"token": []},
        {"token": {"user": "x"}},
        {"token": {"user": {"id": 1, "name": "n"}}},
    ]
    for body in bodies:
        cloud.answers["GET", "/identity/v3/auth/tokens"] = Reply(200, body)
        with pytest.raises(UpstreamError):
            cloud.clouds().identity.validate(TENANT_TOKEN)


@pytest.mark.parametrize("where", ["project", "system", "domain", "nowhere"])
def test_the_admin_of_a_domain_is_no_administrator(cloud: AnsweringCloud, where: str) -> None:
    from .answering import token_body

    body = token_body(cloud.base)
    token = body["token"]
    token["roles"] = [{"id": "r", "name": "admin"}]
    project = token.pop("project")
    scope = {"project": project, "system": {"all": True}, "domain": {"id": "d", "name": "customers"}, "nowhere": None}
    token[where] = scope[where]
    cloud.answers["GET", "/identity/v3/auth/tokens"] = Reply(200, body)
    actor = cloud.clouds().identity.validate(TENANT_TOKEN)
    assert actor.is_admin is (where in {"project", "system"})
    assert actor.may_write is (where in {"project", "system"})


def test_user_data_is_passed_on_as_it_came(cloud: AnsweringCloud) -> None:
    cloud.answers["POST", "/compute/v2.1/servers"] = Reply(400, {"badRequest": {"message": "seen"}})
    with pytest.raises(Invalid):
        cloud.clouds().own.compute.create(ServerSpec("s", "f", "i", (), user_data="I2Nsb3VkLWNvbmZpZwo="))
    (sent,) = [each for each in cloud.requests if each.method == "POST" and each.path.endswith("/servers")]
    assert json.loads(sent.body)["server"]["user_data"] == "I2Nsb3VkLWNvbmZpZwo="


def test_an_expired_token_is_refused_even_if_the_service_says_otherwise(cloud: AnsweringCloud) -> None:
    from .answering import token_body

    cloud.answers["GET", "/identity/v3/auth/tokens"] = Reply(
        200, token_body(cloud.base, expires="2001-01-01T00:00:00Z")
    )
    with pytest.raises(Unauthenticated):
        cloud.clouds().identity.validate(TENANT_TOKEN)


def test_an_image_that_is_stored_wrongly_is_removed(cloud: AnsweringCloud) -> None:
    import hashlib

    from steelyard.errors import Invalid
    from steelyard.nouns import ImageSpec

    data = b"x" * 5000
    image = {"id": "i1", "status": "active", "visibility": "private", "size": 5000, "os_hash_algo": "sha512",
             "os_hash_value": "0" * 128}  # fmt: skip
    cloud.answers["POST", "/image/v2/images"] = Reply(201, image)
    cloud.answers["PUT", "/image/v2/images/i1/file"] = Reply(204)
    cloud.answers["GET", "/image/v2/images/i1"] = Reply(200, image)
    cloud.answers["DELETE", "/image/v2/images/i1"] = Reply(204)
    spec = ImageSpec("i", "raw", "sha256:" + hashlib.sha256(data).hexdigest(), len(data))
    with pytest.raises(Invalid) as caught:
        cloud.clouds().own.images.create(spec, io.BytesIO(data))
    assert caught.value.code == "checksum_mismatch"
    assert len(cloud.seen("DELETE", "/image/v2/images/i1")) == 1
    assert cloud.seen("PUT", "/image/v2/images/i1/file")[0].body == data


READERS = [node_of, node_port_of, instance_of, flavor_of, image_of, network_of, subnet_of, port_of]
FIELDS = [
    "uuid", "id", "name", "driver", "status", "traits", "driver_info", "properties", "extra", "power_state",
    "maintenance", "created_at", "provision_updated_at", "address", "node_uuid", "local_link_connection", "vcpus",
    "ram", "disk", "extra_specs", "tenant_id", "image", "flavor", "addresses", "fault", "OS-EXT-STS:power_state",
    "size", "visibility", "os_hash_algo", "os_hash_value", "subnets", "shared", "network_id", "cidr",
    "allocation_pools",
    "fixed_ips", "mac_address", "binding:profile", "provider:segmentation_id", "created",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=20))
def test_reading_any_object_gives_a_noun_or_an_upstream_error(body: dict[str, Any]) -> None:
    for reader in READERS:
        with contextlib.suppress(UpstreamError):
            noun = reader(Document(body, service="a service", what="a thing"))
            hash(getattr(noun, "id", None))  # raises for what is no identifier, such as a list
