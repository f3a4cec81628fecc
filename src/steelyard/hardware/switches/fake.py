"""A SwitchReader in memory, for tests: kept honest by the same conformance suite as the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from steelyard.errors import NotFound, Unavailable
from steelyard.nouns import SwitchPort


class FakeSwitchReader:
    """Shows the ports that it was given, or that `source` gives at each read."""

    def __init__(self, ports: Iterable[SwitchPort] = (), *, source: Callable[[], Iterable[SwitchPort]] | None = None):
        self._ports = {(port.switch_id, port.port_id): port for port in ports}
        self._source = source
        self._failure: str | None = None

    def put(self, port: SwitchPort) -> None:
        """Add a port, or change it behind the controller's back."""
        self._ports[port.switch_id, port.port_id] = port

    def fail(self, why: str = "no answer") -> None:
        """From now on no switch can be read."""
        self._failure = why

    def recover(self) -> None:
        self._failure = None

    def ports(self, switch_id: str) -> list[SwitchPort]:
        if self._failure is not None:
            raise Unavailable(f"Switch {switch_id} cannot be read: {self._failure}", code="switch_unreadable")
        known = self._ports.values() if self._source is None else self._source()
        found = [port for port in known if port.switch_id == switch_id]
        if not found:
            raise NotFound(f"There is no switch {switch_id}", code="switch_unknown")
        return found
