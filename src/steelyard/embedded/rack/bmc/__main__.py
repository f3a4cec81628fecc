"""Start the hardware and its BMCs."""

from steelyard.embedded.rack.bmc.control import serve
from steelyard.embedded.rack.process import run

run("bmc", serve)
