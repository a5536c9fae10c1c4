"""Rows of uploaded and produced files. What a client asks for is looked up with its tenant, never without."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from records.models import UNFINISHED, Evaluation, File, Job, new_id


def add(
    session: Session,
    tenant: str,
    *,
    sha256: str,
    size: int,
    filename: str,
    purpose: str,
    keep_seconds: int | None = None,
) -> File:
    """A new row; `keep_seconds` from now it expires (None: never)."""
    now = int(time.time())
    row = File(
        id=new_id("file-"),
        tenant=tenant,
        sha256=sha256,
        bytes=size,
        filename=filename,
        purpose=purpose,
        created_at=now,
        expires_at=None if keep_seconds is None else now + keep_seconds,
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, tenant: str, file_id: str) -> File | None:
    return session.scalar(select(File).where(File.id == file_id, *of(tenant)))


def of(tenant: str) -> tuple[ColumnElement[bool], ...]:
    """Conditions for the files that a tenant has: an expired one is gone, swept or not."""
    return File.tenant == tenant, or_(File.expires_at.is_(None), File.expires_at > int(time.time()))


def expired(session: Session, now: int) -> Sequence[File]:
    """Files whose time is over and that no unfinished job needs, a thousand at most."""
    over = select(File).where(File.expires_at <= now, ~File.id.in_(_needed()))
    return session.scalars(over.limit(1000)).all()


def needed_by(session: Session, row: File) -> str | None:
    """The id of an unfinished job that trains or validates on the file, or None."""
    uses = or_(Job.training_file == row.id, Job.validation_file == row.id)
    return session.scalar(select(Job.id).where(Job.status.in_(UNFINISHED), uses).limit(1))


def remove(session: Session, row: File) -> bool:
    """Delete the row; True when no other row names the same blob, which may then go too."""
    session.delete(row)
    session.flush()
    named = (File.sha256 == row.sha256, Evaluation.items_sha256 == row.sha256)
    return not any(session.scalar(select(func.count()).where(one)) for one in named)


def unnamed(session: Session, digests: Sequence[str]) -> set[str]:
    """Those of the sha256 that no row names."""
    return set(digests) - set(session.scalars(select(File.sha256).where(File.sha256.in_(digests))))


def _needed() -> ColumnElement[str]:
    unfinished = Job.status.in_(UNFINISHED)
    train = select(Job.training_file).where(unfinished)
    validate = select(Job.validation_file).where(unfinished, Job.validation_file.is_not(None))
    return train.union(validate)  # type: ignore[return-value]
