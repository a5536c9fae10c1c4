"""From a draft folder to an immutable version: write, fsync, hash, rename; then one row.

The folder's name is the sha256 of its content, so storing twice is storing once, and a kill at any step
leaves either nothing or a whole folder. Nothing serves a folder that no row names.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from adapters.content import MEMBERS, content_digest
from adapters.manifest import FILE, Manifest
from adapters.reference import Reference
from records.blobs import sync_folder
from records.models import UNFINISHED, Job, Version


class NameTaken(ValueError):
    """Other content has this name already: a name holds eight digits of the 64 of its content's sha256."""


def folder(home: Path, sha256: str) -> Path:
    """Where a version's files lie."""
    return (home / "adapters" / sha256).absolute()


def store(home: Path, draft: Path, manifest: Manifest) -> str:
    """Move `draft` (holding configuration and weights) to its content address; gives back the sha256.

    A folder that is there already stays; a damaged one is exchanged for this one. `draft` must be
    on the same disk as `home`. Raises FileNotFoundError for a missing member, OSError when the disk is full;
    then nothing was published.
    """
    (draft / FILE).write_text(manifest.model_dump_json(indent=2))
    for extra in {path.name for path in draft.iterdir()} - set(MEMBERS):
        (draft / extra).unlink()
    for name in MEMBERS:
        with (draft / name).open("rb") as stream:
            os.fsync(stream.fileno())
    sha256 = content_digest(draft)
    sync_folder(draft)
    target = folder(home, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not _is_whole(target):
            damaged = draft.with_name(f"{draft.name}-damaged")
            target.rename(damaged)  # whoever has its files open goes on to read them
            draft.rename(target)
            draft = damaged
        shutil.rmtree(draft)
    sync_folder(target.parent)
    return sha256


def _is_whole(target: Path) -> bool:
    try:
        return content_digest(target) == target.name
    except OSError:
        return False


def record(
    session: Session,
    manifest: Manifest,
    sha256: str,
    *,
    tenant: str,
    brand: str,
    checkpoint: bool,
    proof: dict[str, Any] | None = None,
) -> Version:
    """The row that makes a stored folder answer to a name; an equal row is found, not doubled. `proof` is
    what training computed (adapters/proof.py). Raises NameTaken."""
    step = manifest.step if checkpoint else None
    name = str(Reference(manifest.base, tenant, brand, sha256, step))
    known = session.scalar(select(Version).where(Version.name == name))
    if known is not None:
        if known.sha256 != sha256:
            raise NameTaken(f"The name {name} is taken by another version.")
        return known
    row = Version(
        name=name,
        tenant=tenant,
        brand=brand,
        base=manifest.base,
        sha256=sha256,
        step=step,
        job_id=manifest.job_id,
        created_at=int(time.time()),
        deleted_at=None,
        manifest=manifest.model_dump(mode="json"),
        proof=proof,
    )
    session.add(row)
    session.flush()
    return row


def unused(session: Session, before: int) -> Sequence[str]:
    """Content addresses of versions that were all deleted before that time, whose job is at its end.

    An unfinished job may still publish a checkpoint's folder under a second name, and one that goes on from a
    version reads its folder at each attempt.
    """
    begun_from = Version.name.in_(select(Job.model).where(Job.status.in_(UNFINISHED)))
    kept = select(Version.sha256).where(
        or_(Version.deleted_at.is_(None), Version.deleted_at >= before, begun_from)
    )
    unfinished = select(Job.id).where(Job.status.in_(UNFINISHED))
    gone = select(Version.sha256).where(
        Version.sha256.not_in(kept), or_(Version.job_id.is_(None), Version.job_id.not_in(unfinished))
    )
    return session.scalars(gone.distinct()).all()
