"""What the agent can do to its server, honestly: images are fetched and verified byte by byte, and erasing erases.

The disk's content is a record in the hardware's state: which image, with which checksum, for which node, written by
which step. A metadata erase makes a disk unbootable and leaves the data; only a full erase makes it blank.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from steelyard.embedded.rack.agents.inventory import root_device
from steelyard.embedded.rack.agents.links import HardwareLink
from steelyard.embedded.rack.plan import Server

MANAGER = "generic_hardware_manager"
VERSIONS = {MANAGER: "1.2"}
_CHUNK = 1 << 20
_DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=3600, sock_connect=30, sock_read=60)
_BY_LENGTH = {64: "sha256", 128: "sha512"}
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})

Params = Mapping[str, Any]


class StepFailed(Exception):
    """A step that could not be done. `kind` is the name of ironic-python-agent's error."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class Machine:
    """The server under an agent, during one boot."""

    server: Server
    boot_id: int
    hardware: HardwareLink
    client: aiohttp.ClientSession
    step_seconds: float

    async def write(self, disk: str, content: Mapping[str, Any] | None, step: str) -> None:
        await self.hardware.write_disk(self.server.name, disk, content, boot_id=self.boot_id, step=step)


def _step(name: str, priority: int, **more: Any) -> dict[str, Any]:
    return {"step": name, "priority": priority, "interface": "deploy", "reboot_requested": False, **more}


CLEAN_STEPS = [
    _step("erase_devices", 10, abortable=True),
    _step("erase_devices_metadata", 99, abortable=True),
    _step("erase_devices_express", 0, abortable=True),
]
DEPLOY_STEPS = [
    _step("write_image", 0, argsinfo={"image_info": {"required": True}, "configdrive": {"required": False}}),
    _step("erase_devices_metadata", 0),
]
SERVICE_STEPS = [_step("erase_devices_metadata", 0)]


def listed(kind: str) -> dict[str, Any]:
    """The answer to get_clean_steps, get_deploy_steps or get_service_steps."""
    steps = {"clean": CLEAN_STEPS, "deploy": DEPLOY_STEPS, "service": SERVICE_STEPS}[kind]
    return {f"{kind}_steps": {MANAGER: steps}, "hardware_manager_version": VERSIONS}


async def execute(kind: str, step: Mapping[str, Any], node: Params, machine: Machine) -> Any:
    """Execute one step of `kind` clean, deploy or service. Raises StepFailed."""
    name = step.get("step")
    known = {entry["step"] for entry in listed(kind)[f"{kind}_steps"][MANAGER]}
    if name not in known or step.get("interface") != "deploy":
        raise StepFailed("HardwareManagerMethodNotFound", f"No hardware manager found to execute {name}")
    do = _STEPS[str(name)]
    arguments = step.get("args") or {}
    return await do(machine, node, arguments)


async def write_image(machine: Machine, node: Params, arguments: Params) -> str:
    """Fetch the image, verify it, and leave it on the root disk. Raises StepFailed."""
    image = arguments.get("image_info")
    if not isinstance(image, dict) or not image.get("urls"):
        raise StepFailed("InvalidCommandParamsError", "image_info has no urls")
    algorithm, expected = _checksum_of(image)
    properties = node.get("properties") or {}
    hints = properties.get("root_device") or {}
    disk = root_device(machine.server, hints)
    if disk is None:
        raise StepFailed("DeviceNotFound", f"No suitable device was found for deployment with hints {hints}")
    url = str(image["urls"][0])
    source = {"id": image.get("id"), "url": _without_query(url), "disk_format": image.get("disk_format")}
    record = {
        "bootable": False,
        "partial": True,
        "image": source,
        "node": node.get("uuid") or image.get("node_uuid"),
        "written_by": "write_image",
        "written_at": _now(),
    }
    # Written before the first byte arrives: a deploy that dies half-way leaves data behind, and must be seen to.
    await machine.write(disk.name, record, "write_image")
    digest, size = await _download(machine, url, algorithm, image)
    if not hmac.compare_digest(digest, expected.lower()):
        raise StepFailed(
            "ImageChecksumError",
            f"Image failed to verify against checksum. location: {_without_query(url)}; "
            f"image ID: {image.get('id')}; verification checksum: {expected}; image checksum: {digest}",
        )
    written = {
        **record,
        "bootable": True,
        "partial": False,
        "image": {**source, "checksum": f"{algorithm}:{digest}", "bytes": size},
        "config_drive": _config_drive(arguments.get("configdrive")),
    }
    await machine.write(disk.name, written, "write_image")
    return f"image ({image.get('id')}) written to device /dev/{disk.name} root_uuid="


async def erase_devices(machine: Machine, _node: Params, _arguments: Params) -> dict[str, str]:
    """Every disk is blank afterwards."""
    await asyncio.sleep(machine.step_seconds)
    for disk in machine.server.disks:
        await machine.write(disk.name, None, "erase_devices")
    return {f"/dev/{disk.name}": "erased" for disk in machine.server.disks}


async def erase_devices_metadata(machine: Machine, _node: Params, _arguments: Params) -> None:
    """No disk boots afterwards; what was on it is still there."""
    await asyncio.sleep(machine.step_seconds)
    disks = await machine.hardware.read_disks(machine.server.name)
    for name, content in disks.items():
        await machine.write(
            name, {**content, "bootable": False, "metadata_erased_at": _now()}, "erase_devices_metadata"
        )


_STEPS: dict[str, Callable[[Machine, Params, Params], Awaitable[Any]]] = {
    "write_image": write_image,
    "erase_devices": erase_devices,
    "erase_devices_express": erase_devices,
    "erase_devices_metadata": erase_devices_metadata,
}


async def _download(machine: Machine, url: str, algorithm: str, image: Params) -> tuple[str, int]:
    digest, size = hashlib.new(algorithm), 0
    headers = {}
    if secret := image.get("image_request_authorization"):
        try:
            headers["Authorization"] = base64.b64decode(secret, validate=True).decode()
        except ValueError:
            raise StepFailed("ImageDownloadError", "image_request_authorization is not base64") from None
    try:
        async with machine.client.get(url, headers=headers, timeout=_DOWNLOAD_TIMEOUT) as answer:
            if answer.status != 200:
                raise StepFailed("ImageDownloadError", f"{_without_query(url)} answered HTTP {answer.status}")
            async for chunk in answer.content.iter_chunked(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise StepFailed("ImageDownloadError", f"{_without_query(url)}: {type(error).__name__}") from None
    return digest.hexdigest(), size


def _checksum_of(image: Params) -> tuple[str, str]:
    """Algorithm and value. Raises StepFailed when there is none that proves anything, as the agent does for MD5."""
    algorithm, value = image.get("os_hash_algo"), image.get("os_hash_value")
    if algorithm and value:
        if algorithm not in _ALGORITHMS:
            raise StepFailed("InvalidCommandParamsError", f"Unusable checksum algorithm {algorithm}")
        return str(algorithm), str(value)
    checksum = image.get("checksum")
    if isinstance(checksum, str) and len(checksum) in _BY_LENGTH:
        return _BY_LENGTH[len(checksum)], checksum
    raise StepFailed("InvalidCommandParamsError", "The image has no checksum that the agent may rely on")


def _config_drive(content: Any) -> str | None:
    return None if not content else f"sha256:{hashlib.sha256(str(content).encode()).hexdigest()}"


def _without_query(url: str) -> str:
    """A temporary URL carries its signature in the query: that part is a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()
