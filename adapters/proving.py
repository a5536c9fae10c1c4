"""A verdict on a version into the rows: once for all servers, in one transaction with what follows from it.

The first verdict stays: of several servers that come to one, the later find it written. Called by
server/prover.py and, for a version that was proven before it had a row, by imported.py.
"""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters import rollout
from adapters.proof import Verdict
from records import audit, jobs
from records.audit import By
from records.models import Version


def settle(session: Session, name: str, verdict: Verdict, by: By) -> bool:
    """Write the verdict; the version goes live where it waited for that, or gets no requests any more.

    False when there is nothing to write: the version is gone, or has its verdict.
    """
    version = session.scalar(select(Version).where(Version.name == name))
    if version is None:
        return False
    if version.proved_at is not None or version.refuted is not None or version.deleted_at is not None:
        return False
    if verdict.problem is None:
        accept(session, version, verdict, by)
        rollout.proved(session, version, by)
        return True
    version.refuted = verdict.problem
    after = {**verdict.figures, "problem": verdict.problem}
    audit.note(session, by, version.tenant, "refuted", f"version:{name}", before=None, after=after)
    rollout.refuted(session, version, by)
    if version.job_id is not None:
        jobs.say(session, version.job_id, f"{name} is not used: {verdict.problem}.", level="error")
    return True


def accept(session: Session, version: Version, verdict: Verdict, by: By) -> None:
    """Note that the version is proven, where that is not yet known."""
    if version.proved_at is None and version.refuted is None:
        version.proved_at = int(time.time())
        name = f"version:{version.name}"
        audit.note(session, by, version.tenant, "proved", name, before=None, after=verdict.figures)
