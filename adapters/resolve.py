"""From what a tenant's client sends as `model` to the version that answers."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.base import Base
from adapters.manifest import Manifest
from records.models import Version


def fits(row: Version, base: Base) -> bool:
    """Whether the version was made for this very base model."""
    return Manifest.model_validate(row.manifest).fits(base) is None


def version_for(session: Session, tenant: str, model: str, base: Base) -> Version | None:
    """The tenant's version of that name, else the brand's newest final version, or None.

    Of a brand's versions those made for `base` come first: after a change of base and back, the older one
    answers again. When none fits, the newest is returned, so that the caller can say why it does not.
    """
    mine = select(Version).where(Version.tenant == tenant, Version.deleted_at.is_(None))
    exact = session.scalar(mine.where(Version.name == model))
    if exact is not None or model.startswith("ft:"):
        return exact
    if not model:
        return None
    finals = mine.where(Version.brand == model, Version.step.is_(None)).order_by(Version.seq.desc())
    newest = None
    for row in session.scalars(finals):
        if fits(row, base):
            return row
        newest = newest or row
    return newest


def versions_of(session: Session, tenant: str) -> Sequence[Version]:
    """All of a tenant's versions, oldest first."""
    mine = select(Version).where(Version.tenant == tenant, Version.deleted_at.is_(None))
    return session.scalars(mine.order_by(Version.seq)).all()


def newest_finals(session: Session, limit: int, base: Base) -> Sequence[Version]:
    """The newest final version of each brand of each tenant for `base`, newest first: what a start loads."""
    seen: dict[tuple[str, str], Version] = {}
    finals = select(Version).where(Version.deleted_at.is_(None), Version.step.is_(None))
    for row in session.scalars(finals.order_by(Version.seq.desc())):
        if (row.tenant, row.brand) not in seen and fits(row, base):
            seen[row.tenant, row.brand] = row
        if len(seen) == limit:
            break
    return list(seen.values())
