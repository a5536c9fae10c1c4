"""Rollouts and the audit. Until here a brand was its newest final version: that becomes its live one."""

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    rollouts = op.create_table(
        "rollouts",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("brand", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=128), nullable=False),
        sa.Column("live", sa.String(length=256), nullable=True),
        sa.Column("previous", sa.String(length=256), nullable=True),
        sa.Column("candidate", sa.String(length=256), nullable=True),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("shadow", sa.String(length=256), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"]),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("tenant", "brand", "base"),
    )
    audit = op.create_table(
        "audit",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("at", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=40), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("object", sa.String(length=320), nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("after", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"]),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("ix_audit_object", "audit", ["tenant", "object"], unique=False)
    _fill(rollouts, audit)


def _fill(rollouts: sa.Table, audit: sa.Table) -> None:
    """A rollout for each brand that has final versions: the newest is live, the one before is previous."""
    names = ("name", "tenant", "brand", "base", "seq", "step", "deleted_at")
    versions = sa.table("versions", *map(sa.column, names))
    finals = sa.select(versions).where(
        versions.c.deleted_at.is_(None), versions.c.step.is_(None), versions.c.brand != ""
    )
    newest: dict[tuple[str, str, str], list[str]] = {}
    for row in op.get_bind().execute(finals.order_by(versions.c.seq.desc())):
        newest.setdefault((row.tenant, row.brand, row.base), []).append(row.name)
    now = int(time.time())
    for (tenant, brand, base), found in newest.items():
        live, previous = [*found, None][:2]
        state = {
            "live": live, "previous": previous, "candidate": None, "share": 0.0, "shadow": None,
            "paused": False,
        }  # fmt: skip
        where = {"tenant": tenant, "brand": brand, "base": base}
        op.execute(rollouts.insert().values(**where, **state, generation=1, updated_at=now))
        op.execute(
            audit.insert().values(
                id=f"audit-{secrets.token_hex(12)}",
                at=now,
                tenant=tenant,
                actor="migration",
                action="arrived",
                object=f"rollout:{base}:{brand}",
                before=None,
                after=state,
            )
        )


def downgrade() -> None:
    op.drop_index("ix_audit_object", table_name="audit")
    op.drop_table("audit")
    op.drop_table("rollouts")
