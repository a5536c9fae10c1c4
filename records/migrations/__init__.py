"""Alembic revisions of the tables in records/models.py."""
