"""The tables of the inventory: a row per server as it was last observed, what changed, its parts, and saved views."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from steelyard.store.tables import UtcDateTime, metadata

_COMPARED = sa.String(255).with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
"""A text as it is compared: in lower case, by code points whatever the database's language is."""

inventory_records = sa.Table(
    "inventory_records",
    metadata,
    sa.Column("key", sa.String(36), primary_key=True),
    # what it was first seen as, a candidate or a node: it stays through onboarding and deletion
    sa.Column("id", _COMPARED, nullable=False),
    sa.Column("node_id", sa.String(36)),
    sa.Column("candidate_id", sa.String(255)),
    sa.Column("instance_id", sa.String(36)),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("written_at", UtcDateTime, nullable=False),
    sa.Column("gone_at", UtcDateTime),
    *(
        sa.Column(name, _COMPARED, nullable=False)
        for name in (
            "name", "kind", "phase", "state", "provision_state", "power", "health", "maintenance", "retired", "pool",
            "project", "project_id", "server", "flavor", "image", "address", "serial", "vendor", "model",
            "architecture", "site", "room", "rack", "bmc", "bmc_firmware", "bios", "since", "mac",
        )
    ),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("cpus", "memory_mib", "disk_gib", "unit")),
    sa.Column("tags", sa.Text, nullable=False),
    # each between line ends; nothing for none
    sa.Index(None, "id"),
    sa.Index(None, "node_id"),
    sa.Index(None, "candidate_id"),
    sa.Index(None, "instance_id"),
    sa.Index(None, "name", "id"),
    sa.Index(None, "serial"),
)  # fmt: skip

inventory_texts = sa.Table(
    "inventory_texts",
    metadata,
    sa.Column("key", sa.String(36), primary_key=True),
    sa.Column("haystack", sa.Text, nullable=False),
    # apart from the rows, so that filtering and sorting reads little
)

inventory_documents = sa.Table(
    "inventory_documents",
    metadata,
    sa.Column("key", sa.String(36), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

inventory_tags = sa.Table(
    "inventory_tags",
    metadata,
    sa.Column("key", sa.String(36), primary_key=True),
    sa.Column("tag", _COMPARED, primary_key=True),
    sa.Index(None, "tag"),
)

inventory_changes = sa.Table(
    "inventory_changes",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(36), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("field", sa.String(64), nullable=False),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("operation_id", sa.String(36)),
    sa.Column("actor", sa.String(255)),
    sa.Index(None, "key", "id"),
    sa.Index(None, "at"),
    sqlite_autoincrement=True,
)

inventory_parts = sa.Table(
    "inventory_parts",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(36), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("identity", sa.String(255), nullable=False),
    sa.Column("serial", sa.Text, nullable=False),
    sa.Column("wwn", sa.Text),
    sa.Column("name", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("size_gb", sa.BigInteger),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    # NULL: it is there
    sa.Index(None, "key"),
    sa.Index(None, "identity"),
)

inventory_inspections = sa.Table(
    "inventory_inspections",
    metadata,
    sa.Column("node_id", sa.String(36), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("bios", sa.Text),
    sa.Column("disks", sa.JSON, nullable=False),
)

inventory_state = sa.Table(
    "inventory_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("observed_at", UtcDateTime, nullable=False),
    # the newest event that was appended before that
    sa.Column("event_id", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("records", sa.Integer, nullable=False),
)

inventory_views = sa.Table(
    "inventory_views",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("user_id", sa.String(64), nullable=False),
    sa.Column("user_name", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("shared", sa.Boolean, nullable=False),
    sa.Column("query", sa.JSON, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
)
