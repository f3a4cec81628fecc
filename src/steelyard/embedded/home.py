"""STEELYARD_HOME: the one directory that holds everything of one embedded cloud.

home.json is written last when a home is made, so a home without it is one that was interrupted: what is there is kept
and the rest is made. Passwords are never in home.json.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steelyard.embedded import loopback
from steelyard.embedded.credentials import Credentials
from steelyard.embedded.files import make_directory, readable_errors, write_atomically
from steelyard.embedded.rack.plan import MAX_NICS, MAX_SERVERS
from steelyard.errors import Conflict, Invalid, NotFound

FORMAT = 1
PORT_NAMES = (
    "keystone", "glance", "placement", "neutron", "nova", "ironic", "steelyard",
    "bmc", "rack_bmc", "rack_agents", "rack_switch", "http",
)  # fmt: skip
CONTROLLER_PORTS = ("contrail",)
"""Chosen beside the others where a Contrail controller is the authority for networks."""
NETWORKS = ("neutron", "contrail")
DIRECTORIES = (
    "secrets", "etc", "db", "log", "run", "images", "http", "template", "cache", "rack", "rack/state", "steelyard",
)  # fmt: skip
RAMDISK_VLANS = {"provisioning": 2001, "cleaning": 2002, "inspection": 2003, "rescue": 2005}
QUARANTINE_VLAN = 2004
FIRST_SEGMENT_VLAN = 2101
MOST_SEGMENTS = 64
"""Beyond that nodes wait their turn: a conductor on one machine cleans and deploys no more at a time anyway."""


@dataclass(frozen=True)
class Record:
    """What home.json says. `nodes` is the size of the rack; `rack_network` its loopback /16, as "127.77"."""

    ports: Mapping[str, int]
    rack_network: str
    nodes: int
    database: str = "sqlite"
    """sqlite or postgresql; the address of a PostgreSQL server is a secret (it may hold a password)."""
    rpc: str = "fake"
    """fake (in memory) or rabbit; the address of a broker is a secret."""
    network: str = "neutron"
    """Who is the authority for networks, addresses and switch ports: neutron, or contrail (a controller of ours)."""
    nics: int = 2
    """Of each server."""
    filters: bool = True
    """Whether the switches filter by security groups; some models cannot."""
    created: str = ""
    format: int = FORMAT
    ramdisk_vlans: Mapping[str, int] = field(default_factory=lambda: dict(RAMDISK_VLANS))
    segments: int = 0
    """How many networks there are of which each node in transition has one to itself."""
    first_segment_vlan: int = FIRST_SEGMENT_VLAN

    @property
    def segment_vlans(self) -> range:
        return range(self.first_segment_vlan, self.first_segment_vlan + self.segments)


@dataclass(frozen=True)
class Home:
    """One home on disk. `openstack` is the virtual environment of the services."""

    root: Path
    openstack: Path
    record: Record

    def path(self, *parts: str) -> Path:
        """A path inside of the home."""
        return self.root.joinpath(*parts)

    def port(self, name: str) -> int:
        """The port chosen for a service or a part of the rack."""
        return self.record.ports[name]

    def url(self, name: str) -> str:
        """Base address of a service, without a path."""
        return f"http://127.0.0.1:{self.port(name)}"

    @property
    def credentials(self) -> Credentials:
        """The secrets of this home."""
        return Credentials(self.path("secrets"))

    @property
    def python(self) -> Path:
        """Interpreter of the services' environment."""
        return self.openstack / "bin" / "python"


@dataclass(frozen=True)
class Wish:
    """What the user asked `up` for; None where nothing was said."""

    nodes: int | None = None
    database: str | None = None
    rpc: str | None = None
    network: str | None = None
    nics: int | None = None
    filters: bool | None = None
    new_ports: bool = False


def exists(root: Path) -> bool:
    """Whether a complete home is there."""
    return (root / "home.json").is_file()


def load(root: Path, openstack: Path) -> Home:
    """Read a home. Raises NotFound when there is none, Invalid when home.json is damaged or of a newer version."""
    path = root / "home.json"
    if not path.is_file():
        raise NotFound(f"no embedded cloud in {root}", code="no_home", next="steelyard up")
    try:
        with readable_errors(path):
            text = path.read_text(encoding="utf-8")
        record = _record(json.loads(text))
    except (ValueError, TypeError) as error:
        raise Invalid(
            f"{path} cannot be read as the record of an embedded cloud: {error}",
            code="home_damaged",
            next="steelyard reset --all --yes  (removes everything in this home), then: steelyard up",
        ) from error
    return Home(root, openstack, record)


def _record(content: Any) -> Record:
    """The record in a parsed home.json. Raises ValueError or TypeError when it is none."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"not a record of format {FORMAT}")
    record = Record(**content)
    if record.network not in NETWORKS:
        raise ValueError(f"an unknown network authority {record.network!r}")
    if not isinstance(record.ports, dict) or any(
        not isinstance(record.ports.get(name), int) for name in port_names(record.network)
    ):
        raise ValueError("a port is missing")
    if not isinstance(record.nodes, int) or not re.fullmatch(r"127\.\d+", record.rack_network):
        raise ValueError("the rack is not described")
    if not isinstance(record.nics, int) or not 1 <= record.nics <= MAX_NICS:
        raise ValueError("the servers' NICs are not described")
    if not isinstance(record.filters, bool):
        raise ValueError("the switches' filters are neither there nor not")
    return record


def prepare(root: Path, openstack: Path, wish: Wish) -> Home:
    """Make the home, or bring an existing one (also a half-made one) in line with the wish; nothing is started.

    Raises Conflict when the wish cannot be had without losing data, Unavailable when a recorded port is taken or the
    disk refuses.
    """
    if wish.nodes is not None and not 1 <= wish.nodes <= MAX_SERVERS:
        raise Invalid(f"--nodes {wish.nodes}: a rack has 1 to {MAX_SERVERS} servers", code="nodes_out_of_range")
    if wish.nics is not None and not 1 <= wish.nics <= MAX_NICS:
        raise Invalid(f"--nics {wish.nics}: a server has 1 to {MAX_NICS} NICs", code="nics_out_of_range")
    check_root(root)
    check_database(wish.database)
    check_rpc(wish.rpc)
    check_network(wish.network)
    for directory in ("", *DIRECTORIES):
        make_directory(root / directory)
    credentials = Credentials(root / "secrets")
    credentials.ensure()
    record = _changed(load(root, openstack).record, wish) if exists(root) else _new(wish)
    if wish.database is not None and record.database != "sqlite":
        credentials.store("database_url", wish.database)
    if wish.rpc is not None and record.rpc != "fake":
        credentials.store("rpc_url", wish.rpc)
    loopback.check_free(record.ports, f"{record.rack_network}.1.1")
    write_atomically(root / "home.json", json.dumps(asdict(record), indent=1))
    return Home(root, openstack, record)


def _new(wish: Wish) -> Record:
    network = wish.network or "neutron"
    ports = loopback.choose_ports(port_names(network))
    return Record(
        ports=ports,
        rack_network=loopback.choose_rack_network(ports["bmc"]),
        nodes=wish.nodes or 8,
        segments=segments_for(wish.nodes or 8),
        database="postgresql" if (wish.database or "sqlite") != "sqlite" else "sqlite",
        rpc="rabbit" if (wish.rpc or "fake://") != "fake://" else "fake",
        network=network,
        nics=wish.nics or 2,
        filters=wish.filters is not False,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _changed(record: Record, wish: Wish) -> Record:
    if wish.nodes is not None and wish.nodes < record.nodes:
        raise Conflict(
            f"the rack has {record.nodes} servers and cannot shrink to {wish.nodes}: some may be enrolled",
            code="rack_cannot_shrink",
            next=f"steelyard reset --yes, then: steelyard up --nodes {wish.nodes}",
        )
    check_fixed(record, wish)
    if wish.nodes is not None:
        record = replace(record, nodes=wish.nodes)
    record = replace(record, segments=max(record.segments, segments_for(record.nodes)))
    if wish.new_ports:
        record = _with_new_ports(record)
    return record


def segments_for(nodes: int) -> int:
    """Segments for a rack of this size: one for each node, as all may be in transition at once."""
    return min(nodes, MOST_SEGMENTS)


def check_fixed(record: Record, wish: Wish) -> None:
    """Raise Conflict if another database, broker, network authority or number of NICs is wished for than the home was
    made with, or filters where it was made without."""
    nics = None if wish.nics is None else str(wish.nics)
    for name, wanted in (("database", wish.database), ("rpc", wish.rpc), ("network", wish.network), ("nics", nics)):
        if wanted is not None and not wanted.startswith(str(getattr(record, name))):
            raise Conflict(
                f"this home was made with {name} {getattr(record, name)}",
                code=f"{name}_fixed",
                next=f"steelyard reset --all --yes, then: steelyard up --{name} …; or use another STEELYARD_HOME",
            )
    if wish.filters is not None and wish.filters is not record.filters:
        asked = "--filters" if wish.filters else "--no-filters"
        raise Conflict(
            f"this home was made with switches that filter {'by security groups' if record.filters else 'nothing'}",
            code="filters_fixed",
            next=f"steelyard reset --all --yes, then: steelyard up {asked}; or use another STEELYARD_HOME",
        )


def _with_new_ports(record: Record) -> Record:
    """Other ports for the services; the BMCs keep theirs while it is free, as nodes know it by heart."""
    ports = loopback.choose_ports(
        (name for name in port_names(record.network) if name != "bmc"), taken=record.ports.values()
    )
    bmc = record.ports["bmc"]
    if not loopback.is_free(f"{record.rack_network}.1.1", bmc):
        raise Conflict(
            f"port {bmc} of the BMCs is taken by {loopback.holder(bmc, f'{record.rack_network}.1.1')}; enrolled nodes "
            "know their BMC by this port",
            code="bmc_port_in_use",
            next="end that process, or: steelyard reset --all --yes, then: steelyard up",
        )
    return replace(record, ports={**ports, "bmc": bmc})


def port_names(network: str) -> tuple[str, ...]:
    """The ports that a home with this network authority has."""
    return (*PORT_NAMES, *CONTROLLER_PORTS) if network == "contrail" else PORT_NAMES


def check_root(root: Path) -> None:
    """Raise Invalid for a path that a configuration file or a database address would read as something else."""
    if not root.is_absolute() or not re.fullmatch(r"[\w./@+=~-]+", str(root)):
        raise Invalid(
            f"{str(root)!r}: the home's path may hold letters, digits and ./@+=~_- only",
            code="bad_home",
            next="export STEELYARD_HOME=~/.steelyard",
        )


def check_database(url: str | None) -> None:
    """Raise Invalid unless it is None, "sqlite" or the address of a PostgreSQL server without a database name."""
    from urllib.parse import urlsplit

    if url is None or url == "sqlite":
        return
    parts = urlsplit(url)
    if parts.scheme != "postgresql" or not parts.hostname or parts.path not in ("", "/"):
        raise Invalid(
            "--database takes sqlite or postgresql://USER[:PASSWORD]@HOST:PORT/ (no database name: each service has "
            "its own)",
            code="bad_database_url",
        )


def check_rpc(url: str | None) -> None:
    """Raise Invalid unless it is None, "fake://" or the address of a RabbitMQ broker."""
    from urllib.parse import urlsplit

    if url is None or url == "fake://":
        return
    parts = urlsplit(url)
    if parts.scheme != "rabbit" or not parts.hostname:
        raise Invalid("--rpc takes fake:// or rabbit://USER:PASSWORD@HOST:PORT/VHOST", code="bad_rpc_url")


def check_network(name: str | None) -> None:
    """Raise Invalid unless it is None or the name of a network authority."""
    if name is not None and name not in NETWORKS:
        raise Invalid(f"--network takes {' or '.join(NETWORKS)}, not {name!r}", code="bad_network")


@contextmanager
def locked(root: Path, name: str) -> Iterator[bool]:
    """Hold one of the home's locks; gives False at once when somebody else holds it. Ends with the process."""
    path = make_directory(root / "run") / f"{name}.lock"
    with readable_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
