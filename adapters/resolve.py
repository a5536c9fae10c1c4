"""From what a tenant's client sends as `model` to the version that answers."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.models import Version


def version_for(session: Session, tenant: str, model: str) -> Version | None:
    """The tenant's version of that name, else the newest final version of the brand of that name, or None."""
    mine = select(Version).where(Version.tenant == tenant, Version.deleted_at.is_(None))
    exact = session.scalar(mine.where(Version.name == model))
    if exact is not None or model.startswith("ft:"):
        return exact
    if not model:
        return None
    newest = mine.where(Version.brand == model, Version.step.is_(None)).order_by(Version.seq.desc()).limit(1)
    return session.scalar(newest)


def versions_of(session: Session, tenant: str) -> Sequence[Version]:
    """All of a tenant's versions, oldest first."""
    mine = select(Version).where(Version.tenant == tenant, Version.deleted_at.is_(None))
    return session.scalars(mine.order_by(Version.seq)).all()


def newest_finals(session: Session, limit: int) -> Sequence[Version]:
    """The newest final version of each brand of each tenant, newest first: what a start loads again."""
    seen: dict[tuple[str, str], Version] = {}
    finals = select(Version).where(Version.deleted_at.is_(None), Version.step.is_(None))
    for row in session.scalars(finals.order_by(Version.seq.desc())):
        seen.setdefault((row.tenant, row.brand), row)
        if len(seen) == limit:
            break
    return list(seen.values())
