"""The reader of every switch that is read by commands: its family says which, and what their outputs mean."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.errors import NotFound
from steelyard.hardware.switches.outputs import Family, Unreadable, checked
from steelyard.hardware.switches.port import ConfiguredSwitch
from steelyard.hardware.switches.session import Session, SessionFailed
from steelyard.nouns import SwitchPort


@dataclass(frozen=True, slots=True)
class CommandSwitchReader:
    """One switch."""

    switch: ConfiguredSwitch
    session: Session
    family: Family
    system_mac: str
    """What the switch must call its own: its chassis id, unless the switches file says otherwise."""

    def ports(self, switch_id: str) -> list[SwitchPort]:
        """As SwitchReader.ports."""
        if switch_id.lower() != self.switch.chassis_id:
            raise NotFound(f"This reader reads {self.switch.chassis_id}, not {switch_id}", code="switch_unknown")
        try:
            outputs = self.session.run(self.family.commands, exit_status_counts=self.family.exit_status_counts)
            reading = checked(self.family.parse(outputs))
        except (SessionFailed, Unreadable) as error:
            raise self.switch.unreadable(str(error)) from None
        if self.system_mac not in reading.macs:
            raise self.switch.unreadable(
                f"another switch answers at its address: none of its MACs is {self.system_mac}"
            )
        return [
            SwitchPort(
                switch_id=self.switch.chassis_id,
                switch_name=self.switch.name,
                port_id=port.name,
                untagged_vlan=port.untagged,
                tagged_vlans=port.tagged,
                enabled=port.enabled,
                mode=port.mode,
                lag=port.lag,
                extra=port.extra,
            )
            for port in reading.ports
        ]
