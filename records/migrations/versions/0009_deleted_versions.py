"""Servers count deleted versions without reading all of them."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_index("ix_versions_deleted", "versions", ["deleted_at"])


def downgrade() -> None:
    op.drop_index("ix_versions_deleted", "versions")
