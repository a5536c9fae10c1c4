"""A job's sweep: sweep.py on the job's own model, data and rows. Called by attempt.py and quote/make.py."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from records.jobs import RUNNING
from records.models import SWEEP, Job
from records.settings import Settings
from training import material, scratch
from training.auto import Plan
from training.inputs import Inputs
from training.journal import Journal
from training.sweep import Sweep, Table, Trial, most_steps, trials

FILE = "sweep.json"


def choose(
    settings: Settings,
    journal: Journal,
    job: Job,
    inputs: Inputs,
    model: Any,
    origin: Path | None,
    plan: Plan,
) -> tuple[Plan, Any, Table | None]:
    """The plan and the model to train, by the job's sweep where it asks for one; `plan` is the rules'. The
    model is as `material.build` gives it, with the winner's rank."""
    if SWEEP not in job.requested:
        return plan, model, None
    tried = _trials(job.requested, plan, settings.largest_rank, model, origin, job.seed)
    journal.say_once(f"Sweep of {len(tried)} trials started", status=RUNNING)
    search = Sweep(
        file=scratch.folder(settings.home, job.id) / FILE,
        seed=job.seed,
        train=inputs.train,
        valid=inputs.valid,
        plan_of=partial(_plan, plan),
        model_of=lambda rank: material.afresh(model, origin, rank, job.seed),
        tell=journal.say_once,
        limit_seconds=settings.job_max_seconds,
    )
    best, table = search.run(tried)
    journal.say_once(f"Sweep: trial {best.number} is best, {best.said()}", {"sweep": table.rows})
    return search.plan_of(best), search.model_of(best.rank), table


def steps(
    requested: dict[str, Any], plan: Plan, largest_rank: int, model: Any, origin: Path | None, seed: int
) -> int:
    """That a sweep takes at most, before the winner's own; 0 without one."""
    if SWEEP not in requested:
        return 0
    tried = _trials(requested, plan, largest_rank, model, origin, seed)
    return most_steps([_plan(plan, trial) for trial in tried])


def _trials(
    requested: dict[str, Any], plan: Plan, largest_rank: int, model: Any, origin: Path | None, seed: int
) -> list[Trial]:
    rank = None if origin is None else int(model.peft_config["default"].r)
    return trials(requested, plan, largest_rank, rank, seed)


def _plan(rules: Plan, trial: Trial) -> Plan:
    """The rules' plan with what the trial changes."""
    rate = rules.learning_rate / rules.learning_rate_multiplier
    return replace(
        rules,
        n_epochs=trial.n_epochs,
        learning_rate_multiplier=trial.learning_rate_multiplier,
        learning_rate=rate * trial.learning_rate_multiplier,
    )
