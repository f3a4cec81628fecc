"""What a configuration is generated from: plain values, no files, no processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from steelyard.embedded.configuration.ini import Sections

REGION = "RegionOne"
DATABASES = (
    "keystone", "placement", "glance", "neutron", "nova_api", "nova_cell0", "nova_cell1", "ironic", "steelyard",
)  # fmt: skip
PHYSICAL_NETWORK = "physnet1"
VIRTUAL_HOST = "virtual-1"
"""The compute host of virtual machines, with Nova's fake hypervisor: records and addresses without a guest."""


@dataclass(frozen=True)
class Description:
    """One embedded cloud as its services' configuration sees it."""

    root: Path
    openstack: Path
    """The virtual environment of the services."""
    ports: Mapping[str, int]
    nodes: int
    passwords: Mapping[str, str] = field(repr=False)
    """User name -> password."""
    database: str = field(default="sqlite", repr=False)
    """sqlite, or postgresql://USER[:PASSWORD]@HOST:PORT/"""
    rpc: str = field(default="fake://", repr=False)
    switches: Sections = field(default_factory=dict, repr=False)
    """The sections of the ML2 configuration that name the switches."""
    network: str = "neutron"
    """Who is the authority for networks, addresses and switch ports: neutron, or contrail (a controller)."""
    filters: bool = True
    """Whether switches filter by security groups."""

    def url(self, service: str) -> str:
        """Base address of a service."""
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def identity_url(self) -> str:
        """Keystone's address, with its version."""
        return self.url("keystone") + "/v3"

    def connection(self, database: str) -> str:
        """SQLAlchemy URL of one service's database."""
        if self.database == "sqlite":
            return f"sqlite:///{self.root / 'db' / database}.sqlite"
        parts = urlsplit(self.database)
        return f"postgresql+psycopg2://{parts.netloc}/{database}"

    def cell_connection(self, database: str) -> str:
        """The same as a template that Nova fills in from its own configuration: no password in Nova's API database."""
        if self.database == "sqlite":
            return self.connection(database)
        parts = urlsplit(self.database)
        user = "{username}" + (":{password}" if parts.password else "") + "@" if parts.username else ""
        port = ":{port}" if parts.port else ""
        return f"{{scheme}}://{user}{{hostname}}{port}/{database}"

    @property
    def cell_transport(self) -> str:
        """The broker's address as such a template."""
        if self.rpc == "fake://":
            return self.rpc
        parts = urlsplit(self.rpc)
        user = "{username}" + (":{password}" if parts.password else "") + "@" if parts.username else ""
        port = ":{port}" if parts.port else ""
        return f"{{scheme}}://{user}{{hostname}}{port}/{{path}}"

    def login(self, user: str) -> dict[str, str | int | float | bool]:
        """The options by which a service logs in as `user` of the project `service`."""
        return {
            "auth_type": "password",
            "auth_url": self.identity_url,
            "username": user,
            "password": self.passwords[user],
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "region_name": REGION,
        }

    def token_check(self, user: str) -> dict[str, str | int | float | bool]:
        """The section keystone_authtoken: how a service checks the tokens that it is shown."""
        return {
            **self.login(user),
            "www_authenticate_uri": self.identity_url,
            "service_token_roles_required": True,
            "service_token_roles": "service",
        }


def quoted(text: str) -> str:
    """A user name or password as it may stand in a URL."""
    return quote(text, safe="")
