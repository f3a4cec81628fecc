"""The tables, in SQLAlchemy Core. What changes here needs a migration in `store/migrations/versions/`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A point in time: always timezone-aware UTC in Python, also on SQLite, which knows no time zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("address", sa.String(255), nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("system_path", sa.String(512), nullable=False),
    # one BMC may manage several systems, and BMCs change addresses: the place is not unique
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("uuid", sa.String(64)),
    sa.Column("serial", sa.String(255)),
    sa.Column("node_id", sa.String(36)),
    sa.Column("secret_id", sa.String(64)),
    sa.Column("first_seen_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Index(None, "state"),
    sa.Index(None, "uuid"),
    sa.Index(None, "serial"),
    sa.Index(None, "node_id"),
    sa.Index(None, "address", "port"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(255)),
    sa.Column("exclusive", sa.String(255), unique=True),
    # the subject while an exclusive operation on it is unfinished, NULL before and after: the lock is the constraint
    sa.Column("actor", sa.JSON, nullable=False),
    sa.Column("user_id", sa.String(64), nullable=False),
    sa.Column("project_id", sa.String(64)),
    sa.Column("reason", sa.Text),
    sa.Column("key", sa.String(255)),
    sa.Column("request_id", sa.String(64)),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("parent_id", sa.String(36)),
    sa.Column("owner", sa.String(36)),
    # boot id of the server that works on it: a write of any other is refused
    sa.Column("replica", sa.String(255)),
    sa.Column("pause_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("pause_reason", sa.Text),
    sa.Column("paused_at", UtcDateTime),
    sa.UniqueConstraint("user_id", "kind", "key"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "project_id", "created_at"),
    sa.Index(None, "subject"),
    sa.Index(None, "phase"),
    sa.Index(None, "parent_id"),
)

operation_steps = sa.Table(
    "operation_steps",
    metadata,
    sa.Column("operation_id", sa.ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("waiting_for", sa.Text),
    sa.Column("deadline_at", UtcDateTime),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("waiting_since", UtcDateTime),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("subject", sa.String(255), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("operation_id", sa.String(36)),
    sa.Column("request_id", sa.String(64)),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("project_id", sa.String(64)),
    sa.Column("prev", sa.String(64)),
    sa.Column("hash", sa.String(64)),
    sa.Index(None, "subject", "id"),
    sa.Index(None, "kind", "id"),
    sa.Index(None, "actor", "id"),
    sa.Index(None, "project_id", "id"),
    sqlite_autoincrement=True,
)

cables = sa.Table(
    "cables",
    metadata,
    sa.Column("mac", sa.String(64), primary_key=True),
    sa.Column("switch_id", sa.String(255), nullable=False),
    sa.Column("port_id", sa.String(255), nullable=False),
    sa.Column("switch_name", sa.String(255)),
    sa.Column("learned_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("switch_id", "port_id"),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

# The chain of events, and webhooks

event_chain = sa.Table(
    "event_chain",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key_id", sa.String(64), nullable=False),
    sa.Column("first_id", sa.BigInteger, nullable=False),
    sa.Column("last_id", sa.BigInteger, nullable=False),
    sa.Column("last_hash", sa.String(64), nullable=False),
    sa.Column("seal", sa.String(64), nullable=False),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret_id", sa.String(64), nullable=False),
    sa.Column("filter", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(255), nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failing_since", UtcDateTime),
    sa.Column("next_attempt_at", UtcDateTime),
    sa.Column("last_error", sa.Text),
    sa.Column("last_success_at", UtcDateTime),
    sa.Column("given_up", sa.BigInteger, nullable=False),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("webhook_id", sa.ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("event_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_at", UtcDateTime, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text),
)

# Policies of projects, and flips of nodes

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("project_id", sa.String(64), primary_key=True),
    sa.Column("power_off", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(255), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("changed_at", UtcDateTime, nullable=False),
)

flips = sa.Table(
    "flips",
    metadata,
    sa.Column("node_id", sa.String(36), primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("holder", sa.String(64)),
    sa.Column("held_until", UtcDateTime),
    sa.Column("open_until", UtcDateTime),
    sa.Column("failed_to", sa.String(16)),
    sa.Column("failure", sa.Text),
    sa.Column("failed_at", UtcDateTime),
)

# Segments that nodes have to themselves

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("network_id", sa.String(64), primary_key=True),
    sa.Column("node_id", sa.String(36), unique=True),
    # NULL while it is free; a node has one at most: both locks are constraints
    sa.Column("role", sa.String(16)),
    sa.Column("actor", sa.String(255)),
    sa.Column("since", UtcDateTime),
    sa.Column("asked_at", UtcDateTime),
    # when the node was last given it: it may be about to put something there
    sa.Column("freed_at", UtcDateTime),
)

segment_waits = sa.Table(
    "segment_waits",
    metadata,
    sa.Column("node_id", sa.String(36), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
)

# Who had a node, and when it was cleaned

tenancies = sa.Table(
    "tenancies",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("node_id", sa.String(36), nullable=False),
    sa.Column("instance_id", sa.String(36)),
    sa.Column("name", sa.String(255)),
    sa.Column("project_id", sa.String(64)),
    sa.Column("user_id", sa.String(64)),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("unproven", sa.Text),
    # why the node was not proven clean when this tenant got it; NULL when it was
    sa.Index(None, "node_id", "id"),
    sqlite_autoincrement=True,
)

clean_records = sa.Table(
    "clean_records",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("node_id", sa.String(36), nullable=False),
    sa.Column("how", sa.String(16), nullable=False),
    sa.Column("stay", sa.String(64), nullable=False),
    # Ironic's time of the transition to available that this clean led to: what happens after it needs a new one
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime, nullable=False),
    sa.Column("steps", sa.JSON, nullable=False),
    sa.Column("operation_id", sa.String(36)),
    sa.UniqueConstraint("node_id", "stay"),
    sqlite_autoincrement=True,
)

sightings = sa.Table(
    "sightings",
    metadata,
    sa.Column("subject", sa.String(255), primary_key=True),
    sa.Column("seen", sa.JSON, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
