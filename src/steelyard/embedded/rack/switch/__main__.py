"""Start the switches."""

from steelyard.embedded.rack.process import run
from steelyard.embedded.rack.switch.api import serve

run("switch", serve)
