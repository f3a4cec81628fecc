"""What a BMC's Redfish service shows: a document for each path, from the plan and the machine's state. Pure.

Schemas: DSP0268 2022.1. `render` is the entry; `systems` has the largest tree, `documents` the common forms.
"""

from __future__ import annotations

from collections.abc import Callable

from steelyard.embedded.rack.bmc.documents import ROOT, Document, View, collection, link, ok, resource, shown_power
from steelyard.embedded.rack.bmc.systems import media, systems

MIN_PASSWORD = 8


def render(view: View, path: str) -> Document | None:
    """The document at a path (no trailing slash), or None where there is nothing."""
    if path == ROOT:
        return _service_root(view)
    for prefix, build in _TREES:
        base = prefix(view)
        if path == base or path.startswith(f"{base}/"):
            return build(view, path[len(base) + 1 :].split("/") if path != base else [])
    return None


def version_document() -> Document:
    """What /redfish answers (DSP0266 6.2)."""
    return {"v1": f"{ROOT}/"}


def _service_root(view: View) -> Document:
    return resource(
        ROOT,
        "#ServiceRoot.v1_5_0.ServiceRoot",
        "RootService",
        "Root Service",
        RedfishVersion=view.make.redfish_version,
        UUID=view.server.uuid,
        Vendor=view.make.vendor,
        Product=view.make.manager_model,
        Systems=link(f"{ROOT}/Systems"),
        Managers=link(f"{ROOT}/Managers"),
        Chassis=link(f"{ROOT}/Chassis"),
        SessionService=link(f"{ROOT}/SessionService"),
        AccountService=link(f"{ROOT}/AccountService"),
        UpdateService=link(f"{ROOT}/UpdateService"),
        Links={"Sessions": link(f"{ROOT}/SessionService/Sessions")},
    )


# Managers


def _managers(view: View, rest: list[str]) -> Document | None:
    make = view.make
    if not rest:
        return collection(f"{ROOT}/Managers", "ManagerCollection", "Managers", [make.manager_id])
    if rest[0] != make.manager_id:
        return None
    match rest[1:]:
        case []:
            document = resource(
                view.manager,
                "#Manager.v1_11_0.Manager",
                make.manager_id,
                "Manager",
                ManagerType="BMC",
                Model=make.manager_model,
                FirmwareVersion=make.bmc_version,
                UUID=view.server.uuid,
                EthernetInterfaces=link(f"{view.manager}/EthernetInterfaces"),
                Links={"ManagerForServers": [link(view.system)], "ManagerForChassis": [link(view.chassis)]},
                Status=ok(),
            )
            if not make.media_on_system:
                document["VirtualMedia"] = link(view.media)
            return document
        case ["VirtualMedia", *inner] if not make.media_on_system:
            return media(view, inner)
        case ["EthernetInterfaces"]:
            path = f"{view.manager}/EthernetInterfaces"
            return collection(path, "EthernetInterfaceCollection", "Manager interfaces", ["1"])
        case ["EthernetInterfaces", "1"]:
            return resource(
                f"{view.manager}/EthernetInterfaces/1",
                "#EthernetInterface.v1_8_0.EthernetInterface",
                "1",
                "Manager interface",
                MACAddress=view.server.bmc_mac.upper(),
                IPv4Addresses=[
                    {"Address": view.server.bmc_address, "SubnetMask": "255.255.0.0", "AddressOrigin": "Static"}
                ],
                Status=ok(),
            )
    return None


# Chassis and the services


def _chassis(view: View, rest: list[str]) -> Document | None:
    match rest:
        case []:
            return collection(f"{ROOT}/Chassis", "ChassisCollection", "Chassis", [view.make.chassis_id])
        case [name] if name == view.make.chassis_id:
            return resource(
                view.chassis,
                "#Chassis.v1_17_0.Chassis",
                name,
                "Chassis",
                ChassisType="RackMount",
                Manufacturer=view.make.vendor,
                Model=view.server.model,
                SerialNumber=view.server.serial,
                PowerState=shown_power(view).value,
                Links={"ComputerSystems": [link(view.system)], "ManagedBy": [link(view.manager)]},
                Status=ok(),
            )
    return None


def _sessions(view: View, rest: list[str]) -> Document | None:
    base = f"{ROOT}/SessionService"
    match rest:
        case []:
            return resource(
                base,
                "#SessionService.v1_1_8.SessionService",
                "SessionService",
                "Session Service",
                ServiceEnabled=True,
                SessionTimeout=1800,
                Sessions=link(f"{base}/Sessions"),
            )
        case ["Sessions"]:
            return collection(f"{base}/Sessions", "SessionCollection", "Sessions", list(view.sessions))
        case ["Sessions", name] if name in view.sessions:
            path = f"{base}/Sessions/{name}"
            return resource(path, "#Session.v1_3_0.Session", name, "Session", UserName=view.sessions[name])
    return None


def _accounts(view: View, rest: list[str]) -> Document | None:
    base = f"{ROOT}/AccountService"
    match rest:
        case []:
            return resource(
                base,
                "#AccountService.v1_10_0.AccountService",
                "AccountService",
                "Account Service",
                ServiceEnabled=True,
                MinPasswordLength=MIN_PASSWORD,
                Accounts=link(f"{base}/Accounts"),
            )
        case ["Accounts"]:
            return collection(f"{base}/Accounts", "ManagerAccountCollection", "Accounts", ["1"])
        case ["Accounts", "1"]:
            return resource(
                f"{base}/Accounts/1",
                "#ManagerAccount.v1_8_0.ManagerAccount",
                "1",
                "Account",
                UserName=view.server.bmc_username,
                Password=None,
                RoleId="Administrator",
                Enabled=True,
                Locked=False,
            )
    return None


def _updates(view: View, rest: list[str]) -> Document | None:
    base = f"{ROOT}/UpdateService"
    firmware = {"BIOS": view.make.bios_version, "BMC": view.make.bmc_version}
    match rest:
        case []:
            return resource(
                base,
                "#UpdateService.v1_11_0.UpdateService",
                "UpdateService",
                "Update Service",
                ServiceEnabled=False,
                FirmwareInventory=link(f"{base}/FirmwareInventory"),
            )
        case ["FirmwareInventory"]:
            path = f"{base}/FirmwareInventory"
            return collection(path, "SoftwareInventoryCollection", "Firmware", list(firmware))
        case ["FirmwareInventory", name] if name in firmware:
            return resource(
                f"{base}/FirmwareInventory/{name}",
                "#SoftwareInventory.v1_7_0.SoftwareInventory",
                name,
                name,
                Version=firmware[name],
                Updateable=False,
                Status=ok(),
            )
    return None


_TREES: tuple[tuple[Callable[[View], str], Callable[[View, list[str]], Document | None]], ...] = (
    (lambda _: f"{ROOT}/Systems", systems),
    (lambda _: f"{ROOT}/Managers", _managers),
    (lambda _: f"{ROOT}/Chassis", _chassis),
    (lambda _: f"{ROOT}/SessionService", _sessions),
    (lambda _: f"{ROOT}/AccountService", _accounts),
    (lambda _: f"{ROOT}/UpdateService", _updates),
)
