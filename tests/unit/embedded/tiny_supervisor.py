"""A supervisor with a plan of one step and one service: `tiny_supervisor.py well|failing --home H --openstack E`."""

from __future__ import annotations

import sys

from steelyard.embedded import supervisor
from steelyard.embedded.home import Home
from steelyard.embedded.processes import MARK
from steelyard.embedded.units import Plan, Service, Step

FAIL = "import pathlib, sys; sys.exit('the password is ' + pathlib.Path(sys.argv[1]).read_text())"


def tiny_plan(home: Home) -> Plan:
    """One step, one service."""
    environment = {MARK: str(home.root)}
    password = str(home.credentials.path("admin_password"))
    program = FAIL if sys.argv[1] == "failing" else "pass"
    seed = Step("seed", "Seed", (sys.executable, "-I", "-S", "-c", program, password), environment=environment)
    return Plan((seed,), (Service("sleeper", ("/bin/sleep", "1000"), environment=environment, needs=("seed",)),))


if __name__ == "__main__":
    sys.exit(supervisor.main(sys.argv[2:], planner=tiny_plan))
