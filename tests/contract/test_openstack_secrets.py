"""Where the OpenStack adapters send credentials, and that none of them comes back in an error or a log."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from steelyard.clouds.openstack import identity as identity_module
from steelyard.clouds.openstack.baremetal import node_of
from steelyard.clouds.openstack.failures import message_of, secrets_in
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.ports import Cloud
from steelyard.errors import (
    Conflict,
    Duplicate,
    Forbidden,
    Invalid,
    NotFound,
    SteelyardError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)
from steelyard.nouns import NodeSpec, ServerSpec

from .answering import OWN_TOKEN, PASSWORD, TENANT_TOKEN, AnsweringCloud, Reply, answering_cloud, token_body

NODES = "/baremetal/v1/nodes"


@pytest.fixture
def cloud() -> Iterator[AnsweringCloud]:
    with answering_cloud() as cloud:
        yield cloud


def everything(error: BaseException) -> str:
    """All text that an exception could carry into a log, causes and contexts included."""
    own = error.__dict__ if isinstance(error, SteelyardError) else {}
    return "".join(traceback.format_exception(error)) + repr(error) + repr(own)


def echo(request: Any) -> Reply:
    """The worst of services: it says what it was sent."""
    said = f"bad request {request.body.decode()} {request.headers}"
    return Reply(400, {"error_message": json.dumps({"faultstring": said})})


def refused(act: Callable[[], object]) -> SteelyardError:
    with pytest.raises(SteelyardError) as caught:
        act()
    return caught.value


def test_no_secret_comes_back_in_an_error_or_a_log(cloud: AnsweringCloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cloud.answers["POST", NODES] = cloud.answers["PATCH", f"{NODES}/n1"] = echo
    cloud.answers["POST", "/compute/v2.1/servers"] = echo
    cloud.answers["POST", "/compute/v2.1/servers/s1/action"] = echo
    clouds = cloud.clouds()
    patch = {"/driver_info/redfish_password": "canary-patch"}
    patch_2 = {"/driver_info": {"ipmi_password": "canary-patch-2"}}
    spec = ServerSpec("s", "f", "i", (), user_data="canary-user-data")
    guess, rescue = "canary-guess" * 3, "canary-rescue" * 2
    driver_info = {
        "redfish_password": "canary-bmc",
        "snmp": {"community": "canary-snmp"},
        "redfish_address": "https://b",
    }
    tenant = clouds.on_behalf_of(TENANT_TOKEN)
    errors = [
        refused(lambda: clouds.own.nodes.create(NodeSpec("n", "redfish", driver_info))),
        refused(lambda: clouds.own.nodes.update("n1", patch)),
        refused(lambda: clouds.own.nodes.update("n1", patch_2)),
        refused(lambda: tenant.compute.create(spec)),
        refused(lambda: tenant.compute.rescue("s1", password=rescue)),
        refused(lambda: clouds.identity.validate(guess)),
    ]
    said = "".join(everything(error) for error in errors) + caplog.text
    assert "https://b" in said, "the rest of the message is kept"
    import base64

    for canary in ("canary-bmc", "canary-snmp", "canary-patch", "canary-guess", rescue, TENANT_TOKEN, OWN_TOKEN,
                   PASSWORD, base64.b64encode(b"canary-user-data").decode()):  # fmt: skip
        assert canary not in said, canary


def test_own_credentials_refused_is_not_the_callers_fault(cloud: AnsweringCloud) -> None:
    said = {"error": {"code": 401, "message": f"wrong password {PASSWORD}"}}
    cloud.answers["POST", "/identity/v3/auth/tokens"] = Reply(401, said)
    error = refused(lambda: cloud.clouds().identity.validate(TENANT_TOKEN))
    assert isinstance(error, UpstreamError)
    assert error.code == "own_credentials_refused"
    assert PASSWORD not in everything(error)


def test_a_token_that_has_expired_meanwhile(cloud: AnsweringCloud) -> None:
    cloud.answers["GET", "/compute/v2.1/servers/detail"] = Reply(401, {"error": {"message": "expired"}})
    error = refused(lambda: cloud.clouds().on_behalf_of(TENANT_TOKEN).compute.all())
    assert isinstance(error, Unauthenticated)
    assert error.next


def test_the_very_token_is_passed_on_and_never_exchanged(cloud: AnsweringCloud) -> None:
    cloud.answers["GET", "/compute/v2.1/servers/detail"] = Reply(200, {"servers": []})
    tenant = cloud.clouds().on_behalf_of(TENANT_TOKEN)
    assert tenant.compute.all() == []
    (request,) = cloud.seen("GET", "/compute/v2.1/servers/detail")
    assert request.headers["x-auth-token"] == TENANT_TOKEN
    issued = cloud.seen("POST", "/identity/v3/auth/tokens")
    assert all(TENANT_TOKEN.encode() not in request.body for request in issued)
    (validation,) = cloud.seen("GET", "/identity/v3/auth/tokens")
    assert validation.headers["x-auth-token"] == OWN_TOKEN
    assert all(TENANT_TOKEN not in f"{r.path}?{r.query}" for r in cloud.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_go_to_no_other_host(cloud: AnsweringCloud, status: int) -> None:
    with answering_cloud() as elsewhere:
        elsewhere.answers["GET", NODES] = Reply(200, {"nodes": []})
        moved = {"Location": f"{elsewhere.base}{NODES}"}
        cloud.answers["GET", NODES] = cloud.answers["POST", NODES] = Reply(status, b"", moved)
        cloud.answers["GET", "/compute/v2.1/servers/detail"] = Reply(status, b"", moved)
        clouds = cloud.clouds()
        for act in (
            clouds.own.nodes.all,
            lambda: clouds.own.nodes.create(NodeSpec("n", "redfish", {"redfish_password": "canary"})),
            clouds.on_behalf_of(TENANT_TOKEN).compute.all,
        ):
            assert isinstance(refused(act), UpstreamError)
        assert elsewhere.requests == []


def test_links_in_lists_are_not_followed(cloud: AnsweringCloud) -> None:
    with answering_cloud() as elsewhere:

        def page(request: Any) -> Reply:
            if "marker" in request.query:
                return Reply(200, {"nodes": []})
            node = {"uuid": "n1", "driver": "redfish", "provision_state": "enroll"}
            return Reply(200, {"nodes": [node], "next": f"{elsewhere.base}{NODES}?marker=n1"})

        cloud.answers["GET", NODES] = page
        assert len(cloud.clouds().own.nodes.all()) == 1
        assert elsewhere.requests == []


def test_a_catalogue_of_strange_addresses_is_not_used(cloud: AnsweringCloud) -> None:
    body = token_body(cloud.base)
    for service in body["token"]["catalog"]:
        service["endpoints"][0]["url"] = "file:///etc/passwd"
    cloud.answers["GET", "/identity/v3/auth/tokens"] = Reply(200, body)
    assert isinstance(refused(cloud.clouds().on_behalf_of(TENANT_TOKEN).compute.all), Unavailable)


def test_a_token_without_a_project_is_told_so(cloud: AnsweringCloud) -> None:
    cloud.answers["GET", "/identity/v3/auth/tokens"] = Reply(200, token_body(cloud.base, project=False))
    error = refused(cloud.clouds().on_behalf_of(TENANT_TOKEN).compute.all)
    assert isinstance(error, Forbidden)
    assert error.code == "project_token_needed"


def test_cookies_of_one_caller_do_not_reach_the_next(cloud: AnsweringCloud) -> None:
    path = "/compute/v2.1/servers/detail"
    cloud.answers["GET", path] = Reply(200, {"servers": []}, {"Set-Cookie": "session=canary; Path=/"})
    clouds = cloud.clouds()
    clouds.on_behalf_of(TENANT_TOKEN).compute.all()
    clouds.own.compute.all()
    assert all("cookie" not in request.headers for request in cloud.requests)


def test_a_validated_token_is_believed_for_a_minute(cloud: AnsweringCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    identity = cloud.clouds().identity
    monkeypatch.setattr(identity, "_clock", lambda: now[0])
    for _ in range(5):
        assert identity.validate(TENANT_TOKEN).project_id == "p1"
    assert len(cloud.seen("GET", "/identity/v3/auth/tokens")) == 1
    now[0] += 61
    cloud.answers["GET", "/identity/v3/auth/tokens"] = Reply(404)
    with pytest.raises(Unauthenticated):
        identity.validate(TENANT_TOKEN)


def test_the_memory_of_tokens_is_bounded_and_holds_no_bad_ones(
    cloud: AnsweringCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "KEPT", 10)
    cloud.answers["GET", "/identity/v3/auth/tokens"] = lambda request: (
        Reply(200, token_body(cloud.base)) if request.headers["x-subject-token"].startswith("good") else Reply(404)
    )
    identity = cloud.clouds().identity
    for number in range(30):
        identity.validate(f"good{number}")
        with pytest.raises(Unauthenticated):
            identity.validate(f"bad{number}")
    assert len(identity._known) == 10
    assert "good29" not in repr(identity._known)


def test_many_threads_share_the_connections(cloud: AnsweringCloud) -> None:
    cloud.answers["GET", "/compute/v2.1/servers/detail"] = Reply(200, {"servers": []})
    clouds = cloud.clouds()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                assert clouds.own.compute.all() == []
                assert clouds.on_behalf_of(TENANT_TOKEN).compute.all() == []
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    tokens = [request.headers["x-auth-token"] for request in cloud.seen("GET", "/compute/v2.1/servers/detail")]
    assert sorted(tokens) == [OWN_TOKEN] * 80 + [TENANT_TOKEN] * 80
    assert len(cloud.seen("POST", "/identity/v3/auth/tokens")) == 1


SAID: list[tuple[str, int, object, type[SteelyardError], str]] = [
    ("GET baremetal", 404, {"error_message": '{"faultstring": "Node x could not be found."}'}, NotFound, "could not"),
    ("GET baremetal", 409, {"error_message": {"faultstring": "Node x is locked by host y"}}, Conflict, "locked by"),
    ("GET baremetal", 400, {"faultstring": 'The requested action "x" can not be performed on node "n" while it is'},
     Conflict, "can not be performed"),
    ("GET baremetal", 409, {"error_message": {"faultstring": "A node with name x already exists."}}, Duplicate, "name"),
    ("GET baremetal", 403, {"faultstring": "Node x is protected and cannot be undeployed"}, Conflict, "protect"),
    ("GET compute", 400, {"badRequest": {"code": 400, "message": "Invalid imageRef"}}, Invalid, "Invalid imageRef"),
    ("GET compute", 403, {"forbidden": {"message": "Quota exceeded for instances"}}, Conflict, "Quota exceeded"),
    ("GET compute", 403, {"forbidden": {"message": "Policy doesn't allow it"}}, Forbidden, "Policy"),
    ("GET network", 409, {"NeutronError": {"type": "OverQuota", "message": "too many"}}, Conflict, "too many"),
    ("GET network", 409, {"NeutronError": {"type": "IpAddressAlreadyAllocated", "message": "taken"}}, Duplicate, "t"),
    ("GET network", 409, {"NeutronError": {"type": "NetworkInUse", "message": "in use"}}, Conflict, "in use"),
    ("GET image", 413, b"<html><head><title>413 Too Large</title></head><body><h1>413</h1>quota is full"
                       b"<br /><br /></body></html>", TooLarge, "quota is full"),
    ("GET placement", 400, {"errors": [{"status": 400, "title": "Bad Request", "detail": "Bad thing"}]}, Invalid,
     "Bad thing"),
    ("GET compute", 429, {"overLimit": {"message": "slow down"}}, Unavailable, "slow down"),
    ("GET compute", 500, {"computeFault": {"message": "Unexpected API Error"}}, UpstreamError, "Unexpected API Error"),
    ("GET baremetal", 500, {"faultstring": "(sqlite3.OperationalError) database is locked"}, Unavailable, "locked"),
    ("GET compute", 502, b"", Unavailable, "HTTP 502"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "status", "body", "kind", "words"), SAID, ids=[f"{s[0]} {s[1]} {s[4]}" for s in SAID]
)
def test_what_a_service_says_is_passed_on(
    cloud: AnsweringCloud, where: str, status: int, body: object, kind: type[SteelyardError], words: str
) -> None:
    service = where.split()[1]
    asks: dict[str, tuple[str, Callable[[Cloud], object]]] = {
        "baremetal": (f"{NODES}/x", lambda own: own.nodes.get("x")),
        "compute": ("/compute/v2.1/servers/detail", lambda own: own.compute.all()),
        "network": ("/network/v2.0/networks", lambda own: own.networks.all()),
        "image": ("/image/v2/images/x", lambda own: own.images.get("x")),
        "placement": ("/placement/resource_providers", lambda own: own.placement.free("x")),
    }
    path, act = asks[service]
    cloud.answers["GET", path] = Reply(status, body)
    error = refused(lambda: act(cloud.clouds().own))
    assert type(error) is kind
    assert words in error.detail
    assert error.internal is None or service in error.internal


def test_messages_are_one_short_line() -> None:
    _, said = message_of(json.dumps({"error": {"message": "a\n\x1b[31mb\u202e" + "x" * 5000}}).encode())
    assert "\n" not in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert len(said) <= 500


def test_a_secret_cut_in_half_is_still_hidden() -> None:
    secret = "canary" * 20
    _, said = message_of(json.dumps({"error": {"message": "x" * 450 + secret}}).encode(), [secret])
    assert "canary" not in said


def test_which_fields_are_secret() -> None:
    found = secrets_in({
        "key_name": "my-key", "user_data": "UD", "driver_info": {"ipmi_password": "P1", "x": [{"api_token": "T1"}]},
        "patch": [{"op": "add", "path": "/driver_info/redfish_password", "value": "P2"}],
    })  # fmt: skip
    assert found == {"UD", "P1", "T1", "P2"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "no answer from https://10.0.0.9:9999/v1/commands?wait=false&agent_token=c4nary-Xyz, gave up",
            "no answer from",
        ),
        ("POST https://root:c4nary-Xyz@10.0.0.9/redfish/v1 failed", "https://***@10.0.0.9/redfish/v1 failed"),
        ("bad driver_info: 'redfish_password': 'c4nary-Xyz' is too short", "is too short"),
    ],
)
def test_what_ironic_wrote_down_of_a_failure_holds_no_secret(said: str, shown: str) -> None:
    raw = {"uuid": "1", "driver": "redfish", "last_error": said, "maintenance_reason": said}
    node = node_of(Document(raw, service="Ironic", what="a node"))
    for text in (node.last_error, node.maintenance_reason):
        assert text is not None
        assert "c4nary" not in text
        assert shown in text
