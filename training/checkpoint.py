"""What a job needs to go on after a kill: one file, replaced in one rename, in `<home>/jobs/<job id>/`.

It is written before the checkpoint's rows, and attempt.py writes missing rows of a loaded state again:
whatever the moment of a kill, no checkpoint is lost and none is doubled.
"""

from __future__ import annotations

import math
import os
import pickle
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.manifest import Manifest
from records.blobs import sync_folder
from training.auto import ACCURACY_KEPT
from training.loop import Step
from training.scratch import folder


@dataclass(frozen=True)
class Saved:
    """A checkpoint whose version folder is stored: `sha256` names it, `metrics` have OpenAI's names, `proof`
    is adapters/proof.py's."""

    step: int
    sha256: str
    manifest: dict[str, Any]
    metrics: dict[str, float | int]
    proof: dict[str, Any] | None = None  # a state of an older release has none

    def read(self) -> Manifest:
        return Manifest.model_validate(self.manifest)

    @property
    def held_out_loss(self) -> float | None:
        return self.metrics.get("full_valid_loss")


@dataclass
class State:
    """All that the next step depends on, and what the job's results are made of.

    `base_sha256` names the base that the tensors were trained on; `rows` are the lines of the results file;
    `reference` is dpo.py's, of the pairs to train on and then of those held out, and `accuracy` the share of
    the held-out preferred answers' tokens that was the likeliest before the first step. `quote` is
    records/quotes.py's, from before it. `paces`, by step: when it ended, and its tokens per second.
    """

    base_sha256: str
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # of training, over all attempts
    saved: list[Saved] = field(default_factory=list)
    rows: list[dict[str, float | int]] = field(default_factory=list)
    adapter: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    generator: Tensor | None = None
    owed: dict[str, Any] | None = None  # what a pause kept an attempt from saying: attempt.catch_up
    reference: Tensor | None = None
    accuracy: float | None = None
    quote: dict[str, Any] = field(default_factory=dict)
    paces: dict[int, tuple[float, float]] = field(default_factory=dict)

    def enter(self, step: Step) -> None:
        """Count a step that was made."""
        self.step, self.tokens = step.step, self.tokens + step.tokens
        self.rows.append(step.metrics())
        self.paces[step.step] = (time.time(), round(step.tokens / max(step.seconds, 1e-9), 1))

    @property
    def held_out_losses(self) -> list[float | None]:
        """Infinite where the held-out preferred answers are guessed worse than before the job: that adapter
        is broken, however well it tells two answers apart."""
        return [math.inf if self.is_broken(saved) else saved.held_out_loss for saved in self.saved]

    def is_broken(self, saved: Saved) -> bool:
        found = saved.metrics.get("full_valid_mean_token_accuracy")
        return self.accuracy is not None and found is not None and found < ACCURACY_KEPT * self.accuracy


class Folder:
    """The scratch folder of one attempt at a job. `fence` keeps the names of two attempts apart."""

    def __init__(self, home: Path, job_id: str, fence: int) -> None:
        self.path = folder(home, job_id)
        self.file = self.path / "state.pt"
        self.fence = fence

    @contextmanager
    def draft(self, step: int) -> Iterator[Path]:
        """A path for a version's files before they are published; nothing lies there, before and after the
        block: on a full disk the next attempt needs the room."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / f"draft-{self.fence}-{step}"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def save(self, state: State) -> None:
        """Put `state` on disk, whole or not at all. Raises OSError when the disk is full."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / f"state-{self.fence}.new"
        try:
            with draft.open("wb") as stream:
                # Not asdict of the whole: it copies the tensors.
                torch.save(vars(state) | {"saved": [asdict(saved) for saved in state.saved]}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self.file)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(self.path)

    def tidy(self) -> None:
        """Remove what earlier attempts were about to write when they were killed."""
        for left in (*self.path.glob("draft-*"), *self.path.glob("state-*")):
            if int(left.name.split("-")[1].removesuffix(".new")) >= self.fence:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def load(self, base_sha256: str) -> State | None:
        """The last state, or None when there is none for this base (then the job starts from step 0)."""
        try:
            found = torch.load(self.file, map_location="cpu", weights_only=True)
            state = State(**found | {"saved": [Saved(**saved) for saved in found["saved"]]})
        except (FileNotFoundError, EOFError, RuntimeError, TypeError, KeyError, pickle.UnpicklingError):
            return None
        return state if state.base_sha256 == base_sha256 else None
