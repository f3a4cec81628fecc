"""Nova: nova.conf for API, scheduler, conductor and compute (Ironic's driver) together."""

from __future__ import annotations

from steelyard.embedded.configuration.description import Description
from steelyard.embedded.configuration.ini import Sections


def nova_conf(cloud: Description) -> Sections:
    """nova.conf. Intervals are short where somebody waits for them and grow with the rack where each costs."""
    state = cloud.root / "run" / "nova"
    without_region = {name: value for name, value in cloud.login("nova").items() if name != "region_name"}
    return {
        "DEFAULT": {
            "use_stderr": True,
            "host": "steelyard",
            "my_ip": "127.0.0.1",
            "metadata_listen": "127.0.0.1",
            "compute_driver": "ironic.IronicDriver",
            "transport_url": cloud.rpc,
            "state_path": str(state),
            "concurrency_backend": "threading",
            "reserved_host_memory_mb": 0,
            "force_config_drive": True,
            "mkisofs_cmd": str(cloud.openstack / "bin" / "pycdlib-genisoimage"),
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
            "max_concurrent_builds": 50,
            "sync_power_state_interval": max(30, cloud.nodes // 4),
            "update_resources_interval": max(5, cloud.nodes // 20),
            "report_interval": 5,
            "service_down_time": 30,
            "scheduler_instance_sync_interval": -1,
            "periodic_fuzzy_delay": 0,
            "graceful_shutdown_timeout": 5,
            "instance_usage_audit": False,
        },
        "api": {"auth_strategy": "keystone"},
        "wsgi": {"api_paste_config": str(cloud.openstack / "etc" / "nova" / "api-paste.ini")},
        "api_database": {"connection": cloud.connection("nova_api")},
        "database": {"connection": cloud.connection("nova_cell1")},
        "oslo_concurrency": {"lock_path": str(state)},
        "oslo_messaging_notifications": {"driver": "noop"},
        # -1, the default, would leave a new compute host without a cell for ever.
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 30},
        "conductor": {"workers": 1},
        # The defaults (20 cores, 50 GiB) refuse a single physical server.
        "quota": {"ram": -1, "cores": -1, "instances": -1},
        "filter_scheduler": {
            "track_instance_changes": False,
            "enabled_filters": "ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter",
        },
        "vnc": {"enabled": False},
        "spice": {"enabled": False},
        "glance": {"api_servers": cloud.url("glance")},
        "service_user": {"send_service_user_token": True, **without_region},
        "keystone_authtoken": cloud.token_check("nova"),
        "placement": cloud.login("placement"),
        "neutron": cloud.login("neutron"),
        # How often Nova asks Ironic whether a deployment has ended, in seconds.
        "ironic": {**cloud.login("ironic"), "api_retry_interval": 1, "api_max_retries": 60},
    }
