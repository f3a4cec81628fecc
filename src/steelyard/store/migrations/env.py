"""Alembic's environment: the connection and its transaction are the caller's (`store.database.Database.migrate`)."""

from __future__ import annotations

from alembic import context

from steelyard.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the caller's transaction is the only one
)
context.run_migrations()
