"""Reads the simulated rack's switches back over their management API (`steelyard.embedded.rack.switch.api`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from steelyard.errors import Invalid, NotFound, Unavailable
from steelyard.nouns import SwitchPort

_TIMEOUT = httpx.Timeout(3.0)
"""Short: an isolation check asks many switches, and one that is slow is reported as unreadable."""
_MAX_ANSWER = 4 << 20
_MAX_VLAN = 4094


class SimulatedSwitchReader:
    """One switch. `token_file` is read at each use, so a renewed token needs no restart."""

    def __init__(self, *, chassis_id: str, name: str, address: str, token_file: Path):
        if urlsplit(address).scheme not in ("http", "https"):
            raise Invalid(f"Switch {name}: {address!r} is not an http(s) URL", code="switches_file")
        self._chassis_id = chassis_id
        self._name = name
        self._url = f"{address.rstrip('/')}/switches/{quote(name, safe='')}/ports"
        self._token_file = token_file
        # No proxy of the environment: it must not see the token.
        self._client = httpx.Client(timeout=_TIMEOUT, trust_env=False, follow_redirects=False)

    def ports(self, switch_id: str) -> list[SwitchPort]:
        """As SwitchReader.ports."""
        if switch_id.lower() != self._chassis_id:
            raise NotFound(f"This reader reads {self._chassis_id}, not {switch_id}", code="switch_unknown")
        document = self._read()
        if str(document.get("chassis_id")).lower() != self._chassis_id:
            raise self._unreadable("another switch answers at its address")
        ports = document.get("ports")
        if not isinstance(ports, list):
            raise self._unreadable("the answer lists no ports")
        return [self._port(port) for port in ports]

    def _read(self) -> Mapping[str, Any]:
        try:
            headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(f"its token cannot be read ({type(error).__name__})") from None
        try:
            with self._client.stream("GET", self._url, headers=headers) as answer:
                content = b""
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > _MAX_ANSWER:
                        raise self._unreadable("the answer is too large")
                if answer.status_code != 200:
                    raise self._unreadable(f"it answers HTTP {answer.status_code}")
                document = httpx.Response(200, content=content).json()
        except httpx.HTTPError as error:
            raise self._unreadable(f"no answer ({type(error).__name__})") from None
        except (ValueError, RecursionError):
            raise self._unreadable("the answer is not JSON") from None
        if not isinstance(document, dict):
            raise self._unreadable("the answer is not an object")
        return document

    def _port(self, port: Any) -> SwitchPort:
        try:
            name, untagged, tagged, enabled = (
                port[key] for key in ("port_id", "untagged_vlan", "tagged_vlans", "enabled")
            )
        except (TypeError, KeyError):
            raise self._unreadable("a port of the answer is incomplete") from None
        if (
            not isinstance(name, str)
            or not isinstance(enabled, bool)
            or not isinstance(tagged, list)
            or not all(_is_vlan(vlan) for vlan in tagged)
            or not (untagged is None or _is_vlan(untagged))
            or not isinstance(lag := port.get("lag"), str | None)
            or not isinstance(filters := port.get("filters", []), list)
            or not all(isinstance(one, str) for one in filters)
        ):
            raise self._unreadable(f"port {str(name)[:40]} of the answer makes no sense")
        return SwitchPort(
            switch_id=self._chassis_id,
            switch_name=self._name,
            port_id=name,
            untagged_vlan=untagged,
            tagged_vlans=frozenset(tagged),
            enabled=enabled,
            lag=lag or None,
            filters=frozenset(filters),
        )

    def _unreadable(self, why: str) -> Unavailable:
        return Unavailable(
            f"Switch {self._name} ({self._chassis_id}) cannot be read: {why}",
            code="switch_unreadable",
            next="check the switch and its entry in the switches file",
        )


def _is_vlan(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_VLAN
