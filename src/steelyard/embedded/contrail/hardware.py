"""What is peculiar to the controller's inventory: ports of servers, and what there is from the beginning."""

# The base class fixes the signatures of the rules.
# ruff: noqa: ARG002

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steelyard.embedded.contrail.database import Thing
from steelyard.embedded.contrail.port_groups import DEFAULT_FABRIC, ROOT
from steelyard.embedded.contrail.resources import Resources
from steelyard.embedded.contrail.rules import Request, Rules
from steelyard.embedded.contrail.schema import TYPES
from steelyard.embedded.contrail.visibility import INTERNAL
from steelyard.embedded.rack.plan import Rack

SERVICE_NODE = "service-node"
"""The virtual-router that stands for the node which answers DHCP behind the leaves."""
JOB_TEMPLATES = ("device_import_template", "existing_fabric_onboard_template", "discover_device_template")


class ServerPortRules(Rules):
    """port: the physical interface at the other end of its cable refers to it, if it exists; silently not otherwise."""

    def after_create(self, resources: Resources, thing: Thing, asked: Request) -> None:
        self._link(resources, thing)

    def after_update(self, resources: Resources, before: Thing, after: Thing, asked: Request) -> None:
        if "bms_port_info" not in asked.body:
            return
        for physical in resources.database.referrers(after.uuid, "physical-interface"):
            resources.remove_ref(INTERNAL, TYPES["physical-interface"], physical.uuid, after)
        self._link(resources, after)

    def _link(self, resources: Resources, port: Thing) -> None:
        link = (port.properties.get("bms_port_info") or {}).get("local_link_connection")
        if not isinstance(link, dict) or not link.get("switch_info") or not link.get("port_id"):
            return
        name = (ROOT, str(link["switch_info"]), str(link["port_id"]).replace(":", "_"))
        physical = resources.database.find("physical-interface", name)
        if physical is not None:
            resources.add_ref(INTERNAL, TYPES["physical-interface"], physical.uuid, port)


def seed(resources: Resources, rack: Rack | None = None) -> None:
    """Make what a fresh controller has, and the leaves and interfaces of a rack. Does nothing that is done already."""
    with resources.database.transaction():
        _make(resources, "global-system-config", [ROOT], autonomous_system=64512)
        _make(resources, "domain", ["default-domain"])
        _make(resources, "project", ["default-domain", "default-project"], parent_type="domain")
        _make(
            resources, "network-ipam", ["default-domain", "default-project", "default-network-ipam"],
            parent_type="project",
            perms2={"owner": "cloud-admin", "owner_access": 7, "global_access": 5, "share": []},
        )  # fmt: skip
        _make(resources, "fabric", [ROOT, DEFAULT_FABRIC])
        for name in JOB_TEMPLATES:
            _make(resources, "job-template", [ROOT, name])
        if rack is not None:
            _seed_rack(resources, rack)


def _seed_rack(resources: Resources, rack: Rack) -> None:
    service_node = [ROOT, SERVICE_NODE]
    _make(resources, "virtual-router", service_node, virtual_router_type="tor-service-node",
          virtual_router_ip_address="127.0.0.1")  # fmt: skip
    for switch in rack.switches:
        _make(
            resources, "physical-router", [ROOT, switch.name],
            physical_router_vendor_name="Steelyard", physical_router_product_name="simulated-leaf",
            physical_router_management_ip="127.0.0.1", physical_router_management_mac=switch.chassis_mac,
            physical_router_role="leaf", physical_router_managed_state="active", physical_router_hostname=switch.name,
            fabric_refs=[{"to": [ROOT, DEFAULT_FABRIC], "attr": None}],
            virtual_router_refs=[{"to": service_node, "attr": None}],
        )  # fmt: skip
        for port in switch.ports:
            _make(resources, "physical-interface", [ROOT, switch.name, port.replace(":", "_")], display_name=port,
                  physical_interface_port_id=port)  # fmt: skip


def _make(resources: Resources, type: str, fq_name: list[str], **body: Any) -> Thing:
    present = resources.database.find(type, tuple(fq_name))
    if present is not None:
        return present
    wanted: Mapping[str, Any] = {"fq_name": fq_name, **body}
    return resources.create(INTERNAL, TYPES[type], wanted)
