"""All that a running job writes to the rows: each method is one transaction that opens with the fence.

A method raises LeaseLost when the job was cancelled or paused, or another worker has it; then it wrote
nothing. Called by attempt.py, inputs.py and progress.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters import gate, publish, rollout
from records import evaluations, files, jobs
from records.audit import By
from records.blobs import Blobs
from records.database import Database
from records.models import Checkpoint, Event, File, Job, Version, new_id
from training.checkpoint import Saved
from training.failure import JobFailed

CHECKPOINTED = "Checkpoint created at step"
RESULTS = "fine-tune-results"


@dataclass(frozen=True)
class Said:
    """An event to be: what belongs together is written in one transaction, so that a kill loses no part of it
    and doubles none."""

    message: str
    level: str = "info"
    data: dict[str, Any] | None = None

    def write(self, session: Session, job_id: str) -> None:
        jobs.say(session, job_id, self.message, level=self.level, data=self.data)


class Journal:
    """The rows of one job under one lease."""

    def __init__(self, database: Database, lease: jobs.Lease) -> None:
        self.database, self.lease = database, lease

    @contextmanager
    def write(self, **values: Any) -> Iterator[tuple[Session, Job]]:
        """A transaction with the job, changed by `values`."""
        with self.database.write() as session:
            yield session, jobs.held(session, self.lease, **values)

    def job(self) -> Job:
        with self.write() as (_, job):
            return job

    def say(
        self, message: str, *, level: str = "info", data: dict[str, Any] | None = None, **values: Any
    ) -> None:
        """An event, and changes of the job's columns with it."""
        with self.write(**values) as (session, job):
            jobs.say(session, job.id, message, level=level, data=data)

    def say_once(
        self, message: str, data: dict[str, Any] | None = None, *, level: str = "info", **values: Any
    ) -> None:
        """An event unless the job has one with that message: for what each attempt finds again."""
        with self.write(**values) as (session, job):
            said = select(Event.id).where(Event.job_id == job.id, Event.message == message)
            if session.scalar(said.limit(1)) is None:
                jobs.say(session, job.id, message, level=level, data=data)

    def blob(self, file_id: str, param: str) -> str:
        """sha256 of one of the tenant's files, expired or not: while a job needs it, the sweep leaves it.

        Raises JobFailed when it is gone.
        """
        with self.write() as (session, job):
            row = session.scalar(select(File).where(File.id == file_id, File.tenant == job.tenant))
        if row is None:
            raise JobFailed("file_not_found", f"File {file_id} is gone; upload it again.", param)
        return row.sha256

    def parent(self) -> Version | None:
        """The version that the job's `model` names, also a deleted one; None where it names none."""
        with self.write() as (session, job):
            named = select(Version).where(Version.name == job.model, Version.tenant == job.tenant)
            return session.scalar(named)

    def is_in_hand(self, owner: str | None) -> bool:
        """Whether that worker still has the job; a paused one until its process has ended."""
        with self.database.read() as session:
            return jobs.is_in_hand(session, self.lease.job_id, owner)

    def highest_step_told(self) -> int:
        """Step of the newest metrics event; after a resume these steps are not told twice."""
        with self.database.read() as session:
            told = select(Event.data).where(Event.job_id == self.lease.job_id, Event.type == "metrics")
            data = session.scalar(told.order_by(Event.seq.desc()).limit(1))
        return int(data["step"]) if data else 0

    def metrics(self, message: str, data: dict[str, Any], estimated_finish: int | None) -> None:
        with self.write(estimated_finish=estimated_finish) as (session, job):
            jobs.say(session, job.id, message, type="metrics", data=data)

    def checkpoint(self, saved: Saved) -> None:
        """The rows of a stored checkpoint, unless they are there. A new one is progress: this attempt and
        those after it count from one again, and a job that only crashes runs out of attempts."""
        with self.write() as (session, job):
            here = select(Checkpoint.id).where(Checkpoint.job_id == job.id, Checkpoint.step == saved.step)
            if session.scalar(here) is not None:
                return
            job.attempts = 1
            version = _version(session, job, saved, checkpoint=True)
            session.add(
                Checkpoint(
                    id=new_id("ftckpt_"),
                    job_id=job.id,
                    version=version.name,
                    step=saved.step,
                    created_at=int(time.time()),
                    metrics=saved.metrics,
                )
            )
            jobs.say(session, job.id, f"{CHECKPOINTED} {saved.step}", data={"model": version.name})

    def succeed(
        self,
        saved: Saved,
        results: bytes,
        home: Path,
        tokens: int,
        said: Sequence[Said] = (),
        sweep: bytes | None = None,
    ) -> str:
        """What is `said`, the version, its brand's change, the results files and the end of the job, all or
        nothing.

        Gives the version's name.
        """
        blobs = Blobs(home)
        contents = {"step_metrics.csv": results} | ({} if sweep is None else {"sweep.csv": sweep})
        with ExitStack() as drafts:
            sealed = []
            for name, content in contents.items():
                draft = drafts.enter_context(blobs.draft())
                draft.write(content)
                sealed.append((name, draft, *blobs.seal(draft)))
            with self.write() as (session, job):
                version, ids = _version(session, job, saved, checkpoint=False), []
                for name, draft, sha256, size in sealed:
                    file = files.add(
                        session, job.tenant, sha256=sha256, size=size, filename=name, purpose=RESULTS
                    )
                    blobs.place(draft, sha256)
                    ids.append(file.id)
                for one in said:
                    one.write(session, job.id)
                jobs.say(session, job.id, f"New fine-tuned model created: {version.name}")
                found = evaluations.of(session, job.id)
                if verdict := evaluations.told(found):
                    jobs.say(session, job.id, verdict)
                brand = rollout.arrived(session, version, By(f"job:{job.id}"), found)
                gate.tell(session, brand, version, found)
                if brand is not None and brand.paused:
                    jobs.say(session, job.id, f"Brand '{job.brand}' is paused: promote the model to use it.")
                jobs.finish(
                    session, self.lease, jobs.SUCCEEDED, "The job has successfully completed",
                    fine_tuned_model=version.name, result_files=ids, trained_tokens=tokens,
                    estimated_finish=None,
                )  # fmt: skip
                return version.name

    def fail(self, failure: JobFailed) -> None:
        with self.database.write() as session:
            jobs.finish(
                session, self.lease, jobs.FAILED, f"The job failed. {failure}",
                error=failure.shape(), estimated_finish=None,
            )  # fmt: skip


def _version(session: Session, job: Job, saved: Saved, *, checkpoint: bool) -> Version:
    try:
        return publish.record(
            session, saved.read(), saved.sha256,
            tenant=job.tenant, brand=job.brand, checkpoint=checkpoint, proof=saved.proof,
        )  # fmt: skip
    except publish.NameTaken as taken:
        raise JobFailed("name_taken", f"{taken} Create the job again with another seed.", "seed") from taken
