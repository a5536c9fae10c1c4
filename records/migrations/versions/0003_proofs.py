"""Proofs. What could answer for a brand until here goes on to: its final versions, and those that its rollout
names, count as proven."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("versions", sa.Column("proof", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("versions", sa.Column("proved_at", sa.Integer(), nullable=True))
    op.add_column("versions", sa.Column("refuted", sa.String(), nullable=True))
    op.add_column("rollouts", sa.Column("pending", sa.String(length=256), nullable=True))
    versions = sa.table("versions", *map(sa.column, ("name", "step", "proved_at")))
    parts = ("live", "previous", "candidate")
    rollouts = sa.table("rollouts", *map(sa.column, parts))
    named = [versions.c.name.in_(sa.select(rollouts.c[part])) for part in parts]
    answered = sa.or_(versions.c.step.is_(None), *named)
    op.execute(versions.update().where(answered).values(proved_at=int(time.time())))


def downgrade() -> None:
    op.drop_column("rollouts", "pending")
    for name in ("refuted", "proved_at", "proof"):
        op.drop_column("versions", name)
