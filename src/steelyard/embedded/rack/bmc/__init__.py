"""The simulated hardware and its BMCs, all in one process: `python -m steelyard.embedded.rack.bmc --home HOME`.

Read in this order: makes (how the two makes differ), hardware (what a server is and does when told), resources (what
its Redfish service shows), actions (what it can be told), service (authentication, faults, errors), listener (one
address and certificate per BMC), control (the rack's side: state, disks, faults).

Sources: DMTF DSP0266 (Redfish specification 1.15) and DSP0268 (schemas 2022.1), as far as onboarding, deploying and
power need them. What is not there answers 404, as on real BMCs.
"""
