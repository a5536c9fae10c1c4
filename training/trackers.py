"""Where a job's figures go besides its events: TensorBoard's files, and a Weights & Biases run if it asks for
one.

An attempt logs all steps of the state that it goes on from (checkpoint.State), then its own: what an earlier
one has logged beyond that state, or failed to log, does not count. What fails is said once and left out from
then on; training goes on. Made by attempt.py, told by progress.py.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from records.jobs import LeaseLost
from records.models import Job
from records.settings import Settings
from training.auto import Plan
from training.checkpoint import State
from training.journal import Journal
from training.point import Point
from training.tensorboard import EventFile
from training.wandb_run import WandbRun

SPLITS = ("full_valid", "train", "valid")


class Tracker(Protocol):
    """Raises what it likes, and is not called again then."""

    def log(self, points: Sequence[Point]) -> None: ...

    def close(self, *, completed: bool) -> None: ...


def of_job(settings: Settings, journal: Journal, job: Job, plan: Plan, state: State) -> Trackers:
    """Those of a job, to be entered. TensorBoard shows jobs by tenant, brand and id."""

    def folder(kind: str) -> Path:
        return settings.home / kind / job.tenant / job.brand / job.id

    makers: dict[str, Callable[[], Tracker]] = {
        "TensorBoard": lambda: EventFile(folder("tensorboard"), journal.lease.fence)
    }
    for integration in job.integrations or []:
        config = {"model": job.model, "method": job.method, "seed": job.seed, **plan.shown()}
        asked = integration["wandb"]
        tags = ["chorus/finetune", *asked["tags"]]
        makers["Weights & Biases"] = partial(
            WandbRun,
            folder("wandb"),
            asked | {"id": job.id, "name": asked["name"] or job.id, "tags": tags, "config": config},
            journal.say_once,
        )
    return Trackers(journal, plan, state, makers)


@dataclass
class Trackers:
    """A context manager: it opens them, and closes them at the end of the training."""

    journal: Journal
    plan: Plan
    state: State
    makers: dict[str, Callable[[], Tracker]]
    opened: dict[str, Tracker] = field(default_factory=dict)
    logged: int = 0

    def __enter__(self) -> Self:
        for name, make in self.makers.items():
            with self._forgiven(name):
                self.opened[name] = make()
        self.update()
        return self

    def update(self) -> None:
        """Log the steps of the state that are not logged yet. Raises LeaseLost."""
        points = [self._point(row) for row in self.state.rows[self.logged :]]
        self.logged = len(self.state.rows)
        for name, tracker in list(self.opened.items()):
            with self._forgiven(name):
                tracker.log(points)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, tracker in list(self.opened.items()):
            with self._forgiven(name) if kind is None else suppress(Exception):
                tracker.close(completed=kind is None)

    @contextmanager
    def _forgiven(self, name: str) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            raise
        except Exception as error:
            traceback.print_exception(error)  # into the job's log
            self.opened.pop(name, None)
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            said = f"{name} is left out from here on ({reason}); training goes on"
            self.journal.say_once(said, level="warn")

    def _point(self, row: dict[str, float | int]) -> Point:
        figures = {_shown(name): value for name, value in row.items() if name != "step"}
        step = int(row["step"])
        figures["learning_rate"] = self.plan.rate(step)
        at, pace = self.state.paces.get(step, (time.time(), None))  # a state of an older release has none
        if pace is not None:
            figures["tokens_per_second"] = pace
        return Point(step, at, figures)


def _shown(name: str) -> str:
    """`full_valid_loss` as `full_valid/loss`: trackers draw what shares a folder side by side."""
    for split in SPLITS:
        if name.startswith(f"{split}_"):
            return f"{split}/{name.removeprefix(f'{split}_')}"
    return name
