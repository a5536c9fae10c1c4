"""Where a job's log and its state between attempts lie, and when they go. No torch: worker.py uses it too."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.jobs import FAILED
from records.models import TERMINAL, Job

LOG = "log.txt"


def folder(home: Path, job_id: str) -> Path:
    """`<home>/jobs/<job id>`; the id is from our rows."""
    return home / "jobs" / job_id


def sweep(session: Session, home: Path) -> None:
    """Remove what ended jobs left; of a failed one the log stays, for the operator. Folders that no row
    names are left alone: they may belong to another database."""
    present = [path.name for path in (home / "jobs").glob("*")]
    for start in range(0, len(present), 500):
        ended = select(Job.id, Job.status).where(
            Job.id.in_(present[start : start + 500]), Job.status.in_(TERMINAL)
        )
        for job_id, status in session.execute(ended):
            _clear(folder(home, job_id), keep_log=status == FAILED)


def _clear(path: Path, *, keep_log: bool) -> None:
    if not keep_log:
        shutil.rmtree(path, ignore_errors=True)
        return
    for member in path.iterdir():
        if member.is_dir():
            shutil.rmtree(member, ignore_errors=True)
        elif member.name != LOG:
            member.unlink(missing_ok=True)
