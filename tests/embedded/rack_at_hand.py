"""The simulated rack as it really is: its plan, its hardware's and its switches' own records, and faults on demand."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]


@dataclass(frozen=True)
class Rack:
    home: Path
    ports: Mapping[str, int]

    @property
    def servers(self) -> dict[str, Json]:
        """The plan of every server by name: what is really built in and cabled."""
        plan = json.loads((self.home / "rack" / "rack.json").read_text())
        return {server["name"]: server for server in plan["servers"]}

    def hardware(self, server: str) -> Json:
        """What is true of a server, whatever its BMC says: power, what runs, what is on the disks."""
        return self._get("bmc", f"/state/{server}")

    def disks(self, server: str) -> Json:
        """What is on its disks; nothing for a disk that is blank."""
        return {name: content for name, content in self.hardware(server)["disks"].items() if content}

    def switch_ports(self) -> dict[str, Json]:
        """Every switch port by `switch/port`, as the switch has it."""
        return dict(self._get("switch", "/state")["ports"])

    def filters(self, switch: str) -> dict[str, list[Json]]:
        """The rules of every filter that a switch has, by the filter's name."""
        return dict(self._get("switch", f"/switches/{switch}/filters")["filters"])

    def set_port(self, switch: str, port: str, **change: Any) -> None:
        """Somebody logs in to the switch and changes a port by hand."""
        self._client("switch").patch(f"/switches/{switch}/ports/{port}", json=change).raise_for_status()

    def vlan_of(self, server: str, nic: int = 0) -> int | None:
        """The VLAN on the switch port at the other end of a server's cable."""
        cable = self.servers[server]["nics"][nic]
        vlan = self.switch_ports()[f"{cable['switch']}/{cable['port']}"]["untagged_vlan"]
        return None if vlan is None else int(vlan)

    def switch_log(self, *, after: int = 0) -> list[Json]:
        """Every change of a switch port since, oldest first."""
        return list(self._get("switch", "/log", after=after)["log"])

    def last_change(self) -> int:
        """The number of the newest change of a switch port; 0 for none."""
        entries = self.switch_log()
        return int(entries[-1]["sequence"]) if entries else 0

    def reset(self, server: str, how: str) -> None:
        """Whoever has the BMC's password does it: Redfish's ComputerSystem.Reset, past Nova and Ironic."""
        plan = self.servers[server]
        auth = httpx.BasicAuth(plan["bmc_username"], plan["bmc_password"])
        verify = ssl.create_default_context(cafile=str(self.home / "rack" / "ca.pem"))
        base = f"https://{plan['bmc_address']}:{self.ports['bmc']}"
        with httpx.Client(base_url=base, auth=auth, verify=verify, timeout=30.0) as bmc:
            [system] = bmc.get("/redfish/v1/Systems").raise_for_status().json()["Members"]
            document = bmc.get(system["@odata.id"]).raise_for_status().json()
            target = document["Actions"]["#ComputerSystem.Reset"]["target"]
            bmc.post(target, json={"ResetType": how}).raise_for_status()

    @contextlib.contextmanager
    def fault(self, process: str, target: str, kind: str, **more: Any) -> Iterator[None]:
        """While inside, `target` has the fault. `process` is bmc, agents or switch."""
        answer = self._client(process).post("/faults", json={"target": target, "kind": kind, **more})
        assert answer.status_code == 201, answer.text
        try:
            yield
        finally:
            self._client(process).delete(f"/faults/{answer.json()['id']}")

    def clear_faults(self, process: str) -> None:
        """Nothing is broken any more, whoever is still inside of `fault`."""
        self._client(process).delete("/faults").raise_for_status()

    def _get(self, process: str, path: str, **params: Any) -> Json:
        answer = self._client(process).get(path, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _client(self, process: str) -> httpx.Client:
        token = (self.home / "secrets" / "rack_token").read_text().strip()
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.ports[f'rack_{process}']}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30.0,
        )
