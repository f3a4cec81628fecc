"""`steelyard serve`: the server process, from the lock on its home to the last operation that is put aside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from steelyard.errors import Unavailable
from steelyard.settings import Settings

GRACE = 10
"""Seconds that requests in flight get at a stop."""


def serve(
    listen: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: 8990.")] = None,
    log_format: Annotated[
        Literal["auto", "json", "console"] | None, typer.Option(help="auto: JSON lines unless on a terminal.")
    ] = None,
) -> None:
    """Run the server: REST API and operations, in the foreground, until SIGTERM or Ctrl-C.

    Everything else is set by STEELYARD_* variables. Operations that have not ended at the stop go on at the next start.
    """
    given = {"listen": listen, "port": port, "log_format": log_format}
    settings = Settings().model_copy(update={key: value for key, value in given.items() if value is not None})
    run(settings)


def run(settings: Settings) -> None:
    """Serve until a signal comes. Raises `Unavailable` when the port or the home is in use."""
    import structlog
    import uvicorn

    import steelyard
    from steelyard import wiring
    from steelyard.events.serving import StreamServer, hanging_up
    from steelyard.web.logs import configure

    configure(settings.log_format, settings.log_level)
    log = structlog.get_logger("steelyard")
    os.umask(0o077)
    with _bound(settings.listen, settings.port) as listener, _alone(settings):
        built, operations = wiring.build(settings)
        server: uvicorn.Server | None = None

        def superseded() -> None:
            if server is not None:
                server.should_exit = True

        def going_down() -> None:
            built.streams.stop()
            built.webhooks.stop()

        operations.lease.on_lost(superseded)
        operations.launch()
        built.reconcilers.launch()
        clean = False
        try:
            config = uvicorn.Config(
                hanging_up(wiring.create_app(built)),
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=GRACE,
            )
            # uvicorn ends on a signal in good order and then raises it again, for whoever was there before: that is us,
            # and the operations have to be put aside first.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            log.info("serving", listen=settings.listen, port=settings.port, version=steelyard.__version__)
            server = StreamServer(config, going_down=going_down)
            server.run(sockets=[listener])
        finally:
            clean = built.reconcilers.close()
            clean = operations.close() and clean
            built.store.close()
            log.info("stopped", clean=clean)
    if not clean:
        # A step hangs in a call of its own; it is resumed at the next start. Python would wait for its thread.
        sys.stderr.flush()
        os._exit(0)


@contextlib.contextmanager
def _bound(address: str, port: int) -> Iterator[socket.socket]:
    """The listening socket, taken before anything else is started."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With its protocol named, asyncio sets TCP_NODELAY: without it an answer's body waits 40 ms for an acknowledgement.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(256)
        except OSError as error:
            raise Unavailable(
                f"Cannot listen on {address} port {port}: {error.strerror}.",
                code="port_in_use",
                next=f"ss -ltnp 'sport = :{port}'   # who has it; or: steelyard serve --port OTHER",
            ) from None
        yield listener


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """With SQLite, one server per home: two would both resume the same operations."""
    folder = settings.home / "steelyard"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "serve.lock").open("a")
    except OSError as error:
        raise Unavailable(
            f"{folder} cannot be used: {error.strerror}.", code="home_unusable", next="set STEELYARD_HOME"
        ) from None
    with lock:
        if settings.steelyard_database().startswith("sqlite"):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(
                    f"Another server runs on {settings.home}.",
                    code="home_in_use",
                    next="steelyard status   # several servers share the work on PostgreSQL (STEELYARD_DATABASE)",
                ) from None
        yield
