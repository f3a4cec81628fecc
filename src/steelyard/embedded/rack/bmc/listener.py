"""One listening socket and one certificate per BMC, cheap enough for a thousand of each in one process.

A certificate is made, and its TLS context loaded, when the first client connects; contexts that were not used for
long make room for others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from steelyard.embedded.rack.certificates import Authority
from steelyard.embedded.rack.files import write_private
from steelyard.embedded.rack.plan import Rack, Server

LOG = logging.getLogger("steelyard.rack.bmc")

Handle = Callable[[Server, web.BaseRequest], Awaitable[web.StreamResponse]]
MAX_CONTEXTS = 256
_BACKLOG = 64
_HANDSHAKE_SECONDS = 10.0


class Listeners:
    """The sockets of all BMCs."""

    def __init__(self, rack: Rack, authority: Authority, certificates: Path, handle: Handle):
        self._rack = rack
        self._authority = authority
        self._certificates = certificates
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._servers = {server.bmc_address: server for server in rack.servers}
        self._sockets: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self._handle = handle
        self._http = web.Server(self._answer, access_log=None, keepalive_timeout=15)

    def open(self) -> None:
        """Listen at every BMC's address. Raises OSError, with the address, when one cannot be had."""
        loop = asyncio.get_running_loop()
        for server in self._rack.servers:
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._sockets.append(listening)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((server.bmc_address, self._rack.bmc_port))
            except OSError as error:
                raise OSError(error.errno, f"{server.bmc_address}:{self._rack.bmc_port}: {error.strerror}") from None
            listening.listen(_BACKLOG)
            loop.add_reader(listening.fileno(), self._accept, server, listening)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening.fileno())
            listening.close()
        for task in self._handshakes:
            task.cancel()
        await self._http.shutdown(0.5)

    def _accept(self, server: Server, listening: socket.socket) -> None:
        for _ in range(_BACKLOG):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                LOG.warning("%s cannot accept a connection: %s", server.name, error)
                return
            connection.setblocking(False)
            task = asyncio.get_running_loop().create_task(self._shake_hands(server, connection))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, server: Server, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._http,
                connection,
                ssl=self._context(server),
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=2.0,
            )
        except (OSError, TimeoutError, ssl.SSLError):
            # A client that does not speak TLS, distrusts the certificate, or left: the BMC's log is not kept.
            connection.close()

    def _context(self, server: Server) -> ssl.SSLContext:
        context = self._contexts.pop(server.name, None)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.num_tickets = 0  # nobody resumes a session; tickets would cost every handshake a write
            context.load_cert_chain(self._certificate(server))
        self._contexts[server.name] = context
        while len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)
        return context

    def _certificate(self, server: Server) -> Path:
        """Kept over restarts, so that a client that has pinned it stays content."""
        path = self._certificates / f"{server.uuid}.pem"
        if not path.exists():
            write_private(path, self._authority.issue(name=server.name, address=server.bmc_address))
        return path

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        address = transport.get_extra_info("sockname")[0] if transport is not None else ""
        server = self._servers.get(address)
        if server is None:
            return web.Response(status=404)
        return await self._handle(server, request)
