"""Rows of uploaded and produced files. Every call names the tenant: there is no lookup without one."""

from __future__ import annotations

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.models import File, new_id


def add(session: Session, tenant: str, *, sha256: str, size: int, filename: str, purpose: str) -> File:
    row = File(
        id=new_id("file-"),
        tenant=tenant,
        sha256=sha256,
        bytes=size,
        filename=filename,
        purpose=purpose,
        created_at=int(time.time()),
        expires_at=None,
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, tenant: str, file_id: str) -> File | None:
    return session.scalar(select(File).where(File.id == file_id, File.tenant == tenant))


def remove(session: Session, row: File) -> bool:
    """Delete the row; True when no other row names the same blob, which may then go too."""
    session.delete(row)
    session.flush()
    return not session.scalar(select(func.count()).where(File.sha256 == row.sha256))
