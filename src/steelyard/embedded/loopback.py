"""Free ports and free addresses on loopback, and who holds one that is taken."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from steelyard.errors import Unavailable

PORT_RANGE = range(20000, 32000)
"""Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that none is taken while
the cloud is down."""
RACK_NETWORKS = range(20, 251)
"""X of the 127.X.0.0/16 that holds a rack's BMC addresses."""


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen on `address:port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_ports(names: Iterable[str], *, taken: Iterable[int] = ()) -> dict[str, int]:
    """One free port of 127.0.0.1 for each name, none of `taken`. Raises Unavailable when there are not enough."""
    used = set(taken)
    candidates = [port for port in PORT_RANGE if port not in used]
    random.shuffle(candidates)
    chosen: dict[str, int] = {}
    for name in names:
        while True:
            if not candidates:
                raise Unavailable(f"no free port between {PORT_RANGE.start} and {PORT_RANGE.stop}")
            port = candidates.pop()
            if is_free("127.0.0.1", port):
                chosen[name] = port
                break
    return chosen


def choose_rack_network(bmc_port: int) -> str:
    """A loopback /16 ("127.77") where nobody listens and where `bmc_port` is free."""
    busy = {address.split(".")[1] for address, _port in listeners() if address.startswith("127.")}
    candidates = [number for number in RACK_NETWORKS if str(number) not in busy]
    random.shuffle(candidates)
    for number in candidates:
        if is_free(f"127.{number}.1.1", bmc_port):
            return f"127.{number}"
    raise Unavailable(
        "no loopback network is free for the rack's BMCs", next="end another embedded cloud: steelyard down"
    )


def listeners() -> dict[tuple[str, int], int]:
    """Every listening IPv4 socket of the machine, (address, port) -> inode, from /proc/net/tcp."""
    found: dict[tuple[str, int], int] = {}
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] != "0A":  # TCP_LISTEN
            continue
        address, port = fields[1].split(":")
        found[socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)] = int(fields[9])
    return found


def holder(port: int, address: str = "127.0.0.1") -> str:
    """Who listens on the port: "process 4711 (nginx)", or that it is not visible to us."""
    inodes = {
        inode
        for (bound, number), inode in listeners().items()
        if number == port and bound in (address, "0.0.0.0")  # noqa: S104
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(str(handle.readlink()) in wanted for handle in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"process {process.name} ({name})"
        except OSError:
            continue  # ended meanwhile, or another user's
    return "a process of another user" if wanted else "a process that does not listen on it yet"


def check_free(ports: Mapping[str, int], bmc_address: str) -> None:
    """Raise Unavailable naming port, service and holder when a recorded port is taken."""
    for name, port in ports.items():
        address = bmc_address if name == "bmc" else "127.0.0.1"
        if not is_free(address, port):
            raise Unavailable(
                f"port {port} on {address}, which this home uses for {name}, is taken by {holder(port, address)}",
                code="port_in_use",
                next="end that process, or choose other ports: steelyard up --new-ports",
            )
