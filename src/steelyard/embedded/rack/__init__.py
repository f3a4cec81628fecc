"""The simulated rack: servers that exist only as their BMC, their switch ports and the agent that they boot.

Three processes, one per kind of thing and not per server, each started as `python -m`:

* `steelyard.embedded.rack.bmc`     the hardware: power, boot, media, disks; a Redfish service per server
* `steelyard.embedded.rack.switch`  the top-of-rack switches: what VLAN each port carries
* `steelyard.embedded.rack.agents`  ironic-python-agent, for every server that is on and booted from its media

The processes share no memory. The agents learn of power and VLANs over the other two's control endpoints, as a real
ramdisk learns of them by being cut off.
"""
