"""What a job begins with: the server's base, or a version where its `model` names one. Called by attempt.py.

A version that an unfinished job needs is not deleted (server/routes/models.py), but it may be refuted between
the job's creation and its start, or its folder may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapters import check, publish
from adapters.base import Base
from adapters.manifest import Manifest
from adapters.refused import Code, Refused
from records.models import Job
from training.failure import JobFailed
from training.journal import Journal


@dataclass(frozen=True)
class Parent:
    """`folder` holds what was admitted."""

    name: str
    sha256: str
    folder: Path


def find(journal: Journal, model: str, base: Base, home: Path, max_rank: int) -> Parent | None:
    """None when the job begins with the base. Raises JobFailed."""
    if base.is_named(model):
        return None
    row = journal.parent()
    if row is None:
        raise JobFailed("model_not_found", f"The base model {model!r} is not served here.", "model")
    if row.deleted_at is not None:
        raise _unusable(row.name, "it was deleted")
    if row.refuted is not None:
        raise _unusable(row.name, f"it was refuted by its proof: {row.refuted}")
    problem = Manifest.model_validate(row.manifest).fits(base)
    if problem is not None:
        raise JobFailed("model_not_found", f"The job cannot go on from {row.name}. {problem}", "model")
    folder = publish.folder(home, row.sha256)
    try:
        check.admit(folder, base, max_rank=max_rank, expected_sha256=row.sha256)
    except Refused as refused:
        if refused.code is Code.UNREADABLE:
            raise  # the disk's fault: another attempt may do better
        raise _unusable(row.name, str(refused).rstrip(".")) from refused
    return Parent(row.name, row.sha256, folder)


def check_base(job: Job, base: Base) -> None:
    """Raises JobFailed when the worker's base is not what the server had when it took the job: with another
    chat template, say, what is learnt would not be what is asked."""
    changed = base.differs(job.base_hashes) if job.base_hashes else None  # older rows have none
    if changed is not None:
        raise JobFailed(
            "base_changed",
            f"The {changed} of base model {base.slug!r}, as it would be trained on, is not what the server "
            "had when it took the job, so the result could not be served. Have the operator give server and "
            "worker the same files, restart both, and create the job again.",
            "model",
        )


def _unusable(name: str, why: str) -> JobFailed:
    said = f"The job cannot go on from {name}: {why}. Create it again with another version, or with the base."
    return JobFailed("version_unusable", said, "model")
