"""What a job writes to disk, and whether there is room: asked at its creation, and before its first step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from adapters.sizes import shown
from records.settings import Settings

BF16, FP32 = 2, 4
BESIDE = 64 * 1024  # configuration, manifest, headers: more than they take


class NoRoom(ValueError):
    """`code` is job_too_large (the operator's bound) or not_enough_disk; the text says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Need:
    """Bytes that a job writes at most: a version for each epoch, and its state twice (old beside new).

    `least`: nobody knows the epochs yet, and it may be more.
    """

    epochs: int
    version: int
    state: int
    least: bool = False

    @classmethod
    def of(cls, epochs: int | None, parameters: int) -> Need:
        """`parameters` are trained: bf16 in a version; in the state float32, each with AdamW's two means.
        Without `epochs` it is the need of one."""
        version, state = parameters * BF16 + BESIDE, parameters * FP32 * 3 + BESIDE
        return cls(epochs or 1, version, state, least=epochs is None)

    @property
    def bytes(self) -> int:
        return self.epochs * self.version + 2 * self.state

    def check(self, settings: Settings) -> None:
        """Raises NoRoom when it is more than a job may write, or than is free."""
        free, most = shutil.disk_usage(settings.home).free, settings.job_max_bytes
        checkpoints = "a checkpoint" if self.epochs == 1 else f"{self.epochs} checkpoints"
        parts = f"{checkpoints} of {shown(self.version)}, {shown(2 * self.state)} to resume from"
        writes = f"The job would write {'at least' if self.least else 'up to'} {shown(self.bytes)} ({parts})"
        have = "Have" if self.epochs == 1 else "Lower n_epochs, or have"
        if most is not None and self.bytes > most:
            said = f"a job may write {shown(most)} here. {have} the operator raise job_max_bytes."
            raise NoRoom("job_too_large", f"{writes}; {said}")
        if self.bytes > free:
            said = f"{shown(free)} are free on the server's disk. {have} the operator make room."
            raise NoRoom("not_enough_disk", f"{writes}; {said}")
