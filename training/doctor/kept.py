"""The report that the server and a job share: made once, then read."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from adapters.base import Base
from records.blobs import Blobs
from records.reports import Reports, write
from training.chat import Renderer
from training.doctor.examine import examine
from training.doctor.report import Report


def report_of(
    home: Path, base: Base, renderer: Renderer, limit: int, sha256: str, validation_sha256: str | None = None
) -> Report:
    """Of uploaded files. Raises OSError."""
    kept, blobs = Reports(home).path(sha256, base.reads_as, validation_sha256), Blobs(home)
    try:
        return Report.model_validate_json(kept.read_bytes())
    except (FileNotFoundError, ValidationError):
        validation = blobs.path(validation_sha256) if validation_sha256 else None
        made = examine(blobs.path(sha256), validation, base=base.slug, renderer=renderer, limit=limit)
        write(kept, made.model_dump_json().encode())
        return made
