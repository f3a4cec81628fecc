"""The prober that talks to real devices: asyncio inside because a sweep has many sockets, a plain call outside."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from steelyard.hardware.redfish import document
from steelyard.hardware.redfish.document import Garbage
from steelyard.hardware.redfish.port import (
    Address,
    BmcCredential,
    ProbeResult,
    SystemIdentity,
    Verdict,
    credentials_for,
)

TALKING = 64
"""BMCs talked to at a time. A TLS handshake takes some milliseconds of CPU, waiting for a dark address takes none."""
LEAST_CONNECT_SECONDS = 2.0
ROOT = "/redfish/v1/"
SYSTEMS = "/redfish/v1/Systems"
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "OData-Version": "4.0"}


class _WithFingerprint(aiohttp.ClientResponse):
    """Notes the peer's certificate when the response starts; the connection is gone once the body is in."""

    fingerprint: str | None = None

    async def start(self, connection: Any) -> _WithFingerprint:
        transport = connection.transport
        secured = transport.get_extra_info("ssl_object") if transport is not None else None
        if secured is not None and (certificate := secured.getpeercert(binary_form=True)):
            self.fingerprint = "sha256:" + hashlib.sha256(certificate).hexdigest()
        await super().start(connection)
        return self


class _Stop(Exception):
    """Ends the probe of one address with a verdict."""

    def __init__(self, verdict: Verdict, reason: str):
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason


@dataclass(slots=True)
class _Visit:
    """One address being asked."""

    address: Address
    port: int
    session: aiohttp.ClientSession
    timeout: float
    talking: asyncio.Semaphore
    fingerprint: str | None = None

    async def knock(self) -> None:
        """Whether anything listens. By itself, since a connection is quick where a BMC's TLS handshake is not."""
        try:
            async with asyncio.timeout(max(LEAST_CONNECT_SECONDS, self.timeout / 5)):
                _, writer = await asyncio.open_connection(str(self.address), self.port)
        except TimeoutError:
            raise _Stop(Verdict.NOBODY, "no answer to a connection attempt") from None
        except OSError as error:
            cause = os.strerror(error.errno).lower() if error.errno else "refused"
            raise _Stop(Verdict.NOBODY, f"no connection: {cause}") from None
        writer.close()

    async def get(self, path: str, credential: BmcCredential | None) -> tuple[int, bytes]:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        url = URL(f"https://{host}:{self.port}{path}", encoded=True)
        auth = aiohttp.BasicAuth(credential.username, credential.password, "utf-8") if credential else None
        async with (
            asyncio.timeout(self.timeout),
            self.session.get(url, auth=auth, allow_redirects=False, headers=_HEADERS) as response,
        ):
            assert isinstance(response, _WithFingerprint)
            self.fingerprint = self.fingerprint or response.fingerprint
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise Garbage("an answer is compressed although that was not asked for")
            body = bytearray()
            async for chunk in response.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > document.MAX_ANSWER_BYTES:
                    raise Garbage(f"an answer is larger than {document.MAX_ANSWER_BYTES // 1024} KiB")
            return response.status, bytes(body)

    async def read(self, path: str, credential: BmcCredential) -> dict[str, Any]:
        status, body = await self.get(path, credential)
        if status != 200:
            raise Garbage(f"GET {path} is answered with HTTP {status}")
        return document.parse(body)

    async def read_if_there(self, path: str | None, credential: BmcCredential) -> dict[str, Any]:
        """An optional resource; {} when it is missing or useless."""
        if path is None:
            return {}
        try:
            return await self.read(path, credential)
        except Garbage:
            return {}


class AioBmcProber:
    """Implements `BmcProber` with aiohttp.

    `verify_ca`: PEM file of the authority that signed the BMCs' certificates. Without it certificates are not
    verified (most BMCs sign their own) but their fingerprints are reported.
    """

    def __init__(self, *, verify_ca: Path | None = None):
        self._verify_ca = verify_ca

    def sweep(
        self,
        targets: Iterable[Address],
        *,
        port: int,
        credentials: Sequence[BmcCredential],
        concurrency: int = 256,
        timeout: float = 10.0,
        on_found: Callable[[ProbeResult], None] | None = None,
    ) -> list[ProbeResult]:
        return asyncio.run(self._sweep(targets, port, credentials, concurrency, timeout, on_found))

    async def _sweep(
        self,
        targets: Iterable[Address],
        port: int,
        credentials: Sequence[BmcCredential],
        concurrency: int,
        timeout: float,
        on_found: Callable[[ProbeResult], None] | None,
    ) -> list[ProbeResult]:
        results: dict[int, ProbeResult] = {}
        talking = asyncio.Semaphore(TALKING)
        numbered: Iterator[tuple[int, Address]] = enumerate(targets)

        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls(), limit=0, use_dns_cache=False),
            timeout=aiohttp.ClientTimeout(total=None),
            response_class=_WithFingerprint,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        ) as session:

            async def work() -> None:
                for number, address in numbered:
                    result = await _probe(_Visit(address, port, session, timeout, talking), credentials)
                    results[number] = result
                    if on_found is not None and result.verdict is Verdict.FOUND:
                        on_found(result)

            await asyncio.gather(*(work() for _ in range(max(1, concurrency))))
        return [results[number] for number in sorted(results)]

    def _tls(self) -> ssl.SSLContext:
        if self._verify_ca is not None:
            return ssl.create_default_context(cafile=str(self._verify_ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


async def _probe(visit: _Visit, credentials: Sequence[BmcCredential]) -> ProbeResult:
    """Ask one address; every way it can go wrong has its verdict and a sentence."""
    credential: BmcCredential | None = None
    systems: tuple[SystemIdentity, ...] = ()
    verdict, reason = Verdict.FOUND, None
    try:
        await visit.knock()
        async with visit.talking, asyncio.timeout(visit.timeout * 3):
            await _is_redfish(visit)
            credential, collection = await _log_in(visit, credentials)
            systems = await _systems(visit, credential, collection)
    except _Stop as stop:
        verdict, reason = stop.verdict, stop.reason
    except Garbage as garbage:
        verdict, reason = Verdict.GARBAGE, str(garbage)
    except aiohttp.ClientConnectorCertificateError:
        verdict, reason = Verdict.UNTRUSTED, "its certificate is not signed by the given authority"
    except aiohttp.ClientSSLError:
        verdict, reason = Verdict.NOT_A_BMC, "something listens, but it does not speak TLS"
    except TimeoutError:
        verdict, reason = Verdict.TIMED_OUT, f"did not finish answering within {visit.timeout:g} s"
    except (aiohttp.ClientError, ValueError, OSError):
        if visit.fingerprint is None:
            verdict, reason = Verdict.NOT_A_BMC, "something listens, but it does not speak HTTP over TLS"
        else:
            verdict, reason = Verdict.GARBAGE, "broke off in the middle of an answer, or the answer is not HTTP"
    found = verdict is Verdict.FOUND
    return ProbeResult(
        address=visit.address,
        port=visit.port,
        verdict=verdict,
        reason=reason,
        systems=systems if found else (),
        fingerprint=visit.fingerprint,
        credential=credential if found else None,
    )


async def _is_redfish(visit: _Visit) -> None:
    """Look at the service root, which every Redfish service shows without credentials (DSP0266)."""
    status, body = await visit.get(ROOT, None)
    if 300 <= status < 400:
        raise _Stop(Verdict.NOT_A_BMC, f"GET {ROOT} is answered with a redirect, which is not followed")
    if status != 200:
        raise _Stop(Verdict.NOT_A_BMC, f"GET {ROOT} is answered with HTTP {status}")
    try:
        root = document.parse(body)
    except Garbage as garbage:
        raise _Stop(Verdict.NOT_A_BMC, f"GET {ROOT}: {garbage}") from None
    if not document.is_service_root(root):
        raise _Stop(Verdict.NOT_A_BMC, f"GET {ROOT} does not describe a Redfish service")


async def _log_in(visit: _Visit, credentials: Sequence[BmcCredential]) -> tuple[BmcCredential, dict[str, Any]]:
    """The first credential that the service accepts, and the collection of systems that it then showed."""
    to_try = credentials_for(visit.address, credentials)
    if not to_try:
        raise _Stop(Verdict.WRONG_CREDENTIALS, "no credentials were given for this address")
    status = 0
    for credential in to_try:
        status, body = await visit.get(SYSTEMS, credential)
        if status == 200:
            return credential, document.parse(body)
        if status not in (401, 403):
            raise Garbage(f"GET {SYSTEMS} is answered with HTTP {status}")
    what = "1 credential was" if len(to_try) == 1 else f"{len(to_try)} credentials were"
    why = " (the account may have to change its password first)" if status == 403 else ""
    raise _Stop(Verdict.WRONG_CREDENTIALS, f"{what} refused with HTTP {status}{why}")


async def _systems(visit: _Visit, credential: BmcCredential, collection: dict[str, Any]) -> tuple[SystemIdentity, ...]:
    paths = document.members(collection, most=document.MAX_SYSTEMS)
    if not paths:
        raise Garbage("it manages no system")
    return tuple([await _system(visit, credential, path) for path in paths])


async def _system(visit: _Visit, credential: BmcCredential, path: str) -> SystemIdentity:
    described = await visit.read(path, credential)
    nics = await _members(visit, credential, described.get("EthernetInterfaces"), most=document.MAX_NICS)
    macs = tuple(mac for nic in nics if (mac := document.interface_mac(nic)))
    modules: list[dict[str, Any]] = []
    if document.summed_memory(described) is None:
        modules = await _members(visit, credential, described.get("Memory"), most=document.MAX_MEMORY_MODULES)
    links = described.get("Links")
    managers = links.get("ManagedBy") if isinstance(links, dict) else None
    manager_path = document.path(managers[0]) if isinstance(managers, list) and managers else None
    manager = await visit.read_if_there(manager_path, credential)
    return document.system(path, described, macs=macs, modules=modules, manager=manager)


async def _members(visit: _Visit, credential: BmcCredential, link: object, *, most: int) -> list[dict[str, Any]]:
    """The members of an optional collection; none when there is none."""
    collection = await visit.read_if_there(document.path(link), credential)
    try:
        paths = document.members(collection, most=most) if collection else []
    except Garbage:
        return []
    return [await visit.read_if_there(path, credential) for path in paths]
