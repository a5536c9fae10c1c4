"""Whether a job may go on from a version: the `model` of a request that is not the base's name.

What the trainer would find at the job's start is said at its creation. Called by job_create.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.base import Base
from adapters.manifest import Manifest
from records.database import Database
from records.models import Version
from records.settings import Settings
from server.engine.base import RequestRefused
from server.errors import INVALID, invalid, unknown_model
from server.names import Names


@dataclass(frozen=True)
class Office:
    """What a request for a job is checked against, by a server and by `chorus train`."""

    settings: Settings
    database: Database
    base: Base
    names: Names


def parent(session: Session, office: Office, tenant: str, model: str) -> Version:
    """The tenant's version. Raises RequestRefused: 404 when there is none (any more) or it was
    made for another base, 410 when it is refuted, 400 when this server could not serve what comes of it."""
    if not model.startswith("ft:"):
        said = (
            f"Model '{model[:200]}' is not available for fine-tuning here; use '{office.base.slug}', or the "
            "full name of a version (ft:...) to go on from it."
        )
        raise invalid(said, "model", "model_not_available")
    row = session.scalar(select(Version).where(Version.tenant == tenant, Version.name == model))
    if row is None:
        raise unknown_model(model)
    if row.deleted_at is not None:
        said = f"The model `{row.name}` was deleted; go on from another version, or use '{office.base.slug}'."
        raise RequestRefused(404, said, type=INVALID, param="model", code="model_not_found")
    office.names.version_of(row)
    rank, most = Manifest.model_validate(row.manifest).served_rank, office.settings.largest_rank
    if rank > most:
        said = (
            f"The model `{row.name}` has rank {rank}, and this server serves {most} at most; go on from "
            f"another version, or use '{office.base.slug}'."
        )
        raise invalid(said, "model", "rank_too_large")
    return row
