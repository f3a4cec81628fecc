"""A tiny Redfish server for the prober's tests: TLS, one loopback address per device, and every bad habit we fear."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = {"@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot", "RedfishVersion": "1.5.0", "Id": "RootService"}
Habit = Callable[[web.Request], Awaitable[web.StreamResponse]]


def system_documents(serial: str, uuid: str, macs: tuple[str, ...]) -> dict[str, object]:
    """The documents of a well-behaved BMC with one system."""
    base = "/redfish/v1/Systems/1"
    documents: dict[str, object] = {
        "/redfish/v1/": ROOT,
        "/redfish/v1/Systems": {"Members": [{"@odata.id": base}]},
        base: {
            "UUID": uuid.upper(), "SerialNumber": serial, "Manufacturer": "Acme", "Model": "Anvil 3",
            "PowerState": "Off", "ProcessorSummary": {"Count": 2, "LogicalProcessorCount": 64},
            "MemorySummary": {"TotalSystemMemoryGiB": 128},
            "EthernetInterfaces": {"@odata.id": base + "/EthernetInterfaces"},
            "Links": {"ManagedBy": [{"@odata.id": "/redfish/v1/Managers/1"}]},
        },
        base + "/EthernetInterfaces": {
            "Members": [{"@odata.id": f"{base}/EthernetInterfaces/{n}"} for n in range(len(macs))]
        },
        "/redfish/v1/Managers/1": {"FirmwareVersion": "2.10.3"},
    }  # fmt: skip
    for n, mac in enumerate(macs):
        documents[f"{base}/EthernetInterfaces/{n}"] = {"PermanentMACAddress": mac.upper(), "MACAddress": mac}
    return documents


@dataclass
class Device:
    """One simulated BMC: documents by path, one account, and handlers that misbehave, by path."""

    documents: dict[str, object]
    username: str = "root"
    password: str = "calvin"
    habits: dict[str, Habit] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        header = request.headers.get("Authorization", "")
        if header:
            self.logins.append(base64.b64decode(header.removeprefix("Basic ")).decode())
        if request.path in self.habits:
            return await self.habits[request.path](request)
        if request.path != "/redfish/v1/" and (not header or self.logins[-1] != f"{self.username}:{self.password}"):
            return web.Response(status=401)
        if request.path not in self.documents:
            return web.Response(status=404)
        document = self.documents[request.path]
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return web.Response(body=body, content_type="application/json")


def certificate(directory: Path, *addresses: str) -> tuple[Path, Path]:
    """A self-signed certificate for the addresses; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bmc test")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "bmc.pem", directory / "bmc.key"
    certificate_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    return certificate_file, key_file


class BmcServer:
    """Serves devices on `{address}:{port}`, in a thread of its own, until closed. One free port for all devices."""

    def __init__(self, devices: dict[str, Device], directory: Path, *, plain: frozenset[str] = frozenset()):
        self.devices = devices
        self.certificate, key = certificate(directory, *devices)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.certificate, key)
        self._plain = plain
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0
        self._thread.start()
        assert self._ready.wait(10), "the test's BMC server did not start"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        runners = []
        for address, device in self.devices.items():
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", device.handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            tls = None if address in self._plain else self._tls
            site = web.TCPSite(runner, address, self.port, ssl_context=tls)
            await site.start()
            if not self.port:
                self.port = runner.addresses[0][1]
            runners.append(runner)
        self._ready.set()
        await self._stop.wait()
        for runner in runners:
            await runner.cleanup()
