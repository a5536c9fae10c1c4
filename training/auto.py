"""Hyperparameters: the asked-for values as they are, "auto" by rules, and the course of the learning rate.

Called by attempt.py and inputs.py. The rules and their numbers are explained in DECISIONS.md ("auto").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from records.models import DPO, SUPERVISED

AUTO = "auto"
BETA = 0.1
STEPS_WANTED = 480
EPOCHS_MIN, EPOCHS_MAX = 2, 20
WARMUP_SHARE = 0.05
FINAL_SHARE = 0.1
# A checkpoint counts as better only when its held-out loss is lower by this share: less is noise.
TOLERANCE = 0.01
PATIENCE = 2
# Preferences want little movement: past it the loss still falls, and the answers break (DECISIONS.md, "DPO").
DPO_RATE_SHARE, DPO_STEPS, DPO_EPOCHS_MAX = 0.1, 60, 3
ACCURACY_KEPT = 0.97


@dataclass(frozen=True)
class Plan:
    """What a job will do; `learning_rate` is the peak. `stops_early`: n_epochs is an upper bound."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float
    steps_per_epoch: int
    stops_early: bool
    beta: float | None = None  # of a DPO job
    bound: int | None = None  # steps of a sweep's trial, which may end within an epoch

    @property
    def total_steps(self) -> int:
        steps = self.n_epochs * self.steps_per_epoch
        return steps if self.bound is None else min(steps, self.bound)

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 1): linear warm-up, then half a cosine down to FINAL_SHARE."""
        warmup = max(1, round(self.total_steps * WARMUP_SHARE))
        if step <= warmup:
            return self.learning_rate * step / warmup
        left = (self.total_steps - step) / max(1, self.total_steps - warmup)
        return self.learning_rate * (FINAL_SHARE + (1 - FINAL_SHARE) * (1 - math.cos(math.pi * left)) / 2)

    def shown(self) -> dict[str, Any]:
        """OpenAI's hyperparameters object."""
        shown: dict[str, Any] = {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return shown if self.beta is None else {"beta": self.beta, **shown}


def plan(requested: dict[str, Any], examples: int, hidden_size: int, method: str = SUPERVISED) -> Plan:
    """The plan for `examples` to train on. A value that is absent or "auto" is chosen, others are kept."""

    def given(name: str) -> Any:
        value = requested.get(name, AUTO)
        return None if value == AUTO else value

    batch_size = given("batch_size") or batch_for(examples)
    steps_per_epoch = math.ceil(examples / batch_size)
    n_epochs = given("n_epochs") or epochs_for(steps_per_epoch, method)
    multiplier = given("learning_rate_multiplier") or 1.0
    share = dpo_share(int(n_epochs) * steps_per_epoch) if method == DPO else 1.0
    return Plan(
        n_epochs=int(n_epochs),
        batch_size=int(batch_size),
        learning_rate_multiplier=float(multiplier),
        learning_rate=base_rate(hidden_size) * share * float(multiplier),
        steps_per_epoch=steps_per_epoch,
        stops_early=chooses_epochs(requested),
        beta=float(given("beta") or BETA) if method == DPO else None,
    )


def chooses_epochs(requested: dict[str, Any]) -> bool:
    """Whether the number of epochs is left to us."""
    return bool(requested.get("n_epochs", AUTO) == AUTO)


def base_rate(hidden_size: int) -> float:
    """The learning rate that multiplier 1 means: 5e-4 (2000 / hidden size)^0.78, as tinker-cookbook's
    get_lr for LoRA with alpha 32: 2.5e-3 at hidden size 256, 4.1e-4 at 2560."""
    return float(5e-4 * (2000 / hidden_size) ** 0.78)


def batch_for(examples: int) -> int:
    """Examples per step: 8 up to 2,000 examples, doubled for each further quadrupling, at most 64."""
    if examples < 64:
        return 4
    return int(min(64, 8 * 2 ** max(0, math.ceil(math.log(examples / 2000, 4)))))


def dpo_share(total_steps: int) -> float:
    """The share of base_rate for DPO: Adam moves a weight by about the rate in each step, so more steps than
    DPO_STEPS share the same movement."""
    return DPO_RATE_SHARE * min(1.0, DPO_STEPS / total_steps)


def epochs_for(steps_per_epoch: int, method: str = SUPERVISED) -> int:
    """Enough epochs for STEPS_WANTED steps, within EPOCHS_MIN and EPOCHS_MAX; for DPO_STEPS in DPO."""
    if method == DPO:
        return min(max(round(DPO_STEPS / steps_per_epoch), 1), DPO_EPOCHS_MAX)
    return min(max(round(STEPS_WANTED / steps_per_epoch), EPOCHS_MIN), EPOCHS_MAX)


def best(losses: Sequence[float | None]) -> int:
    """Index of the checkpoint to publish: the latest whose held-out loss is within TOLERANCE of the lowest;
    the last when nothing was held out. `losses` are the checkpoints', in order."""
    known = [loss for loss in losses if loss is not None]
    if len(known) < len(losses):
        return len(losses) - 1
    if min(known) == math.inf:
        return 0  # each is broken (State.held_out_losses), the first one least
    bound = min(known) * (1 + TOLERANCE)
    return max(index for index, loss in enumerate(known) if loss <= bound)


def stopped_falling(losses: Sequence[float | None]) -> bool:
    """Whether none of the last PATIENCE checkpoints is better by TOLERANCE than the best before them.

    One alone is no sign: while the learning rate is high, a loss near zero doubles and falls again.
    """
    known = [loss for loss in losses if loss is not None]
    before, last = known[:-PATIENCE], known[-PATIENCE:]
    return bool(before) and min(last) > min(before) * (1 - TOLERANCE)
