"""Names that users give to things, and how a thing is found by the name or the id that a user types.

Pure, and the same for every room: what is refused here is refused alike for an image, a flavor, a network, a server.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TypeVar

from steelyard.errors import Conflict, Invalid, NotFound, Refused

MAX_NAME = 255
"""Characters. Glance, Nova and Neutron all keep names in VARCHAR(255)."""

T = TypeVar("T")


def check_name(kind: str, name: str) -> str:
    """The name, if it can be one.

    Refused: nothing or only spaces, more than 255 characters, spaces at either end (two names that look the same),
    and characters that are not seen: control, format (zero width, right-to-left override), surrogates, line ends.
    `kind` is the word for the message ("image"). Raises `Invalid` with code `invalid_name`.
    """
    if not name.strip():
        raise Invalid(f"The {kind} needs a name.", code="invalid_name")
    if len(name) > MAX_NAME:
        raise Invalid(
            f"The {kind}'s name has {len(name)} characters; at most {MAX_NAME} are allowed.", code="invalid_name"
        )
    if name != name.strip():
        raise Invalid(f"The {kind}'s name starts or ends with a space.", code="invalid_name")
    for position, character in enumerate(name, start=1):
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            raise Invalid(
                f"The {kind}'s name has a character that cannot be seen, U+{ord(character):04X}, as its "
                f"character {position}.",
                code="invalid_name",
            )
    return name


def pick(
    kind: str,
    reference: str,
    things: Iterable[T],
    *,
    id: Callable[[T], str],
    name: Callable[[T], str | None],
    next: str | None = None,
) -> T:
    """The one thing that the reference means: by id first, else by name.

    `next` is the command that lists what there is. Raises `NotFound`, or `Conflict` with code `ambiguous` when
    several have that name.
    """
    candidates = list(things)
    for thing in candidates:
        if id(thing) == reference:
            return thing
    named = [thing for thing in candidates if name(thing) == reference]
    if not named:
        raise NotFound(f"There is no {kind} {shown(reference)}.", code=f"{kind}_not_found", next=next)
    if len(named) > 1:
        ids = ", ".join(sorted(id(thing) for thing in named))
        raise Conflict(
            f"{len(named)} {kind}s have the name {shown(reference)}; say which by its id: {ids}.", code="ambiguous"
        )
    return named[0]


def require_meant(kind: str, reference: str, thing_id: str, *, theirs: bool, next: str) -> None:
    """An administrator removes another project's (`theirs`) thing by its id only: names are used in every project.

    Raises `Refused` (`another_project`).
    """
    if theirs and reference != thing_id:
        raise Refused(
            f"The {kind} {shown(reference)} belongs to another project; if it is meant, say its id.",
            code="another_project",
            next=next,
        )


def shown(text: str, limit: int = 80) -> str:
    """What a user typed, quoted so that it can stand in a message: escaped and cut."""
    quoted = repr(text)
    return quoted if len(quoted) <= limit else quoted[: limit - 1] + "…"


def placement_class(resource_class: str) -> str:
    """A node's resource class as Nova reports it to Placement: `bm.large` is `CUSTOM_BM_LARGE`.

    The rule is os-resource-classes' `normalize_name`: every run of other characters becomes one `_`, upper case,
    `CUSTOM_` before it (so `CUSTOM_X` in Ironic becomes `CUSTOM_CUSTOM_X`).
    """
    return "CUSTOM_" + re.sub("[^0-9A-Za-z]+", "_", resource_class).upper()


def vlan_ranges(vlans: Iterable[int]) -> str:
    """VLANs for people: `1, 5-7`."""
    found: list[list[int]] = []
    for vlan in sorted(vlans):
        if found and found[-1][1] == vlan - 1:
            found[-1][1] = vlan
        else:
            found.append([vlan, vlan])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in found)
