"""Neutron: neutron.conf and ml2_conf.ini. No agents: the switches are configured by networking-generic-switch.

With a Contrail controller as the authority, Steelyard's own two drivers ask that for everything, and it configures the
switches.
"""

from __future__ import annotations

from steelyard.embedded.configuration.description import PHYSICAL_NETWORK, VIRTUAL_HOST, Description
from steelyard.embedded.configuration.ini import Sections

TENANT_VLANS = "100:999"
"""What Neutron picks tenants' networks from. The operator's own networks have VLANs outside it, given by number when
they are made: a VLAN that stands here may be handed to a tenant."""

_SWITCHING = {"neutron": "genericswitch", "contrail": "steelyard_contrail"}
"""The mechanism driver that puts servers on networks, by whose network it is."""

COMPARED_EVERY = 15
"""Seconds between two comparisons of Neutron and the controller; a data centre's default is longer."""


def neutron_conf(cloud: Description) -> Sections:
    """neutron.conf."""
    state = cloud.root / "run" / "neutron"
    return {
        "DEFAULT": {
            "use_stderr": True,
            "core_plugin": "ml2",
            "service_plugins": ",".join(["segments", "trunk", *_groups(cloud)]),
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
            **({"ipam_driver": "steelyard_contrail"} if cloud.network == "contrail" else {}),
        },
        "oslo_policy": {"policy_file": str(cloud.root / "etc" / "neutron" / "policy.yaml")},
        "oslo_concurrency": {"lock_path": str(state)},
        "database": {"connection": cloud.connection("neutron")},
        # Every node takes a port on a ramdisk network, all in one project.
        "quotas": {"quota_port": -1},
        "oslo_messaging_notifications": {"driver": "noop"},
        "keystone_authtoken": cloud.token_check("neutron"),
        "nova": cloud.login("nova"),
        "placement": cloud.login("placement"),
        "ironic": cloud.login("ironic"),
        **_controller(cloud),
    }


def _groups(cloud: Description) -> list[str]:
    """What puts security groups on the switches. A controller does that itself."""
    return ["steelyard_groups"] if cloud.network == "neutron" and cloud.filters else []


def _controller(cloud: Description) -> Sections:
    """How Neutron logs in at the controller, where there is one."""
    if cloud.network != "contrail":
        return {}
    return {
        "contrail": {
            **cloud.login("neutron"),
            "endpoint_override": cloud.url("contrail"),
            "sync_interval": COMPARED_EVERY,
        }
    }


def policy() -> str:
    """policy.yaml. A tag of a sub-interface is the VLAN on the switch (networking-generic-switch carries what the trunk
    says), so that whoever may choose one could join another tenant's network, or the operator's: Steelyard chooses."""
    return "".join(f'"{rule}": "role:admin"\n' for rule in ("create_trunk", "update_trunk", "add_subports"))


def ml2_conf(cloud: Description) -> Sections:
    """ml2_conf.ini, with the switches' sections."""
    return {
        "ml2": {
            "type_drivers": "flat,vlan",
            "tenant_network_types": "vlan",
            "mechanism_drivers": f"{_SWITCHING[cloud.network]},steelyard_virtual",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": ""},
        "ml2_type_vlan": {"network_vlan_ranges": f"{PHYSICAL_NETWORK}:{TENANT_VLANS}"},
        "steelyard_virtual": {"hosts": VIRTUAL_HOST},
        "securitygroup": {"enable_security_group": True},
        **(cloud.switches if cloud.network == "neutron" else {}),
    }
