"""What the user can choose. The only module that reads the environment (prefix `STEELYARD_`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from steelyard.errors import Unavailable


class Settings(BaseSettings):
    """Every setting of the server and of the embedded cloud, from `STEELYARD_<NAME>`.

    The embedded cloud's supervisor starts the server with these variables set; in a data centre the operator sets
    them in the unit file. The server cannot tell the two apart.
    """

    model_config = SettingsConfigDict(env_prefix="STEELYARD_", extra="ignore")

    home: Path = Field(default_factory=lambda: Path("~/.steelyard").expanduser())
    """The one directory that holds all state."""

    cloud: str = "steelyard"
    """Entry of a clouds.yaml with Steelyard's own rights in the cloud."""
    cloud_system: str | None = None
    """A second entry, system-scoped, for Ironic where its policies want that; `cloud` serves when unset."""
    clouds_file: Path | None = None
    """The clouds.yaml to read. Unset: `OS_CLIENT_CONFIG_FILE`, then `<home>/clouds.yaml`, then the usual places."""
    openstack_env: Path | None = None
    """The OpenStack services' virtual environment. Unset: `openstack` beside Steelyard's own environment."""

    listen: str = "127.0.0.1"
    port: int = 8990
    database: str | None = None
    """SQLAlchemy URL of Steelyard's own database. Unset: SQLite under `<home>/steelyard/`."""
    database_file: Path | None = None
    """File that holds this URL with its password, for those who keep secrets out of environments."""
    database_connections: int = Field(default=20, ge=8)
    """Connections that this server opens to PostgreSQL at most, those of its engine of operations included."""
    replica: str = "steelyard"
    """Name of this server among those that share a database; no two at a time may have the same."""
    lease_seconds: float = Field(default=15.0, ge=1.0, le=600.0)
    """After so many seconds without a heartbeat a server is dead, and the others take its work over."""
    operations_at_a_time: int = 50
    """How many operations this server works on; the others wait as pending."""
    secret_keys: Path | None = None
    """File with the keys that stored secrets are encrypted with, one a line, the newest first. Unset:
    `<home>/secrets/steelyard_keys`; made when it is missing. Keep a backup apart from the database's."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: JSON lines, or lines for people when standard error is a terminal."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_token_file: Path | None = None
    """File with the token that Prometheus shows at /metrics. Unset: `<home>/secrets/metrics_token`; made when it is
    missing."""
    max_body_bytes: int = 1 << 20
    """Largest JSON body; larger ones are answered 413 before they are read."""
    max_image_bytes: int = 64 << 30
    image_sources: tuple[str, ...] = ()
    """Networks (CIDR) that `image add URL` may fetch from although they are private, e.g. `["127.0.0.0/8"]`."""

    event_streams_per_user: int = Field(default=20, ge=1)
    """Event streams that one user may have open on this server."""
    event_streams: int = Field(default=2000, ge=1)
    """Event streams that this server keeps open for all users together."""
    webhook_targets: tuple[str, ...] = ()
    """Networks (CIDR) that webhooks may be sent to although they are private, e.g. `["10.1.0.0/16"]`."""
    webhook_hours: float = Field(default=24.0, gt=0.0)
    """How long a webhook that cannot be reached is tried; older events are then given up."""

    provisioning_network: str = "provisioning"
    cleaning_network: str = "cleaning"
    inspection_network: str = "inspection"
    rescue_network: str = "rescue"
    quarantine_network: str = "quarantine"
    segments: tuple[str, ...] = ()
    """Networks of which each node in transition gets one to itself, instead of one of the above that it would share:
    ids, names, or patterns of names, e.g. `["segment-*"]`. Empty: nodes in transition share those above."""
    segments_project: str = "service"
    """Project (id or name) that owns the segments; another project's network of such a name is none of them."""
    segment_sharing: bool = False
    """Whether a node for which no segment is free goes to the shared network of its role; otherwise it waits."""
    network_controller: Literal["neutron", "contrail"] = "neutron"
    """Whose API networks, addresses and switch ports are read and changed by: Neutron's, or a Contrail/OpenSDN
    controller's own (docs/contrail.md)."""
    contrail_url: str | None = None
    """Base of the controller's config API, e.g. `http://controller:8082`. Unset: as the catalogue has it (service type
    `sdn-l-config`)."""
    contrail_vlans: str | None = None
    """VLANs that networks without one are given on a Contrail controller, e.g. `100:999`. Unset: whoever makes a
    network gives it one (`provider_properties`), and without one no server is put on it."""
    enforces_groups: bool = False
    """Whether the switches filter at servers' NICs by security groups: Neutron's service plugin `steelyard_groups`, or
    the controller's fabric manager, has them do so. Otherwise a server with a security group is refused."""
    physical_network: str = "physnet1"
    """Physical network of node ports that are bound from LLDP."""

    power_seconds: float = Field(default=15.0, ge=1.0)
    """Seconds between two looks for deployed servers that went off or came on, whose NICs then change networks."""

    flip_seconds: float = Field(default=25.0, ge=1.0, le=100.0)
    """Seconds within which the controller and the switches must carry what the bare metal service has asked of them;
    less than `[steelyard]flip_gate_timeout` of the conductors."""
    unverified: Literal["pass", "refuse"] = "pass"
    """What becomes of a change of networks at a switch that no reader is configured for: it passes and is told of as
    not verified, or it is refused. A switch that has a reader and cannot be read is always refused."""
    isolation_seconds: float = Field(default=60.0, ge=5.0)
    """Seconds between two checks of the whole fleet's NICs (`isolation.compare`)."""
    isolation_changing_seconds: float = Field(default=600.0, ge=30.0)
    """So long may a NIC differ while its server is between two phases; then it is a finding."""
    isolation_foreign_attachment: Literal["ignore", "report", "repair", "contain"] = "report"
    """What is done about a NIC that carries a port which may not be there: nothing (`ignore`), a finding (`report`), it
    is put right (`repair`), or its node goes into quarantine (`contain`). The same below."""
    isolation_controller_differs: Literal["ignore", "report", "repair", "contain"] = "report"
    """About one that the controller does not have where it must be."""
    isolation_switch_differs: Literal["ignore", "report", "repair", "contain"] = "report"
    """About one whose switch does not carry what the controller has."""
    isolation_unverified: Literal["ignore", "report", "contain"] = "report"
    """About one whose switch cannot be read."""

    drift_seconds: float = Field(default=300.0, ge=10.0)
    """Seconds between two comparisons of all systems (`drift.compare`)."""

    ipam_seconds: float = Field(default=120.0, ge=5.0)
    """Seconds between two checks of all addresses (`ipam.check`)."""
    ipam_history_seconds: float = Field(default=30.0, ge=1.0)
    """Seconds between two looks at who has which address (`ipam.history`); who had one in between is not known."""

    guard_seconds: float = Field(default=20.0, ge=1.0)
    """Seconds between two looks at all nodes and servers, by which the guard takes away what is not proven clean."""
    found_available: Literal["finding", "trust", "quarantine"] = "finding"
    """Nodes that were available when Steelyard first came, of which nobody knows whether they are clean: they stay in
    the offer and are found (`finding`), are taken as clean (`trust`), or are taken out of the offer (`quarantine`)."""
    clean_again: bool = False
    """Whether a node that was taken out of the offer, since nothing proves it clean, is cleaned and released at once;
    otherwise it waits for an administrator."""

    inspect_seconds: float = Field(default=900.0, ge=60.0)
    """How long an onboarding waits for the agent's report: from power on, through the firmware, to the end."""

    maintenance_seconds: float = Field(default=3600.0, ge=60.0)
    """How long an operation that cleans a node waits for the end of a maintenance that somebody holds the node in, as
    agents do nothing then. After that it fails: the node is quarantined, or its onboarding is given up."""

    deploy_kernel: str | None = None
    deploy_ramdisk: str | None = None
    deploy_iso: str | None = None
    """Boot image of the agent, given to each onboarded node; unset where the conductor's own default serves."""
    bmc_verify_ca: str | None = None
    """CA file (as the bare metal service sees it) to verify BMCs with. Unset: not verified (most are self-signed)."""

    switches: Path | None = None
    """YAML file that names the switches and how to read them back; see docs/switches.md."""

    def steelyard_database(self) -> str:
        """The database's SQLAlchemy URL, with the default worked out. Raises `Unavailable` for an unreadable file."""
        if self.database is None and self.database_file is not None:
            try:
                return self.database_file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Unavailable(
                    f"The file of the database's URL cannot be read: {type(error).__name__}.",
                    code="database_file_unreadable",
                    next="check STEELYARD_DATABASE_FILE",
                ) from None
        return self.database or f"sqlite:///{self.home / 'steelyard' / 'steelyard.sqlite'}"

    def resolved_secret_keys(self) -> Path:
        """The key file, with the default worked out."""
        return self.secret_keys or self.home / "secrets" / "steelyard_keys"

    def resolved_metrics_token(self) -> Path:
        """The file of the metrics' token, with the default worked out."""
        return self.metrics_token_file or self.home / "secrets" / "metrics_token"

    def readable_bmc_ca(self) -> Path | None:
        """The BMCs' CA file if this machine has it too: then a sweep verifies before it sends any credential."""
        path = Path(self.bmc_verify_ca) if self.bmc_verify_ca else None
        return path if path is not None and path.is_file() else None

    def resolved_clouds_file(self) -> Path | None:
        """The clouds.yaml to read, or None to let openstacksdk look in its usual places."""
        if self.clouds_file is not None:
            return self.clouds_file
        if named := os.environ.get("OS_CLIENT_CONFIG_FILE"):
            return Path(named)
        own = self.home / "clouds.yaml"
        return own if own.exists() else None
