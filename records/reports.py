"""Reports of training data, and quotes of jobs on it, on disk: the server and a job make each of them once.

One report per training file, base (what its tokenizer, template and context make of text) and validation
file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from records.blobs import sync_folder

DRAFT = "draft-"
FORMAT = 1  # of a report: a new one gets new names, so that no old one is read as new


class Reports:
    """Files `<home>/reports/<sha256 of the training file>/<name>.json`; digests come from our rows."""

    def __init__(self, home: Path) -> None:
        self.root = home / "reports"

    def path(self, sha256: str, basis: str, validation_sha256: str | None = None) -> Path:
        """Where a report lies once it is made; `basis` is Base.reads_as."""
        name = "-".join(part[:32] for part in (basis, validation_sha256) if part)
        return self.root / sha256 / f"{FORMAT}-{name}.json"

    def quote(self, sha256: str, digest: str) -> Path:
        """Where a measurement of a job on that file lies (records/quotes.py)."""
        return self.root / sha256 / f"quote-{digest[:32]}.json"

    def remove(self, sha256: str) -> None:
        """Forget the reports of a training file that no row names any more."""
        shutil.rmtree(self.root / sha256, ignore_errors=True)

    def files(self) -> Iterator[str]:
        """sha256 of each training file that has a report."""
        if self.root.is_dir():
            yield from (folder.name for folder in self.root.iterdir() if not folder.name.startswith(DRAFT))


def write(target: Path, report: bytes) -> None:
    """Whole or not at all. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix=DRAFT) as folder:
        draft = Path(folder) / target.name
        with draft.open("wb") as stream:
            stream.write(report)
            stream.flush()
            os.fsync(stream.fileno())
        target.parent.mkdir(exist_ok=True)
        draft.replace(target)
    sync_folder(target.parent)
