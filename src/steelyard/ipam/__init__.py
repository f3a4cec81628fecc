"""IPAM: one address plan for virtual machines and bare metal."""
