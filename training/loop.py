"""The training loop, flat: next batch, forward, backward, clip, step, yield. It writes nothing itself.

Called by attempt.py, which turns what it yields into events and checkpoints. With one seed on one machine's
CPU it repeats to the last bit, also when continued from a checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training import flat
from training.adapter import trained
from training.auto import Plan
from training.data import batches
from training.encode import Trainable
from training.objective import SUPERVISED, Objective, evaluate

CLIP = 1.0
BETAS = (0.9, 0.99)
EVALUATIONS = 20


@dataclass(frozen=True)
class Step:
    """What one step tells: losses in nats per learnt token or pair; `tokens` are all of the batch."""

    step: int
    total_steps: int
    epoch: int
    ends_epoch: bool
    learning_rate: float
    tokens: int
    seconds: float
    train: flat.Score
    valid: flat.Score | None
    full_valid: flat.Score | None

    @property
    def is_finite(self) -> bool:
        """Whether each of its losses is a number."""
        scores = (self.train, self.valid, self.full_valid)
        return all(math.isfinite(score.loss) for score in scores if score is not None)

    def metrics(self) -> dict[str, float | int]:
        """By OpenAI's names as far as they go; what was not measured at this step is absent."""
        found: dict[str, float | int] = {"step": self.step}
        for name in ("train", "valid", "full_valid"):
            score: flat.Score | None = getattr(self, name)
            if score is not None:
                found |= {f"{name}_{figure}": value for figure, value in score.metrics().items()}
        return found


def optimizer_for(model: Any, plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(trained(model), lr=plan.learning_rate, betas=BETAS, weight_decay=0.0, fused=True)


def steps(
    model: Any,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    train: Sequence[Trainable],
    valid: Sequence[Trainable],
    *,
    objective: Objective = SUPERVISED,
    seed: int,
    done: int = 0,
) -> Iterator[Step]:
    """Train `model` in place from step `done` + 1 to the end of the plan, yielding after every step."""
    where = next(model.parameters()).device
    for step in range(done + 1, plan.total_steps + 1):
        epoch, place = divmod(step - 1, plan.steps_per_epoch)
        if place == 0 or step == done + 1:
            order = batches(train, plan.batch_size, seed, epoch)
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        score = advance(model, optimizer, order[place], where, objective)
        wait(where)
        seconds = time.perf_counter() - began
        ends = place + 1 == plan.steps_per_epoch
        yield Step(
            step=step,
            total_steps=plan.total_steps,
            epoch=epoch + 1,
            ends_epoch=ends,
            learning_rate=plan.rate(step),
            tokens=sum(example.tokens for example in order[place]),
            seconds=seconds,
            train=score,
            valid=glance(model, plan, valid, step, where, objective),
            full_valid=evaluate(objective, model, valid, where, plan.batch_size) if ends and valid else None,
        )


def wait(where: torch.device) -> None:
    """Give back when the device has done what it was told: a GPU still works on a step's backward pass while
    the program goes on, and a clock read then gives half of the step to whatever waits next."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def advance(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Trainable],
    where: torch.device,
    objective: Objective = SUPERVISED,
) -> flat.Score:
    """One update by a batch, at the rate that the optimizer has."""
    score = backward(model, batch, where, objective)
    torch.nn.utils.clip_grad_norm_(trained(model), CLIP)
    optimizer.step()
    optimizer.zero_grad()
    return score


def backward(
    model: Any, batch: Sequence[Trainable], where: torch.device, objective: Objective = SUPERVISED
) -> flat.Score:
    """Gradients of the batch's mean loss, whatever rows it is cut into."""
    total = objective.weight(batch)
    score = flat.Score()
    for row in objective.rows(batch, where):
        loss, part = objective.score(model, row)
        (loss / total).backward()
        score.add(part)
    return score


def glance(
    model: Any, plan: Plan, valid: Sequence[Trainable], step: int, where: torch.device, objective: Objective
) -> flat.Score | None:
    """The score on one batch of held-out examples, at EVALUATIONS steps of the job; None at the others."""
    every = max(1, plan.total_steps // EVALUATIONS)
    if not valid or step % every:
        return None
    start = (step // every - 1) * plan.batch_size % len(valid)
    return evaluate(objective, model, valid[start : start + plan.batch_size], where, plan.batch_size)
