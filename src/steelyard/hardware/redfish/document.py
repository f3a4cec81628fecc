"""Reading what a BMC says without trusting it: pure functions from bytes to values, each with its limits.

Names of resources and properties are those of DMTF's Redfish schema bundle (DSP8010): ServiceRoot, ComputerSystem,
EthernetInterface, Manager. A device may answer anything; what is missing or of the wrong type counts as unknown, and
what makes the whole answer useless raises `Garbage`.
"""

from __future__ import annotations

import json
import re
import uuid as uuids
from collections.abc import Mapping, Sequence
from typing import Any

from steelyard.hardware.redfish.port import SystemIdentity

MAX_ANSWER_BYTES = 256 * 1024
MAX_SYSTEMS = 16
MAX_NICS = 32
MAX_MEMORY_MODULES = 128
MAX_TEXT = 128

_MOST_MIB = 1 << 32
_PATH = re.compile(r"/redfish/v1/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{1,400}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PLACEHOLDERS = frozenset({
    "", "none", "null", "n/a", "na", "unknown", "default", "default string", "not specified", "not available",
    "to be filled by o.e.m.", "system serial number", "0", "0123456789", "123456789", "empty",
})  # fmt: skip


class Garbage(Exception):
    """The answer makes no sense; the message says how, in words that are safe to show."""


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in an answer. Raises `Garbage` for anything else, however deep, large or broken."""
    if len(body) > MAX_ANSWER_BYTES:
        raise Garbage(f"an answer is larger than {MAX_ANSWER_BYTES // 1024} KiB")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # ValueError covers broken UTF-8 and absurdly long numbers too
        raise Garbage("an answer is not JSON") from None
    if not isinstance(document, dict):
        raise Garbage("an answer is not a JSON object")
    return document


def text(value: object) -> str | None:
    """Text for people and for a database: no control or direction characters, bounded, None when it says nothing."""
    if not isinstance(value, str):
        return None
    cleaned = " ".join(_CONTROL.sub(" ", value[: MAX_TEXT * 4]).split())[:MAX_TEXT]
    return None if cleaned.lower() in _PLACEHOLDERS else cleaned


def whole(value: object, *, most: int) -> int | None:
    """A positive whole number no larger than `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value <= most:  # also refuses NaN
        return None
    return int(value) or None


def path(value: object) -> str | None:
    """A resource path on the same device; nothing that could lead elsewhere."""
    if isinstance(value, Mapping):
        value = value.get("@odata.id")
    if not isinstance(value, str) or not _PATH.fullmatch(value) or ".." in value or "//" in value:
        return None
    return value


def members(collection: Mapping[str, Any], *, most: int) -> list[str]:
    """Paths of a collection's members, at most `most`. Raises `Garbage` if it is no collection."""
    listed = collection.get("Members")
    if not isinstance(listed, list):
        raise Garbage("a collection has no list of members")
    paths = [found for each in listed[:most] if (found := path(each))]
    return list(dict.fromkeys(paths))


def is_service_root(document: Mapping[str, Any]) -> bool:
    """Whether a document is a Redfish service root (DSP0266, 'Service root')."""
    kind = document.get("@odata.type")
    if isinstance(kind, str) and kind.startswith("#ServiceRoot."):
        return True
    return isinstance(document.get("RedfishVersion"), str)


def mac(value: object) -> str | None:
    """A usable unicast MAC in lower case with colons."""
    if not isinstance(value, str) or len(value) > 32:
        return None
    plain = value.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(plain) or plain == "00:00:00:00:00:00":
        return None
    return None if int(plain[:2], 16) & 1 else plain


def uuid(value: object) -> str | None:
    """A UUID in its usual form; None for none, and for the all-zeros and all-ones that unset firmware reports."""
    if not isinstance(value, str):
        return None
    try:
        parsed = uuids.UUID(value.strip()[:64])
    except ValueError:
        return None
    return None if parsed.int in (0, (1 << 128) - 1) else str(parsed)


def interface_mac(interface: Mapping[str, Any]) -> str | None:
    """The MAC of an EthernetInterface: the burnt-in one before one that software may have set."""
    return mac(interface.get("PermanentMACAddress")) or mac(interface.get("MACAddress"))


def system(
    system_path: str,
    document: Mapping[str, Any],
    *,
    macs: tuple[str, ...],
    modules: Sequence[Mapping[str, Any]],
    manager: Mapping[str, Any] | None,
) -> SystemIdentity:
    """What a ComputerSystem, its NICs' MACs, its memory modules (if it has no summary) and its Manager say together."""
    processors = _mapping(document.get("ProcessorSummary"))
    power = document.get("PowerState")
    counts = (whole(processors.get(key), most=1 << 16) for key in ("LogicalProcessorCount", "CoreCount", "Count"))
    cpus = next((count for count in counts if count), None)
    return SystemIdentity(
        path=system_path,
        uuid=uuid(document.get("UUID")),
        serial=text(document.get("SerialNumber")) or text(document.get("SKU")),
        vendor=text(document.get("Manufacturer")),
        model=text(document.get("Model")),
        asset_tag=text(document.get("AssetTag")),
        hostname=text(document.get("HostName")),
        power_state={"On": "on", "Off": "off"}.get(power) if isinstance(power, str) else None,
        cpus=cpus,
        memory_mib=summed_memory(document) or _modules_memory(modules),
        macs=tuple(dict.fromkeys(macs)),
        bmc_firmware=text((manager or {}).get("FirmwareVersion")),
        bios_version=text(document.get("BiosVersion")),
    )


def summed_memory(document: Mapping[str, Any]) -> int | None:
    """A ComputerSystem's memory in MiB by its own summary; not all makes have one."""
    gib = _mapping(document.get("MemorySummary")).get("TotalSystemMemoryGiB")
    return whole(gib * 1024, most=_MOST_MIB) if isinstance(gib, int | float) and not isinstance(gib, bool) else None


def _modules_memory(modules: Sequence[Mapping[str, Any]]) -> int | None:
    """The sum of the memory modules, MiB."""
    return sum(whole(module.get("CapacityMiB"), most=_MOST_MIB) or 0 for module in modules) or None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
