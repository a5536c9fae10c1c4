"""How fast a job trains and how much memory it takes: two of its steps, which leave the model as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import adapter, loop
from training.auto import Plan
from training.data import batches
from training.encode import Trainable
from training.objective import Objective, evaluate

ENOUGH_SECONDS = 0.25  # short steps are repeated for so long: one alone is noise
MOST = 20


@dataclass(frozen=True)
class Pace:
    """Seconds per token, of a step and of a look at what is held out (0 when nothing is)."""

    step: float
    look: float

    def seconds(self, plan: Plan, train: Sequence[Trainable], valid: Sequence[Trainable]) -> float:
        """Of the whole plan: its steps, the held-out examples after each epoch and a batch now and then."""
        held_out = sum(example.tokens for example in valid)
        glances = min(loop.EVALUATIONS, plan.total_steps) * min(1.0, plan.batch_size / max(1, len(valid)))
        steps = trained_tokens(plan, train) * self.step
        return steps + (plan.total_steps / plan.steps_per_epoch + glances) * held_out * self.look


def trained_tokens(plan: Plan, train: Sequence[Trainable]) -> int:
    """Of all steps of the plan; exact where it ends with an epoch."""
    an_epoch = sum(example.tokens for example in train)
    return round(an_epoch * plan.total_steps / plan.steps_per_epoch)


def measure(
    model: Any,
    objective: Objective,
    plan: Plan,
    train: Sequence[Trainable],
    valid: Sequence[Trainable],
    seed: int,
) -> Pace:
    """The first step, which is not timed, takes the first epoch's largest batch: the memory of a job is that
    of its largest step. The one that is timed has the median size."""
    where = next(model.parameters()).device
    order = sorted(batches(train, plan.batch_size, seed, 0), key=_tokens)
    middle, optimizer = order[len(order) // 2], loop.optimizer_for(model, plan)
    with unchanged(model):
        loop.advance(model, optimizer, order[-1], where, objective)
        step = _timed(lambda: loop.advance(model, optimizer, middle, where, objective), where)
    held_out = valid[: plan.batch_size]
    if not held_out:
        return Pace(step / _tokens(middle), 0.0)
    look = _timed(lambda: evaluate(objective, model, held_out, where, plan.batch_size), where)
    return Pace(step / _tokens(middle), look / _tokens(held_out))


def peak_memory(where: torch.device) -> int:
    """Bytes: this process's most so far on the device that trains."""
    if where.type == "cuda":
        return int(torch.cuda.max_memory_allocated(where))
    # Not getrusage's ru_maxrss: across fork and exec that keeps the peak of the parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


@contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """After the block the LoRA holds what it held before, to the last bit."""
    held = [parameter.detach().clone() for parameter in adapter.trained(model)]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(adapter.trained(model), held, strict=True):
                parameter.copy_(before)


def _timed(work: Callable[[], object], where: torch.device) -> float:
    """Seconds of one go."""
    loop.wait(where)
    began, count = time.perf_counter(), 0
    while count == 0 or (count < MOST and time.perf_counter() - began < ENOUGH_SECONDS):
        work()
        count += 1
    loop.wait(where)
    return (time.perf_counter() - began) / count


def _tokens(batch: Sequence[Trainable]) -> int:
    return sum(example.tokens for example in batch)
