"""Reading switches back, behind a port: `port` has the Protocol, `fake` the one in memory, the rest are adapters.

`open_switches` reads the file that names the switches (YAML):

    switches:
    - name: leaf1                        # for people
      chassis_id: 02:f9:98:ff:00:01      # as its LLDP frames say; a node port's link names the switch by it
      type: simulated                    # which adapter reads it
      address: http://127.0.0.1:18501
      token_file: /path/to/a/file        # secrets are named, never written here
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from steelyard.errors import Invalid
from steelyard.hardware.switches.port import SwitchReader, SwitchReaders

__all__ = ["SwitchReader", "SwitchReaders", "open_switches"]

_FIELDS = frozenset({"name", "chassis_id", "type", "address", "token_file"})
_HINT = "see docs/switches.md"


def open_switches(file: Path | None) -> SwitchReaders:
    """The readers that a switches file names; none where there is no file.

    Raises Invalid for a file that cannot be read or is not of that form, naming the entry.
    """
    if file is None:
        return SwitchReaders()
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"Cannot read the switches file {file}: {error}", code="switches_file", next=_HINT) from None
    entries = document.get("switches") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise Invalid(f"{file} has no list `switches`", code="switches_file", next=_HINT)
    readers: dict[str, SwitchReader] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{file}, switch {number}"
        chassis_id, reader = _reader(entry, where)
        if chassis_id in readers:
            raise Invalid(f"{where}: chassis id {chassis_id} is there twice", code="switches_file", next=_HINT)
        readers[chassis_id] = reader
    return SwitchReaders(readers)


def _reader(entry: Any, where: str) -> tuple[str, SwitchReader]:
    if not isinstance(entry, dict):
        raise Invalid(f"{where}: not an object", code="switches_file", next=_HINT)
    if unknown := sorted(str(name) for name in set(entry) - _FIELDS):
        raise Invalid(f"{where}: unknown fields {', '.join(unknown)}", code="switches_file", next=_HINT)
    chassis_id = _text(entry, "chassis_id", where).lower()
    kind = _text(entry, "type", where)
    if kind != "simulated":
        raise Invalid(f"{where}: unknown type {kind!r}; known: simulated", code="switches_file", next=_HINT)
    from steelyard.hardware.switches.simulated import SimulatedSwitchReader

    reader = SimulatedSwitchReader(
        chassis_id=chassis_id,
        name=_text(entry, "name", where),
        address=_text(entry, "address", where),
        token_file=Path(_text(entry, "token_file", where)),
    )
    return chassis_id, reader


def _text(entry: Mapping[str, Any], name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        # YAML reads some MAC addresses as numbers in base 60, hence the hint.
        raise Invalid(f"{where}: `{name}` must be text (quote it)", code="switches_file", next=_HINT)
    return value
