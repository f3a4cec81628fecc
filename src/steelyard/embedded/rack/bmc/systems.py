"""The Systems tree of a BMC's Redfish service: the server itself, its parts, and virtual media. Pure."""

from __future__ import annotations

from steelyard.embedded.rack.bmc.documents import ROOT, Document, View, collection, link, ok, resource, shown_power

_MODULE_MIB = 16 * 1024
BOOT_TARGETS = ("None", "Pxe", "Cd", "Usb", "Hdd", "BiosSetup", "UefiHttp")
BOOT_MODES = ("UEFI", "Legacy")


def systems(view: View, rest: list[str]) -> Document | None:
    if not rest:
        return collection(f"{ROOT}/Systems", "ComputerSystemCollection", "Systems", [view.make.system_id])
    if rest[0] != view.make.system_id:
        return None
    match rest[1:]:
        case []:
            return _system(view)
        case ["Processors"]:
            return collection(f"{view.system}/Processors", "ProcessorCollection", "Processors", ["CPU1"])
        case ["Processors", "CPU1"]:
            return _processor(view)
        case ["Memory"]:
            names = [f"DIMM{number}" for number in range(1, _modules(view) + 1)]
            return collection(f"{view.system}/Memory", "MemoryCollection", "Memory", names)
        case ["Memory", module]:
            return _module(view, module)
        case ["EthernetInterfaces"]:
            path = f"{view.system}/EthernetInterfaces"
            return collection(path, "EthernetInterfaceCollection", "Interfaces", [n.name for n in view.server.nics])
        case ["EthernetInterfaces", name]:
            return _interface(view, name)
        case ["Bios"]:
            return _bios(view)
        case ["VirtualMedia", *inner] if view.make.media_on_system:
            return media(view, inner)
        case ["Storage", *storage] if view.make.modern_storage:
            return _storage(view, storage)
        case ["SimpleStorage", *storage] if not view.make.modern_storage:
            return _simple_storage(view, storage)
    return None


def _system(view: View) -> Document:
    server, make, boot = view.server, view.make, view.machine.boot
    links: Document = {
        "Chassis": [link(view.chassis)],
        "ManagedBy": [link(view.manager)],
    }
    document = resource(
        view.system,
        "#ComputerSystem.v1_16_0.ComputerSystem",
        make.system_id,
        "System",
        SystemType="Physical",
        Manufacturer=make.vendor,
        Model=server.model,
        SerialNumber=server.serial,
        UUID=server.uuid,
        HostName=None,
        AssetTag=server.name,
        BiosVersion=make.bios_version,
        PowerState=shown_power(view).value,
        Status=ok(),
        Boot={
            "BootSourceOverrideEnabled": boot.enabled,
            "BootSourceOverrideTarget": boot.target,
            "BootSourceOverrideMode": boot.mode,
            "BootSourceOverrideTarget@Redfish.AllowableValues": list(BOOT_TARGETS),
            "BootSourceOverrideMode@Redfish.AllowableValues": list(BOOT_MODES),
        },
        ProcessorSummary={"Count": 1, "LogicalProcessorCount": server.cpus, "Model": server.cpu_model},
        Processors=link(f"{view.system}/Processors"),
        Memory=link(f"{view.system}/Memory"),
        EthernetInterfaces=link(f"{view.system}/EthernetInterfaces"),
        Bios=link(f"{view.system}/Bios"),
        Links=links,
        Actions={
            "#ComputerSystem.Reset": {
                "target": f"{view.system}/Actions/ComputerSystem.Reset",
                "ResetType@Redfish.AllowableValues": list(make.reset_types),
            }
        },
    )
    if make.memory_in_summary:
        document["MemorySummary"] = {
            "TotalSystemMemoryGiB": server.memory_mib // 1024,
            "Status": {"HealthRollup": "OK"},
        }
    storage = "Storage" if make.modern_storage else "SimpleStorage"
    document[storage] = link(f"{view.system}/{storage}")
    if make.media_on_system:
        document["VirtualMedia"] = link(view.media)
    return document


def _processor(view: View) -> Document:
    return resource(
        f"{view.system}/Processors/CPU1",
        "#Processor.v1_10_0.Processor",
        "CPU1",
        "Processor 1",
        ProcessorType="CPU",
        ProcessorArchitecture="x86",
        InstructionSet="x86-64",
        Manufacturer="Simulated",
        Model=view.server.cpu_model,
        MaxSpeedMHz=3600,
        TotalCores=view.server.cpus // 2,
        TotalThreads=view.server.cpus,
        Status=ok(),
    )


def _modules(view: View) -> int:
    return view.server.memory_mib // _MODULE_MIB


def _module(view: View, name: str) -> Document | None:
    if name not in {f"DIMM{number}" for number in range(1, _modules(view) + 1)}:
        return None
    return resource(
        f"{view.system}/Memory/{name}",
        "#Memory.v1_12_0.Memory",
        name,
        name,
        CapacityMiB=_MODULE_MIB,
        MemoryDeviceType="DDR5",
        Manufacturer="Simulated",
        Status=ok(),
    )


def _interface(view: View, name: str) -> Document | None:
    for nic in view.server.nics:
        if nic.name == name:
            return resource(
                f"{view.system}/EthernetInterfaces/{name}",
                "#EthernetInterface.v1_8_0.EthernetInterface",
                name,
                f"NIC {name}",
                MACAddress=nic.mac.upper(),
                PermanentMACAddress=nic.mac.upper(),
                SpeedMbps=nic.speed_mbps,
                LinkStatus="LinkUp",
                InterfaceEnabled=True,
                Status=ok(),
            )
    return None


def _bios(view: View) -> Document:
    return resource(
        f"{view.system}/Bios",
        "#Bios.v1_1_0.Bios",
        "Bios",
        "BIOS Configuration",
        Attributes={
            "BootMode": "Uefi" if view.machine.boot.mode == "UEFI" else "Bios",
            "ProcVirtualization": "Enabled",
            "SriovGlobalEnable": "Enabled",
        },
    )


def _storage(view: View, rest: list[str]) -> Document | None:
    base = f"{view.system}/Storage"
    drives = {disk.name: disk for disk in view.server.disks}
    match rest:
        case []:
            return collection(base, "StorageCollection", "Storage", ["0"])
        case ["0"]:
            return resource(
                f"{base}/0",
                "#Storage.v1_11_0.Storage",
                "0",
                "Host adapter",
                StorageControllers=[
                    {
                        "@odata.id": f"{base}/0#/StorageControllers/0",
                        "MemberId": "0",
                        "Name": "Host adapter",
                        "Manufacturer": view.make.vendor,
                        "Status": ok(),
                    }
                ],
                Drives=[link(f"{base}/0/Drives/{name}") for name in drives],
                Status=ok(),
            )
        case ["0", "Drives", name] if name in drives:
            disk = drives[name]
            return resource(
                f"{base}/0/Drives/{name}",
                "#Drive.v1_12_0.Drive",
                name,
                f"Drive {name}",
                CapacityBytes=disk.size_bytes,
                MediaType="HDD" if disk.rotational else "SSD",
                Protocol="NVMe" if name.startswith("nvme") else "SAS",
                Manufacturer="Simulated",
                Model=disk.model,
                SerialNumber=disk.serial,
                Identifiers=[{"DurableName": disk.wwn.removeprefix("0x"), "DurableNameFormat": "NAA"}],
                Status=ok(),
            )
    return None


def _simple_storage(view: View, rest: list[str]) -> Document | None:
    base = f"{view.system}/SimpleStorage"
    match rest:
        case []:
            return collection(base, "SimpleStorageCollection", "Simple Storage", ["0"])
        case ["0"]:
            devices = [
                {"Name": d.name, "Model": d.model, "CapacityBytes": d.size_bytes, "Status": ok()}
                for d in view.server.disks
            ]
            return resource(
                f"{base}/0", "#SimpleStorage.v1_3_0.SimpleStorage", "0", "Host adapter", Devices=devices, Status=ok()
            )
    return None


def media(view: View, rest: list[str]) -> Document | None:
    slots = view.slots
    match rest:
        case []:
            return collection(view.media, "VirtualMediaCollection", "Virtual Media", list(slots))
        case [member] if member in slots:
            slot = slots[member]
            path, url = f"{view.media}/{member}", view.machine.media.get(slot)
            types = ["CD", "DVD"] if slot == "cd" else ["USBStick", "Floppy"]
            return resource(
                path,
                "#VirtualMedia.v1_5_0.VirtualMedia",
                member,
                "Virtual CD" if slot == "cd" else "Virtual Removable Media",
                MediaTypes=types,
                Image=url,
                ImageName=url.rsplit("/", 1)[-1] if url else None,
                Inserted=url is not None,
                WriteProtected=True,
                ConnectedVia="URI" if url else "NotConnected",
                Actions={
                    "#VirtualMedia.InsertMedia": {"target": f"{path}/Actions/VirtualMedia.InsertMedia"},
                    "#VirtualMedia.EjectMedia": {"target": f"{path}/Actions/VirtualMedia.EjectMedia"},
                },
            )
    return None
