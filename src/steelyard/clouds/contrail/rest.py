"""The config API of a Contrail/OpenSDN controller, seen with one set of credentials: objects, lists, references.

Over the same session, limits and errors as the OpenStack services (`clouds.openstack.session`). Kept here for all of
the adapter: an object is made under a uuid that we choose, so that a request whose answer was lost is sent again and
finds itself; what is sent twice is never there twice.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from steelyard.clouds.openstack.failures import Place
from steelyard.clouds.openstack.reading import Document
from steelyard.clouds.openstack.session import Access, Rest, Service, part
from steelyard.errors import Duplicate, Forbidden, Invalid, NotFound, SteelyardError, Unavailable, UpstreamError

CONTROLLER: Final = Service("sdn-l-config", "the network controller (Contrail)", "")
"""As Keystone's catalogue has it, where the operator has registered it."""
PAGE: Final = 1000
MAX_PAGES: Final = 10_000
IDS_PER_CALL: Final = 40
"""Ids in one URL; longer lists go by `list-bulk-collection`, whose body has no such limit."""
IDS_PER_BODY: Final = 500
ATTEMPTS: Final = 3
PAUSE: Final = 0.3
"""Seconds before the second attempt; twice as long before the third."""

T = TypeVar("T")

_TAKEN: Final = re.compile(r"already exists with uuid: ([0-9a-fA-F-]{36})")
_PLACE_TAKEN: Final = re.compile(
    r"already exists (for virtual port group|in virtual network)|already belong to the vpg|"
    r"more than one (VLAN|Virtual)|only one (Native/)?Untagged"
)


def hex_of(identifier: str) -> str:
    """A project's id as Keystone writes it: the controller's UUID without the dashes."""
    return identifier.replace("-", "").lower()


def uuid_of(identifier: str) -> str:
    """A Keystone id as the controller writes it. Raises `NotFound` for what cannot be one."""
    try:
        return str(uuid.UUID(identifier))
    except ValueError:
        raise NotFound(f"there is nothing with the id {identifier[:80]!r}") from None


def plural(kind: str) -> str:
    """The name of a type's list: always type and "s", also `network-policys`."""
    return f"{kind}s"


class ContrailRest(Rest):
    """The config API. `url` is the operator's (STEELYARD_CONTRAIL_URL); without one, the catalogue's."""

    def __init__(self, access: Access, *, url: str | None = None, sleep: Callable[[float], None] = time.sleep):
        super().__init__(access, CONTROLLER)
        self._url = url.rstrip("/") if url else None
        self._sleep = sleep

    def endpoint(self) -> str:
        if self._url is None:
            return super().endpoint()
        if urlsplit(self._url).scheme not in {"http", "https"}:
            raise Invalid("STEELYARD_CONTRAIL_URL is not an http or https address", code="invalid_controller_url")
        return self._url

    def _place(self, method: str, path: str) -> Place:
        place = super()._place(method, path)
        return place if self._url is None else _Placed(*(getattr(place, name) for name in Place.__slots__))

    # Who asks

    @property
    def project_id(self) -> str | None:
        """Of the credentials, as Keystone writes it; None for a token without a project."""
        found = self._access.auth.get_project_id(self._access.session)
        return hex_of(str(found)) if found else None

    @property
    def roles(self) -> frozenset[str]:
        """Of the credentials. Steelyard's own count as an administrator's."""
        if self.own:
            return frozenset({"admin"})
        reference = getattr(self._access.auth, "get_access", None)
        names = reference(self._access.session).role_names if reference is not None else ()
        return frozenset(names or ())

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles

    def require_writer(self, what: str) -> None:
        """The controller's own rules need not know Keystone's reader. Raises `Forbidden`."""
        if not self.roles & {"admin", "member"}:
            raise Forbidden(f"{what} needs the role member or admin")

    def require_admin(self, what: str) -> None:
        """Nothing in the controller ties a switch port to a project, so only administrators touch one."""
        if not self.is_admin:
            raise Forbidden(f"{what} is for administrators")

    # One object

    def read(self, kind: str, identifier: str, *, fields: Collection[str] = ()) -> Document:
        """One object. Raises `NotFound`."""
        params = {"fields": ",".join(fields)} if fields else None
        answer = self.again(lambda: self.get(f"{kind}/{part(identifier)}", params=params, what=_a(kind)))
        return answer.document(kind, _a(kind))

    def make(self, kind: str, body: Mapping[str, Any], *, identifier: str | None = None) -> str:
        """Make an object under this uuid, or one that is chosen here, and return it. The same again is no second one.

        Raises `Duplicate` where the name is another object's; its `internal` ends with that object's uuid.
        """
        chosen = identifier or str(uuid.uuid4())
        try:
            self.again(lambda: self.call("POST", plural(kind), body={kind: {**body, "uuid": chosen}}))
        except Duplicate as error:
            if taken_by(error) != chosen:
                raise
        return chosen

    def change(self, kind: str, identifier: str, changes: Mapping[str, Any]) -> None:
        """Set properties; what is not named stays. Raises `NotFound`."""
        self.again(lambda: self.call("PUT", f"{kind}/{part(identifier)}", body={kind: dict(changes)}))

    def remove(self, kind: str, identifier: str) -> None:
        """Delete an object. What is gone already is fine; raises `Conflict` for what others refer to."""
        self.again(lambda: self.delete(f"{kind}/{part(identifier)}"))

    def refer(
        self, kind: str, identifier: str, to: str, target: str, *, attr: object = None,
        operation: Literal["ADD", "DELETE"] = "ADD",
    ) -> None:  # fmt: skip
        """Add or remove one reference without touching the others, which a PUT of all of them would."""
        body = {
            "type": kind, "uuid": identifier, "ref-type": to, "ref-uuid": target, "ref-fq-name": None,
            "operation": operation, "attr": attr,
        }  # fmt: skip
        self.again(lambda: self.call("POST", "ref-update", body=body))

    def forget(self, identifier: str, field: str, keys: Collection[str]) -> None:
        """Remove keys of a map property, and nothing else."""
        updates = [{"field": field, "operation": "delete", "position": key} for key in keys]
        self.again(lambda: self.call("POST", "prop-collection-update", body={"uuid": identifier, "updates": updates}))

    def find(self, kind: str, fq_name: Sequence[str]) -> str | None:
        """The uuid of the object with this name, if there is one."""
        body = {"type": kind, "fq_name": list(fq_name)}
        try:
            return self.again(lambda: self.post("fqname-to-id", body, what="an id")).text("uuid")
        except NotFound:
            return None

    # Many objects

    def objects(
        self, kind: str, *, fields: Collection[str] = (), parents: Collection[str] | None = None,
        referring: Collection[str] | None = None, ids: Collection[str] | None = None,
    ) -> list[Document]:  # fmt: skip
        """All objects of a type, whole: those below these parents, referring to these objects, or with these ids."""
        chosen: dict[str, Collection[str]] = {}
        for name, given in (("parent_id", parents), ("back_ref_id", referring), ("obj_uuids", ids)):
            if given is not None:
                chosen[name] = list(dict.fromkeys(given))
        if not chosen:
            return list(self._paged(kind, fields))
        ((name, wanted),) = chosen.items()
        found: dict[str, Document] = {}
        size = IDS_PER_CALL if name != "obj_uuids" else IDS_PER_BODY
        for group in _groups(list(wanted), size):
            entries = self._by_ids(kind, fields, group) if name == "obj_uuids" else self._by(kind, fields, name, group)
            found |= {entry.text("uuid"): entry for entry in entries}
        return list(found.values())

    def _paged(self, kind: str, fields: Collection[str]) -> Iterator[Document]:
        """Page by page, by the marker that the controller gives. One that knows no pages answers all at once."""
        # A limit alone does nothing: it is the marker that makes pages, and "none" stands for the first.
        query: dict[str, Any] = {
            "detail": "true", "exclude_hrefs": "true", "page_limit": PAGE, "page_marker": "none"
        }  # fmt: skip
        if fields:
            query["fields"] = ",".join(fields)
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            answer = self.again(partial(self.get, plural(kind), params=dict(query), what=f"a list of {kind}"))
            entries = _entries(answer, kind)
            fresh = [entry for entry in entries if entry.text("uuid") not in seen]
            yield from fresh
            seen |= {entry.text("uuid") for entry in fresh}
            marker = answer.maybe_text("marker")
            if marker is None or not fresh:
                return
            query["page_marker"] = marker
        raise UpstreamError(f"{CONTROLLER.title} answers pages of {kind} without end")

    def _by(self, kind: str, fields: Collection[str], name: str, group: Sequence[str]) -> list[Document]:
        query = {
            "detail": "true",
            "exclude_hrefs": "true",
            name: ",".join(group),
            **({"fields": ",".join(fields)} if fields else {}),
        }
        return _entries(self.again(lambda: self.get(plural(kind), params=query, what=f"a list of {kind}")), kind)

    def _by_ids(self, kind: str, fields: Collection[str], group: Sequence[str]) -> list[Document]:
        body: dict[str, Any] = {"type": kind, "detail": True, "obj_uuids": ",".join(group)}
        if fields:
            body["fields"] = ",".join(fields)
        answer = self.again(lambda: self.post("list-bulk-collection", body, what=f"a list of {kind}"))
        return _entries(answer, kind)

    def again(self, ask: Callable[[], T]) -> T:
        """Ask up to `ATTEMPTS` times while the controller is not there. Only for what may be asked twice."""
        for attempt in range(1, ATTEMPTS):
            try:
                return ask()
            except Unavailable as error:
                if error.code not in {"connection_failed", "unavailable"}:
                    raise
                self._sleep(PAUSE * attempt)
        return ask()


class _Placed(Place):
    """The controller at an address of the operator's, not of the catalogue."""

    @property
    def look(self) -> str:
        return "steelyard network preflight"


def taken_by(error: SteelyardError) -> str | None:
    """The uuid of the object that has the name or id already, from a refusal."""
    found = _TAKEN.search(error.detail)
    return found.group(1).lower() if found else None


def place_is_taken(error: SteelyardError) -> bool:
    """Whether a refusal (400, in words that differ by release) says that the switch port or its VLAN is another's."""
    return _PLACE_TAKEN.search(error.detail) is not None


def _entries(answer: Document, kind: str) -> list[Document]:
    """The objects of a list with details: each is wrapped in its type, by some releases not."""
    found = []
    for entry in answer.required_documents(plural(kind), _a(kind)):
        found.append(entry.document(kind, _a(kind)) if kind in entry.data else entry)
    return found


def _groups(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _a(kind: str) -> str:
    return f"a {kind}"
