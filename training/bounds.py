"""What a job takes of the machine: time, over all its attempts, and disk. Called by attempt.py."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from records.settings import Settings
from training.auto import Plan
from training.failure import JobFailed

STATE_COST = 0.02  # of the time, at most, goes into states between checkpoints
BF16, FP32 = 2, 4
BESIDE = 64 * 1024  # configuration, manifest, headers: more than they take


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


@dataclass(frozen=True)
class Need:
    """Bytes that a job writes at most: a version for each epoch, and its state twice (old beside new)."""

    epochs: int
    version: int
    state: int

    @classmethod
    def of(cls, plan: Plan, parameters: int) -> Need:
        """`parameters` are trained: bf16 in a version; in the state float32, each with AdamW's two means."""
        return cls(plan.n_epochs, parameters * BF16 + BESIDE, parameters * FP32 * 3 + BESIDE)

    @property
    def bytes(self) -> int:
        return self.epochs * self.version + 2 * self.state

    def check(self, settings: Settings) -> None:
        """Raises JobFailed when it is more than a job may write, or than is free."""
        free, most = shutil.disk_usage(settings.home).free, settings.job_max_bytes
        parts = f"{self.epochs} checkpoints of {_size(self.version)}, {_size(2 * self.state)} to resume from"
        writes = f"The job would write up to {_size(self.bytes)} ({parts})"
        if most is not None and self.bytes > most:
            raise JobFailed(
                "job_too_large",
                f"{writes}; a job may write {_size(most)} here. Lower n_epochs, or have the operator raise "
                "job_max_bytes.",
                "hyperparameters",
            )
        if self.bytes > free:
            raise JobFailed(
                "not_enough_disk",
                f"{writes}; {_size(free)} are free on the server's disk. Lower n_epochs, or have the "
                "operator make room.",
                "hyperparameters",
            )


def out_of_time(settings: Settings, step: int, steps_per_epoch: int) -> JobFailed:
    """The end of a job whose time is over before there is anything to publish."""
    return JobFailed(
        "time_limit_reached",
        f"The job may train for {settings.job_max_seconds:.0f} s here, and was at step {step} by then; its "
        f"first checkpoint would be at step {steps_per_epoch}. Use fewer or shorter examples, or have the "
        "operator raise job_max_seconds.",
        "training_file",
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
