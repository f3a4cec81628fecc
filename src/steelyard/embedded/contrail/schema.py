"""The object types: their parents, properties and references.

A property that is not named here is silently ignored in a request, as the real controller does with properties that its
schema does not know. Facts from the OpenSDN config schema; only what a bare metal framework meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """How the value of a property is checked."""

    TEXT = "string"
    NUMBER = "integer"
    FLAG = "boolean"
    COMPLEX = "complex"


@dataclass(frozen=True, slots=True)
class Link:
    """A reference that a type may have; its field is `<type>_refs`."""

    to: str
    has_attr: bool = False
    """Whether the schema gives it an attribute: such a reference must carry `attr`, if only null."""

    @property
    def field(self) -> str:
        return f"{underscored(self.to)}_refs"


@dataclass(frozen=True, slots=True)
class Type:
    name: str
    """Hyphenated, as in paths."""
    parents: tuple[str, ...]
    """Types of which the parent may be; empty: no parent (its fq_name is one word)."""
    properties: Mapping[str, Kind]
    links: tuple[Link, ...] = ()
    maps: frozenset[str] = frozenset()
    """Properties that are lists of key and value, to be changed key by key with prop-collection-update."""
    by_field: Mapping[str, Link] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_field", {link.field: link for link in self.links})


def underscored(name: str) -> str:
    """The name of a type as it stands in fields."""
    return name.replace("-", "_")


_COMMON = {
    "display_name": Kind.TEXT,
    "id_perms": Kind.COMPLEX,
    "perms2": Kind.COMPLEX,
    "annotations": Kind.COMPLEX,
}
_ROOT = "global-system-config"


def _type(
    name: str,
    *parents: str,
    text: str = "",
    number: str = "",
    flag: str = "",
    complex: str = "",
    links: tuple[Link, ...] = (),
    maps: str = "",
) -> Type:
    properties = dict(_COMMON)
    for kind, names in ((Kind.TEXT, text), (Kind.NUMBER, number), (Kind.FLAG, flag), (Kind.COMPLEX, complex)):
        properties.update(dict.fromkeys(names.split(), kind))
    return Type(name, parents, properties, (*links, Link("tag")), frozenset({"annotations", *maps.split()}))


_VN, _VMI, _IPAM = Link("virtual-network"), Link("virtual-machine-interface"), Link("network-ipam", has_attr=True)

TYPES: Mapping[str, Type] = {
    each.name: each
    for each in (
        _type("global-system-config", number="autonomous_system", text="config_version"),
        _type("domain", complex="domain_limits"),
        _type("project", "domain", complex="quota", flag="vxlan_routing alarm_enable"),
        _type(
            "network-ipam", "project", text="ipam_subnet_method", flag="ipam_subnetting",
            complex="network_ipam_mgmt ipam_subnets",
        ),
        _type(
            "virtual-network", "project",
            text="address_allocation_mode external_ipam virtual_network_category",
            number="virtual_network_network_id",
            flag="is_shared router_external port_security_enabled flood_unknown_unicast "
            "multi_policy_service_chains_enabled fabric_snat is_provider_network rpf",
            complex="virtual_network_properties provider_properties route_target_list import_route_target_list "
            "export_route_target_list ecmp_hashing_include_fields",
            links=(_IPAM, Link("network-policy", has_attr=True), _VN, Link("security-logging-object")),
        ),
        _type("routing-instance", "virtual-network", flag="routing_instance_is_default routing_instance_has_pnf"),
        _type("network-policy", "project", complex="network_policy_entries"),
        _type("security-group", "project", number="security_group_id configured_security_group_id",
              complex="security_group_entries"),
        _type("virtual-machine", text="virtual_machine_name server_type", links=()),
        _type(
            "virtual-machine-interface", "project", "virtual-machine",
            text="virtual_machine_interface_device_owner",
            flag="virtual_machine_interface_disable_policy port_security_enabled",
            complex="virtual_machine_interface_mac_addresses virtual_machine_interface_bindings "
            "virtual_machine_interface_properties virtual_machine_interface_dhcp_option_list "
            "virtual_machine_interface_host_routes virtual_machine_interface_allowed_address_pairs "
            "virtual_machine_interface_fat_flow_protocols",
            links=(_VN, _VMI, Link("virtual-machine"), Link("security-group"), Link("port"),
                   Link("routing-instance", has_attr=True), Link("physical-interface")),
            maps="virtual_machine_interface_bindings",
        ),
        _type(
            "instance-ip", text="instance_ip_address instance_ip_family instance_ip_mode subnet_uuid",
            flag="service_instance_ip service_health_check_ip instance_ip_secondary",
            complex="instance_ip_subnet secondary_ip_tracking_ip",
            links=(_VN, _VMI, Link("network-ipam"), Link("virtual-router"), Link("physical-router")),
        ),
        _type("floating-ip-pool", "virtual-network", complex="floating_ip_pool_subnets"),
        _type(
            "floating-ip", "floating-ip-pool", "instance-ip",
            text="floating_ip_address floating_ip_fixed_ip_address floating_ip_address_family "
            "floating_ip_traffic_direction",
            flag="floating_ip_is_virtual_ip floating_ip_port_mappings_enable", complex="floating_ip_port_mappings",
            links=(Link("project"), _VMI),
        ),
        _type(
            "logical-router", "project", text="vxlan_network_identifier logical_router_type",
            complex="configured_route_target_list", links=(_VMI, Link("virtual-network", has_attr=True),
                                                           Link("physical-router")),
        ),
        _type("tag", "project", "config-root", text="tag_type_name tag_value tag_id"),
        _type("fabric", _ROOT, text="fabric_os_version", number="fabric_ztp",
              flag="fabric_enterprise_style disable_vlan_vn_uniqueness_check",
              complex="fabric_credentials", links=(Link("virtual-network", has_attr=True), Link("node-profile"))),
        _type(
            "physical-router", _ROOT,
            text="physical_router_management_ip physical_router_management_mac physical_router_vendor_name "
            "physical_router_product_name physical_router_loopback_ip physical_router_role physical_router_os_version "
            "physical_router_hostname physical_router_serial_number physical_router_dataplane_ip "
            "physical_router_managed_state physical_router_underlay_managed_role",
            flag="physical_router_vnc_managed physical_router_lldp physical_router_underlay_config",
            complex="physical_router_user_credentials physical_router_snmp_credentials routing_bridging_roles",
            links=(Link("fabric"), Link("virtual-router"), _VN, Link("node-profile"), Link("physical-role")),
        ),
        _type(
            "physical-interface", "physical-router",
            text="ethernet_segment_identifier physical_interface_mac_address_deprecated physical_interface_type "
            "physical_interface_port_id physical_interface_lldp_port_description",
            number="physical_interface_mtu physical_interface_logical_unit",
            complex="physical_interface_mac_addresses physical_interface_params",
            links=(Link("physical-interface"), Link("port")),
        ),
        _type("logical-interface", "physical-router", "physical-interface",
              text="logical_interface_type", number="logical_interface_vlan_tag", links=(_VMI,)),
        _type(
            "virtual-router", _ROOT, text="virtual_router_ip_address virtual_router_type",
            flag="virtual_router_dpdk_enabled",
            links=(Link("virtual-machine"), Link("network-ipam", has_attr=True)),
        ),
        _type(
            "node", _ROOT, text="node_type hostname esxi_info disk_partition interface_name",
            complex="bms_info cloud_info", links=(Link("node-profile"),),
        ),
        _type("port", "node", complex="bms_port_info esxi_port_info", text="label"),
        _type("port-group", "node", complex="bms_port_group_info", links=(Link("port"),)),
        _type("node-profile", _ROOT, text="node_profile_type node_profile_vendor node_profile_device_family",
              flag="node_profile_hitless_upgrade", links=(Link("hardware"), Link("job-template"))),
        _type("hardware", text="", links=(Link("card"),)),
        _type("card", complex="interface_map"),
        _type(
            "virtual-port-group", "fabric", "project",
            text="virtual_port_group_trunk_port_id virtual_port_group_type",
            flag="virtual_port_group_lacp_enabled virtual_port_group_user_created",
            links=(Link("physical-interface", has_attr=True), _VMI, Link("security-group")),
        ),
        _type("job-template", _ROOT, text="job_template_concurrency_level job_template_output_schema "
              "job_template_description job_template_type", complex="job_template_playbooks"),
    )
}  # fmt: skip

BY_PLURAL: Mapping[str, Type] = {f"{name}s": each for name, each in TYPES.items()}
BY_UNDERSCORE: Mapping[str, Type] = {underscored(name): each for name, each in TYPES.items()}


def find(name: object) -> Type | None:
    """A type by its name with hyphens or underscores, as the controller takes both in bodies."""
    if not isinstance(name, str):
        return None
    return TYPES.get(name) or BY_UNDERSCORE.get(name)


REFERRERS: Mapping[str, tuple[Type, ...]] = {
    name: tuple(each for each in TYPES.values() if any(link.to == name for link in each.links)) for name in TYPES
}
"""Type -> the types that may refer to it."""
CHILDREN: Mapping[str, tuple[Type, ...]] = {
    name: tuple(each for each in TYPES.values() if name in each.parents) for name in TYPES
}
"""Type -> the types of which it may be the parent."""
