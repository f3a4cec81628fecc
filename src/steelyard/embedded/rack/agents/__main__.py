"""Start the agents."""

from steelyard.embedded.rack.agents.callback import serve
from steelyard.embedded.rack.process import run

run("agents", serve)
