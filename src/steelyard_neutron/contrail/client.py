"""Requests to the controller's config API, and nothing that knows what they are for.

Every request may be sent twice: an object is created under an id that was chosen here, so that a lost answer is
followed by the same request, and "already exists" with this id is success. What is not a clear yes is an exception:
Unreachable (nobody said yes or no) or Refused (the controller's no, in its own words). A missing object is None.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keystoneauth1 import exceptions as ksa_exceptions
from neutron_lib import exceptions as n_exc
from oslo_log import log

LOG = log.getLogger(__name__)

Object = dict[str, Any]

LONGEST_REASON = 500
"""Characters of the controller's own words that are passed on."""
REST = 1.0
"""Seconds for which a controller that did not answer is not asked again: Neutron tries to bind a port ten times at
once, and each thread that waits holds a transaction."""
SEND_AGAIN = 0.2
"""Seconds before a request without an answer is sent once more."""

_EXISTS = re.compile(r"already exists with uuid:?\s*([0-9a-fA-F-]{36})")


class Unreachable(n_exc.ServiceUnavailable):  # type: ignore[misc]
    """Nobody answered, or the controller cannot serve now. HTTP 503 for Neutron's caller."""

    message = "The network controller does not answer (%(what)s): %(reason)s"


class Refused(n_exc.Conflict):  # type: ignore[misc]
    """The controller said no. HTTP 409 for Neutron's caller."""

    message = "The network controller refused (%(what)s): %(reason)s"

    def __init__(self, *, what: str, reason: str, status: int = 0):
        super().__init__(what=what, reason=reason)
        self.status = status
        self.reason = reason


class Controller:
    """The config API by type and id; types are written as in its URLs, "virtual-network"."""

    def __init__(self, adapter: Any):
        self._adapter = adapter
        self._resting = threading.Lock()
        self._rests_until = 0.0
        self._said = ""

    # One object

    def read(self, kind: str, uuid: str, *fields: str) -> Object | None:
        """The object, with the named properties, references and back references (all when none is named)."""
        asked = {"fields": ",".join(fields)} if fields else {}
        try:
            answer = self._request("GET", f"/{kind}/{uuid}", params=asked)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return self._object(kind, answer, f"GET {kind}")

    def find(self, kind: str, fq_name: Sequence[str]) -> str | None:
        """The id of the object of that name."""
        try:
            answer = self._request("POST", "/fqname-to-id", {"type": kind, "fq_name": list(fq_name)})
        except Refused as error:
            if error.status == 404:
                return None
            raise
        uuid = answer.get("uuid")
        if not isinstance(uuid, str):
            raise Unreachable(what="POST fqname-to-id", reason="an answer without an id")
        return uuid

    def create(self, kind: str, content: Mapping[str, Any]) -> tuple[Object, bool]:
        """Make the object, which names its own `uuid`. True: it was made; one that exists with this id is answered.

        Raises Refused when another object has the name.
        """
        try:
            answer = self._request("POST", f"/{kind}s", {kind: dict(content)})
        except Refused as error:
            exists = _EXISTS.search(error.reason)
            if error.status != 409 or exists is None or exists[1].lower() != content["uuid"]:
                raise
            present = self.read(kind, content["uuid"])
            if present is None:  # removed in this very moment, by somebody else
                raise
            return present, False
        return self._object(kind, answer, f"POST {kind}"), True

    def update(self, kind: str, uuid: str, changes: Mapping[str, Any]) -> None:
        """Change properties. Raises Refused (404) when it is gone."""
        self._request("PUT", f"/{kind}/{uuid}", {kind: dict(changes)})

    def delete(self, kind: str, uuid: str) -> bool:
        """Remove it; False when there is none. Raises Refused (409) while something refers to it."""
        try:
            self._request("DELETE", f"/{kind}/{uuid}")
        except Refused as error:
            if error.status == 404:
                return False
            raise
        return True

    def refer(
        self, kind: str, uuid: str, other: str, other_uuid: str, other_fq_name: Sequence[str], attr: Any = None
    ) -> None:
        """Add the reference, or change its attribute; other references are not touched."""
        self._reference("ADD", kind, uuid, other, other_uuid, other_fq_name, attr)

    def unrefer(self, kind: str, uuid: str, other: str, other_uuid: str, other_fq_name: Sequence[str]) -> None:
        """Take the reference away; one that is not there, or of an object that is gone, does no harm."""
        try:
            self._reference("DELETE", kind, uuid, other, other_uuid, other_fq_name, None)
        except Refused as error:
            if error.status != 404:
                raise

    def _reference(
        self, operation: str, kind: str, uuid: str, other: str, other_uuid: str, other_fq_name: Sequence[str], attr: Any
    ) -> None:
        self._request(
            "POST",
            "/ref-update",
            {
                "type": kind,
                "uuid": uuid,
                "ref-type": other,
                "ref-uuid": other_uuid,
                "ref-fq-name": list(other_fq_name),
                "operation": operation,
                "attr": attr,
            },
        )

    # Many

    def every(self, kind: str, *fields: str, where: Mapping[str, str] | None = None) -> list[Object]:
        """All objects of a type, with the named properties and references, by one bulk request.

        `where` names properties and the values that they must have.
        """
        body = {"type": kind, "detail": True, "fields": ",".join(fields)}
        if where:
            body["filters"] = ",".join(f"{name}=={json.dumps(value)}" for name, value in where.items())
        return self._list(kind, self._request("POST", "/list-bulk-collection", body))

    # The wire

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, params: Mapping[str, str] | None = None
    ) -> Object:
        what = f"{method} {path}"
        self._check_rest(what)
        began = time.monotonic()
        try:
            return self._once(what, method, path, body, params)
        except Unreachable as error:
            # A refused connection or a restart is over in a moment; a timeout has waited long enough.
            if time.monotonic() - began > REST:
                self._rest(str(error.msg))
                raise
            LOG.warning("%s; once more", error)
        time.sleep(SEND_AGAIN)
        try:
            return self._once(what, method, path, body, params)
        except Unreachable as error:
            self._rest(str(error.msg))
            raise

    def _once(
        self, what: str, method: str, path: str, body: Mapping[str, Any] | None, params: Mapping[str, str] | None
    ) -> Object:
        try:
            answer = self._adapter.request(
                path, method, json=body, params=dict(params or {}), raise_exc=False, redirect=False,
                headers={"Accept": "application/json"},
            )  # fmt: skip
        except ksa_exceptions.ClientException as error:
            # Of its text only the type is passed on: nobody knows what a client library puts into it.
            LOG.error("%s: the network controller, or Keystone, cannot be asked: %s", what, type(error).__name__)
            raise Unreachable(what=what, reason=type(error).__name__) from None
        status = answer.status_code
        if status in (502, 503, 504):
            raise Unreachable(what=what, reason=f"HTTP {status}")
        if not 200 <= status < 300:
            raise Refused(what=what, reason=_said(answer), status=status)
        if not answer.content:
            return {}
        try:
            document = answer.json()
        except ValueError:
            raise Unreachable(what=what, reason="the answer is not JSON") from None
        return document if isinstance(document, dict) else {}

    def _check_rest(self, what: str) -> None:
        with self._resting:
            if time.monotonic() < self._rests_until:
                raise Unreachable(what=what, reason=f"it did not a moment ago: {self._said}")

    def _rest(self, said: str) -> None:
        with self._resting:
            self._rests_until = time.monotonic() + REST
            self._said = said[:LONGEST_REASON]

    @staticmethod
    def _object(kind: str, answer: Object, what: str) -> Object:
        inner = answer.get(kind)
        if not isinstance(inner, dict):
            raise Unreachable(what=what, reason=f"an answer without {kind}")
        return inner

    @staticmethod
    def _list(kind: str, answer: Object) -> list[Object]:
        listed = answer.get(f"{kind}s")
        if not isinstance(listed, list):
            raise Unreachable(what=f"list of {kind}", reason="an answer without a list")
        found = []
        for one in listed:
            inner = one.get(kind, one) if isinstance(one, dict) else None
            if not isinstance(inner, dict) or not isinstance(inner.get("uuid"), str):
                raise Unreachable(what=f"list of {kind}", reason="an entry that is no object")
            found.append(inner)
        return found


def _said(answer: Any) -> str:
    """The controller's own words: plain text, or the JSON of the layer that checks tokens."""
    text = " ".join(str(answer.text or "").split())[:LONGEST_REASON]
    return f"HTTP {answer.status_code}: {text}" if text else f"HTTP {answer.status_code}"
