"""How the agents reach the rest: Ironic, their own hardware, and the feeds that say what they are cut off from."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from steelyard.errors import Conflict, Unavailable, UpstreamError

LOG = logging.getLogger("steelyard.rack.agents")

_POLL_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_IRONIC_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
_HARDWARE_TIMEOUT = aiohttp.ClientTimeout(total=10)
_FEED_TIMEOUT = aiohttp.ClientTimeout(total=_POLL_SECONDS + 15)
_IRONIC_HEADERS = {"X-OpenStack-Ironic-API-Version": "1.99", "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What Ironic said."""

    status: int
    document: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class IronicLink:
    """The bare metal service's ramdisk endpoints, which need no token (they are reachable from its VLANs only)."""

    def __init__(self, client: aiohttp.ClientSession, base: str, *, at_once: int = 16):
        self._client = client
        self._base = base
        # A rack that is switched on as a whole must not take every thread that Ironic's API has.
        self._turn = asyncio.Semaphore(at_once)

    async def lookup(self, addresses: str, node_id: str | None) -> Answer:
        query = {"addresses": addresses} | ({"node_uuid": node_id} if node_id else {})
        return await self._call("GET", "/v1/lookup", params=query)

    async def heartbeat(self, node_id: str, body: Mapping[str, Any]) -> Answer:
        return await self._call("POST", f"/v1/heartbeat/{node_id}", content=json.dumps(body).encode())

    async def continue_inspection(self, body: Mapping[str, Any] | bytes) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._call("POST", "/v1/continue_inspection", content=content)

    async def _call(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        headers = _IRONIC_HEADERS if content is None else {**_IRONIC_HEADERS, "Content-Type": "application/json"}
        try:
            async with (
                self._turn,
                self._client.request(
                    method, self._base + path, params=params, data=content, headers=headers, timeout=_IRONIC_TIMEOUT
                ) as answer,
            ):
                return Answer(answer.status, _object(await answer.read()))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"The bare metal service does not answer: {type(error).__name__}") from None


class HardwareLink:
    """The server that an agent runs on: its disks and its power button, through the bmc process."""

    def __init__(self, client: aiohttp.ClientSession, base: str, token: str):
        self._client = client
        self._base = base
        self._headers = {"Authorization": f"Bearer {token}"}

    async def write_disk(
        self, server: str, disk: str, content: Mapping[str, Any] | None, *, boot_id: int, step: str
    ) -> None:
        """Raises Conflict when that boot is over, Unavailable when the hardware does not answer."""
        body = {"boot_id": boot_id, "step": step, "content": content}
        await self._call("PUT", f"/servers/{server}/disks/{disk}", body)

    async def read_disks(self, server: str) -> Mapping[str, Mapping[str, Any]]:
        disks = (await self._call("GET", f"/state/{server}"))["disks"]
        return disks if isinstance(disks, dict) else {}

    async def shut_down(self, server: str, *, boot_id: int, restart: bool) -> None:
        await self._call("POST", f"/servers/{server}/shutdown", {"boot_id": boot_id, "restart": restart})

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        try:
            async with self._client.request(
                method, self._base + path, json=body, headers=self._headers, timeout=_HARDWARE_TIMEOUT
            ) as answer:
                document = _object(await answer.read())
                if answer.status == 409:
                    raise Conflict(str(document.get("detail", "refused")), code=str(document.get("code", "conflict")))
                if answer.status >= 400:
                    raise UpstreamError(f"The hardware answered {answer.status}: {document.get('detail')}")
                return document
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"The hardware does not answer: {type(error).__name__}") from None


async def follow(
    client: aiohttp.ClientSession,
    base: str,
    token: str,
    *,
    changed: Callable[[Mapping[str, Any], bool], None],
    lost: Callable[[], None],
) -> None:
    """Follow a process's feed for ever. `changed` gets (changes, whether they are all there is); `lost`: no answer."""
    run, at = "", 0
    headers = {"Authorization": f"Bearer {token}"}
    while True:
        query = {"run": run, "after": str(at), "wait": str(_POLL_SECONDS)}
        try:
            async with client.get(f"{base}/feed", params=query, headers=headers, timeout=_FEED_TIMEOUT) as answer:
                answer.raise_for_status()
                news = await answer.json()
            run, at = news["run"], news["at"]
            changed(news["changes"], news["whole"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            lost()
            run = ""
            LOG.debug("feed of %s lost: %s", base, type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
