"""A report is made once; one that cannot be read is made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import base as bases
from records.blobs import Blobs
from records.reports import Reports
from tests.training.doctor.conftest import write
from tests.training.doctor.test_examine import brand_rows
from training.chat import Renderer
from training.doctor import kept
from training.doctor.report import Report

SHA256 = "a" * 64


def test_the_second_reader_gets_what_the_first_one_made(
    tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = bases.resolve("tiny", tmp_path)
    blob = Blobs(tmp_path).path(SHA256)
    blob.parent.mkdir(parents=True)
    write(blob, brand_rows("clinic", 12))
    made = kept.report_of(tmp_path, base, renderer, 512, SHA256)
    path = Reports(tmp_path).path(SHA256, base.reads_as)
    path.write_text("{torn")
    assert kept.report_of(tmp_path, base, renderer, 512, SHA256) == made
    assert Report.model_validate_json(path.read_bytes()) == made
    monkeypatch.setattr(kept, "examine", None)
    assert kept.report_of(tmp_path, base, renderer, 512, SHA256) == made
