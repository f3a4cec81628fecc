"""1,000 open event streams on one server: memory, delay of delivery, CPU; and how fast events are written.

The server is a process of its own, as `steelyard serve` runs it (uvicorn, the whole application), over an in-memory
cloud and a real database in a temporary directory. The clients are sockets of this process. Bounded: half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from embedded import Report

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
DEADLINE = 60.0


def serve(home: Path, streams: int) -> None:
    """The server's side: prints its port and a token, writes events on demand (a line on standard input each)."""
    import asyncio

    import structlog
    import uvicorn

    from steelyard.clouds.fake import FakeClouds, FakeWorld
    from steelyard.events.serving import StreamServer, hanging_up
    from steelyard.hardware.redfish.fake import FakeBmcProber
    from steelyard.hardware.switches.port import SwitchReaders
    from steelyard.operations.fake import FakeOperations
    from steelyard.settings import Settings
    from steelyard.store import Store
    from steelyard.wiring import assemble, create_app

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    world = FakeWorld()
    settings = Settings(home=home, event_streams=streams + 10, event_streams_per_user=streams + 10)
    store = Store.open(settings.steelyard_database(), key_file=settings.resolved_secret_keys())
    built = assemble(
        settings, clouds=FakeClouds(world), store=store, operations=FakeOperations(), switches=SwitchReaders(),
        prober=FakeBmcProber(),
    )  # fmt: skip
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    config = uvicorn.Config(
        hanging_up(create_app(built)), log_config=None, access_log=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=10,
    )  # fmt: skip
    server = StreamServer(config, going_down=built.streams.stop)

    def write() -> None:
        for line in sys.stdin:
            if line.strip() == "end":
                server.should_exit = True
                return
            # the moment is the event's own: what comes out is the whole way, commit included
            store.events.append("node:1", "bench.tick", actor="bench", detail=f"{time.monotonic():.6f}")
        server.should_exit = True

    threading.Thread(target=write, daemon=True).start()
    token = world.token(project="admin", roles={"admin"})
    print(json.dumps({"port": listener.getsockname()[1], "token": token}), flush=True)
    asyncio.run(server.serve(sockets=[listener]))
    print(json.dumps({"open": len(built.streams)}), flush=True)
    store.close()


class Clients:
    """Many streams on one selector."""

    def __init__(self, port: int, token: str) -> None:
        self._request = (
            f"GET /v1/events/stream HTTP/1.1\r\nHost: bench\r\nX-Auth-Token: {token}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        ).encode()
        self._port = port
        self._selector = selectors.DefaultSelector()
        self.sockets: list[socket.socket] = []
        self.delays: list[float] = []
        self.ends = 0

    def open(self, count: int) -> None:
        for _ in range(count):
            made = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            made.sendall(self._request)
            head = b""
            while b"\nid: " not in head:
                chunk = made.recv(4096)
                assert chunk, head[:300]
                head += chunk
            made.setblocking(False)
            self._selector.register(made, selectors.EVENT_READ)
            self.sockets.append(made)

    def take(self, until: int, seconds: float) -> None:
        """Read until so many deliveries have come (the delay of each is noted), or the time is over."""
        end = time.monotonic() + seconds
        while len(self.delays) < until and time.monotonic() < end:
            for key, _ in self._selector.select(0.2):
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                now = time.monotonic()
                if not data:
                    self._selector.unregister(key.fileobj)
                    continue
                self.ends += data.count(b"event: end")
                for part in data.split(b'"detail":"')[1:]:
                    text = part.split(b'"', 1)[0]
                    if text[:1].isdigit():
                        self.delays.append(now - float(text))

    def close(self) -> None:
        for each in self.sockets:
            each.close()


def streams(report: Report, count: int, events: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 200), hard))
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as directory:
        command = [sys.executable, __file__, "--serve", directory, "--streams", str(count)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            known = json.loads(process.stdout.readline())
            server = psutil.Process(process.pid)
            clients = Clients(known["port"], known["token"])
            clients.open(1)
            before = server.memory_info().rss
            begin = time.monotonic()
            clients.open(count - 1)
            report.add(f"{count} streams opened", time.monotonic() - begin, "s")
            opened = server.memory_info().rss
            cpu = sum(server.cpu_times()[:2])
            time.sleep(5)
            idle = sum(server.cpu_times()[:2]) - cpu
            report.add("memory per open stream", (opened - before) / (count - 1) / 1024, "KiB")
            report.add(f"memory of the server with {count} streams", opened / 1e6, "MB")
            report.add("CPU while nothing happens", idle / 5 * 100, "% of a core")
            for number in range(events):
                process.stdin.write("tick\n")
                process.stdin.flush()
                clients.take((number + 1) * count, 10)
            delays = sorted(clients.delays)
            assert len(delays) == count * events, f"{len(delays)} of {count * events} deliveries came"
            what = f"one event to {count} streams"
            report.add(f"{what}, median of {events}", statistics.median(delays) * 1000, "ms")
            report.add(f"{what}, 95th percentile", delays[int(len(delays) * 0.95)] * 1000, "ms")
            report.add(f"{what}, the last", delays[-1] * 1000, "ms")
            clients.delays.clear()
            begin = time.monotonic()
            process.stdin.write("tick\n" * 50)
            process.stdin.flush()
            clients.take(count * 50, DEADLINE)
            took = time.monotonic() - begin
            assert len(clients.delays) == count * 50, f"{len(clients.delays)} of {count * 50} deliveries came"
            report.add(f"50 events at once to {count} streams", took, "s")
            report.add("  deliveries", count * 50 / took, "a second")
            report.add("memory of the server afterwards", server.memory_info().rss / 1e6, "MB")
            begin = time.monotonic()
            process.stdin.write("end\n")
            process.stdin.flush()
            clients.take(1 << 62, 0.5)
            process.wait(30)
            report.add(f"stop with {count} streams open", time.monotonic() - begin, "s")
            report.add("  clients that were told so", clients.ends, "")
            clients.close()
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


def appends(report: Report, count: int) -> None:
    """How fast events are sealed and committed on SQLite, alone and by eight threads, and verified."""
    from steelyard.events.audit import AuditService
    from steelyard.store import Store

    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as directory:
        home = Path(directory)
        store = Store.open(f"sqlite:///{home / 'steelyard.sqlite'}", key_file=home / "keys")

        def write(number: int) -> None:
            for _ in range(number):
                store.events.append(
                    "node:1", "bench.tick", actor="bench", detail="x" * 80, data={"from": "a", "to": "b"}
                )

        begin = time.monotonic()
        write(count)
        report.add("events written, one a commit", count / (time.monotonic() - begin), "a second")
        threads = [threading.Thread(target=write, args=(count // 8,)) for _ in range(8)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report.add("the same by eight threads", count / (time.monotonic() - begin), "a second")
        begin = time.monotonic()
        with store.unit_of_work():
            write(count)
        report.add(f"events written, {count} in one commit", count / (time.monotonic() - begin), "a second")
        begin = time.process_time()
        verdict = AuditService(store=store, folder=home).verify(limit=count * 4)
        assert verdict.breaches == ()
        report.add("`audit verify`, CPU", verdict.checked / (time.process_time() - begin), "lines a second")
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--events", type=int, default=20, help="events whose delay is measured (default 20)")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.streams)
        return
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load before {os.getloadavg()[0]:.2f}", flush=True
    )
    report = Report()
    streams(report, options.streams, options.events)
    appends(report, 2000)
    print(f"\nload after {os.getloadavg()[0]:.2f}\n\n{report.table()}")


if __name__ == "__main__":
    main()
