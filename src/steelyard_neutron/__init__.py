"""Loaded inside Neutron: drivers by which a Contrail controller is its authority, and those of simulated switches and
virtual hosts.

Imports nothing of `steelyard`: it is installed by itself into the OpenStack services' environment.
"""

__version__ = "0.1.0"
