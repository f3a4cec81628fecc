"""What the parsers of switches' outputs share. Pure.

A parser gets what the commands printed and gives a `Reading`, or raises `Unreadable`. It never guesses: a field that
is missing or of a wrong kind makes the whole output unreadable, and a port in a mode that the parser does not know is
reported as such (`PortMode.OTHER`), which is never proof of anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NoReturn

from steelyard.nouns import PortMode

HIGHEST_VLAN: Final = 4094
ALL_VLANS: Final = frozenset(range(1, HIGHEST_VLAN + 1))
MAX_PORTS: Final = 4096
"""More ports than any switch has: what lists more is no list of ports."""
_SHOWN: Final = 100
"""Characters of a switch's own words that may stand in an error."""
_PROMPT_LEFTOVER: Final = re.compile(r"\{(master|backup|linecard)(:[a-z0-9-]+)?\}")
"""Junos says at a prompt which member of a virtual chassis it is; some versions append it to a command's output."""
_COMPLAINT: Final = re.compile(r"^\s*(%|error|syntax error|unknown command|.*(permission denied|not found)$)", re.I)


class Unreadable(Exception):
    """What a switch printed is not what it prints when all is well. The message holds no secret."""


@dataclass(frozen=True, slots=True)
class ReadPort:
    """One port, as `nouns.SwitchPort` without the switch's identity."""

    name: str
    mode: PortMode | None
    untagged: int | None = None
    tagged: frozenset[int] = frozenset()
    enabled: bool = True
    lag: str | None = None
    extra: str | None = None

    def member(self, name: str, *, enabled: bool) -> ReadPort:
        """The same as a member of this group carries it."""
        return replace(self, name=name, enabled=enabled, lag=self.name)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read of a switch gives."""

    macs: frozenset[str]
    """MACs that the switch calls its own (lower case, colons); the configured chassis id must be among them."""
    ports: tuple[ReadPort, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """How switches of one operating system are read: what to type, and what to make of what they print."""

    commands: tuple[str, ...]
    """Read-only; the first that fails ends the read."""
    parse: Callable[[Sequence[str]], Reading]
    """Gets one output per command, in their order."""
    exit_status_counts: bool = False
    """A Unix shell, where a command that failed ends with a number that is not 0."""


def checked(reading: Reading) -> Reading:
    """The reading, if it can be one of a switch. Raises Unreadable: no ports, too many, or one twice."""
    if not reading.ports:
        raise Unreadable("it reports no ports")
    if len(reading.ports) > MAX_PORTS:
        raise Unreadable(f"it reports {len(reading.ports)} ports")
    seen: set[str] = set()
    for port in reading.ports:
        if port.name in seen:
            raise Unreadable(f"it reports port {port.name[:_SHOWN]} twice")
        seen.add(port.name)
    return reading


def document(text: str, what: str) -> Any:
    """The JSON that a command printed. `what` names the command in errors.

    Raises Unreadable: not JSON, truncated, a key twice, or the switch's own complaint, which is quoted.
    """
    body = _PROMPT_LEFTOVER.sub("", text) if text.rstrip().endswith("}") and _PROMPT_LEFTOVER.search(text) else text
    try:
        return json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except Unreadable:
        raise
    except (ValueError, RecursionError):
        raise Unreadable(f"`{what}` printed no JSON{quoted(text)}") from None


def quoted(text: str) -> str:
    """A switch's complaint, to be appended to an error; empty when it says nothing that looks like one."""
    for line in text[:4096].splitlines():
        if _COMPLAINT.match(line):
            return ": " + "".join(each for each in line.strip() if each.isprintable())[:_SHOWN]
    return ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unreadable(f"it reports {twice[:_SHOWN]!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"it reports {name} where a value belongs")


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{what[:_SHOWN]} is not an object")
    return value


def listed(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise Unreadable(f"{what[:_SHOWN]} is not a list")
    return value


def text_of(entry: Mapping[str, Any], key: str, what: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"{what[:_SHOWN]} has no `{key}`")
    return value.strip()


def vlan(value: Any, what: str) -> int:
    """A VLAN id, 1 to 4094, printed as a number or as its digits."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,4}", value.strip(), re.ASCII):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= HIGHEST_VLAN:
        raise Unreadable(f"{what[:_SHOWN]}: {str(value)[:20]!r} is no VLAN")
    return value


def vlans(value: Any, what: str) -> frozenset[int]:
    """A list of VLANs in the usual notation, `1,5-7`."""
    if isinstance(value, int):
        return frozenset({vlan(value, what)})
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"{what[:_SHOWN]}: no list of VLANs")
    try:
        return _vlans(value)
    except Unreadable as error:
        raise Unreadable(f"{what[:_SHOWN]}: {error}") from None


@lru_cache(maxsize=1024)
def _vlans(value: str) -> frozenset[int]:
    """Remembered, as most trunks of a switch carry the same thousands of VLANs."""
    found: set[int] = set()
    for part in value.split(","):
        low, dash, high = part.strip().partition("-")
        first = vlan(low, "the list")
        last = vlan(high, "the list") if dash else first
        if last < first:
            raise Unreadable(f"{part[:20]!r} is no range of VLANs")
        found.update(range(first, last + 1))
    return frozenset(found)


@lru_cache(maxsize=1024)
def without(vlans: frozenset[int], one: int | None) -> frozenset[int]:
    """The VLANs of a trunk but for its native one."""
    return vlans - {one} if one in vlans else vlans


def mac(value: Any) -> str | None:
    """A MAC in any of the vendors' notations, as lower case with colons; None for what is none."""
    if not isinstance(value, str):
        return None
    digits = re.sub(r"[.:-]", "", value.strip().lower())
    if not re.fullmatch(r"[0-9a-f]{12}", digits, re.ASCII):
        return None
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def macs(values: Iterable[Any]) -> frozenset[str]:
    """Those of the values that are MACs."""
    return frozenset(found for value in values if (found := mac(value)) is not None)


def joined(*phrases: str | None) -> str | None:
    """Several extras as one, None when there is none."""
    return "; ".join(phrase for phrase in phrases if phrase) or None
