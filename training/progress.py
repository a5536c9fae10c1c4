"""Steps as people and programs see them: metrics events, an estimate of the end, the results file.

Called by attempt.py after every step.
"""

from __future__ import annotations

import csv
import io
import time
from typing import Any

from training import adapter
from training.journal import Journal
from training.loop import Step
from training.quote.pace import peak_memory
from training.trackers import Trackers

EVENTS = 200
SECONDS_BETWEEN = 0.25
COLUMNS = (
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)


class Progress:
    """Tells a step when it matters (first, last, an epoch's end, held-out figures) or when it is time:
    at most EVENTS steps evenly spread, SECONDS_BETWEEN apart."""

    def __init__(self, journal: Journal, trackers: Trackers) -> None:
        self.journal, self.trackers = journal, trackers
        self.told = journal.highest_step_told()
        self.began = time.monotonic()
        self.spoke = 0.0
        self.first: int | None = None
        self.tokens = self.seconds = 0.0

    def tell(self, step: Step) -> None:
        """Have a step logged, and write its event if it is due. Raises LeaseLost."""
        self.trackers.update()
        self.first = step.step if self.first is None else self.first
        self.tokens, self.seconds = self.tokens + step.tokens, self.seconds + step.seconds
        if step.step <= self.told or not self._due(step):
            return
        said = self.event(step)
        self.journal.metrics(said["message"], said["data"], int(time.time() + self._seconds_left(step)) + 1)
        self.spoke, self.tokens, self.seconds = time.monotonic(), 0.0, 0.0

    def event(self, step: Step) -> dict[str, Any]:
        """`message` and `data` of a step's event."""
        message = f"Step {step.step}/{step.total_steps}: training loss={step.train.mean_loss:.2f}"
        return {"message": message, "data": self._data(step)}

    def tell_late(self, said: dict[str, Any]) -> None:
        """Write an event that an earlier attempt could not write. Raises LeaseLost."""
        if said["data"]["step"] > self.told:
            self.journal.metrics(said["message"], said["data"], None)

    def _due(self, step: Step) -> bool:
        if step.step in (1, step.total_steps) or step.ends_epoch or step.valid is not None:
            return True
        stride = -(-step.total_steps // EVENTS)
        return step.step % stride == 0 and time.monotonic() - self.spoke >= SECONDS_BETWEEN

    def _data(self, step: Step) -> dict[str, Any]:
        return step.metrics() | {
            "total_steps": step.total_steps,
            "epoch": step.epoch,
            "learning_rate": step.learning_rate,
            "tokens_per_second": round(self.tokens / max(self.seconds, 1e-9), 1),
            "peak_memory_bytes": peak_memory(adapter.device()),
        }

    def _seconds_left(self, step: Step) -> float:
        """By the pace since this attempt began, evaluations and checkpoints included."""
        done = step.step - (self.first or step.step) + 1
        return (time.monotonic() - self.began) / done * (step.total_steps - step.step)


def results(rows: list[dict[str, float | int]]) -> bytes:
    """The results file: CSV, one line per step, empty where nothing was measured. What a method tells beyond
    OpenAI's names comes after them."""
    text = io.StringIO()
    more = sorted({name for row in rows for name in row} - set(COLUMNS))
    writer = csv.DictWriter(text, (*COLUMNS, *more), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
