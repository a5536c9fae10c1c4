"""The worker: claims a job, has it run in a process of its own, keeps its lease, and picks up the pieces.

`chorus work` and `chorus serve` call main(). It imports neither torch nor transformers: an idle worker is
small, and a job's crash or leak is not its own.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import time
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from records import jobs
from records.database import Database
from records.jobs import ACTIVE, FAILED, Lease, LeaseLost
from records.models import Job
from records.settings import Settings
from training import owner, scratch
from training.failure import JobFailed
from training.process import FULL, PATIENCE_SECONDS, start, stop

IDLE_SECONDS = 0.4
WATCH_SECONDS = 0.1
RENEW_SECONDS = 1.0  # also how late a cancelled or paused job is noticed
BACK_OFF_SECONDS, BACK_OFF_LONGEST = 2.0, 60.0

log = logging.getLogger("chorus.worker")


def main(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; then the running job is stopped and left for another worker."""
    database = Database(settings.url)
    database.prepare()
    worker = Worker(settings, database)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    try:
        worker.run()
    finally:
        database.close()


class Worker:
    """One job at a time. Run it in its process's main thread: a job dies with the thread that started it
    (prctl(2), PR_SET_PDEATHSIG)."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        self.owner = owner.name_of(os.getpid())
        # A plain flag: threading.Event's lock is not safe to take in a signal handler.
        self.stopping = False

    def stop(self) -> None:
        """Ask `run` to come back; safe in a signal handler."""
        self.stopping = True

    def run(self) -> None:
        """Claim and work until `stop`."""
        while not self.stopping:
            try:
                worked = self.work_once()
            except (SQLAlchemyError, OSError):
                log.exception("The database or the disk did not answer; trying again.")
                worked = False
            if not worked:
                time.sleep(IDLE_SECONDS * random.uniform(0.5, 1.0))

    def work_once(self) -> bool:
        """Claim one job and see one attempt at it through; False when there was none to claim."""
        self._free_jobs_of_the_dead()
        with self.database.write() as session:
            claimed = jobs.claim(session, self.owner, self.settings.lease_seconds)
        if claimed is None:
            return False
        job, lease = claimed
        log.info("Job %s: attempt %d.", job.id, job.attempts)
        try:
            if job.attempts > self.settings.job_attempts:
                self._give_up(lease, job.attempts - 1, "its worker ended with it")
            else:
                self._settle(lease, self._attempt(lease))
        except LeaseLost:
            log.info("Job %s was cancelled, paused or taken over.", job.id)
        with self.database.write() as session:
            jobs.let_go(session, job.id, self.owner)
        with self.database.read() as session:
            scratch.sweep(session, self.settings.home)
        return True

    def _free_jobs_of_the_dead(self) -> None:
        """End the leases of workers that were killed on this machine, instead of waiting for them."""
        with self.database.read() as session:
            held = select(Job.id, Job.fence, Job.lease_owner).where(
                Job.status.in_(ACTIVE), Job.lease_owner.is_not(None)
            )
            dead = [
                Lease(job, fence) for job, fence, name in session.execute(held) if owner.is_dead(name or "")
            ]
        for lease in dead:
            with suppress(LeaseLost), self.database.write() as session:
                jobs.held(session, lease, lease_until=None, lease_owner=None)
                log.warning("Job %s: its worker is gone.", lease.job_id)

    def _attempt(self, lease: Lease) -> int:
        """Run the job's process to its end, or to ours; gives its exit status. Raises LeaseLost."""
        path = scratch.folder(self.settings.home, lease.job_id) / scratch.LOG
        process = start(self.settings, lease, path)
        patience = PATIENCE_SECONDS
        try:
            self._watch(process, lease)
        except LeaseLost:
            with self.database.read() as session:
                if jobs.is_in_hand(session, lease.job_id, self.owner):  # paused: nobody else has it so long
                    patience = self.settings.lease_seconds
            raise
        finally:
            stop(process, patience)
        return int(process.returncode)

    def _watch(self, process: subprocess.Popen[bytes], lease: Lease) -> None:
        """Renew the lease until the process has ended or `stop` was asked. Raises LeaseLost."""
        renewed = tried = time.monotonic()
        every = min(RENEW_SECONDS, self.settings.lease_seconds / 3)
        while process.poll() is None and not self.stopping:
            time.sleep(WATCH_SECONDS)
            if time.monotonic() - tried < every:
                continue
            tried = time.monotonic()
            try:
                with self.database.write() as session:
                    jobs.renew(session, lease, self.settings.lease_seconds)
                renewed = tried
            except SQLAlchemyError:
                log.exception("Job %s: the lease could not be renewed.", lease.job_id)
                if time.monotonic() - renewed > self.settings.lease_seconds:
                    raise LeaseLost(lease.job_id) from None

    def _settle(self, lease: Lease, status: int) -> None:
        """Leave a job that has not ended to the next claim: at once when we stop, after a while when it
        crashed; or end it when it crashed too often. Raises LeaseLost."""
        with self.database.read() as session:
            job = session.scalars(select(Job).where(Job.id == lease.job_id)).one()
        if job.status not in ACTIVE or job.fence != lease.fence:
            return
        if self.stopping:
            with self.database.write() as session:
                jobs.held(session, lease, lease_until=None, lease_owner=None, attempts=Job.attempts - 1)
            return
        how = _how(status)
        if job.attempts >= self.settings.job_attempts:
            self._give_up(lease, job.attempts, how)
            return
        wait = min(BACK_OFF_LONGEST, BACK_OFF_SECONDS * 2.0 ** (job.attempts - 1))
        message = (
            f"Attempt {job.attempts} of {self.settings.job_attempts} stopped unexpectedly ({how}); "
            f"trying again in {wait:.0f} s."
        )
        log.warning("Job %s: %s", job.id, message)
        with self.database.write() as session:
            jobs.held(session, lease, lease_until=time.time() + wait, lease_owner=None)
            jobs.say(session, job.id, message, level="warn")

    def _give_up(self, lease: Lease, attempts: int, how: str) -> None:
        failure = JobFailed(
            "server_error",
            f"Training stopped unexpectedly {attempts} times (last: {how}). Create the job again; if that "
            "fails too, the operator finds the reason in the job's log.",
        )
        log.error("Job %s: %s", lease.job_id, failure)
        with self.database.write() as session:
            jobs.finish(
                session, lease, FAILED, f"The job failed. {failure}",
                error=failure.shape(), estimated_finish=None,
            )  # fmt: skip


def _how(status: int) -> str:
    if status == FULL:
        return "the server's disk is full, its operator must make room"
    return f"exit status {status}" if status >= 0 else f"killed by signal {-status}"
