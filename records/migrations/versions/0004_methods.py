"""The method of a job. Until here there was one."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("method", sa.String(length=16), nullable=False, server_default="supervised")
    )


def downgrade() -> None:
    op.drop_column("jobs", "method")
