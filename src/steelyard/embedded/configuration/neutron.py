"""Neutron: neutron.conf and ml2_conf.ini. No agents: the switches are configured by networking-generic-switch."""

from __future__ import annotations

from steelyard.embedded.configuration.description import PHYSICAL_NETWORK, VIRTUAL_HOST, Description
from steelyard.embedded.configuration.ini import Sections

TENANT_VLANS = "100:999"
"""What Neutron picks tenants' networks from. The operator's own networks have VLANs outside it, given by number when
they are made: a VLAN that stands here may be handed to a tenant."""


def neutron_conf(cloud: Description) -> Sections:
    """neutron.conf."""
    state = cloud.root / "run" / "neutron"
    return {
        "DEFAULT": {
            "use_stderr": True,
            "core_plugin": "ml2",
            "service_plugins": "segments",
            "transport_url": cloud.rpc,
            "auth_strategy": "keystone",
            "api_paste_config": str(cloud.openstack / "etc" / "neutron" / "api-paste.ini"),
            "state_path": str(state),
            "notify_nova_on_port_status_changes": True,
            "notify_nova_on_port_data_changes": True,
            "send_events_interval": 1,  # at least 1: 0 makes the notifier spin
            "rpc_workers": 0,
            "rpc_state_report_workers": 0,
            "dhcp_agent_notification": False,
        },
        "oslo_concurrency": {"lock_path": str(state)},
        "database": {"connection": cloud.connection("neutron")},
        # Every node takes a port on a ramdisk network, all in one project.
        "quotas": {"quota_port": -1},
        "oslo_messaging_notifications": {"driver": "noop"},
        "keystone_authtoken": cloud.token_check("neutron"),
        "nova": cloud.login("nova"),
        "placement": cloud.login("placement"),
        "ironic": cloud.login("ironic"),
    }


def ml2_conf(cloud: Description) -> Sections:
    """ml2_conf.ini, with the switches' sections."""
    return {
        "ml2": {
            "type_drivers": "flat,vlan",
            "tenant_network_types": "vlan",
            "mechanism_drivers": "genericswitch,steelyard_virtual",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": ""},
        "ml2_type_vlan": {"network_vlan_ranges": f"{PHYSICAL_NETWORK}:{TENANT_VLANS}"},
        "steelyard_virtual": {"hosts": VIRTUAL_HOST},
        "securitygroup": {"enable_security_group": True},
        **cloud.switches,
    }
