"""The file that names the switches: read once, at the start, and refused as a whole if anything in it is wrong.

What an operator writes is in docs/switches.md. An adapter and what it needs are imported only if a switch is of its
type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from steelyard.errors import Invalid
from steelyard.hardware.switches.outputs import mac
from steelyard.hardware.switches.port import ConfiguredSwitch, SwitchReader, SwitchReaders
from steelyard.hardware.switches.session import DEFAULT_TIMEOUT

_HINT: Final = "see docs/switches.md"
_ALWAYS: Final = frozenset({"name", "chassis_id", "type", "idle_vlan"})
_SSH: Final = frozenset(
    {"address", "port", "username", "password_file", "key_file", "known_hosts_file", "timeout", "system_mac"}
)
_LONGEST_TIMEOUT: Final = 60.0
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:%-]*")
_DATABASE: Final = re.compile(r"(unix:/.+|tcp:.+|ssl:.+)")
_BRIDGE: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the list, and where it is."""

    fields: Mapping[str, Any]
    where: str

    def wrong(self, why: str) -> Invalid:
        return Invalid(f"{self.where}: {why}", code="switches_file", next=_HINT)

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            # YAML reads some MAC addresses as numbers in base 60, hence the hint.
            raise self.wrong(f"`{name}` must be text (quote it)")
        return value

    def path(self, name: str) -> Path | None:
        return Path(self.text(name)) if name in self.fields else None

    def number(self, name: str, default: float, most: float) -> float:
        value = self.fields.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise self.wrong(f"`{name}` must be a number above 0, at most {most:g}")
        return value

    def vlan(self, name: str) -> int | None:
        value = self.fields.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4094):
            raise self.wrong(f"`{name}` must be a VLAN, 1 to 4094")
        return value

    def matching(self, name: str, form: re.Pattern[str], what: str) -> str:
        value = self.text(name)
        if not form.fullmatch(value):
            raise self.wrong(f"`{name}` is not {what}")
        return value

    def system_mac(self, switch: ConfiguredSwitch) -> str:
        named = self.text("system_mac") if "system_mac" in self.fields else switch.chassis_id
        found = mac(named)
        if found is None:
            raise self.wrong(
                "`system_mac` is not a MAC"
                if "system_mac" in self.fields
                else "`chassis_id` is not a MAC: say with `system_mac` which MAC the switch calls its own"
            )
        return found


def open_switches(file: Path | None) -> SwitchReaders:
    """The readers that a switches file names; none where there is no file.

    Raises Invalid for a file that cannot be read or is not of that form, naming the entry. Talks to no switch.
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
    configured: dict[str, ConfiguredSwitch] = {}
    for number, fields in enumerate(entries, start=1):
        entry = _Entry(fields if isinstance(fields, dict) else {}, f"{file}, switch {number}")
        if not isinstance(fields, dict):
            raise entry.wrong("not an object")
        switch, reader = _reader(entry)
        if switch.chassis_id in readers:
            raise entry.wrong(f"chassis id {switch.chassis_id} is there twice")
        readers[switch.chassis_id] = reader
        configured[switch.chassis_id] = switch
    return SwitchReaders(readers, configured=configured)


def _reader(entry: _Entry) -> tuple[ConfiguredSwitch, SwitchReader]:
    kind = entry.text("type")
    if kind not in _TYPES:
        raise entry.wrong(f"unknown type {kind!r}; known: {', '.join(sorted(_TYPES))}")
    known, make = _TYPES[kind]
    if unknown := sorted(str(name) for name in set(entry.fields) - known - _ALWAYS):
        fields = ", ".join(sorted(known | _ALWAYS))
        raise entry.wrong(f"unknown fields {', '.join(unknown)}; a switch of type {kind} has {fields}")
    switch = ConfiguredSwitch(
        entry.text("chassis_id").lower(), entry.text("name"), kind, idle_vlan=entry.vlan("idle_vlan")
    )
    return switch, make(entry, switch)


def _simulated(entry: _Entry, switch: ConfiguredSwitch) -> SwitchReader:
    from steelyard.hardware.switches.simulated import SimulatedSwitchReader

    return SimulatedSwitchReader(
        chassis_id=switch.chassis_id,
        name=switch.name,
        address=entry.text("address"),
        token_file=Path(entry.text("token_file")),
    )


def _openvswitch(entry: _Entry, switch: ConfiguredSwitch) -> SwitchReader:
    from steelyard.hardware.switches import openvswitch
    from steelyard.hardware.switches.by_command import CommandSwitchReader
    from steelyard.hardware.switches.local_tool import LocalTool

    timeout = entry.number("timeout", DEFAULT_TIMEOUT, _LONGEST_TIMEOUT)
    options = [f"--timeout={max(1, round(timeout))}"]
    if "address" in entry.fields:
        form = "a database address: unix:/FILE, tcp:HOST:PORT or ssl:HOST:PORT"
        options.append(f"--db={entry.matching('address', _DATABASE, form)}")
    files = {name: entry.path(name) for name in ("key_file", "certificate_file", "ca_file")}
    if any(files.values()):
        if not all(files.values()):
            raise entry.wrong("`key_file`, `certificate_file` and `ca_file` belong together")
        key, certificate, ca = files.values()
        options += [f"--private-key={key}", f"--certificate={certificate}", f"--ca-cert={ca}"]
    return CommandSwitchReader(
        switch=switch,
        # Its own --timeout comes first and says what it waited for.
        session=LocalTool("ovs-vsctl", tuple(options), timeout + 2),
        family=openvswitch.family(entry.matching("bridge", _BRIDGE, "the name of a bridge")),
        system_mac=entry.system_mac(switch),
    )


def _by_ssh(entry: _Entry, switch: ConfiguredSwitch) -> SwitchReader:
    from importlib import import_module
    from importlib.util import find_spec

    from steelyard.hardware.switches.by_command import CommandSwitchReader
    from steelyard.hardware.switches.ssh import SshSession

    if find_spec("asyncssh") is None:
        raise entry.wrong(f"a switch of type {switch.type} needs `pip install 'steelyard[switches]'`")
    secrets = [name for name in ("password_file", "key_file") if name in entry.fields]
    if len(secrets) != 1:
        raise entry.wrong("one of `password_file` and `key_file` must be there, and not both")
    port = entry.number("port", 22, 65535)
    if not isinstance(port, int):
        raise entry.wrong("`port` must be a whole number")
    session = SshSession(
        address=entry.matching("address", _HOST, "a host name or an IP address"),
        port=port,
        username=entry.text("username"),
        known_hosts_file=Path(entry.text("known_hosts_file")),
        password_file=entry.path("password_file"),
        key_file=entry.path("key_file"),
        timeout=entry.number("timeout", DEFAULT_TIMEOUT, _LONGEST_TIMEOUT),
    )
    family = import_module(f"steelyard.hardware.switches.{switch.type}").FAMILY
    return CommandSwitchReader(switch, session, family, entry.system_mac(switch))


_TYPES: Final[Mapping[str, tuple[frozenset[str], Callable[[_Entry, ConfiguredSwitch], SwitchReader]]]] = {
    "simulated": (frozenset({"address", "token_file"}), _simulated),
    "openvswitch": (
        frozenset({"bridge", "address", "timeout", "system_mac", "key_file", "certificate_file", "ca_file"}),
        _openvswitch,
    ),
    **dict.fromkeys(("junos", "eos", "nxos", "sonic", "cumulus"), (_SSH, _by_ssh)),
}
