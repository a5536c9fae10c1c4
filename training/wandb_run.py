"""A Weights & Biases run per job, kept by a process of its own: whatever wandb does there (waits for a
network, crashes, is stopped from its page), the training neither waits nor ends.

The run's id is the job's. Steps that W&B has already are not sent again. Where WANDB_MODE is offline the run
lies in the job's folder, whole and once, for `wandb sync`. Imports no torch.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NoReturn

from records.processes import die_with
from training.point import Point

INIT_SECONDS = 60.0
FINISH_SECONDS, GRACE_SECONDS = 15.0, 3.0
LEAVING_SECONDS = 2.0  # of an attempt that is stopped: within process.PATIENCE_SECONDS
MAX_SAID = 300
OFFLINE = "Weights & Biases is offline here: the run is kept for the server's operator to upload"
# The run is about the training, not about this machine.
# fmt: off
QUIET: dict[str, Any] = {
    "silent": True, "console": "off", "save_code": False, "disable_code": True, "disable_git": True,
    "disable_job_creation": True, "label_disable": True, "x_disable_meta": True, "x_disable_stats": True,
    "x_disable_machine_info": True, "x_save_requirements": False, "finish_timeout_raises": True,
}
# fmt: on


class RunFailed(RuntimeError):
    """The text is for the job's events."""


class WandbRun:
    """`asked` are wandb.init's arguments; `tell` gets what to say of the run."""

    def __init__(self, folder: Path, asked: dict[str, Any], tell: Callable[[str], None]) -> None:
        self.tell = tell
        context = multiprocessing.get_context("spawn")
        self.orders: Queue[list[Point] | bool] = context.Queue()
        self.orders.cancel_join_thread()
        self.news: Queue[tuple[bool, str]] = context.Queue()
        limits = {"init_timeout": INIT_SECONDS, "finish_timeout": FINISH_SECONDS}
        arguments = (os.getpid(), folder, asked, limits, self.orders, self.news)
        self.process = context.Process(target=_keep, args=arguments, daemon=True)
        self.process.start()

    def log(self, points: Sequence[Point]) -> None:
        """Never waits. Raises RunFailed when the process has failed by now."""
        self.orders.put(list(points))
        self._listen()

    def close(self, *, completed: bool) -> None:
        """Raises RunFailed when not all has arrived in time."""
        self.orders.put(completed)
        self.process.join(FINISH_SECONDS + GRACE_SECONDS if completed else LEAVING_SECONDS)
        late = self.process.is_alive()
        self._listen()
        if late:
            self._fail("it did not answer in time")

    def _listen(self) -> None:
        ended = not self.process.is_alive()  # asked first: what it said before its end is in the queue
        with suppress(queue.Empty):
            while True:
                good, said = self.news.get_nowait()
                if not good:
                    self._fail(said)
                self.tell(said)
        if ended and self.process.exitcode:
            self._fail(f"its process ended with {self.process.exitcode}")

    def _fail(self, why: str) -> NoReturn:
        """End the process; wandb's own ends when it finds that gone."""
        if self.process.is_alive():
            self.process.kill()
        raise RunFailed(why)


def _keep(
    parent: int,
    folder: Path,
    asked: dict[str, Any],
    limits: dict[str, float],
    orders: Queue[list[Point] | bool],
    news: Queue[tuple[bool, str]],
) -> None:
    """The process: it gets points until it gets how the attempt ended, and says (good, text)."""
    die_with(parent)
    os.setsid()  # the worker's SIGTERM is for the attempt, which then ends us in order
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        import wandb

        settings = wandb.Settings(**QUIET, **limits)
        run = wandb.init(**asked, dir=folder, resume="allow", settings=settings)
        news.put((True, OFFLINE if run.offline else f"Weights & Biases run: {run.url}"))
        known = run.starting_step
        while not isinstance(order := orders.get(), bool):
            for point in order:
                if point.step >= known:
                    run.log({**point.figures, "_timestamp": point.at}, step=point.step)
        run.finish(exit_code=0 if order else 1)
        if order and not run.offline:
            shutil.rmtree(folder, ignore_errors=True)
    except Exception as error:
        news.put((False, _said(error)))


def _said(error: Exception) -> str:
    """Of its kind and first line, without the key."""
    text = f"{type(error).__name__}: {error}".replace(os.environ.get("WANDB_API_KEY") or "\0", "***")
    return text.splitlines()[0][:MAX_SAID]
