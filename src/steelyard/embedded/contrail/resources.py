"""Create, read, update and delete, references and names: what is the same for every type.

Everything here either happens as a whole or raises ApiError and leaves nothing behind.
"""

from __future__ import annotations

import datetime
import uuid as uuids
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from steelyard.embedded.contrail import checking, visibility
from steelyard.embedded.contrail.answers import ApiError
from steelyard.embedded.contrail.database import Database, Ref, Thing
from steelyard.embedded.contrail.rules import Request, Rules
from steelyard.embedded.contrail.schema import CHILDREN, REFERRERS, TYPES, Type, find, underscored
from steelyard.embedded.contrail.visibility import LINK, READ, WRITE, Identity

_NO_RULES = Rules()


class Resources:
    """The objects of one controller, as an API works on them."""

    def __init__(self, database: Database, rules: Mapping[str, Rules]):
        self.database = database
        self._rules = rules

    # -- looking up ----------------------------------------------------------------------------------------------------

    def type(self, name: object) -> Type:
        """Raises ApiError 404."""
        found = find(name)
        if found is None:
            raise ApiError(404, f"Resource type '{str(name)[:100]}' not found")
        return found

    def get(self, type: Type, uuid: str) -> Thing:
        """Raises ApiError 404."""
        thing = self.database.get(uuid)
        if thing is None or thing.type != type.name:
            raise ApiError(404, f"No {type.name} object found for id {uuid[:100]}")
        return thing

    def named(self, type: Type, fq_name: object) -> Thing:
        """Raises ApiError 404."""
        words = tuple(fq_name) if isinstance(fq_name, list) else ()
        thing = self.database.find(type.name, words) if all(isinstance(word, str) for word in words) else None
        if thing is None:
            raise ApiError(404, f"Name {fq_name!r} not found")
        return thing

    # -- the four verbs ------------------------------------------------------------------------------------------------

    def create(self, who: Identity, type: Type, body: Mapping[str, Any]) -> Thing:
        """Raises ApiError: 400, 403, 409 when the name or the uuid is taken, or what the type's rules say."""
        fq_name = checking.fq_name_of(body)
        properties = checking.properties_of(type, body, "create")
        asked_refs = checking.refs_in(type, body, "create")
        if (taken := self.database.find(type.name, fq_name)) is not None:
            raise ApiError(409, f"{list(fq_name)} already exists with uuid: {taken.uuid}")
        parent_type = checking.parent_type_of(type, body, fq_name)
        uuid = checking.uuid_of(body)
        if (taken := self.database.get(uuid)) is not None:
            raise ApiError(409, f"{uuid} already exists with fq_name: {list(taken.fq_name)}")
        parent = None
        if parent_type is not None:
            parent = self.database.find(parent_type, fq_name[:-1])
            if parent is None:
                raise ApiError(400, f"Parent {list(fq_name[:-1])} type {parent_type} does not exist")
            visibility.demand(who, parent, LINK if parent_type == "fabric" else WRITE)
        properties["display_name"] = properties.get("display_name") or fq_name[-1]
        properties["id_perms"] = _id_perms(uuid, properties.get("id_perms"))
        properties["perms2"] = {
            **visibility.default_perms2(who.project_id),
            **{name: value for name, value in (properties.get("perms2") or {}).items() if value is not None},
        }
        refs = {field: self._resolve(who, type, field, given, "create") for field, given in asked_refs.items()}
        thing = Thing(type.name, uuid, fq_name, parent_type, parent.uuid if parent else None, properties, refs)
        rules, asked = self._rules.get(type.name, _NO_RULES), Request(body)
        with self.database.transaction():
            rules.before_create(self, thing, asked)
            self.database.add(thing)
            rules.after_create(self, thing, asked)
        return thing

    def update(self, who: Identity, type: Type, uuid: str, body: Mapping[str, Any]) -> None:
        """A part of the properties and references; what is not named stays. Raises ApiError."""
        before = self.get(type, uuid)
        visibility.demand(who, before, WRITE)
        properties = checking.properties_of(type, body, "http_put")
        asked_refs = checking.refs_in(type, body, "http_put")
        after = before.copy()
        id_perms = after.properties["id_perms"]
        after.properties.update(properties)
        after.properties["id_perms"] = id_perms
        for field, given in asked_refs.items():
            after.refs[field] = self._resolve(who, type, field, given, "update")
        self._update(before, after, Request(body))

    def delete(self, who: Identity, type: Type, uuid: str) -> None:
        """Raises ApiError: 409 while it has children or is referred to, or what the type's rules say."""
        thing = self.database.get(uuid)
        if thing is None:
            raise ApiError(404, f"ID {uuid[:100]} does not exist")
        if thing.type != type.name:
            raise ApiError(404, f"No {type.name} object found for id {uuid[:100]}")
        visibility.demand(who, thing, WRITE)
        children = [child for child in self.database.children(uuid) if not _is_default_child(child)]
        if children:
            raise ApiError(409, f"Delete when children still present: {_hrefs(children)}")
        if holders := [other for other in self.database.referrers(uuid) if not _lets_go(other, uuid)]:
            raise ApiError(409, f"Delete when resource still referred: {_hrefs(holders)}")
        rules = self._rules.get(type.name, _NO_RULES)
        with self.database.transaction():
            rules.before_delete(self, thing)
            for child in self.database.children(uuid):
                self._remove(child)
            self._remove(thing)
            rules.after_delete(self, thing)

    # -- single references and single keys -----------------------------------------------------------------------------

    def add_ref(
        self, who: Identity, type: Type, uuid: str, target: Thing, attr: Any = None, *, relaxed: bool = False
    ) -> None:
        """Add one reference, or give it another attribute. Raises ApiError."""
        self._change_ref(who, type, uuid, target.type, target, Ref(target.uuid, attr, relaxed))

    def remove_ref(self, who: Identity, type: Type, uuid: str, target: Thing) -> None:
        """Take one reference away; nothing happens when there is none. Raises ApiError."""
        self._change_ref(who, type, uuid, target.type, target, None)

    def set_refs(self, uuid: str, field: str, refs: tuple[Ref, ...]) -> None:
        """For the rules: the references of a field as they are to be, unchecked."""
        after = self.database[uuid].copy()
        after.refs[field] = refs
        self.database.replace(after)

    def set_property(self, uuid: str, name: str, value: Any) -> None:
        """For the rules: a property as it is to be, unchecked."""
        after = self.database[uuid].copy()
        after.properties[name] = value
        self.database.replace(after)

    def change_keys(self, who: Identity, uuid: str, updates: Sequence[Mapping[str, Any]]) -> None:
        """Set and delete single keys of map properties. Raises ApiError."""
        before = self.database.get(uuid)
        if before is None:
            raise ApiError(404, f"Object Not Found: {uuid[:100]}")
        visibility.demand(who, before, WRITE)
        type = TYPES[before.type]
        after = before.copy()
        for update in updates:
            _change_key(type, after, update)
        self._update(before, after, Request(updates=updates))

    def relax(self, thing: Thing, target: str) -> None:
        """Let what `thing` refers to be deleted all the same."""
        after = thing.copy()
        for field, refs in thing.refs.items():
            after.refs[field] = tuple(replace(ref, relaxed=True) if ref.uuid == target else ref for ref in refs)
        with self.database.transaction():
            self.database.replace(after)

    def change_perms(self, thing: Thing, given: Mapping[str, Any]) -> None:
        """Change owner, accesses or shares. Raises ApiError 400."""
        after = thing.copy()
        after.properties["perms2"] = {**after.properties["perms2"], **given}
        checking.check_perms2(after.properties["perms2"])
        if thing.type == "virtual-network":
            after.properties["is_shared"] = bool(after.properties["perms2"].get("global_access"))
        with self.database.transaction():
            self.database.replace(after)

    # -- how it is shown -----------------------------------------------------------------------------------------------

    def back_refs(self, who: Identity, thing: Thing, referrer: Type) -> Iterator[tuple[Thing, Ref]]:
        """Those of one type that refer to it and may be seen, with the reference."""
        field = f"{underscored(thing.type)}_refs"
        for other in self.database.referrers(thing.uuid, referrer.name):
            for ref in other.refs.get(field, ()):
                if ref.uuid == thing.uuid and visibility.allowed(who, other, READ):
                    yield other, ref

    def shown(
        self, who: Identity, thing: Thing, base: str, *, fields: frozenset[str] | None = None,
        children: bool = True, back_refs: bool = True, hrefs: bool = True,
    ) -> dict[str, Any]:  # fmt: skip
        """An object as the API shows it. With `fields`, only these beside its name, parent and permissions."""
        type = TYPES[thing.type]
        document: dict[str, Any] = {
            name: value
            for name, value in thing.properties.items()
            if value is not None and (fields is None or name in fields or name in ("id_perms", "perms2"))
        }
        document.update(uuid=thing.uuid, name=thing.name, fq_name=list(thing.fq_name))
        if thing.parent_uuid is not None:
            document.update(parent_type=thing.parent_type, parent_uuid=thing.parent_uuid)
        if hrefs:
            document["href"] = f"{base}/{thing.type}/{thing.uuid}"
            if thing.parent_uuid is not None:
                document["parent_href"] = f"{base}/{thing.parent_type}/{thing.parent_uuid}"

        def link(other: Thing, attr: Any) -> dict[str, Any]:
            shown = {"to": list(other.fq_name), "uuid": other.uuid, "attr": attr}
            return {**shown, "href": f"{base}/{other.type}/{other.uuid}"} if hrefs else shown

        def wanted(field: str, by_default: bool) -> bool:
            return by_default if fields is None else field in fields

        for field in type.by_field:
            refs = [(self.database[ref.uuid], ref.attr) for ref in thing.refs.get(field, ())]
            visible = [link(other, attr) for other, attr in refs if visibility.allowed(who, other, READ)]
            if visible and wanted(field, True):
                document[field] = visible
        for referrer in REFERRERS[thing.type]:
            field = f"{underscored(referrer.name)}_back_refs"
            if wanted(field, back_refs) and (
                found := [link(other, ref.attr) for other, ref in self.back_refs(who, thing, referrer)]
            ):
                document[field] = found
        for child_type in CHILDREN[thing.type]:
            field = f"{underscored(child_type.name)}s"
            if wanted(field, children) and (
                found := [
                    link(child, None)
                    for child in self.database.children(thing.uuid)
                    if child.type == child_type.name and visibility.allowed(who, child, READ)
                ]
            ):
                document[field] = found
        return document

    # -- inside --------------------------------------------------------------------------------------------------------

    def _update(self, before: Thing, after: Thing, asked: Request) -> None:
        after.properties["id_perms"] = {**after.properties["id_perms"], "last_modified": _now()}
        rules = self._rules.get(before.type, _NO_RULES)
        with self.database.transaction():
            rules.before_update(self, before, after, asked)
            self.database.replace(after)
            rules.after_update(self, before, after, asked)

    def _change_ref(self, who: Identity, type: Type, uuid: str, to: str, target: Thing, wanted: Ref | None) -> None:
        before = self.get(type, uuid)
        field = f"{underscored(to)}_refs"
        if field not in type.by_field:
            raise ApiError(404, f"{type.name} has no reference to {to}")
        visibility.demand(who, before, WRITE)
        visibility.demand(who, target, LINK)
        after = before.copy()
        present = before.refs.get(field, ())
        if wanted is None:
            after.refs[field] = checking.without(present, target.uuid)
        elif any(ref.uuid == target.uuid for ref in present):
            after.refs[field] = tuple(
                replace(ref, attr=wanted.attr) if ref.uuid == target.uuid else ref for ref in present
            )
        else:
            after.refs[field] = (*present, wanted)
        self._update(before, after, Request({field: [{"uuid": ref.uuid} for ref in after.refs[field]]}))

    def _resolve(
        self, who: Identity, type: Type, field: str, given: list[dict[str, Any]], what: str
    ) -> tuple[Ref, ...]:
        to = type.by_field[field].to
        found: dict[str, Ref] = {}
        for ref in given:
            uuid = ref.get("uuid")
            words = ref.get("to")
            other = None
            if isinstance(uuid, str):
                other = self.database.get(uuid)
            elif isinstance(words, list) and all(isinstance(word, str) for word in words):
                other = self.database.find(to, tuple(words))
            if other is None or other.type != to:
                raise ApiError(400, f"Unknown reference in resource {what} {type.name}: {field} {str(ref)[:300]}")
            visibility.demand(who, other, LINK)
            found[other.uuid] = Ref(other.uuid, ref.get("attr"))
        return tuple(found.values())

    def _remove(self, thing: Thing) -> None:
        """Take it out, and the references to it that may go with it."""
        field = f"{underscored(thing.type)}_refs"
        for other in self.database.referrers(thing.uuid):
            self.set_refs(other.uuid, field, checking.without(other.refs[field], thing.uuid))
        self.database.remove(thing.uuid)


def _change_key(type: Type, thing: Thing, update: Mapping[str, Any]) -> None:
    field, operation, value = update.get("field"), str(update.get("operation", "")).lower(), update.get("value")
    if not isinstance(field, str) or field not in type.maps:
        raise ApiError(400, f'{str(field)[:100]} neither "ListProperty" nor "MapProperty"')
    if operation not in ("set", "delete"):
        raise ApiError(400, f"Unsupported operation {operation[:50]} in request {str(update)[:300]}")
    if operation == "set":
        if not isinstance(value, dict):
            raise ApiError(400, f"Set needs field value in request {str(update)[:300]}")
        checking.check_pairs(field, {"key_value_pair": [value]})
    key = value["key"] if operation == "set" and isinstance(value, dict) else str(update.get("position"))
    present = (thing.properties.get(field) or {}).get("key_value_pair") or []
    kept = [pair for pair in present if pair.get("key") != key]
    if operation == "set":
        kept.append(value)
    thing.properties[field] = {"key_value_pair": kept}


def _id_perms(uuid: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    number = uuids.UUID(uuid).int
    return {
        "enable": True,
        "description": None,
        "user_visible": True,
        "creator": None,
        **(given or {}),
        "uuid": {"uuid_mslong": number >> 64, "uuid_lslong": number & ((1 << 64) - 1)},
        "created": _now(),
        "last_modified": _now(),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def _is_default_child(thing: Thing) -> bool:
    """Made by the controller with its parent, and goes with it."""
    return thing.type == "routing-instance" and thing.fq_name[-1] == thing.fq_name[-2]


def _lets_go(other: Thing, uuid: str) -> bool:
    return all(ref.relaxed for refs in other.refs.values() for ref in refs if ref.uuid == uuid)


def _hrefs(things: Sequence[Thing]) -> list[str]:
    return [f"/{thing.type}/{thing.uuid}" for thing in things]
