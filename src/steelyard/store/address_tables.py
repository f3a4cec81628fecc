"""The tables of the address plan: who had which address, and which addresses are known to be in use by others."""

from __future__ import annotations

import sqlalchemy as sa

from steelyard.store.tables import UtcDateTime, metadata

address_history = sa.Table(
    "address_history",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("address", sa.String(45), nullable=False),
    sa.Column("subnet_id", sa.String(36), nullable=False),
    sa.Column("cidr", sa.String(64), nullable=False),
    sa.Column("network_id", sa.String(36), nullable=False),
    sa.Column("port_id", sa.String(36), nullable=False),
    sa.Column("owner", sa.String(32), nullable=False),
    sa.Column("owner_id", sa.String(255)),
    sa.Column("owner_name", sa.String(255)),
    sa.Column("node_id", sa.String(36)),
    sa.Column("node_name", sa.String(255)),
    sa.Column("mac", sa.String(64), nullable=False),
    sa.Column("project_id", sa.String(255)),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime),
    sa.Column("until", UtcDateTime),
    sa.Index(None, "subnet_id", "address", "id"),
    sa.Index(
        "uq_address_history_lasting", "subnet_id", "address", "port_id", unique=True,
        sqlite_where=sa.text("until IS NULL"), postgresql_where=sa.text("until IS NULL"),
    ),  # what lasts, lasts once
    sqlite_autoincrement=True,
)  # fmt: skip

brownfield_addresses = sa.Table(
    "brownfield_addresses",
    metadata,
    sa.Column("subnet_id", sa.String(36), primary_key=True),
    sa.Column("address", sa.String(45), primary_key=True),
    sa.Column("note", sa.String(255), nullable=False),
    sa.Column("mac", sa.String(64)),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
)
