"""Alembic's folder: ``versions/`` has one file for each revision of the schema."""
