"""Adapters to the real OpenStack services: keystoneauth sessions, raw JSON, bulk lists, explicit microversions.

clouds = connect("steelyard", clouds_file=Path("clouds.yaml"))
clouds.own.nodes.all()
clouds.on_behalf_of(token).compute.all()
"""

from __future__ import annotations

from steelyard.clouds.openstack.clouds import OpenstackCloud, OpenstackClouds, connect

__all__ = ["OpenstackCloud", "OpenstackClouds", "connect"]
