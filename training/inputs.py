"""A job's files, checked and made into what is trained on and what is held out. Called by attempt.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from records.blobs import Blobs
from records.dataset import MIN_EXAMPLES
from records.jobs import QUEUED, VALIDATING, say
from records.models import Job
from training.auto import chooses_epochs
from training.chat import Renderer
from training.data import Data, hold_out, load
from training.journal import Journal
from training.mask import Encoded


@dataclass(frozen=True)
class Inputs:
    """The examples of a job; the sha256 are those of the uploaded files."""

    train: list[Encoded]
    valid: list[Encoded]
    training_sha256: str
    validation_sha256: str | None


def validate(journal: Journal, job: Job, home: Path, renderer: Renderer, longest: int) -> Inputs:
    """Read the job's files, each sequence cut to `longest` tokens, and move the job to QUEUED.

    Raises JobFailed. On a later attempt it finds the same and says nothing.
    """
    first = job.status == VALIDATING
    if first:
        journal.say(f"Validating training file: {job.training_file}")
    training_sha256, training = _read(
        journal, home, renderer, longest, file_id=job.training_file, param="training_file"
    )
    reports = [training.cuts(job.training_file, longest)]
    validation_sha256 = None
    if job.validation_file is not None:
        if first:
            journal.say(f"Validating validation file: {job.validation_file}")
        validation_sha256, validation = _read(
            journal, home, renderer, longest, file_id=job.validation_file, param="validation_file", least=1
        )
        reports.append(validation.cuts(job.validation_file, longest))
        train, valid = training.examples, validation.examples
    elif chooses_epochs(job.requested):
        train, valid = hold_out(training.examples, job.seed)
    else:
        # Examples are held back only where they decide something: when to stop.
        train, valid = training.examples, []
    if first:
        tokens = sum(example.tokens for example in train)
        with journal.write(status=QUEUED) as (session, _):  # one transaction: a kill loses none, doubles none
            for report in filter(None, reports):
                say(session, job.id, report, level="warn")
            say(session, job.id, "Files validated, moving job to queued state")
            held_out = f"{len(valid)} held out"
            say(session, job.id, f"{len(train)} examples to train on ({tokens} tokens an epoch), {held_out}")
    return Inputs(train, valid, training_sha256, validation_sha256)


def _read(
    journal: Journal,
    home: Path,
    renderer: Renderer,
    longest: int,
    *,
    file_id: str,
    param: str,
    least: int = MIN_EXAMPLES,
) -> tuple[str, Data]:
    """(sha256 of the file, its examples, of which there are at least `least`)."""
    sha256 = journal.blob(file_id, param)
    return sha256, load(Blobs(home).path(sha256), renderer, longest, param=param, least=least)
