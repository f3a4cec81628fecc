"""Glance: glance-api.conf, with a store of files."""

from __future__ import annotations

from steelyard.embedded.configuration.description import Description
from steelyard.embedded.configuration.ini import Sections


def glance_conf(cloud: Description) -> Sections:
    """glance-api.conf. Images lie in <home>/images."""
    staging = cloud.root / "run" / "glance"
    return {
        "DEFAULT": {
            "use_stderr": True,
            "enabled_backends": "local:file",
            "worker_self_reference_url": cloud.url("glance"),
            "workers": 1,
            "node_staging_uri": f"file://{staging / 'staging'}",
            "enabled_import_methods": "[glance-direct]",
        },
        "database": {"connection": cloud.connection("glance")},
        "glance_store": {"default_backend": "local"},
        "local": {"filesystem_store_datadir": str(cloud.root / "images")},
        # The two stores that Glance reserves for itself when there is more than the one.
        "os_glance_staging_store": {"filesystem_store_datadir": str(staging / "staging")},
        "os_glance_tasks_store": {"filesystem_store_datadir": str(staging / "tasks")},
        "image_format": {"disk_formats": "raw,qcow2,iso", "container_formats": "bare"},
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": str(cloud.openstack / "etc" / "glance" / "glance-api-paste.ini"),
        },
        "oslo_messaging_notifications": {"driver": "noop"},
        "keystone_authtoken": cloud.token_check("glance"),
    }
