"""Reading switches back: what each port carries according to the switch itself, not to whoever configured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from steelyard.errors import NotFound
from steelyard.nouns import SwitchPort


class SwitchReader(Protocol):
    """One way of reading switches back. Thread-safe; never writes."""

    def ports(self, switch_id: str) -> list[SwitchPort]:
        """Every port of the switch with that chassis id (lower-case MAC with colons), in one bulk read.

        Raises NotFound when this reader does not know the switch, Unavailable when it cannot be read: no answer, an
        error, nonsense, or another switch at its address. What cannot be read is never reported as empty.
        """
        ...


class SwitchReaders:
    """Every switch that Steelyard can read back, by chassis id. Itself a SwitchReader."""

    def __init__(self, readers: Mapping[str, SwitchReader] | None = None):
        self._readers = {switch_id.lower(): reader for switch_id, reader in (readers or {}).items()}

    @property
    def switch_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._readers))

    def ports(self, switch_id: str) -> list[SwitchPort]:
        """As SwitchReader.ports, by whichever reader has that switch."""
        try:
            reader = self._readers[switch_id.lower()]
        except KeyError:
            raise NotFound(
                f"No way to read switch {switch_id} back is configured",
                code="switch_unknown",
                next="add it to the file that STEELYARD_SWITCHES names (see docs/switches.md)",
            ) from None
        return reader.ports(switch_id.lower())
