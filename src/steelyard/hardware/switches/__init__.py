"""Reading switches back, behind a port.

`port` has the Protocol, `fake` the one in memory, `simulated` reads the simulated rack's. `by_command` reads the rest:
a `session` runs commands (`ssh`, `local_tool`), and a module per operating system says which, and parses what they
print (`junos`, `eos`, `nxos`, `sonic`, `cumulus`, `openvswitch`, all on `outputs`). `configuration` reads the switches
file.
"""

from __future__ import annotations

from steelyard.hardware.switches.configuration import open_switches
from steelyard.hardware.switches.port import ConfiguredSwitch, SwitchReader, SwitchReaders

__all__ = ["ConfiguredSwitch", "SwitchReader", "SwitchReaders", "open_switches"]
