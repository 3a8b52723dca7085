"""Alembic runs this file; :mod:`kindred.storage.postgres.migrate` gives it a connection."""

from __future__ import annotations

from alembic import context

from kindred.storage.postgres.migrate import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
