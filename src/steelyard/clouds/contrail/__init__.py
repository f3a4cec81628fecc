"""Adapter to the config API of a Contrail/OpenSDN controller: networks, addresses, ports, port groups, the fabric.

clouds = ContrailClouds(openstack_clouds, Controller(url="http://controller:8082", vlans=range(100, 1000)))
clouds.own.attachments.bind(port_id, node_id=..., mac=..., link=...)
"""

from __future__ import annotations

from steelyard.clouds.contrail.clouds import ContrailCloud, ContrailClouds, Controller
from steelyard.clouds.contrail.vlans import parse_range

__all__ = ["ContrailCloud", "ContrailClouds", "Controller", "parse_range"]
