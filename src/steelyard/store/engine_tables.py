"""The tables of the engine: servers that share the work, bulk operations, reconcilers, intents."""

from __future__ import annotations

import sqlalchemy as sa

from steelyard.store.tables import UtcDateTime, metadata

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("replica", sa.String(255), primary_key=True),
    sa.Column("boot", sa.String(36), nullable=False, unique=True),
    # of this start of it: another start of the same name is another server
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("beat_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("secret_id", sa.String(64)),
    sa.Column("cancel_children", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

batch_items = sa.Table(
    "batch_items",
    metadata,
    sa.Column("batch_id", sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("item", sa.LargeBinary),
    # encrypted; NULL when it is not needed any more
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("operation_id", sa.String(36)),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("ended_at", UtcDateTime),
    sa.Index(None, "batch_id", "phase"),
)

reconcilers = sa.Table(
    "reconcilers",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("holder", sa.String(36)),
    # boot id of the server that runs it at this moment; of no account once that server is dead
    sa.Column("running_since", UtcDateTime),
    sa.Column("last_started_at", UtcDateTime),
    sa.Column("last_ended_at", UtcDateTime),
    sa.Column("last_succeeded_at", UtcDateTime),
    sa.Column("last_report", sa.JSON(none_as_null=True)),
    sa.Column("last_error", sa.Text),
    sa.Column("runs", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("replica", sa.String(255)),
)

intents = sa.Table(
    "intents",
    metadata,
    sa.Column("user_id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    # as of operations: the request that is asked again
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("mark", sa.String(64), nullable=False),
    # what the thing that is asked for carries in the cloud
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Index(None, "asked_at"),
)
