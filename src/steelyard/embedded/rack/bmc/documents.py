"""What Redfish documents are made of: the view of one server, its paths, and the common forms. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.embedded.rack.bmc.machine import Machine, Power
from steelyard.embedded.rack.bmc.makes import MAKES, Make
from steelyard.embedded.rack.plan import Server

ROOT = "/redfish/v1"
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """All that a document is made from."""

    server: Server
    make: Make
    machine: Machine
    sessions: Mapping[str, str]
    """Session id -> user name."""

    @classmethod
    def of(cls, server: Server, machine: Machine, sessions: Mapping[str, str]) -> View:
        return cls(server, MAKES[server.vendor], machine, sessions)

    @property
    def system(self) -> str:
        return f"{ROOT}/Systems/{self.make.system_id}"

    @property
    def manager(self) -> str:
        return f"{ROOT}/Managers/{self.make.manager_id}"

    @property
    def chassis(self) -> str:
        return f"{ROOT}/Chassis/{self.make.chassis_id}"

    @property
    def media(self) -> str:
        return f"{self.system if self.make.media_on_system else self.manager}/VirtualMedia"

    @property
    def slots(self) -> dict[str, str]:
        """Member id -> slot."""
        return {self.make.usb_slot: "usb", self.make.cd_slot: "cd"}


def shown_power(view: View) -> Power:
    """The power state that this make admits to."""
    power = view.machine.power
    if view.make.shows_transitions:
        return power
    return {Power.POWERING_ON: Power.OFF, Power.POWERING_OFF: Power.ON}.get(power, power)


def resource(path: str, type_: str, id_: str, name: str, **properties: Any) -> Document:
    return {"@odata.id": path, "@odata.type": type_, "Id": id_, "Name": name, **properties}


def collection(path: str, type_: str, name: str, members: list[str]) -> Document:
    return {
        "@odata.id": path,
        "@odata.type": f"#{type_}.{type_}",
        "Name": name,
        "Members@odata.count": len(members),
        "Members": [link(f"{path}/{member}") for member in members],
    }


def link(path: str) -> Document:
    return {"@odata.id": path}


def ok() -> Document:
    return {"State": "Enabled", "Health": "OK"}
