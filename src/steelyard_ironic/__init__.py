"""Loaded inside Ironic: what Steelyard needs to be told, and to say, before a server changes networks or gets power.

Imports nothing of `steelyard`: it is installed by itself into the environment of any Ironic 39 conductor.
"""

__version__ = "0.1.0"

PARKED = "steelyard_parked"
"""Key of a node's `extra`: Steelyard has taken its NICs off the tenant's networks, or is about to."""
QUARANTINE_PORT = "steelyard-quarantine"
"""Name of Steelyard's own Neutron ports by which the NICs are on the quarantine network."""
NOTES = "steelyard"
"""Key of a node's `driver_internal_info` under which these interfaces write down what they saw."""
