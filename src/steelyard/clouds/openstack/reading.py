"""Reading JSON that a service sent: typed look-ups that never take one type for another silently.

Missing optional fields and unknown fields are fine (services differ by release); a field of another type than the
API says raises `UpstreamError`, which names the service and the field and never the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from steelyard.errors import UpstreamError


class Document:
    """One JSON object of a service's answer. `what` says what it is, for messages ("a node")."""

    __slots__ = ("data", "service", "what")

    def __init__(self, data: object, *, service: str, what: str):
        if not isinstance(data, dict):
            raise UpstreamError(f"{service} answered {_type(data)} where {what} was expected")
        self.data: dict[str, Any] = data
        self.service = service
        self.what = what

    def text(self, key: str) -> str:
        """A text that the API promises."""
        found = self.data.get(key)
        if not isinstance(found, str):
            raise self._odd(key, found, "text")
        return found

    def maybe_text(self, key: str) -> str | None:
        """A text, or None if the field is missing, null or empty."""
        found = self.data.get(key)
        if found is not None and not isinstance(found, str):
            raise self._odd(key, found, "text")
        return found or None

    def integer(self, key: str) -> int:
        found = self.maybe_integer(key)
        if found is None:
            raise self._odd(key, None, "a number")
        return found

    def maybe_integer(self, key: str) -> int | None:
        found = self.data.get(key)
        if found is not None and (not isinstance(found, int) or isinstance(found, bool)):
            raise self._odd(key, found, "a number")
        return found

    def flag(self, key: str, *, default: bool = False) -> bool:
        found = self.data.get(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self._odd(key, found, "true or false")
        return found

    def moment(self, key: str) -> datetime | None:
        """A time (ISO 8601); UTC where the service leaves the zone out."""
        found = self.maybe_text(key)
        if found is None:
            return None
        try:
            moment = datetime.fromisoformat(found)
        except ValueError:
            raise self._odd(key, found, "a time") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if missing."""
        found = self._list(key)
        if not all(isinstance(entry, str) for entry in found):
            raise self._odd(key, found, "a list of texts")
        return tuple(found)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """An object; empty if missing."""
        found = self.data.get(key)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self._odd(key, found, "an object")
        return found

    def document(self, key: str, what: str) -> Document:
        """An object that the API promises."""
        found = self.data.get(key)
        if not isinstance(found, dict):
            raise self._odd(key, found, "an object")
        return Document(found, service=self.service, what=what)

    def documents(self, key: str, what: str) -> list[Document]:
        """A list of objects; empty if missing."""
        return [Document(entry, service=self.service, what=what) for entry in self._list(key)]

    def required_documents(self, key: str, what: str) -> list[Document]:
        """A list of objects that the API promises: an answer without it is no answer."""
        if key not in self.data:
            raise self._odd(key, None, "a list")
        return self.documents(key, what)

    def _list(self, key: str) -> list[Any]:
        found = self.data.get(key)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self._odd(key, found, "a list")
        return found

    def _odd(self, key: str, found: object, wanted: str) -> UpstreamError:
        got = "nothing" if found is None else _type(found)
        return UpstreamError(f"{self.service} answered {self.what} whose {key!r} is {got} where {wanted} was expected")


def _type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")
