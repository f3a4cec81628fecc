"""Hardware types: Ironic's `redfish` and `ipmi`, with Steelyard's interfaces beside theirs.

A node takes an interface only where its hardware type lists the class (ironic/common/driver_factory.py).
"""

from __future__ import annotations

from ironic.drivers import ipmi, redfish

from steelyard_ironic.network import SteelyardNetwork
from steelyard_ironic.power import SteelyardIPMIPower, SteelyardRedfishPower
from steelyard_ironic.rescue import SteelyardRescue


class SteelyardRedfishHardware(redfish.RedfishHardware):  # type: ignore[misc]
    """Redfish, as Steelyard wants it."""

    @property
    def supported_power_interfaces(self) -> list[type]:
        return [SteelyardRedfishPower, *super().supported_power_interfaces]

    @property
    def supported_network_interfaces(self) -> list[type]:
        return [SteelyardNetwork, *super().supported_network_interfaces]

    @property
    def supported_rescue_interfaces(self) -> list[type]:
        return [SteelyardRescue, *super().supported_rescue_interfaces]


class SteelyardIPMIHardware(ipmi.IPMIHardware):  # type: ignore[misc]
    """IPMI, as Steelyard wants it."""

    @property
    def supported_power_interfaces(self) -> list[type]:
        return [SteelyardIPMIPower, *super().supported_power_interfaces]

    @property
    def supported_network_interfaces(self) -> list[type]:
        return [SteelyardNetwork, *super().supported_network_interfaces]

    @property
    def supported_rescue_interfaces(self) -> list[type]:
        return [SteelyardRescue, *super().supported_rescue_interfaces]
