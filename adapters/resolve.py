"""From what a tenant's client sends as `model` to the version that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from adapters import rollout
from adapters.base import Base
from adapters.manifest import Manifest
from records.models import Rollout, Version


class Listed(NamedTuple):
    """What a list of models needs of a version."""

    name: str
    brand: str
    step: int | None
    refuted: str | None
    created_at: int


def fits(row: Version, base: Base) -> bool:
    """Whether the version was made for this very base model."""
    return misfit(row, base) is None


def misfit(row: Version, base: Base) -> str | None:
    """None when the version was made for this very base model, else a sentence that says why not."""
    try:
        return Manifest.model_validate(row.manifest).fits(base)
    except ValidationError:  # one such row must not keep a server from all the others
        return "Its manifest is of a form that this server does not know; a newer Chorus may have written it."


def version_for(session: Session, tenant: str, model: str, base: Base) -> Version | None:
    """The tenant's version of that name, else the brand's live version, or None.

    When the live one was not made for `base` (the base was changed under its slug, or back), the newest
    final version that was, and is proven, answers. When there is none, the newest is returned, so that the
    caller can say why: `answers` tells. Where nothing is live nothing stands in: what is pending is returned,
    or the newest when all are refuted, for the same reason, and else None.
    """
    mine = select(Version).where(Version.tenant == tenant, Version.deleted_at.is_(None))
    exact = session.scalar(mine.where(Version.name == model))
    if exact is not None or model.startswith("ft:"):
        return exact
    if not model:
        return None
    row = rollout.find(session, tenant, model, base.slug)
    live = usable(session, tenant, row.live, base) if row else None
    if live is not None:
        return live
    finals = mine.where(Version.brand == model, Version.step.is_(None)).order_by(Version.seq.desc())
    found = session.scalars(finals).all()
    if row is not None and row.live is None:
        if row.pending is not None:
            return session.scalar(mine.where(Version.name == row.pending))
        return found[0] if found and all(version.refuted is not None for version in found) else None
    return next((version for version in found if answers(version, base)), found[0] if found else None)


def answers(row: Version, base: Base) -> bool:
    """Whether the version may answer for its brand: it fits the base, and an engine has proven it."""
    return row.proved_at is not None and fits(row, base)


def usable(session: Session, tenant: str, name: str | None, base: Base) -> Version | None:
    """The version that a rollout names, if it is still there, was made for `base` and is not refuted."""
    mine = select(Version).where(Version.tenant == tenant, Version.deleted_at.is_(None))
    found = session.scalar(mine.where(Version.name == name)) if name else None
    return found if found is not None and found.refuted is None and fits(found, base) else None


def versions_of(session: Session, tenant: str, base: Base) -> Sequence[Listed]:
    """All of a tenant's versions that were made for this very base, oldest first.

    One query, and no manifest is read here: of 3,000 versions that took 80 ms more.
    """
    manifest = Version.manifest
    made_for = (
        manifest["base_config_sha256"].as_string() == base.config_sha256,
        manifest["base_weights_sha256"].as_string() == base.weights_sha256,
        manifest["template_sha256"].as_string() == base.template_sha256,
        manifest["format"].as_integer() == Manifest.model_fields["format"].default,
    )
    columns = Version.name, Version.brand, Version.step, Version.refuted, Version.created_at
    mine = select(*columns).where(Version.tenant == tenant, Version.deleted_at.is_(None), *made_for)
    return [Listed(*row) for row in session.execute(mine.order_by(Version.seq))]


def not_deleted(session: Session, names: Sequence[str]) -> Sequence[str]:
    """Those of `names`, of any tenant, that are still there."""
    return session.scalars(
        select(Version.name).where(Version.name.in_(names), Version.deleted_at.is_(None))
    ).all()


def waiting(session: Session, base: Base) -> Sequence[Version]:
    """The versions that shall answer for a brand and that no engine has proven yet, oldest first."""
    named = or_(Version.name == Rollout.pending, Version.name == Rollout.candidate)
    mine = Rollout.base == base.slug, Version.tenant == Rollout.tenant, Version.deleted_at.is_(None)
    unproven = Version.proved_at.is_(None), Version.refuted.is_(None)
    rows = session.scalars(select(Version).join(Rollout, named).where(*mine, *unproven).order_by(Version.seq))
    return [row for row in rows if fits(row, base)]


def unproven(session: Session, row: Rollout) -> Sequence[str]:
    """What the rollout names to answer requests, and no engine has proven yet."""
    named = Version.name.in_([row.pending, row.candidate]), Version.proved_at.is_(None)
    return session.scalars(select(Version.name).where(Version.tenant == row.tenant, *named)).all()


def for_start(session: Session, limit: int, base: Base) -> Sequence[Version]:
    """What a start loads, at most `limit`: the live version of each brand, newest first; then candidates,
    shadows, and the previous ones, which are kept warm for a rollback."""
    joined = select(Rollout).join(Version, Version.name == Rollout.live).where(Rollout.base == base.slug)
    rows = session.scalars(joined.order_by(Version.seq.desc())).all()
    found: dict[str, Version] = {}
    for part in ("live", "candidate", "shadow", "previous"):
        for row in rows:
            if len(found) == limit:
                break
            version = usable(session, row.tenant, getattr(row, part), base)
            if version is not None:
                found[version.name] = version
    return list(found.values())
