"""The simulated top-of-rack switches, all in one process: `python -m steelyard.embedded.rack.switch --home HOME`.

Configured by networking-generic-switch (`steelyard_neutron`), read back by Steelyard (`hardware/switches`). Every
change of a port is written to an append-only log before it is acknowledged, with wall and monotonic time, so that a
test can prove where each port was at every instant.
"""
