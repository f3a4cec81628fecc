"""Setting fields by JSON pointer, as Ironic's PATCH does, on the fake's frozen nodes and ports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steelyard.errors import Invalid

POINTER = re.compile(r"(/[\w-]+)+\Z")


def split(path: str) -> list[str]:
    """The pointer's parts; Ironic takes letters, digits, `_` and `-` only."""
    if not POINTER.match(path):
        raise Invalid(f"{path!r} is not a JSON pointer to a field")
    return path[1:].split("/")


def changed(document: Mapping[str, Any], parts: list[str], value: Any, *, path: str) -> dict[str, Any]:
    """A copy with the value set at the place; None removes. Raises `Invalid` if its parent does not exist."""
    copy = dict(document)
    if len(parts) == 1:
        if value is None:
            copy.pop(parts[0], None)
        else:
            copy[parts[0]] = value
        return copy
    inner = copy.get(parts[0])
    if inner is None and value is None:
        return copy
    if not isinstance(inner, Mapping):
        raise Invalid(f"couldn't apply patch: {path} has no parent")
    copy[parts[0]] = changed(inner, parts[1:], value, path=path)
    return copy
