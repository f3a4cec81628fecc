"""Keystone: keystone.conf and the identities to make."""

from __future__ import annotations

import json

from steelyard.embedded.configuration.description import REGION, Description
from steelyard.embedded.configuration.ini import Sections
from steelyard.embedded.credentials import SERVICE_USERS

PROJECTS = ("service", "demo")
"""Beside `admin`, which Keystone's bootstrap makes."""


def keystone_conf(cloud: Description) -> Sections:
    """keystone.conf."""
    keys = cloud.root / "secrets" / "keystone"
    return {
        "DEFAULT": {"use_stderr": True},
        "database": {"connection": cloud.connection("keystone")},
        "fernet_tokens": {"key_repository": str(keys / "fernet")},
        "fernet_receipts": {"key_repository": str(keys / "receipts")},
        "credential": {"key_repository": str(keys / "credential")},
        # bcrypt's default of 12 rounds costs 0.3 s for each token, and Ironic asks for one at almost every call of
        # Neutron. The passwords here are 192 random bits: no number of rounds makes guessing them harder.
        "identity": {"password_hash_rounds": 4},
        "token": {"provider": "fernet"},
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "oslo_messaging_notifications": {"driver": "noop"},
    }


def identity_seed(cloud: Description) -> str:
    """The users, projects, roles and the catalogue, as the launcher reads them (JSON)."""
    users = [{"name": name, "project": "service", "roles": ["admin", "service"]} for name in SERVICE_USERS]
    users.append({"name": "steelyard", "project": "service", "roles": ["admin", "service"]})
    users.append({"name": "demo", "project": "demo", "roles": ["member"]})
    for user in users:
        user["password"] = cloud.passwords[str(user["name"])]
    catalogue = [
        ("image", "glance", "glance", ""),
        ("placement", "placement", "placement", ""),
        ("network", "neutron", "neutron", ""),
        ("compute", "nova", "nova", "/v2.1"),
        ("baremetal", "ironic", "ironic", ""),
        ("baremetal-management", "steelyard", "steelyard", ""),
    ]
    if cloud.network == "contrail":
        catalogue.append(("sdn-l-config", "contrail-config", "contrail", ""))  # as deployments of the controller do
    services = [{"type": type_, "name": name, "url": cloud.url(port) + path} for type_, name, port, path in catalogue]
    return json.dumps(
        {
            "admin_password": cloud.passwords["admin"],
            "region": REGION,
            "identity_url": cloud.identity_url,
            "projects": PROJECTS,
            "system_administrators": ["steelyard"],
            "users": users,
            "services": services,
        },
        indent=1,
    )
