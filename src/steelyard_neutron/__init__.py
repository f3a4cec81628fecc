"""Loaded inside Neutron: the networking-generic-switch driver of Steelyard's simulated switches, and virtual hosts.

Imports nothing of `steelyard`: it is installed by itself into the OpenStack services' environment.
"""

__version__ = "0.1.0"
