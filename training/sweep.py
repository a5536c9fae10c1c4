"""Which hyperparameters a job trains with, by successive halving (Jamieson and Talwalkar 2016): many short
trials, of which the better half by held-out loss goes on with twice the steps.

Called by attempt.py before the job's own training, which is the last rung, alone. A trial begins anew in each
rung, its learning rate falling within it: nothing but the table outlives one, and after a kill the trial that
was cut off gives the same loss to the last bit.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from adapters.modules import rank_for
from records.settings import SERVED_RANKS
from training import auto, loop
from training.auto import Plan
from training.encode import Trainable
from training.failure import JobFailed
from training.objective import SUPERVISED, evaluate

MIN_HELD_OUT = 20  # below, the order of two trials is luck
# No higher: short trials prefer high rates, of which whole jobs become worse (DECISIONS.md, "auto").
MULTIPLIERS = (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0)
RANKS = (8, 16, 32)
EPOCH_SHARES = (0.5, 1.0, 1.5)
EPOCHS_MOST = 50
TIME_SHARE = 0.5  # of job_max_seconds: the rest is the winner's


@dataclass(frozen=True)
class Trial:
    """`number` counts from 1; the first has what the rules give."""

    number: int
    learning_rate_multiplier: float
    rank: int
    n_epochs: int

    def said(self) -> str:
        return (
            f"learning_rate_multiplier {self.learning_rate_multiplier:g}, rank {self.rank}, "
            f"{self.n_epochs} epochs"
        )


@dataclass
class Table:
    """What was tried: a row per trial and rung, in their order. `held_out_loss` is None where it was none."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0

    def loss(self, number: int) -> float:
        """Of the trial's last rung."""
        found = [row["held_out_loss"] for row in self.rows if row["trial"] == number]
        return math.inf if not found or found[-1] is None else float(found[-1])

    def has(self, rung: int, number: int) -> bool:
        return any((row["rung"], row["trial"]) == (rung, number) for row in self.rows)

    def csv(self) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()


def check(held_out: int) -> None:
    """Raises JobFailed when there is too little to decide by."""
    if held_out < MIN_HELD_OUT:
        raise JobFailed(
            "too_few_held_out",
            f"A sweep is decided by held-out examples, and there are {held_out}; at least {MIN_HELD_OUT} are "
            f"needed. Send a validation_file, or {MIN_HELD_OUT * 10} training examples, of which a tenth is "
            "held out; or leave 'sweep' out.",
            "sweep",
        )


def trials(
    requested: dict[str, Any], rules: Plan, largest_rank: int, rank: int | None, seed: int
) -> list[Trial]:
    """As many as asked for (fewer where so few differ); what the client has given stays as given, and so
    does the `rank` of a version that the job goes on from."""

    def free(name: str) -> bool:
        return bool(requested.get(name, auto.AUTO) == auto.AUTO)

    multipliers = MULTIPLIERS if free("learning_rate_multiplier") else (rules.learning_rate_multiplier,)
    ranks = [rank] if rank else [one for one in RANKS if one in SERVED_RANKS and one <= largest_rank]
    shares = EPOCH_SHARES if free("n_epochs") else (1.0,)
    epochs = sorted({min(EPOCHS_MOST, max(1, round(rules.n_epochs * share))) for share in shares})
    first = (rules.learning_rate_multiplier, rank or rank_for(largest_rank), rules.n_epochs)
    others = [one for one in itertools.product(multipliers, ranks, epochs) if one != first]
    random.Random(f"{seed}/sweep").shuffle(others)
    chosen = [first, *others][: requested["sweep"]]
    return [Trial(number, *values) for number, values in enumerate(chosen, 1)]


def rungs(count: int) -> list[tuple[int, float]]:
    """(trials in it, share of its steps that each trains), without the winner's own training: each costs
    about as much as one job."""
    total = math.ceil(math.log2(count))
    return [(math.ceil(count / 2**rung), 2.0 ** (rung - total)) for rung in range(total)]


def most_steps(plans: Sequence[Plan]) -> int:
    """Of all trials together, at most."""
    longest = sorted((plan.total_steps for plan in plans), reverse=True)
    return sum(
        sum(max(1, round(steps * share)) for steps in longest[:count]) for count, share in rungs(len(plans))
    )


def _better_half(left: Sequence[Trial], rules: Trial, table: Table) -> list[Trial]:
    """By held-out loss, of equals the earlier. What the rules give, if it had a number, is not dropped before
    the last round: short trials prefer what a whole job may be worse with."""
    half = sorted(left, key=lambda one: table.loss(one.number))[: math.ceil(len(left) / 2)]
    stays = len(half) > 1 and rules not in half and math.isfinite(table.loss(rules.number))
    return [*half[:-1], rules] if stays else half


@dataclass
class Sweep:
    """`model_of` gives a model with a fresh LoRA of that rank, `tell` writes an event once."""

    file: Path
    seed: int
    train: Sequence[Trainable]
    valid: Sequence[Trainable]
    plan_of: Callable[[Trial], Plan]
    model_of: Callable[[int], Any]
    tell: Callable[[str, dict[str, Any] | None], None]
    limit_seconds: float | None = None

    def run(self, tried: Sequence[Trial]) -> tuple[Trial, Table]:
        """The winner; what was done before a kill is read, not done again."""
        table, left = self._read(), list(tried)
        for rung, (_, share) in enumerate(rungs(len(tried)), 1):
            for trial in left:
                if not table.has(rung, trial.number):
                    if self._is_over(table):
                        return min(left, key=lambda one: table.loss(one.number)), table
                    self._try(table, rung, trial, share)
                self._say(table, rung, trial, len(tried))
            left = _better_half(left, tried[0], table)
        return left[0], table

    def _try(self, table: Table, rung: int, trial: Trial, share: float) -> None:
        began, plan = time.monotonic(), self.plan_of(trial)
        plan = replace(plan, bound=max(1, round(plan.total_steps * share)))
        model = self.model_of(trial.rank)
        where = next(model.parameters()).device
        optimizer, loss = loop.optimizer_for(model, plan), math.nan
        for step in loop.steps(model, optimizer, plan, self.train, [], seed=self.seed):
            table.tokens += step.tokens
            if not math.isfinite(step.train.loss):
                break
        else:
            loss = evaluate(SUPERVISED, model, self.valid, where, plan.batch_size).mean_loss
        known = loss if math.isfinite(loss) else None
        values = asdict(trial)
        number = values.pop("number")
        table.rows.append(
            {"rung": rung, "trial": number, **values, "steps": plan.total_steps, "held_out_loss": known}
        )
        table.seconds += time.monotonic() - began
        self._write(table)

    def _say(self, table: Table, rung: int, trial: Trial, count: int) -> None:
        (row,) = [row for row in table.rows if (row["rung"], row["trial"]) == (rung, trial.number)]
        loss = "no number" if row["held_out_loss"] is None else f"{row['held_out_loss']:.4f}"
        self.tell(
            f"Sweep, round {rung}, trial {trial.number} of {count} ({trial.said()}): held-out loss {loss} "
            f"after {row['steps']} steps",
            {"trial": row},
        )

    def _is_over(self, table: Table) -> bool:
        """Never before a first trial."""
        limit = self.limit_seconds
        return bool(table.rows) and limit is not None and table.seconds >= limit * TIME_SHARE

    def _read(self) -> Table:
        try:
            return Table(**json.loads(self.file.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return Table()

    def _write(self, table: Table) -> None:
        """Whole or not at all. Raises OSError when the disk is full."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".new")
        with draft.open("w") as stream:
            json.dump(asdict(table), stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.file)
