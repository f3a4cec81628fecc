"""Cables are known apart from candidates; those that candidates know are taken over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    cables = op.create_table(
        "cables",
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.Column("switch_id", sa.String(length=255), nullable=False),
        sa.Column("port_id", sa.String(length=255), nullable=False),
        sa.Column("switch_name", sa.String(length=255), nullable=True),
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("mac", name=op.f("pk_cables")),
        sa.UniqueConstraint("switch_id", "port_id", name=op.f("uq_cables_switch_id_port_id")),
    )
    candidates = sa.table("candidates", sa.column("document", sa.JSON), sa.column("last_seen_at"))
    query = sa.select(candidates.c.document).order_by(candidates.c.last_seen_at)
    by_port: dict[tuple[str, str], dict[str, Any]] = {}
    for document in op.get_bind().execute(query).scalars():
        for mac, link in ((document or {}).get("links") or {}).items():
            by_port[link["switch_id"], link["port_id"]] = {
                "mac": mac.lower(),
                "switch_id": link["switch_id"],
                "port_id": link["port_id"],
                "switch_name": link.get("switch_name"),
                "learned_at": datetime.now(UTC),
            }
    rows = list({row["mac"]: row for row in by_port.values()}.values())
    if rows:
        op.bulk_insert(cables, rows)
