"""Who had which address, and which addresses are known to be in use by others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "address_history",
        sa.Column("id", number, nullable=False, autoincrement=True),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("subnet_id", sa.String(length=36), nullable=False),
        sa.Column("cidr", sa.String(length=64), nullable=False),
        sa.Column("network_id", sa.String(length=36), nullable=False),
        sa.Column("port_id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=255), nullable=True),
        sa.Column("owner_name", sa.String(length=255), nullable=True),
        sa.Column("node_id", sa.String(length=36), nullable=True),
        sa.Column("node_name", sa.String(length=255), nullable=True),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_history")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_address_history_subnet_id_address_id"), "address_history", ["subnet_id", "address", "id"])
    lasting = sa.text("until IS NULL")
    op.create_index(
        "uq_address_history_lasting", "address_history", ["subnet_id", "address", "port_id"], unique=True,
        sqlite_where=lasting, postgresql_where=lasting,
    )  # fmt: skip
    op.create_table(
        "brownfield_addresses",
        sa.Column("subnet_id", sa.String(length=36), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("note", sa.String(length=255), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=True),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subnet_id", "address", name=op.f("pk_brownfield_addresses")),
    )
