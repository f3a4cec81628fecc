"""The mechanism driver of hosts without a hypervisor, loaded by its entry point as Neutron does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

OPENSTACK = Path(os.environ.get("STEELYARD_OPENSTACK_ENV", Path(__file__).parents[3] / ".venvs" / "openstack"))
PYTHON = OPENSTACK / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason=f"the driver runs inside Neutron, and the OpenStack environment is not installed in {OPENSTACK}",
)


def port(host: str, vnic_type: str, *segments: str) -> dict[str, Any]:
    listed = [{"id": f"s-{kind}", "network_type": kind, "segmentation_id": 101} for kind in segments]
    return {"host": host, "vnic_type": vnic_type, "segments": listed}


def bind(hosts: list[str], *ports: dict[str, Any]) -> list[Any]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [str(PYTHON), "-W", "ignore", str(Path(__file__).with_name("virtual_script.py")), json.dumps([hosts, ports])],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_only_virtual_machines_on_a_named_host_are_bound() -> None:
    bound = bind(
        ["virtual-1"],
        port("virtual-1", "normal", "vlan"),
        port("virtual-1", "normal", "vxlan", "vlan"),
        port("virtual-1", "normal", "vxlan"),
        port("virtual-1", "normal"),
        port("virtual-1", "baremetal", "vlan"),
        port("virtual-1", "direct", "vlan"),
        port("somewhere", "normal", "vlan"),
        port("", "normal", "vlan"),
    )
    as_it_stands = ["s-vlan", "other", {}, "ACTIVE"]
    assert bound == [as_it_stands, as_it_stands, None, None, None, None, None, None]
