"""What is kept of a bench's run: `docs/benchmarks/KIND/NAME.json`, from which docs/benchmarks.md is written;
KIND is that of the CPU (adapters/cpu.py), since figures of different kinds are no figures of the same thing.

A run on another device or base has a file of its own (`NAME.cuda.json`, `NAME.cuda.BASE.json`), a try with
--quick too, which git ignores and the document never shows.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
KEPT = DOCS / "benchmarks"


@dataclass(frozen=True)
class Run:
    """`figures` is the bench's last line; None when it failed, and `failed` says how. `began` is UTC. `kind`
    is that of the CPU, or what it was made to act as: `forced` is then its own."""

    bench: str
    kind: str
    forced: str | None
    device: str
    base: str | None  # None: the one that the bench takes by default
    quick: bool
    command: str
    commit: str | None
    began: str
    seconds: int
    failed: str | None
    figures: dict[str, Any] | None
    machine: dict[str, str]

    @property
    def file(self) -> str:
        parts = [self.device] if self.device != "cpu" else []
        parts += [re.sub(r"[^a-z0-9-]+", "-", self.base.lower())] if self.base else []
        parts += ["quick"] if self.quick else []
        return f"{self.kind}/{'.'.join([self.bench, *parts, 'json'])}"

    @property
    def plain(self) -> bool:
        """Whether the bars were promised for such a run."""
        return self.device == "cpu" and self.base is None


def save(run: Run, folder: Path = KEPT) -> Path:
    path = folder / run.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(run), indent=2) + "\n")
    return path


def load(folder: Path = KEPT) -> list[Run]:
    """What is kept, but for tries."""
    found = [Run(**json.loads(path.read_text())) for path in sorted(folder.glob("*/*.json"))]
    return [run for run in found if not run.quick]
