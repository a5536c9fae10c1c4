"""A step as trackers get it. No torch: the process of wandb_run.py reads it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """`at` is when the step ended, in seconds since the epoch; `figures` are by the names that are shown."""

    step: int
    at: float
    figures: dict[str, float]
