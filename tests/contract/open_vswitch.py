"""A real Open vSwitch without a kernel module, without rights and without the network: its database server on a Unix
socket, and its switch with the dummy datapath that Open vSwitch's own tests use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
BRIDGE = "tor1"
WITHIN = 15.0


@dataclass
class OpenVSwitch:
    folder: Path
    mac: str = ""

    def __call__(self, *words: str) -> str:
        """ovs-vsctl with these arguments; waits until the switch has taken a change up."""
        command = ["ovs-vsctl", f"--db={self.address}", "--timeout=10", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=WITHIN).stdout

    @property
    def address(self) -> str:
        return f"unix:{self.folder}/db.sock"

    def entry(self, **changes: Any) -> dict[str, Any]:
        fields = {
            "name": "leaf1", "chassis_id": self.mac, "type": "openvswitch", "bridge": BRIDGE, "address": self.address,
            "timeout": 5,
        }  # fmt: skip
        return fields | changes

    def add_port(self, name: str, *settings: str) -> None:
        self("add-port", BRIDGE, name, *settings, "--", "set", "interface", name, "type=dummy")

    def set_port(self, port: str, untagged: int | None, tagged: frozenset[int], enabled: bool) -> None:
        """A port that carries nothing is one that trunks VLAN 4095, which no frame can have."""
        trunks = ",".join(map(str, sorted(tagged)))
        if untagged is None and not tagged:
            words = ["tag=[]", "trunks=[]", "vlan_mode=access"]
        elif untagged is None:
            words = ["tag=[]", f"trunks=[{trunks}]", "vlan_mode=trunk"]
        else:
            words = [f"tag={untagged}", f"trunks=[{trunks}]", f"vlan_mode={'native-untagged' if tagged else 'access'}"]
        self("set", "port", port, *words)
        # What `ip link set PORT down` is for a port of the kernel's.
        control = ["ovs-appctl", "-t", str(self.folder / "vswitchd.ctl")]
        state = "up" if enabled else "down"
        subprocess.run([*control, "netdev-dummy/set-admin-state", port, state], check=True, capture_output=True)
        wanted = f"admin_state={state}"
        self("wait-until", "interface", port, wanted)

    def stop(self, *daemons: str) -> None:
        for name in daemons or ("vswitchd", "db"):
            file = self.folder / f"{name}.pid"
            if file.exists():
                _end(int(file.read_text()))


def _end(pid: int) -> None:
    try:
        daemon = psutil.Process(pid)
        daemon.terminate()
        daemon.wait(WITHIN)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        daemon.kill()


@contextmanager
def open_vswitch(*ports: str) -> Iterator[OpenVSwitch]:
    """One with these ports, in no VLAN. Skips where Open vSwitch is not installed."""
    missing = [
        tool for tool in ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl") if shutil.which(tool) is None
    ]
    if missing:
        pytest.skip(
            f"Open vSwitch is NOT tested: {', '.join(missing)} missing (scripts/setup --test as root installs it)"
        )
    # A short path: the name of a Unix socket may have about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="ovs-", dir="/tmp") as name:
        folder = Path(name)
        switch = OpenVSwitch(folder)
        environment = {**os.environ, "OVS_RUNDIR": name, "OVS_LOGDIR": name, "OVS_DBDIR": name}

        def run(*words: str) -> None:
            subprocess.run(words, env=environment, check=True, capture_output=True, timeout=WITHIN)

        run("ovsdb-tool", "create", f"{name}/conf.db", str(SCHEMA))
        common = ("--detach", "--no-chdir", "--verbose=ANY:console:off")
        try:
            run("ovsdb-server", f"{name}/conf.db", f"--remote=punix:{name}/db.sock", f"--unixctl={name}/db.ctl",
                f"--pidfile={name}/db.pid", f"--log-file={name}/db.log", *common)  # fmt: skip
            switch("--no-wait", "init")
            run("ovs-vswitchd", switch.address, "--enable-dummy=override", "--disable-system",
                f"--unixctl={name}/vswitchd.ctl", f"--pidfile={name}/vswitchd.pid", f"--log-file={name}/vswitchd.log",
                *common)  # fmt: skip
            switch("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=dummy")
            switch.mac = switch("get", "interface", BRIDGE, "mac_in_use").strip().strip('"')
            for port in ports:
                switch.add_port(port)
            yield switch
        finally:
            switch.stop()
