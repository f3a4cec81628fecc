"""Alembic's migrations, run at start-up."""
