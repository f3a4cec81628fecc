"""Checks of the bodies of requests, the same for every type. Pure."""

from __future__ import annotations

import re
import uuid as uuids
from collections.abc import Mapping
from typing import Any

from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.database import Ref, Thing
from steelyard.embedded.contrail.schema import Kind, Type

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML 1.0 does not allow."""


def fq_name_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The `fq_name` of a body. Raises ApiError 400 when it is none or its last word cannot be a name."""
    given = body.get("fq_name")
    if not given:
        raise ApiError(400, "Bad Request, no fq_name in POST body")
    if not isinstance(given, list) or not all(isinstance(word, str) and word for word in given):
        raise ApiError(400, f"Bad Request, fq_name is a list of names, not {str(given)[:200]}")
    if any(_ILLEGAL.search(word) for word in given):
        raise ApiError(400, "Bad Request, name has illegal xml characters")
    if ":" in given[-1]:
        raise ApiError(400, "Bad Request, name has one of invalid chars {':'}")
    return tuple(given)


def parent_type_of(type: Type, body: Mapping[str, Any], fq_name: tuple[str, ...]) -> str | None:
    """The type of the parent, None for an object without one. Raises ApiError 400."""
    given = body.get("parent_type")
    if given == "config-root":
        given = None
    if given is not None and given not in type.parents:
        raise ApiError(400, f"Invalid parent type: {given}. Allowed types: {list(type.parents)}")
    if given is None and len(type.parents) > 1 and "config-root" not in type.parents:
        raise ApiError(400, f"Missing parent type: {given}. Allowed types: {list(type.parents)}")
    if given is None and len(type.parents) == 1:
        given = type.parents[0]
    if given is None and len(fq_name) != 1:
        raise ApiError(400, f"Invalid fq-name of an object with no parent: {list(fq_name)}")
    if given is not None and len(fq_name) < 2:
        raise ApiError(400, f"Invalid fq-name for object with parent_type {given}: {list(fq_name)}")
    return None if given is None else str(given)


def uuid_of(body: Mapping[str, Any]) -> str:
    """The uuid that a client chose, or a new one. Raises ApiError 400 unless it is in the canonical form."""
    given = body.get("uuid")
    if given is None:
        return str(uuids.uuid4())
    try:
        canonical = str(uuids.UUID(given))
    except (ValueError, AttributeError, TypeError):
        canonical = ""
    if given != canonical:
        raise ApiError(400, f"Invalid UUID format: {str(given)[:100]}")
    return canonical


def properties_of(of: Type, body: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The properties in a body that the type has; others are ignored. Raises ApiError 400 for a wrong value."""
    found = {}
    for name, kind in of.properties.items():
        if name not in body:
            continue
        try:
            found[name] = _value(name, kind, body[name])
        except ValueError as error:
            raise ApiError(400, f"Bad property in {what}: Error validating property {error}") from None
    for name in of.maps & found.keys():
        check_pairs(name, found[name])
    if found.get("perms2") is not None:
        check_perms2(found["perms2"])
    return found


def check_pairs(name: str, value: Any) -> None:
    """Raises ApiError 400 unless it is `{"key_value_pair": [{"key": text, "value": text or null}]}` or null."""
    listed = (value or {}).get("key_value_pair") or []
    if not isinstance(listed, list) or not all(
        isinstance(pair, dict) and isinstance(pair.get("key"), str) and isinstance(pair.get("value"), str | None)
        for pair in listed
    ):
        raise ApiError(400, f"Error validating property {name}: a list of keys and values expected")


def check_perms2(value: Mapping[str, Any]) -> None:
    """Raises ApiError 400."""
    if not isinstance(value.get("owner"), str):
        raise ApiError(400, "owner in perms2 must be present")
    shares = value.get("share") or []
    accesses = [value.get("owner_access"), value.get("global_access")]
    if not isinstance(shares, list) or not all(
        isinstance(share, dict) and isinstance(share.get("tenant"), str) for share in shares
    ):
        raise ApiError(400, "Bad Request, invalid share list")
    accesses += [share.get("tenant_access") for share in shares]
    if not all(access is None or (type(access) is int and 0 <= access <= 7) for access in accesses):
        raise ApiError(400, "Bad Request, invalid access value in perms2")


def _value(name: str, kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    match kind:
        case Kind.TEXT if not isinstance(value, str):
            raise ValueError(f"{name}: string value expected instead of {str(value)[:100]}")
        case Kind.FLAG if not isinstance(value, bool):
            raise ValueError(f"{name}: true/false expected instead of {str(value)[:100]}")
        case Kind.COMPLEX if not isinstance(value, dict):
            raise ValueError(f"{name}: a structure expected instead of {str(value)[:100]}")
        case Kind.NUMBER:
            try:
                return int(value)
            except (TypeError, ValueError, OverflowError):
                raise ValueError(f"{name}: integer value expected instead of {str(value)[:100]}") from None
    return value


def refs_in(type: Type, body: Mapping[str, Any], what: str) -> dict[str, list[dict[str, Any]]]:
    """The reference fields in a body, as they came. Raises ApiError 400 when one is malformed or lacks its `attr`."""
    found = {}
    for field, link in type.by_field.items():
        if field not in body:
            continue
        refs = [] if body[field] is None else body[field]
        if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
            raise ApiError(400, f"Bad reference in {what}: {field} is a list of references")
        for ref in refs:
            if link.has_attr and "attr" not in ref:
                raise ApiError(
                    400, f"Bad reference in {what}: Error validating reference {field} value {str(ref)[:300]} 'attr'"
                )
            if not isinstance(ref.get("attr"), dict | None):
                raise ApiError(400, f"Bad reference in {what}: the attr in {field} is a structure or null")
        found[field] = refs
    return found


def key_values(thing: Thing, property: str) -> dict[str, str]:
    """A property that is a list of keys and values, as a dictionary."""
    return pairs(thing.properties.get(property))


def pairs(value: Any) -> dict[str, str]:
    """The same of a bare value; pairs that are none are left out."""
    listed = value.get("key_value_pair") if isinstance(value, dict) else None
    return {
        str(pair["key"]): "" if pair.get("value") is None else str(pair["value"])
        for pair in (listed if isinstance(listed, list) else ())
        if isinstance(pair, dict) and "key" in pair
    }


def without(refs: tuple[Ref, ...], uuid: str) -> tuple[Ref, ...]:
    """References but the one to `uuid`."""
    return tuple(ref for ref in refs if ref.uuid != uuid)
