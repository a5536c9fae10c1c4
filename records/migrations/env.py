"""Runs revisions on the connection that `Database.prepare` hands over, inside its transaction."""

from alembic import context

from records.models import Row

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Row.metadata, render_as_batch=True
)
context.run_migrations()
