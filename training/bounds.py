"""What a job takes of the machine: time, over all its attempts, and disk. Called by attempt.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from adapters.room import Need, NoRoom
from records.settings import Settings
from training.auto import Plan
from training.failure import JobFailed

STATE_COST = 0.02  # of the time, at most, goes into states between checkpoints


class Clock:
    """`before`: seconds that earlier attempts have trained."""

    def __init__(self, settings: Settings, before: float) -> None:
        self.limit, self.every = settings.job_max_seconds, settings.job_state_seconds
        self.began = time.monotonic() - before
        self.kept, self.cost = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def is_over(self) -> bool:
        """Whether the job has used up its time."""
        return self.limit is not None and self.seconds >= self.limit

    def is_due(self) -> bool:
        """Whether the state is to be put on disk: not more often than its price allows."""
        return time.monotonic() - self.kept >= max(self.every, self.cost / STATE_COST)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Around putting it there."""
        began = time.monotonic()
        yield
        self.kept = time.monotonic()
        self.cost = self.kept - began


def check_room(settings: Settings, plan: Plan, parameters: int) -> None:
    """Raises JobFailed when the disk, or the operator's bound, has no room for what the job will write."""
    try:
        Need.of(plan.n_epochs, parameters).check(settings)
    except NoRoom as error:
        raise JobFailed(error.code, str(error), "hyperparameters") from error


def out_of_time(settings: Settings, step: int, steps_per_epoch: int) -> JobFailed:
    """The end of a job whose time is over before there is anything to publish."""
    return JobFailed(
        "time_limit_reached",
        f"The job may train for {settings.job_max_seconds:.0f} s here, and was at step {step} by then; its "
        f"first checkpoint would be at step {steps_per_epoch}. Use fewer or shorter examples, or have the "
        "operator raise job_max_seconds.",
        "training_file",
    )
