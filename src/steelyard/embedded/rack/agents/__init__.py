"""ironic-python-agent for every server, in one process: `python -m steelyard.embedded.rack.agents --home HOME`.

There is an agent for a server while, and only while, that server is on and runs the ramdisk (the bmc process says
so); it reaches the bare metal service while its boot NIC's switch port carries one of the ramdisk VLANs (the switch
process says so). Cut off, it answers nobody, waits and tries again.

Read in this order: inventory (what it reports), steps (what it can do to the server's disks), commands (what it is
doing), agent (its life, from boot to power off), fleet (which agents there are), callback (where Ironic reaches them).

Source: the agent's API and behaviour as Ironic 39 uses them (ironic/drivers/modules/agent_client.py, agent_base.py).
"""
