"""Reading switches back: what each port carries according to the switch itself, not to whoever configured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from steelyard.errors import NotFound, Unavailable
from steelyard.nouns import SwitchPort


class SwitchReader(Protocol):
    """One way of reading switches back. Thread-safe; never writes."""

    def ports(self, switch_id: str) -> list[SwitchPort]:
        """Every port of the switch with that chassis id (lower-case MAC with colons), in one bulk read.

        Raises NotFound when this reader does not know the switch, Unavailable when it cannot be read: no answer, an
        error, nonsense, or another switch at its address. What cannot be read is never reported as empty.
        """
        ...


@dataclass(frozen=True, slots=True)
class ConfiguredSwitch:
    """A switch as the switches file names it."""

    chassis_id: str
    """As its LLDP frames say: a lower-case MAC with colons. A node port's link names the switch by it."""
    name: str
    """For people."""
    type: str
    """Which adapter reads it."""
    idle_vlan: int | None = None
    """The VLAN that leads nowhere, in which the switch keeps its idle ports; None: they are in none."""

    def unreadable(self, why: str) -> Unavailable:
        """The error of every reader that could not read its switch. `why` must hold no secret."""
        return Unavailable(
            f"Switch {self.name} ({self.chassis_id}) cannot be read: {why}",
            code="switch_unreadable",
            next="check the switch and its entry in the switches file",
        )


class SwitchReaders:
    """Every switch that Steelyard can read back, by chassis id. Itself a SwitchReader."""

    def __init__(
        self,
        readers: Mapping[str, SwitchReader] | None = None,
        *,
        configured: Mapping[str, ConfiguredSwitch] | None = None,
    ):
        """`configured`: what the switches file says of them; a reader without is known by its chassis id alone."""
        self._readers = {switch_id.lower(): reader for switch_id, reader in (readers or {}).items()}
        self._configured = {switch_id.lower(): switch for switch_id, switch in (configured or {}).items()}

    @property
    def switch_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self._readers))

    @property
    def switches(self) -> tuple[ConfiguredSwitch, ...]:
        """All of them, by name."""
        known = (self._configured.get(each, ConfiguredSwitch(each, each, "unknown")) for each in self._readers)
        return tuple(sorted(known, key=lambda switch: (switch.name, switch.chassis_id)))

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
        ports = reader.ports(switch_id.lower())
        known = self._configured.get(switch_id.lower())
        return ports if known is None or known.idle_vlan is None else [_parked(port, known.idle_vlan) for port in ports]


def _parked(port: SwitchPort, idle_vlan: int) -> SwitchPort:
    """The port, carrying nothing if the VLAN of idle ports is all that it carries.

    So a network with that VLAN can never be verified on the switch: a server on it would look idle.
    """
    if port.untagged_vlan != idle_vlan or port.tagged_vlans:
        return port
    return replace(port, untagged_vlan=None, parked_vlan=idle_vlan)
