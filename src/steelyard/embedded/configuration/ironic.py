"""Ironic: ironic.conf for API and conductor in one process, and networks.conf."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.embedded.configuration.description import Description
from steelyard.embedded.configuration.ini import Reference, Sections

ROLES = ("provisioning", "cleaning", "inspection", "rescue")
AGENT_LOST = 180
"""Seconds without a word of an agent after which Ironic gives up what it was to do."""


def ironic_conf(cloud: Description) -> Sections:
    """ironic.conf."""
    run = cloud.root / "run" / "ironic"
    return {
        "DEFAULT": {
            "use_stderr": True,
            "host": "steelyard",
            "my_ip": "127.0.0.1",
            "auth_strategy": "keystone",
            "rpc_transport": "none",
            "rbac_service_role_elevated_access": True,
            "force_raw_images": False,
            "state_path": str(run),
            "tempdir": str(run),
            "isolinux_bin": "",
            **_interfaces(),
        },
        "api": {
            "host_ip": "127.0.0.1",
            "port": cloud.ports["ironic"],
            "public_endpoint": cloud.url("ironic"),
            "api_workers": 1,
        },
        "agent": {
            "require_tls": False,  # the agents listen on this machine's loopback
            "verify_ca": "False",
            "image_download_source": "http",
            "deploy_logs_collect": "never",
            "command_wait_interval": 1,
            "post_deploy_get_power_state_retries": 30,
            "post_deploy_get_power_state_retry_interval": 1,
            "neutron_agent_poll_interval": 1,
        },
        "conductor": _conductor(cloud),
        "deploy": {
            "http_url": cloud.url("http"),
            "http_root": str(cloud.root / "http"),
            "erase_devices_priority": 10,
            "erase_devices_metadata_priority": 0,
            "default_boot_option": "local",
            "fast_track": False,
        },
        "redfish": {"use_swift": False, "connection_attempts": 5, "connection_retry_interval": 1},
        "database": {"connection": cloud.connection("ironic")},
        "inspector": {
            "require_managed_boot": False,
            "hooks": Reference("$default_hooks,parse-lldp,local-link-connection"),
            "add_ports": "all",
            "keep_ports": "all",
        },
        "auto_discovery": {"enabled": False},
        "pxe": {
            "tftp_root": str(run / "tftp"),
            # Beneath http_root, as the conductor hands an image out by a link to its copy here.
            "images_path": str(cloud.root / "http" / "images"),
            "instance_master_path": str(cloud.root / "http" / "master_images"),
            "tftp_master_path": "",
        },
        "dhcp": {"dhcp_provider": "none"},
        "oslo_concurrency": {"lock_path": str(run)},
        "oslo_messaging_notifications": {"driver": "noop"},
        "keystone_authtoken": cloud.token_check("ironic"),
        "service_catalog": cloud.login("ironic"),
        "neutron": cloud.login("ironic"),
        "glance": cloud.login("ironic"),
        "nova": cloud.login("ironic"),
    }


def _interfaces() -> dict[str, str | int | float | bool]:
    return {
        "enabled_hardware_types": "redfish,steelyard-redfish,manual-management",
        "enabled_boot_interfaces": "redfish-virtual-media,ipxe,pxe",
        "enabled_deploy_interfaces": "direct,ramdisk,noop",
        "default_deploy_interface": "direct",
        "enabled_inspect_interfaces": "agent,redfish,no-inspect",
        "default_inspect_interface": "agent",
        "enabled_management_interfaces": "redfish,noop",
        "enabled_power_interfaces": "redfish,steelyard-redfish,fake",
        "enabled_network_interfaces": "neutron,steelyard,noop",
        "default_network_interface": "neutron",
        "enabled_bios_interfaces": "no-bios,redfish",
        "enabled_firmware_interfaces": "no-firmware,redfish",
        "enabled_raid_interfaces": "no-raid,agent,redfish",
        "enabled_vendor_interfaces": "no-vendor,redfish",
        "enabled_console_interfaces": "no-console",
        "enabled_rescue_interfaces": "steelyard,agent,no-rescue",
        "enabled_storage_interfaces": "noop",
    }


def _conductor(cloud: Description) -> dict[str, str | int | float | bool]:
    return {
        "automated_clean": True,
        "deploy_kernel": f"{cloud.url('http')}/ipa.kernel",
        "deploy_ramdisk": f"{cloud.url('http')}/ipa.initramfs",
        # The deploy ramdisk knows rescue as well.
        "rescue_kernel": f"{cloud.url('http')}/ipa.kernel",
        "rescue_ramdisk": f"{cloud.url('http')}/ipa.initramfs",
        "heartbeat_interval": 5,
        "heartbeat_timeout": 60,
        # An agent gets its token once: where Ironic is killed before that answer is out, the agent cannot go on. Those
        # of the rack call every few seconds; the half an hour that Ironic waits by itself would only keep the node.
        "clean_callback_timeout": AGENT_LOST,
        "deploy_callback_timeout": AGENT_LOST,
        "rescue_callback_timeout": AGENT_LOST,
        "power_state_change_timeout": 60,
        "soft_power_off_timeout": 30,
        # A server that somebody switched off at its button shows within this time.
        "sync_power_state_interval": max(30, cloud.nodes // 4),
        # What the hardware says is so: a server that its tenant shut down from within is not switched on again.
        "force_power_state_during_sync": False,
        "check_provision_state_interval": 30,
        # An agent's heartbeat and a person's request meet often; three attempts in three seconds are too few.
        "node_locked_retry_attempts": 30,
        "node_locked_retry_interval": 1,
        "graceful_shutdown_timeout": 5,
        "file_url_allowed_paths": str(cloud.root / "http"),
        # A lessee may see and power the node in Ironic: its serial, its switch ports. Tenants act through Nova alone.
        "automatic_lessee_source": "none",
    }


def networks_conf(ids: Mapping[str, str]) -> Sections:
    """networks.conf: the networks of the ramdisks by id.

    Not by name: Ironic looks a name up with an administrator's eyes, where a tenant's network of the same name would
    make it ambiguous and stop every cleaning and deployment.
    """
    return {"neutron": {("rescuing" if role == "rescue" else role) + "_network": ids[role] for role in ROLES}}
