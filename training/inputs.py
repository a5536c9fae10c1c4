"""A job's files, checked and made into what is trained on and what is held out. Called by attempt.py."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base import Base
from records.blobs import Blobs
from records.dataset import MIN_EXAMPLES
from records.jobs import QUEUED, VALIDATING
from records.models import DPO, SWEEP, Job
from training import sweep
from training.auto import chooses_epochs
from training.chat import Renderer
from training.data import Data, hold_out, load
from training.doctor.kept import report_of
from training.doctor.report import Kind, Severity
from training.encode import Trainable
from training.journal import Journal, Said


@dataclass(frozen=True)
class Inputs:
    """The examples of a job; the sha256 are those of the uploaded files."""

    train: Sequence[Trainable]
    valid: Sequence[Trainable]
    training_sha256: str
    validation_sha256: str | None
    truncated: int = 0  # of the training file

    def counts(self) -> dict[str, int]:
        """What a manifest says of them."""
        return {
            "examples": len(self.train),
            "tokens_per_epoch": sum(example.tokens for example in self.train),
            "held_out_examples": len(self.valid),
        }


def validate(journal: Journal, job: Job, home: Path, base: Base, renderer: Renderer, longest: int) -> Inputs:
    """Read the job's files, each sequence cut to `longest` tokens, and move the job to QUEUED.

    Raises JobFailed. On a later attempt it finds the same and says nothing.
    """
    first = job.status == VALIDATING
    if first:
        journal.say(f"Validating training file: {job.training_file}")
    training_sha256, training = _read(
        journal, job, home, renderer, longest, file_id=job.training_file, param="training_file"
    )
    reports = [training.cuts(job.training_file, longest)]
    validation_sha256 = validation = None
    if job.validation_file is not None:
        if first:
            journal.say(f"Validating validation file: {job.validation_file}")
        validation_sha256, validation = _read(
            journal, job, home, renderer, longest,
            file_id=job.validation_file, param="validation_file", least=1,
        )  # fmt: skip
        reports.append(validation.cuts(job.validation_file, longest))
    train, valid = divide(training, validation, job.requested, job.seed)
    if first:
        said = [Said(report, "warn") for report in filter(None, reports)]
        said.append(_diagnosis(home, base, renderer, longest, training_sha256, validation_sha256))
        tokens = sum(example.tokens for example in train)
        what = "pairs" if job.method == DPO else "examples"
        said.append(Said("Files validated, moving job to queued state"))
        how_many = f"{len(train)} {what} to train on ({tokens} tokens an epoch), {len(valid)} held out"
        said.append(Said(how_many))
        with journal.write(status=QUEUED) as (session, _):  # one transaction: a kill loses none, doubles none
            for one in said:
                one.write(session, job.id)
    return Inputs(train, valid, training_sha256, validation_sha256, training.truncated)


def divide(
    training: Data, validation: Data | None, requested: dict[str, Any], seed: int
) -> tuple[list[Trainable], list[Trainable]]:
    """(to train on, held out). Raises JobFailed when that is too little for a sweep."""
    wants = SWEEP in requested
    if validation is not None:
        train, valid = training.examples, validation.examples
    elif chooses_epochs(requested) or wants:
        train, valid = hold_out(training.examples, seed)
    else:
        # Examples are held back only where they decide something: when to stop, which trial is best.
        train, valid = training.examples, []
    if wants:
        sweep.check(len(valid))
    return train, valid


def _diagnosis(
    home: Path,
    base: Base,
    renderer: Renderer,
    longest: int,
    training_sha256: str,
    validation_sha256: str | None,
) -> Said:
    """What the data doctor finds. It advises: what ails it, or the disk it writes to, ends no job."""
    try:
        report = report_of(home, base, renderer, longest, training_sha256, validation_sha256)
    except Exception:
        traceback.print_exc()  # into the job's log
        return Said("The data could not be examined; training goes on without a data report.", "warn")
    warns = bool(report.of(Severity.WARNING)) or report.verdict.kind in (Kind.TOO_FEW, Kind.CONTRADICTORY)
    data = {"verdict": report.verdict.kind, "findings": report.by_code()}
    return Said(report.brief(), "warn" if warns else "info", data)


def _read(
    journal: Journal,
    job: Job,
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
    path = Blobs(home).path(sha256)
    return sha256, load(path, renderer, longest, param=param, least=least, method=job.method)
