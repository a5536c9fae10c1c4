"""The queue of fine-tuning jobs: at-least-once attempts, exactly-once effects.

A worker claims a job with a lease and a fencing token (`fence`). Each write of the worker checks that its
fence is still the newest, in the same transaction: a worker that slept through its lease writes nothing.
(M. Kleppmann, "How to do distributed locking", 2016, describes the token.)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from records.models import (
    ACTIVE,
    CANCELLED,
    FAILED,
    PAUSED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    UNFINISHED,
    VALIDATING,
    Event,
    Job,
    new_id,
)


class LeaseLost(RuntimeError):
    """Another worker owns the job now, or it was cancelled or paused: stop and write no rows."""


class ChangeRefused(ValueError):
    """The job's status does not allow what was asked; `code` is for programs, `str()` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Lease:
    """The right to work on one job: valid while `fence` is the newest and the job not at its end."""

    job_id: str
    fence: int


def get(session: Session, tenant: str, job_id: str) -> Job | None:
    return session.scalar(select(Job).where(Job.id == job_id, Job.tenant == tenant))


def going_on_from(session: Session, version: str) -> str | None:
    """The id of an unfinished job that trains on from the version of that name, or None."""
    return session.scalar(select(Job.id).where(Job.status.in_(UNFINISHED), Job.model == version).limit(1))


def add(session: Session, job: Job) -> None:
    """Insert a job that waits for its files to be validated, with its first event."""
    session.add(job)
    session.flush()
    say(session, job.id, f"Created fine-tuning job: {job.id}")


def say(
    session: Session,
    job_id: str,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
    type: str = "message",
) -> None:
    """Append an event. Workers go through `held` first, in the same transaction."""
    session.add(
        Event(
            id=new_id("ftevent-"),
            job_id=job_id,
            created_at=int(time.time()),
            level=level,
            type=type,
            message=message,
            data=data,
        )
    )


def claim(session: Session, owner: str, seconds: float) -> tuple[Job, Lease] | None:
    """Take the next job that nobody holds (new, or its holder went silent), or None.

    Tenants take turns, so that nobody waits behind all of another's jobs; a tenant's own go by age. Two
    claimers never get one job: the update is conditional on the fence that was read.
    """
    now = time.time()
    free = or_(Job.lease_until.is_(None), Job.lease_until < now)
    query = select(Job).where(Job.status.in_(ACTIVE), free).order_by(*_turns(now), Job.seq).limit(1)
    job = session.scalar(query)
    if job is None:
        return None
    taken = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.fence == job.fence, free)
        .values(lease_owner=owner, lease_until=now + seconds, fence=Job.fence + 1, attempts=Job.attempts + 1)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        return None
    session.refresh(job)
    return job, Lease(job.id, job.fence)


def _turns(now: float) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """The job's tenant's jobs that are worked on now, then when one of them last ended: lowest first."""
    other = aliased(Job)
    held = other.lease_owner.is_not(None) & (other.lease_until >= now)
    busy = select(func.count()).where(other.tenant == Job.tenant, other.status.in_(ACTIVE), held)
    ended = select(func.coalesce(func.max(other.finished_at), 0)).where(other.tenant == Job.tenant)
    return busy.scalar_subquery(), ended.scalar_subquery()


def held(session: Session, lease: Lease, **values: Any) -> Job:
    """The job, changed by `values`, if the lease still holds; opens every transaction of a worker.

    Raises LeaseLost.
    """
    changed = session.execute(
        update(Job)
        .where(Job.id == lease.job_id, Job.fence == lease.fence, Job.status.in_(ACTIVE))
        .values(fence=lease.fence, **values)
        .execution_options(synchronize_session=False)
    )
    if changed.rowcount != 1:  # type: ignore[attr-defined]
        raise LeaseLost(lease.job_id)
    return session.scalars(
        select(Job).where(Job.id == lease.job_id).execution_options(populate_existing=True)
    ).one()


def renew(session: Session, lease: Lease, seconds: float) -> None:
    """Push the end of the lease `seconds` from now. Raises LeaseLost."""
    held(session, lease, lease_until=time.time() + seconds)


def finish(session: Session, lease: Lease, status: str, message: str, **values: Any) -> None:
    """End a job as SUCCEEDED or FAILED, once. Raises LeaseLost."""
    held(
        session,
        lease,
        status=status,
        finished_at=int(time.time()),
        lease_until=None,
        lease_owner=None,
        **values,
    )
    say(session, lease.job_id, message, level="error" if status == FAILED else "info")


def cancel(session: Session, tenant: str, job_id: str) -> Job | None:
    """Cancel a job that is not at its end; its worker finds out at its next write. None: no such job.

    A cancelled one is returned as it is. Raises ChangeRefused for another end.
    """
    row = _change(
        session, tenant, job_id, UNFINISHED, "Fine-tuning job cancelled by request.",
        status=CANCELLED, finished_at=int(time.time()), lease_until=None, lease_owner=None,
    )  # fmt: skip
    if row is not None and row.status != CANCELLED:
        said = f"The job {job_id} has ended (status: {row.status}); only an unfinished job can be cancelled."
        raise ChangeRefused("job_not_cancellable", said)
    return row


def pause(session: Session, tenant: str, job_id: str) -> Job | None:
    """Take a job out of the queue until `resume`. None: no such job.

    Its worker can write no rows from here on. Its name stays on the job until its process has put on disk
    how far it came (`let_go`), or its lease is over: before that nobody claims it, resumed or not.
    A paused one is returned as it is. Raises ChangeRefused for one that has ended.
    """
    row = _change(
        session, tenant, job_id, ACTIVE, "Fine-tuning job paused by request.",
        status=PAUSED, paused_from=Job.status, fence=Job.fence + 1,
        lease_until=case((Job.lease_owner.is_not(None), Job.lease_until)),  # not the wait after a crash
    )  # fmt: skip
    if row is not None and row.status != PAUSED:
        said = f"The job {job_id} has ended (status: {row.status}); only an unfinished job can be paused."
        raise ChangeRefused("job_not_pausable", said)
    return row


def resume(session: Session, tenant: str, job_id: str) -> Job | None:
    """Put a paused job back into the queue, with all its attempts. None: no such job.

    One that was resumed before is returned as it is. Raises ChangeRefused for any other.
    """
    row = _change(
        session, tenant, job_id, (PAUSED,), "Fine-tuning job resumed by request.",
        status=case((Job.paused_from == VALIDATING, VALIDATING), else_=QUEUED), attempts=0,
    )  # fmt: skip
    if row is not None and (row.status not in ACTIVE or row.paused_from is None):
        said = f"The job {job_id} is not paused (status: {row.status}); only a paused job can be resumed."
        raise ChangeRefused("job_not_resumable", said)
    return row


def _change(
    session: Session, tenant: str, job_id: str, of: Sequence[str], said: str, **values: Any
) -> Job | None:
    """Change a job whose status is one of `of`, and say so; gives back the job, changed or not: what is
    already so is no error, as the first answer may have been lost."""
    changed = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.tenant == tenant, Job.status.in_(of))
        .values(estimated_finish=None, **values)
        .execution_options(synchronize_session=False)
    )
    if changed.rowcount == 1:  # type: ignore[attr-defined]
        say(session, job_id, said)
    mine = select(Job).where(Job.id == job_id, Job.tenant == tenant)
    return session.scalar(mine.execution_options(populate_existing=True))


def is_in_hand(session: Session, job_id: str, owner: str | None) -> bool:
    """Whether that worker has the job: by its lease, or because a pause waits for its process to end."""
    holder = session.scalar(select(Job.lease_owner).where(Job.id == job_id))
    return holder is not None and holder == owner


def let_go(session: Session, job_id: str, owner: str) -> None:
    """The worker's process has ended: whoever claims the job next need not wait."""
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.lease_owner == owner)
        .values(lease_until=None, lease_owner=None)
        .execution_options(synchronize_session=False)
    )


__all__ = [
    "ACTIVE", "CANCELLED", "FAILED", "PAUSED", "QUEUED", "RUNNING", "SUCCEEDED", "VALIDATING",
    "ChangeRefused", "Lease", "LeaseLost", "add", "cancel", "claim", "finish", "get", "going_on_from", "held",
    "is_in_hand", "let_go", "pause", "renew", "resume", "say",
]  # fmt: skip
