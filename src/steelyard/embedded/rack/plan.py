"""The plan of the simulated rack: which servers and switches there are, and how they are cabled.

Everything that identifies a server (UUID, serial numbers, MAC and BMC addresses, size, cabling) follows from the seed
and the server's number alone, so a rack of 300 begins with the very servers of a rack of 8. Only the BMC passwords
are random; growing or re-planning a rack keeps those that it has.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from steelyard.errors import Invalid

MAX_SERVERS = 1000
MAX_NICS = 4
SERVERS_PER_BLOCK = 250
"""BMC addresses per third octet, so that the last one stays clear of .0 and .255."""

FORMAT = 1
"""Version of the JSON form; another one is refused rather than guessed at."""

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Disk:
    name: str
    """As the ramdisk's kernel calls it: sda, nvme0n1."""
    size_bytes: int
    serial: str
    wwn: str
    """World wide name with 0x, unique in the rack (SCSI SPC-4 7.8.6, NAA 5)."""
    rotational: bool
    model: str


@dataclass(frozen=True, slots=True)
class Nic:
    name: str
    """As the ramdisk's kernel calls it."""
    mac: str
    switch: str
    """Name of the switch at the other end of the cable."""
    switch_mac: str
    """That switch's chassis id, as its LLDP frames carry it."""
    port: str
    """Port name, as that switch calls it."""
    speed_mbps: int


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    """Host name, bm-001 onwards; also the target's name in faults."""
    uuid: str
    serial: str
    vendor: str
    model: str
    size: str
    """small, medium or large."""
    cpus: int
    """Logical processors."""
    cpu_model: str
    memory_mib: int
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    """The first one is the boot NIC."""
    bmc_address: str
    bmc_mac: str
    bmc_username: str
    bmc_password: str = field(repr=False)

    @property
    def boot_nic(self) -> Nic:
        return self.nics[0]


@dataclass(frozen=True, slots=True)
class Switch:
    name: str
    chassis_mac: str
    ports: tuple[str, ...]
    """Names of the ports: those that have a cable in them, and a few spare ones that a cable could be moved to."""


@dataclass(frozen=True, slots=True)
class Rack:
    network: str
    """First two octets of the rack's own loopback /16, e.g. 127.77."""
    bmc_port: int
    """TCP port on which every BMC serves Redfish over TLS, each at its own address."""
    seed: str
    servers: tuple[Server, ...]
    switches: tuple[Switch, ...]

    def to_json(self) -> str:
        """The whole plan, passwords included: for files of mode 0600 only."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Rack:
        """Raises Invalid when the text is not a plan of this version, saying which part is not."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise Invalid(f"The rack plan is not JSON: {error}", code="rack_plan") from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise Invalid(
                "The rack plan has an unknown format",
                code="rack_plan",
                next="steelyard reset --all --yes, then: steelyard up",
            )
        try:
            return _rack_of(document)
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(
                f"The rack plan is damaged ({type(error).__name__} at {error})",
                code="rack_plan",
                next="steelyard reset --all --yes, then: steelyard up",
            ) from None

    def server(self, name: str) -> Server:
        """Raises KeyError for an unknown name."""
        for server in self.servers:
            if server.name == name:
                return server
        raise KeyError(name)

    def switch(self, name: str) -> Switch:
        """Raises KeyError for an unknown name."""
        for switch in self.switches:
            if switch.name == name:
                return switch
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class _Size:
    cpus: int
    cpu_model: str
    memory_mib: int
    disks: tuple[tuple[str, int, bool, str], ...]
    """name, bytes, rotational, model"""
    speed_mbps: int


@dataclass(frozen=True, slots=True)
class _Make:
    vendor: str
    models: Mapping[str, str]
    nic_names: tuple[str, ...]
    """As many as a server may have."""
    serial_prefix: str
    bmc_username: str


_SIZES = {
    "small": _Size(8, "Simulated CPU 8C 2.4 GHz", 32 * 1024, (("sda", 480_103_981_056, False, "SD480"),), 10_000),
    "medium": _Size(
        32,
        "Simulated CPU 32C 2.6 GHz",
        128 * 1024,
        tuple((d, 960_197_124_096, False, "SD960") for d in ("sda", "sdb")),
        25_000,
    ),
    "large": _Size(
        64,
        "Simulated CPU 64C 2.9 GHz",
        512 * 1024,
        (
            ("nvme0n1", 1_920_383_410_176, False, "NV1920"),
            ("sda", 4_000_787_030_016, True, "HD4000"),
            ("sdb", 4_000_787_030_016, True, "HD4000"),
        ),
        100_000,
    ),
}
_MAKES = (
    _Make(
        "Ferrum",
        {"small": "Ferrum F110", "medium": "Ferrum F230", "large": "Ferrum F460"},
        ("eno1", "eno2", "eno3", "eno4"),
        "FE",
        "admin",
    ),
    _Make(
        "Nordmark",
        {"small": "Nordmark N10 G3", "medium": "Nordmark N20 G3", "large": "Nordmark N40 G3"},
        ("ens1f0np0", "ens1f1np1", "ens2f0np0", "ens2f1np1"),
        "NM",
        "root",
    ),
)
_SWITCHES = ("leaf1", "leaf2")
_SECOND_ROW = 2000
"""Added to the number of the switch port of a server's third and fourth NIC: clear of the largest rack's others."""
SPARE_PORTS = 2
"""Of each switch, beside those that servers are cabled to."""


def plan_rack(
    nodes: int, *, network: str, bmc_port: int, seed: str, nics: int = 2, previous: Rack | None = None
) -> Rack:
    """Plan a rack of `nodes` servers with `nics` NICs each, cabled to the two leaves in turn.

    `network` is the first two octets of a loopback /16 ("127.77"). `previous` is the rack as it was, whose BMC
    passwords are kept for the servers that stay. Raises Invalid for a number, network or port that cannot be.
    """
    if not 1 <= nodes <= MAX_SERVERS:
        raise Invalid(f"A rack has 1 to {MAX_SERVERS} servers, not {nodes}", code="rack_size")
    if not 1 <= nics <= MAX_NICS:
        raise Invalid(f"A server has 1 to {MAX_NICS} NICs, not {nics}", code="rack_nics")
    if not re.fullmatch(r"127\.(\d{1,3})", network) or not 1 <= int(network.split(".")[1]) <= 254:
        raise Invalid(f"The rack's network must be 127.1 to 127.254, not {network!r}", code="rack_network")
    if not 1 <= bmc_port <= 65535:
        raise Invalid(f"{bmc_port} is not a TCP port", code="rack_port")
    passwords = {}
    if previous is not None and previous.seed == seed:
        passwords = {server.uuid: server.bmc_password for server in previous.servers}
    servers = tuple(
        _server(number, network=network, seed=seed, nics=nics, passwords=passwords) for number in range(nodes)
    )
    switches = tuple(
        Switch(
            name=name,
            chassis_mac=_switch_mac(seed, name),
            ports=(
                *(nic.port for server in servers for nic in server.nics if nic.switch == name),
                *(f"Ethernet{nodes + 1 + number}" for number in range(SPARE_PORTS)),
            ),
        )
        for name in _SWITCHES
    )
    return Rack(network=network, bmc_port=bmc_port, seed=seed, servers=servers, switches=switches)


def bmc_range(rack: Rack) -> tuple[str, ...]:
    """The networks (CIDR) that hold every BMC of the rack: what to sweep."""
    blocks = sorted({ipaddress.ip_network(f"{server.bmc_address}/24", strict=False) for server in rack.servers})
    return tuple(str(block) for block in blocks)


def _server(number: int, *, network: str, seed: str, nics: int, passwords: Mapping[str, str]) -> Server:
    # Pairs of one size, so that the first eight servers have every size in both makes.
    make = _MAKES[number % len(_MAKES)]
    size_name = tuple(_SIZES)[(number // len(_MAKES)) % len(_SIZES)]
    size = _SIZES[size_name]
    digest = hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, f"steelyard-rack/{seed}/{number}"))
    return Server(
        name=f"bm-{number + 1:03d}",
        uuid=identity,
        serial=f"{make.serial_prefix}{digest[:5].upper()}{number + 1:04d}",
        vendor=make.vendor,
        model=make.models[size_name],
        size=size_name,
        cpus=size.cpus,
        cpu_model=size.cpu_model,
        memory_mib=size.memory_mib,
        disks=tuple(
            Disk(
                name=name,
                size_bytes=size_bytes,
                serial=f"S{digest[5:10].upper()}{number + 1:04d}{index}",
                wwn=f"0x5000{digest[10:17]}{number + 1:04x}{index:x}",
                rotational=rotational,
                model=model,
            )
            for index, (name, size_bytes, rotational, model) in enumerate(size.disks)
        ),
        nics=tuple(
            Nic(
                name=make.nic_names[index],
                mac=_mac(seed, number, index + 1),
                switch=_SWITCHES[index % len(_SWITCHES)],
                switch_mac=_switch_mac(seed, _SWITCHES[index % len(_SWITCHES)]),
                port=f"Ethernet{_SECOND_ROW * (index // len(_SWITCHES)) + number + 1}",
                speed_mbps=size.speed_mbps,
            )
            for index in range(nics)
        ),
        bmc_address=f"{network}.{1 + number // SERVERS_PER_BLOCK}.{1 + number % SERVERS_PER_BLOCK}",
        bmc_mac=_mac(seed, number, 0),
        bmc_username=make.bmc_username,
        bmc_password=passwords.get(identity) or secrets.token_urlsafe(15),
    )


def _seed_bytes(seed: str) -> bytes:
    return hashlib.sha256(seed.encode()).digest()


def _mac(seed: str, number: int, interface: int) -> str:
    """Locally administered (first octet 02); number and interface inside, so unique in the rack by construction."""
    first, second = _seed_bytes(seed)[:2]
    octets = (0x02, first, second, number >> 8, number & 0xFF, interface)
    return ":".join(f"{octet:02x}" for octet in octets)


def _switch_mac(seed: str, name: str) -> str:
    first, second = _seed_bytes(seed)[:2]
    octets = (0x02, first, second, 0xFF, 0x00, _SWITCHES.index(name) + 1)
    return ":".join(f"{octet:02x}" for octet in octets)


def _rack_of(document: Mapping[str, Any]) -> Rack:
    return Rack(
        network=str(document["network"]),
        bmc_port=int(document["bmc_port"]),
        seed=str(document["seed"]),
        servers=tuple(
            Server(
                **{
                    **server,
                    "disks": tuple(Disk(**disk) for disk in server["disks"]),
                    "nics": tuple(Nic(**nic) for nic in server["nics"]),
                }
            )
            for server in document["servers"]
        ),
        switches=tuple(Switch(**{**switch, "ports": tuple(switch["ports"])}) for switch in document["switches"]),
    )
