"""The queue of evaluations: a job asks, a server that serves the job's base claims with a lease and a fence.

Done again by another server when the first is gone, and written once: as records/jobs.py, for one more pair.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from records.models import ACTIVE, Evaluation, Job, Serving, new_id

WAITING, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
OPEN = (WAITING, RUNNING)
ATTEMPTS = 3


class Lost(RuntimeError):
    """Another server has the evaluation now, or nobody waits for it any more: stop, and write nothing."""


@dataclass(frozen=True)
class Hold:
    """The right to work on an evaluation while `fence` is the newest."""

    id: str
    fence: int


def of(session: Session, job_id: str) -> Evaluation | None:
    return session.scalar(select(Evaluation).where(Evaluation.job_id == job_id))


def ask(
    session: Session, job: Job, base_sha256: str, request: dict[str, Any], items_sha256: str
) -> tuple[Evaluation, bool]:
    """(the job's evaluation, whether it is new). One of another request is begun anew."""
    row = of(session, job.id)
    if row is not None and (row.request, row.items_sha256) == (request, items_sha256):
        return row, False
    if row is None:
        row = Evaluation(id=new_id("ftevalrun-"), tenant=job.tenant, job_id=job.id, fence=0)
        session.add(row)
    row.base_sha256, row.request, row.items_sha256 = base_sha256, request, items_sha256
    row.status, row.results, row.error = WAITING, None, None
    row.lease_owner, row.lease_until, row.attempts = None, None, 0
    row.fence, row.created_at, row.finished_at = row.fence + 1, int(time.time()), None
    session.flush()
    return row, True


def is_waiting(session: Session, base_sha256: str) -> bool:
    """Whether there is one to claim."""
    return session.scalar(_free(base_sha256)) is not None


def claim(session: Session, base_sha256: str, owner: str, seconds: float) -> tuple[Evaluation, Hold] | None:
    """Take the oldest one that nobody holds and whose job still waits for it. Call it in a write."""
    row = session.scalar(_free(base_sha256))
    if row is None:
        return None
    if row.attempts >= ATTEMPTS:  # it ends servers
        row.status, row.finished_at = FAILED, int(time.time())
        row.error = f"Its server stopped unexpectedly {row.attempts} times."
        return None
    row.status, row.lease_owner, row.lease_until = RUNNING, owner, time.time() + seconds
    row.fence, row.attempts = row.fence + 1, row.attempts + 1
    session.flush()
    return row, Hold(row.id, row.fence)


def renew(session: Session, hold: Hold, seconds: float) -> None:
    """Raises Lost, also when the job has ended or pauses."""
    check(session, hold)
    _held(session, hold, lease_until=time.time() + seconds)


def check(session: Session, hold: Hold) -> None:
    """Raises Lost as `renew` does, and writes nothing."""
    mine = (Evaluation.id == hold.id, Evaluation.fence == hold.fence, Evaluation.status == RUNNING)
    waits = select(Job.id).join(Evaluation, Evaluation.job_id == Job.id).where(Job.status.in_(ACTIVE), *mine)
    if session.scalar(waits) is None:
        raise Lost(hold.id)


def finish(session: Session, hold: Hold, results: dict[str, Any]) -> None:
    """Raises Lost."""
    ended = {"lease_owner": None, "lease_until": None, "finished_at": int(time.time())}
    _held(session, hold, status=DONE, results=results, error=None, **ended)


def give_back(session: Session, hold: Hold, why: str) -> None:
    """It could not be done now: another claim may, until it was tried ATTEMPTS times. Raises Lost."""
    row = _held(session, hold, lease_owner=None, lease_until=None, status=WAITING, error=why)
    if row.attempts >= ATTEMPTS:
        row.status, row.finished_at = FAILED, int(time.time())


def let_go(session: Session, hold: Hold) -> None:
    """The server stops: another one may go on at once, and this try does not count. Raises Lost."""
    row = _held(session, hold, lease_owner=None, lease_until=None, status=WAITING)
    row.attempts -= 1


def abandon(session: Session, evaluation_id: str, why: str) -> bool:
    """Nobody does it: it failed. False when somebody does, or has."""
    row = session.scalars(select(Evaluation).where(Evaluation.id == evaluation_id)).one()
    if row.status not in OPEN or is_held(row):
        return False
    row.status, row.error, row.finished_at, row.fence = FAILED, why, int(time.time()), row.fence + 1
    return True


def is_held(row: Evaluation) -> bool:
    """Whether a server works on it."""
    return row.lease_until is not None and row.lease_until > time.time()


def told(row: Evaluation | None) -> str | None:
    """The verdict in a sentence, for the job's events; None where there is no result."""
    verdict = row.results["verdict"] if row is not None and row.status == DONE and row.results else None
    return f"Evaluated: {verdict['said'] or 'no verdict'}. {' '.join(verdict['why'])}" if verdict else None


def beat(session: Session, base_sha256: str) -> None:
    """A server that chats with this base is here."""
    session.merge(Serving(base_sha256=base_sha256, seen_at=time.time()))


def unseen_seconds(session: Session, base_sha256: str) -> float:
    """Since a server was last seen; infinity when none ever was."""
    seen = session.scalar(select(Serving.seen_at).where(Serving.base_sha256 == base_sha256))
    return float("inf") if seen is None else time.time() - seen


def _free(base_sha256: str) -> Any:
    nobody = or_(Evaluation.lease_until.is_(None), Evaluation.lease_until < time.time())
    wanted = select(Evaluation).join(Job, Job.id == Evaluation.job_id).where(Job.status.in_(ACTIVE))
    mine = Evaluation.base_sha256 == base_sha256, Evaluation.status.in_(OPEN), nobody
    return wanted.where(*mine).order_by(Evaluation.seq).limit(1)


def _held(session: Session, hold: Hold, **values: Any) -> Evaluation:
    changed = session.execute(
        update(Evaluation)
        .where(Evaluation.id == hold.id, Evaluation.fence == hold.fence, Evaluation.status == RUNNING)
        .values(fence=hold.fence, **values)
        .execution_options(synchronize_session=False)
    )
    if changed.rowcount != 1:  # type: ignore[attr-defined]
        raise Lost(hold.id)
    mine = select(Evaluation).where(Evaluation.id == hold.id)
    return session.scalars(mine.execution_options(populate_existing=True)).one()
