"""A job from its files to its version, top to bottom: validate, train, evaluate, publish.

Called by run.py in the job's own process.
"""

from __future__ import annotations

import importlib.metadata
import math
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import logging

from adapters import planned, publish
from adapters.base import Base, BaseNotFound, resolve
from adapters.manifest import NF4, Manifest
from records.database import Database
from records.jobs import RUNNING, Lease, LeaseLost
from records.models import Job
from records.settings import Settings
from training import adapter, auto, dpo, evaluation, loop, material, outcome, parent, proof, trackers, tuned
from training.bounds import Clock, check_room
from training.checkpoint import Folder, Saved, State
from training.failure import UNREADABLE, JobFailed, diverged, unsupported_base
from training.inputs import Inputs, validate
from training.journal import Journal
from training.objective import SUPERVISED, Objective, evaluate
from training.parent import Parent
from training.process import STOPPED, asked_to_stop
from training.progress import Progress, results
from training.quote.make import quote
from training.sweep import Table


def run(settings: Settings, lease: Lease) -> None:
    """One attempt, to the job's end. Raises LeaseLost; whatever else it raises is worth another attempt."""
    logging.disable_progress_bar()
    if settings.training_threads:
        torch.set_num_threads(settings.training_threads)
    database = Database(settings.url)
    journal = Journal(database, lease)
    try:
        attempt = prepare(settings, journal)
        attempt.begin()
        with trackers.of_job(settings, journal, attempt.job, attempt.plan, attempt.state) as kept:
            attempt.train(Progress(journal, kept))
        attempt.publish()
    except JobFailed as failure:
        traceback.print_exception(failure)  # into the job's log, with causes that are the operator's business
        journal.fail(failure)
    finally:
        database.close()


def prepare(settings: Settings, journal: Journal) -> Attempt:
    """Read the job's files, load the base model and plan. Raises JobFailed."""
    job = journal.job()
    try:
        base = resolve(settings.base, settings.home)
    except BaseNotFound as error:
        raise unsupported_base(UNREADABLE) from error
    parent.check_base(job, base)
    settings = planned.with_rank(settings, base, journal.database)
    origin = parent.find(journal, job.model, base, settings.home, settings.largest_rank)
    config, renderer = material.read(base)
    inputs = validate(journal, job, settings.home, base, renderer, adapter.longest(config))
    folder = origin.folder if origin else None
    model = material.build(base, folder, settings, job.seed, inputs.train[0])
    plan = auto.plan(job.requested, len(inputs.train), adapter.hidden_size(config), job.method)
    plan, model, swept = tuned.choose(settings, journal, job, inputs, model, folder, plan)
    objective = SUPERVISED if plan.beta is None else dpo.Dpo(plan.beta)
    scratch, optimizer = Folder(settings.home, job.id, journal.lease.fence), loop.optimizer_for(model, plan)
    return Attempt(
        settings, journal, job, base, origin, inputs, plan, objective, model, optimizer, scratch, swept
    )


@dataclass
class Attempt:
    """What an attempt works with; `state` is what the next one would go on from."""

    settings: Settings
    journal: Journal
    job: Job
    base: Base
    origin: Parent | None
    inputs: Inputs
    plan: auto.Plan
    objective: Objective
    model: Any
    optimizer: torch.optim.Optimizer
    folder: Folder
    swept: Table | None = None

    def begin(self) -> None:
        """Start from the last state, if there is one, and mark the job as running.

        Raises JobFailed when there is no room for what it will write.
        """
        shown: dict[str, Any] = {"status": RUNNING, "hyperparameters": self.plan.shown()}
        found = self.folder.load(self.base.weights_sha256)
        swept = self.swept or Table()
        self.state = found or State(self.base.weights_sha256, tokens=swept.tokens, seconds=swept.seconds)
        if isinstance(self.objective, dpo.Dpo):
            self.inputs = dpo.refer(self.objective, self.model, self.inputs, self.state, self.plan.batch_size)
        self.folder.tidy()
        if found is None:
            trained = sum(parameter.numel() for parameter in adapter.trained(self.model))
            check_room(self.settings, self.plan, trained)
            left = quote(self.model, self.objective, self.plan, self.inputs, self.job.seed)
            shown["estimated_finish"] = int(time.time() + left.seconds) + 1
            self.state.quote = left.after(swept.seconds, swept.tokens).model_dump()
        self.clock = Clock(self.settings, self.state.seconds)
        if found is None:
            ran = RUNNING in (self.job.status, self.job.paused_from)
            again = " again from the beginning" if ran else ""
            self.journal.say(f"Fine-tuning job started{again}", data={"quote": self.state.quote}, **shown)
            return
        adapter.restore(self.model, found.adapter)
        self.optimizer.load_state_dict(found.optimizer)
        torch.set_rng_state(found.generator)
        for saved in found.saved:
            self.journal.checkpoint(saved)
        level = "warn" if self.job.status == RUNNING else "info"  # a paused one was queued in between
        self.journal.say(f"Fine-tuning job taken up again after step {found.step}", level=level, **shown)

    def train(self, progress: Progress) -> None:
        """The steps that are left; a checkpoint after each epoch. Raises JobFailed when it diverges.

        Its last step is on disk when a pause stops it (LeaseLost), or SIGTERM does (SystemExit).
        """
        self.catch_up(progress)
        if self.is_done():
            return
        steps = loop.steps(
            self.model, self.optimizer, self.plan, self.inputs.train, self.inputs.valid,
            objective=self.objective, seed=self.job.seed, done=self.state.step,
        )  # fmt: skip
        with asked_to_stop() as is_asked:
            for step in steps:
                self.count(step)
                try:
                    progress.tell(step)
                except LeaseLost:
                    self.state.owed = progress.event(step) | {"ends_epoch": step.ends_epoch}
                    self.keep()
                    raise
                if step.ends_epoch:
                    self.checkpoint()
                elif is_asked() or self.clock.is_due():
                    self.keep()
                if self.is_done():
                    return
                if is_asked():
                    sys.exit(STOPPED)

    def catch_up(self, progress: Progress) -> None:
        """Do what a pause kept the last attempt from: its last event, and its epoch's checkpoint."""
        owed, self.state.owed = self.state.owed, None
        if owed is not None:
            progress.tell_late(owed)
            if owed["ends_epoch"]:
                self.checkpoint()

    def is_done(self) -> bool:
        """Whether the plan is carried out, the held-out loss tells to stop, or the time is over."""
        stops = self.plan.stops_early and auto.stopped_falling(self.state.held_out_losses)
        return stops or self.state.step >= self.plan.total_steps or self.clock.is_over()

    def keep(self) -> None:
        """Put on disk what the next attempt goes on from; nothing when another one has the job by now."""
        if not self.journal.is_in_hand(self.job.lease_owner):
            return
        with self.clock.keeping():
            state = self.state
            state.seconds = self.clock.seconds
            state.adapter, state.optimizer = adapter.weights(self.model), self.optimizer.state_dict()
            state.generator = torch.get_rng_state()
            self.folder.save(state)

    def count(self, step: loop.Step) -> None:
        """Enter a step into the state. Raises JobFailed when one of its losses is no number."""
        if not step.is_finite:
            raise diverged(step.step)
        self.state.enter(step)

    def checkpoint(self) -> None:
        """Publish the adapter as it is now: its folder, then the state to go on from, then the rows.

        Raises JobFailed when the last update ruined it (without held-out examples no loss has shown that),
        or when the admission check refuses it.
        """
        state, metrics = self.state, self.state.rows[-1]
        seen = evaluate(self.objective, self.model, self.inputs.train[:1], adapter.device(), 1)
        if not (adapter.is_finite(self.model) and math.isfinite(seen.loss)):
            raise diverged(state.step)
        manifest = self.manifest(metrics)
        with self.folder.draft(state.step) as draft:
            adapter.save(self.model, draft, self.base.slug)
            adapter.admit(draft, self.base, self.settings.largest_rank)
            sha256 = publish.store(self.settings.home, draft, manifest)
        folder = publish.folder(self.settings.home, sha256)
        shown = proof.of_version(self.settings, self.base, self.model, folder, self.inputs)
        state.saved.append(Saved(state.step, sha256, manifest.model_dump(mode="json"), metrics, shown))
        self.keep()
        self.journal.checkpoint(state.saved[-1])

    def publish(self) -> None:
        """The best checkpoint becomes the job's version; the end of the job. Raises JobFailed when the time
        was over before the first."""
        best, said = outcome.chosen(self.state, self.plan, self.settings, time_is_over=self.clock.is_over())
        if self.state.quote:
            said.append(outcome.took(self.state, self.settings, self.clock.seconds))
        said += evaluation.carry_out(self.settings, self.journal, self.job, self.base, self.inputs, best.step)
        rows, table = results(self.state.rows), self.swept.csv() if self.swept else None
        self.journal.succeed(best, rows, self.settings.home, self.state.tokens, said, table)

    def manifest(self, metrics: dict[str, float | int]) -> Manifest:
        """What training says to serving about the adapter as it is now."""
        config = self.model.peft_config["default"]
        return Manifest(
            base=self.base.slug,
            base_config_sha256=self.base.config_sha256,
            base_weights_sha256=self.base.weights_sha256,
            base_quantization=NF4 if self.settings.training_4bit else None,
            template_sha256=self.base.template_sha256,
            rank=config.r,
            alpha=config.lora_alpha,
            target_modules=sorted(config.target_modules),
            method=self.job.method,
            parents={self.origin.name: self.origin.sha256} if self.origin else {},
            job_id=self.job.id,
            step=self.state.step,
            seed=self.job.seed,
            training_sha256=self.inputs.training_sha256,
            validation_sha256=self.inputs.validation_sha256,
            data=self.inputs.counts(),
            hyperparameters=self.plan.shown() | {"learning_rate": self.plan.learning_rate},
            metrics={name: float(value) for name, value in metrics.items() if name != "step"},
            code_version=importlib.metadata.version("chorus"),
        )
