"""Tenancies of nodes, records of their cleaning, and how nodes and servers were last seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "tenancies",
        sa.Column("id", number, nullable=False, autoincrement=True),
        sa.Column("node_id", sa.String(length=36), nullable=False),
        sa.Column("instance_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("user_id", sa.String(length=64), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unproven", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenancies")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tenancies_node_id_id"), "tenancies", ["node_id", "id"])
    op.create_table(
        "clean_records",
        sa.Column("id", number, nullable=False, autoincrement=True),
        sa.Column("node_id", sa.String(length=36), nullable=False),
        sa.Column("how", sa.String(length=16), nullable=False),
        sa.Column("stay", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("operation_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clean_records")),
        sa.UniqueConstraint("node_id", "stay", name=op.f("uq_clean_records_node_id_stay")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sightings",
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("seen", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_sightings")),
    )
