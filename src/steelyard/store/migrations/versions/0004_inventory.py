"""The inventory index, its history, the parts of servers, and saved views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COMPARED = sa.String(255).with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TEXTS = (
    "name", "kind", "phase", "state", "provision_state", "power", "health", "maintenance", "retired", "pool",
    "project", "project_id", "server", "flavor", "image", "address", "serial", "vendor", "model", "architecture",
    "site", "room", "rack", "bmc", "bmc_firmware", "bios", "since", "mac",
)  # fmt: skip
NUMBERS = ("cpus", "memory_mib", "disk_gib", "unit")


def upgrade() -> None:
    op.create_table(
        "inventory_records",
        sa.Column("key", sa.String(length=36), nullable=False),
        sa.Column("id", COMPARED, nullable=False),
        sa.Column("node_id", sa.String(length=36), nullable=True),
        sa.Column("candidate_id", sa.String(length=255), nullable=True),
        sa.Column("instance_id", sa.String(length=36), nullable=True),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("written_at", MOMENT, nullable=False),
        sa.Column("gone_at", MOMENT, nullable=True),
        *(sa.Column(name, COMPARED, nullable=False) for name in TEXTS),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in NUMBERS),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_inventory_records")),
    )
    for columns in (["id"], ["node_id"], ["candidate_id"], ["instance_id"], ["name", "id"], ["serial"]):
        op.create_index(op.f(f"ix_inventory_records_{'_'.join(columns)}"), "inventory_records", columns)
    op.create_table(
        "inventory_texts",
        sa.Column("key", sa.String(length=36), nullable=False),
        sa.Column("haystack", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_inventory_texts")),
    )
    op.create_table(
        "inventory_documents",
        sa.Column("key", sa.String(length=36), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_inventory_documents")),
    )
    op.create_table(
        "inventory_tags",
        sa.Column("key", sa.String(length=36), nullable=False),
        sa.Column("tag", COMPARED, nullable=False),
        sa.PrimaryKeyConstraint("key", "tag", name=op.f("pk_inventory_tags")),
    )
    op.create_index(op.f("ix_inventory_tags_tag"), "inventory_tags", ["tag"])
    op.create_table(
        "inventory_changes",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=36), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("operation_id", sa.String(length=36), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_inventory_changes_key_id"), "inventory_changes", ["key", "id"])
    op.create_index(op.f("ix_inventory_changes_at"), "inventory_changes", ["at"])
    op.create_table(
        "inventory_parts",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("identity", sa.String(length=255), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("wwn", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("size_gb", sa.BigInteger(), nullable=True),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_parts")),
    )
    op.create_index(op.f("ix_inventory_parts_key"), "inventory_parts", ["key"])
    op.create_index(op.f("ix_inventory_parts_identity"), "inventory_parts", ["identity"])
    op.create_table(
        "inventory_inspections",
        sa.Column("node_id", sa.String(length=36), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("bios", sa.Text(), nullable=True),
        sa.Column("disks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_inventory_inspections")),
    )
    op.create_table(
        "inventory_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("observed_at", MOMENT, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_state")),
    )
    op.create_table(
        "inventory_views",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inventory_views")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_inventory_views_user_id_name")),
    )
