"""One service of an OpenStack cloud, seen with one set of credentials: requests, pages, errors.

Rules kept here for every adapter: the endpoint comes from the catalogue and from nowhere else, and a request goes to
no other origin (redirects and the services' own `next` links are not followed); every call has a deadline and a limit
on the size of its answer; nothing is logged, because requests carry tokens and BMC passwords; only errors of ours
leave.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from keystoneauth1 import exceptions as ksa
from keystoneauth1 import plugin
from keystoneauth1 import session as ksa_session
from requests.adapters import HTTPAdapter

from steelyard.clouds.openstack.failures import Place, error_of, secrets_in
from steelyard.clouds.openstack.reading import Document
from steelyard.errors import Forbidden, NotFound, SteelyardError, Unavailable, UpstreamError

PAGE = 1000
MAX_PAGES = 10_000
MAX_ANSWER = 64 << 20
"""Bytes of one answer; a page of 1000 nodes is about 5 MB."""
SLOWEST_ANSWER = 180.0
"""Seconds from the first to the last byte of one answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service as the catalogue and as people call it."""

    type: str
    title: str
    version: str
    """Path of its API version, appended where the catalogue leaves it out: `v2.1`; empty if it has none."""


IDENTITY = Service("identity", "the identity service (Keystone)", "v3")
IMAGE = Service("image", "the image service (Glance)", "v2")
COMPUTE = Service("compute", "the compute service (Nova)", "v2.1")
BAREMETAL = Service("baremetal", "the bare metal service (Ironic)", "v1")
PLACEMENT = Service("placement", "the placement service (Placement)", "")
NETWORK = Service("network", "the network service (Neutron)", "v2.0")


@dataclass(frozen=True)
class Access:
    """Who asks, over which connections: everything that a request needs besides what it asks for."""

    session: ksa_session.Session
    auth: plugin.BaseAuthPlugin
    own: bool
    region: str | None
    interface: str
    timeout: float
    """Seconds that a service may stay silent."""


def new_session(
    auth: plugin.BaseAuthPlugin, *, verify: bool | str, cert: str | tuple[str, str] | None, timeout: float
) -> ksa_session.Session:
    """A keystoneauth session whose connections are shared by all threads, and that keeps no cookie of anybody."""
    http = requests.Session()
    http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        http.mount(scheme, HTTPAdapter(pool_connections=16, pool_maxsize=32))
    return ksa_session.Session(
        auth=auth, session=http, verify=verify, cert=cert, timeout=timeout, redirect=False, app_name="steelyard"
    )


class Rest:
    """A service's API. Every method takes a path below the API version, already safe (see `part`)."""

    def __init__(self, access: Access, service: Service, *, microversion: str | None = None):
        self._access = access
        self._service = service
        self._microversion = microversion

    @property
    def own(self) -> bool:
        """Whether these are Steelyard's own credentials, not a caller's."""
        return self._access.own

    def get(self, path: str, *, params: Mapping[str, Any] | None = None, what: str = "an object") -> Document:
        """The JSON object at the path. Repeated once if the connection breaks."""
        try:
            answer = self.call("GET", path, params=params)
        except Unavailable as error:
            if error.code != "connection_failed":
                raise
            answer = self.call("GET", path, params=params)
        return self.document(answer, what)

    def post(self, path: str, body: object, *, what: str = "an object") -> Document:
        return self.document(self.call("POST", path, body=body), what)

    def patch(self, path: str, body: object, *, what: str = "an object") -> Document:
        return self.document(self.call("PATCH", path, body=body), what)

    def delete(self, path: str) -> None:
        """Remove what is at the path. What is gone already is fine."""
        try:
            self.call("DELETE", path)
        except NotFound:
            return

    def pages(
        self, path: str, key: str, *, what: str, id: str = "id", params: Mapping[str, Any] | None = None
    ) -> Iterator[Document]:
        """Everything in a list, page by page: by marker, so that no link of an answer is ever followed."""
        query = {**(params or {}), "limit": PAGE}
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            answer = self.get(path, params=query, what=f"a list of {key}")
            entries = answer.required_documents(key, what)
            yield from entries
            if not entries or not _has_more(answer, key):
                return
            marker = entries[-1].text(id)
            if marker in seen:
                break
            seen.add(marker)
            query["marker"] = marker
        raise UpstreamError(f"{self._service.title} answers the same page of {key} again and again")

    def document(self, answer: Answer, what: str) -> Document:
        """The answer as a JSON object. Raises `UpstreamError` if it is anything else."""
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            kind = answer.headers.get("content-type", "of no type").split(";")[0][:40]
            raise UpstreamError(
                f"{self._service.title} answered something that is not JSON ({kind}, {len(answer.body)} bytes) "
                f"where {what} was expected",
                next=self._place("", "").look,
            ) from None
        return Document(found, service=self._service.title, what=what)

    def call(
        self, method: str, path: str, *, body: object = None, data: Any = None,
        params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """One request. `body` is sent as JSON, `data` as it is. Raises the errors that `clouds.ports` promises."""
        place = self._place(method, path)
        secrets = secrets_in(body)
        try:
            url = f"{self.endpoint()}/{path}" if path else self.endpoint()
            if token := self._access.auth.get_token(self._access.session):
                secrets.add(token)
            with self._access.session.request(
                url, method, auth=self._access.auth, json=body, data=data, params=params,
                headers={"Accept": "application/json", **(headers or {})}, microversion=self._microversion,
                microversion_service_type=self._service.type, raise_exc=False, log=False, redirect=False, stream=True,
                allow_reauth=data is None, timeout=(10.0, self._access.timeout),
            ) as response:  # fmt: skip
                answer = self._read(response)
        except (ksa.ClientException, requests.RequestException) as error:
            raise self._translated(error, place) from None
        if answer.status >= 400:
            raise error_of(place, answer.status, answer.body, answer.headers, secrets)
        if answer.status >= 300:
            raise UpstreamError(
                f"{self._service.title} wants to send the request elsewhere (HTTP {answer.status}); "
                f"correct its address in the catalogue",
                next=place.look,
            )
        return answer

    def endpoint(self) -> str:
        """The service's address from the catalogue, with its API version, without a slash at the end."""
        access = self._access
        try:
            found = access.session.get_endpoint(
                access.auth, service_type=self._service.type, interface=access.interface, region_name=access.region
            )
        except (ksa.EmptyCatalog, ksa.EndpointNotFound):
            found = None
        if not found or urlsplit(found).scheme not in {"http", "https"}:
            raise self._no_endpoint()
        url = str(found).rstrip("/")
        version = self._service.version
        if version and f"/{version}/" not in f"{urlsplit(url).path}/":
            url = f"{url}/{version}"
        return url

    def _no_endpoint(self) -> SteelyardError:
        access = self._access
        if not access.own and access.auth.get_project_id(access.session) is None:
            return Forbidden(
                "this needs a token that is scoped to a project",
                code="project_token_needed", next="openstack --os-project-name PROJECT token issue",
            )  # fmt: skip
        return Unavailable(
            f"the catalogue has no usable {access.interface} address of {self._service.title}",
            code="no_endpoint", next="openstack catalog list",
        )  # fmt: skip

    def _read(self, response: requests.Response) -> Answer:
        """The whole answer, within limits: a slow or endless one is cut."""
        started, body = time.monotonic(), bytearray()
        for chunk in response.iter_content(1 << 16):
            body += chunk
            if len(body) > MAX_ANSWER:
                raise UpstreamError(f"{self._service.title} answered more than {MAX_ANSWER >> 20} MiB")
            if time.monotonic() - started > SLOWEST_ANSWER:
                raise self._silent(self._place("", ""))
        return Answer(response.status_code, bytes(body), {k.lower(): v for k, v in response.headers.items()})

    def _translated(self, error: Exception, place: Place) -> SteelyardError:
        """A client library's error as one of ours; its text is left behind, it may hold what we sent."""
        internal = f"{place.method} {place.path}: {type(error).__name__}"
        if isinstance(error, ksa.ConnectTimeout | requests.Timeout):
            return self._silent(place, internal)
        if isinstance(error, ksa.SSLError | requests.exceptions.SSLError):
            return Unavailable(
                f"{place.service}: its TLS certificate cannot be verified",
                code="tls_failed", next="check `cacert` in clouds.yaml", internal=internal,
            )  # fmt: skip
        if isinstance(error, ksa.ConnectionError | requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
            return Unavailable(
                f"{place.service} does not answer: the connection failed",
                code="connection_failed", next=place.look, internal=internal,
            )  # fmt: skip
        if isinstance(error, ksa.HttpError):
            # Only getting a token of our own raises these: other answers are read here.
            identity = Place(IDENTITY.title, IDENTITY.type, place.own, "POST", "auth/tokens")
            return error_of(identity, error.http_status or 500, b"", {}, ())
        return UpstreamError(f"{place.service} could not be asked", next=place.look, internal=internal)

    def _silent(self, place: Place, internal: str | None = None) -> Unavailable:
        return Unavailable(
            f"{place.service} did not answer in time", code="timeout", next=place.look, internal=internal
        )

    def _place(self, method: str, path: str) -> Place:
        return Place(self._service.title, self._service.type, self._access.own, method, path)


@dataclass(frozen=True, slots=True)
class Answer:
    """A service's answer. Header names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def part(value: str) -> str:
    """One part of a path, quoted. Raises `NotFound` for what cannot be anything's id or name."""
    if value in {"", ".", ".."} or len(value) > 255 or not value.isprintable():
        raise NotFound(f"there is nothing with the id {value[:80]!r}")
    return quote(value, safe="")


def _has_more(answer: Document, key: str) -> bool:
    """Whether the service says that the list goes on: `next` (Glance, Ironic) or `<key>_links` (Nova, Neutron)."""
    if answer.maybe_text("next"):
        return True
    links = answer.data.get(f"{key}_links")
    return isinstance(links, list) and any(isinstance(link, dict) and link.get("rel") == "next" for link in links)
