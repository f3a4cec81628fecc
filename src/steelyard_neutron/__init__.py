"""Loaded inside Neutron: drivers by which a Contrail controller is its authority; security groups at the switch ports
of networking-generic-switch; drivers of simulated switches and virtual hosts.

Imports nothing of `steelyard`: it is installed by itself into the OpenStack services' environment.
"""

__version__ = "0.1.0"
