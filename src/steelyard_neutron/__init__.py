"""Loaded inside Neutron: drivers by which a Contrail controller is its authority, and that of the simulated switches.

Imports nothing of `steelyard`: it is installed by itself into the OpenStack services' environment.
"""

__version__ = "0.1.0"
