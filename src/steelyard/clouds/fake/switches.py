"""The fake top-of-rack switches: the VLAN of every port, as a read-back would show it."""

from __future__ import annotations

from steelyard.nouns import SwitchLink, SwitchPort

SWITCHES = (("leaf1", "02:00:5e:00:00:01"), ("leaf2", "02:00:5e:00:00:02"))
"""Name and chassis MAC of the switches that `FakeWorld.add_node` cables to."""


class FakeSwitches:
    """VLAN state per port. A jammed port accepts every write and applies none; a misdirected one is another."""

    def __init__(self) -> None:
        self._vlans: dict[tuple[str, str], int | None] = {}
        self._tagged: dict[tuple[str, str], frozenset[int]] = {}
        self._names: dict[str, str] = {mac: name for name, mac in SWITCHES}
        self._jammed: set[tuple[str, str]] = set()
        self._misdirected: dict[tuple[str, str], SwitchLink] = {}

    def know(self, link: SwitchLink) -> None:
        """A cable exists: its port is listed from now on, idle."""
        if link.switch_name:
            self._names.setdefault(link.switch_id, link.switch_name)
        self._vlans.setdefault((link.switch_id, link.port_id), None)

    def write(self, link: SwitchLink, vlan: int | None, tagged: frozenset[int] = frozenset()) -> None:
        """What networking-generic-switch does at binding and unbinding."""
        self.know(link)
        link = self._misdirected.get((link.switch_id, link.port_id), link)
        if (link.switch_id, link.port_id) not in self._jammed:
            self._vlans[link.switch_id, link.port_id] = vlan
            self._tagged[link.switch_id, link.port_id] = tagged

    def tamper(self, link: SwitchLink, vlan: int | None, tagged: frozenset[int] = frozenset()) -> None:
        """Somebody logged in to the switch and changed it by hand."""
        self.know(link)
        self._vlans[link.switch_id, link.port_id] = vlan
        self._tagged[link.switch_id, link.port_id] = tagged

    def jam(self, link: SwitchLink) -> None:
        self._jammed.add((link.switch_id, link.port_id))

    def misdirect(self, link: SwitchLink, to: SwitchLink) -> None:
        """Every later write to this port goes to another one."""
        self.know(to)
        self._misdirected[link.switch_id, link.port_id] = to

    def free(self, link: SwitchLink) -> None:
        self._jammed.discard((link.switch_id, link.port_id))
        self._misdirected.pop((link.switch_id, link.port_id), None)

    def vlan(self, link: SwitchLink) -> int | None:
        return self._vlans.get((link.switch_id, link.port_id))

    def ports(self) -> list[SwitchPort]:
        return [
            SwitchPort(
                switch_id=switch,
                switch_name=self._names.get(switch, switch),
                port_id=port,
                untagged_vlan=vlan,
                tagged_vlans=self._tagged.get((switch, port), frozenset()),
            )
            for (switch, port), vlan in sorted(self._vlans.items())
        ]
