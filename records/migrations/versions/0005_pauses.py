"""Pauses: a job remembers what it was before, to be that again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("paused_from", sa.String(length=20), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "paused_from")
