"""What every launcher does around an upstream service: quick imports, cheroot on loopback, an orderly end."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any


def quick_imports() -> None:
    """No garbage collection while thousands of modules are imported (all of it is kept): a tenth of the start."""
    gc.disable()


def imports_done() -> None:
    """Collect garbage again, without ever looking at what the imports left."""
    gc.collect()
    gc.freeze()
    gc.enable()


def serve(application: Callable[..., Any], port: int, threads: int, name: str) -> None:
    """Serve a WSGI application on 127.0.0.1 until SIGTERM or SIGINT; then end the process.

    Ends with os._exit: the services leave non-daemonic threads behind that would hold up the interpreter's end.
    """
    from cheroot import wsgi

    server = wsgi.Server(
        ("127.0.0.1", port),
        application,
        numthreads=threads,
        max=threads,
        server_name=name,
        request_queue_size=256,
        timeout=60,
        shutdown_timeout=2,
    )
    stopping = threading.Event()

    def stop(_signal: int, _frame: object) -> None:
        if not stopping.is_set():
            stopping.set()
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    imports_done()
    code = 0
    try:
        server.start()
    except KeyboardInterrupt:
        pass
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{port}: {error}", file=sys.stderr)
        code = 1
    finally:
        stopping.set()
        server.stop()
        sys.stderr.flush()
        os._exit(code)
