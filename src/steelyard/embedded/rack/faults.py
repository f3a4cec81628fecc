"""Faults on demand, in each of the rack's three processes, set through its control endpoint.

`POST /faults {target, kind, match?, seconds?, times?}`; `GET /faults`; `DELETE /faults` and `DELETE /faults/{id}`.

==============  =====================================================================================================
kind            what the device does
==============  =====================================================================================================
`slow`          answers correctly, after `seconds` (default 5)
`hang`          takes the request and never answers; after `seconds`, where given, it drops the connection
`drop`          closes the connection without a word
`refuse`        answers with an error of its own kind (Redfish 503, switch 409, agent 409 or a FAILED step)
`garbage`       answers 200 with bytes that are not what was asked for
`wrong_answer`  answers in the right form with a wrong content (another power state, another VLAN, a wrong step)
`not_applied`   answers that it was done, and does nothing
`late`          answers that it was done, and does it `seconds` (default 5) later
`wrong_port`    switches only: answers that it was done, and does it on the switch's last port instead
`wrong_vlan`    switches only: answers that it was done, and puts the next VLAN on the port
==============  =====================================================================================================

`target` is a server (`bm-001`), a switch (`leaf1`), a port (`leaf1/Ethernet3`) or `*`. `match` restricts a fault to
one operation:

* bmc: `login`, `read`, `power`, `boot`, `media`, `account`
* switch: `read`, `plug`, `unplug`, `vlan`
* agents: `inspect`, `lookup`, `heartbeat`, `status` (what it answers about its commands), `command`, or one command or
  step by name (`write_image`, `erase_devices`, `power_off`, ...)

`times` is how often it happens before it is used up (default: until cleared). The newest fault that fits wins. Faults
are not kept over a restart of the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from steelyard.errors import Invalid, NotFound

KINDS = frozenset({"slow", "hang", "drop", "refuse", "garbage", "wrong_answer", "not_applied", "late"})
SWITCH_KINDS = KINDS | {"wrong_port", "wrong_vlan"}
_FIELDS = frozenset({"target", "kind", "match", "seconds", "times"})
_DEFAULT_SECONDS = 5.0
_MAX_SECONDS = 3600.0
MAX_FAULTS = 1000


@dataclass(frozen=True, slots=True)
class Fault:
    id: int
    target: str
    kind: str
    match: str | None
    """Operation that it is restricted to; None: any."""
    seconds: float | None
    times: int | None
    """How often it still happens; None: until cleared."""
    hits: int = 0

    @property
    def delay(self) -> float:
        return _DEFAULT_SECONDS if self.seconds is None else self.seconds

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "target": self.target,
            "kind": self.kind,
            "match": self.match,
            "seconds": self.seconds,
            "times": self.times,
            "hits": self.hits,
        }


class Faults:
    """The faults of one process. Not thread-safe: each process runs one event loop."""

    def __init__(self, operations: frozenset[str] | None, kinds: frozenset[str] = KINDS):
        """`operations` are the words that `match` may be; None: any word (the agents' commands are open-ended)."""
        self._operations = operations
        self._kinds = kinds
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, wanted: Mapping[str, Any]) -> Fault:
        """Raises Invalid for an unknown field, kind or operation, or a number that makes no sense."""
        if unknown := sorted(set(wanted) - _FIELDS):
            raise Invalid(f"Unknown fields in a fault: {', '.join(unknown)}", code="fault_fields")
        target, kind, match = wanted.get("target"), wanted.get("kind"), wanted.get("match")
        if not isinstance(target, str) or not target:
            raise Invalid("A fault needs a target: a server, a switch, switch/port or *", code="fault_target")
        if kind not in self._kinds:
            raise Invalid(f"Unknown kind of fault {kind!r}; known: {', '.join(sorted(self._kinds))}", code="fault_kind")
        if match is not None and (
            not isinstance(match, str) or (self._operations is not None and match not in self._operations)
        ):
            known = "" if self._operations is None else f"; known: {', '.join(sorted(self._operations))}"
            raise Invalid(f"Unknown operation {match!r} to match{known}", code="fault_match")
        seconds, times = wanted.get("seconds"), wanted.get("times")
        if seconds is not None and (
            isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _MAX_SECONDS
        ):
            raise Invalid(f"`seconds` must be 0 to {_MAX_SECONDS:.0f}", code="fault_seconds")
        if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
            raise Invalid("`times` must be a whole number above 0", code="fault_times")
        if len(self._faults) >= MAX_FAULTS:
            raise Invalid(f"There are {MAX_FAULTS} faults already; clear them first", code="fault_count")
        fault = Fault(next(self._ids), target, str(kind), match, None if seconds is None else float(seconds), times)
        self._faults.append(fault)
        return fault

    def take(self, operation: str, *targets: str, also: str | None = None) -> Fault | None:
        """The fault that happens now to `operation` (or its other name `also`) on a thing known by any of `targets`.

        Counts it; one that is used up is gone afterwards.
        """
        for index in range(len(self._faults) - 1, -1, -1):
            fault = self._faults[index]
            if fault.target != "*" and fault.target not in targets:
                continue
            if fault.match is not None and fault.match not in (operation, also):
                continue
            hit = replace(fault, hits=fault.hits + 1, times=None if fault.times is None else fault.times - 1)
            if hit.times == 0:
                del self._faults[index]
            else:
                self._faults[index] = hit
            return hit
        return None

    def all(self) -> list[Fault]:
        return list(self._faults)

    def clear(self, fault_id: int | None = None) -> int:
        """Clear one fault, or all. How many were cleared; raises NotFound for an unknown id."""
        if fault_id is None:
            cleared, self._faults = len(self._faults), []
            return cleared
        kept = [fault for fault in self._faults if fault.id != fault_id]
        if len(kept) == len(self._faults):
            raise NotFound(f"There is no fault {fault_id}", code="fault_not_found")
        self._faults = kept
        return 1
