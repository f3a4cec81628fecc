"""The tables of what needs attention: findings that are open, and those that somebody has acknowledged."""

from __future__ import annotations

import sqlalchemy as sa

from steelyard.store.tables import UtcDateTime, metadata

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("source", sa.String(128), primary_key=True),
    sa.Column("kind", sa.String(128), primary_key=True),
    sa.Column("subject", sa.String(255), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("next", sa.Text),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Index(None, "subject"),
)

acknowledgements = sa.Table(
    "acknowledgements",
    metadata,
    sa.Column("subject", sa.String(255), primary_key=True),
    sa.Column("kind", sa.String(128), primary_key=True),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    # of what was acknowledged: when it goes away and comes again, it is another one
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime, nullable=False),
)
