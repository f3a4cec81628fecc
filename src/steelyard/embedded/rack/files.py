"""What the rack keeps in files, and how: private (0600 in 0700 directories) and never half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from steelyard.embedded.rack.plan import Rack

RACK = "rack.json"
CREDENTIALS = "credentials.yaml"
SWITCHES = "switches.yaml"
STATE = "state"


def write_private(path: Path, content: bytes) -> None:
    """Replace a file at once with one of mode 0600; readers see the old content or the new, nothing between."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_rack(rack: Rack, home: Path, *, switch_port: int) -> None:
    """Write everything under HOME/rack that the rack's processes and its users read.

    * rack.json: the plan, BMC passwords included
    * credentials.yaml: the same passwords, in the form that `steelyard discover --credentials` reads
    * switches.yaml: how Steelyard reads the switches back (see `steelyard.hardware.switches`)
    * ca.pem: the authority that signs every BMC's certificate (kept if it is there)
    """
    from steelyard.embedded.rack.certificates import Authority

    directory = home / "rack"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / STATE).mkdir(mode=0o700, exist_ok=True)
    write_private(directory / RACK, rack.to_json().encode())
    write_private(directory / CREDENTIALS, _yaml(_CREDENTIALS_HEADER, credentials(rack)))
    write_private(directory / SWITCHES, _yaml(_SWITCHES_HEADER, switches(rack, home, switch_port=switch_port)))
    Authority.open(directory)


def credentials(rack: Rack) -> dict[str, Any]:
    """`{credentials: [{username, password, addresses: [BMC address]}]}`: each BMC of the rack has its own."""
    return {
        "credentials": [
            {"username": server.bmc_username, "password": server.bmc_password, "addresses": [server.bmc_address]}
            for server in rack.servers
        ]
    }


def switches(rack: Rack, home: Path, *, switch_port: int) -> dict[str, Any]:
    """`{switches: [{name, chassis_id, type, address, token_file}]}`; the token itself is not in it."""
    return {
        "switches": [
            {
                "name": switch.name,
                "chassis_id": switch.chassis_mac,
                "type": "simulated",
                "address": f"http://127.0.0.1:{switch_port}",
                "token_file": str(home / "secrets" / "rack_token"),
            }
            for switch in rack.switches
        ]
    }


def _yaml(header: str, document: Mapping[str, Any]) -> bytes:
    return (header + yaml.safe_dump(document, sort_keys=False)).encode()


_CREDENTIALS_HEADER = """\
# Credentials of the simulated rack's BMCs, for `steelyard discover CIDR --credentials THIS-FILE`.
# An entry with `addresses` (single addresses or CIDRs) is tried there only; one without, everywhere.
"""

_SWITCHES_HEADER = """\
# The switches that Steelyard reads back to verify isolation.
"""
