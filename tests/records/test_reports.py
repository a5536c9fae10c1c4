"""Reports on disk: named by all that they depend on, and there wholly or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.reports import Reports, write

A, B = "a" * 64, "b" * 64


def test_another_base_or_validation_file_is_another_report(tmp_path: Path) -> None:
    kept = Reports(tmp_path)
    paths = {kept.path(A, basis, valid) for basis in ("1" * 32, "2" * 32) for valid in (None, A, B)}
    assert len(paths) == 6
    for path in paths:
        write(path, b"{}")
    write(kept.path(B, "1" * 32), b"{}")
    assert set(kept.files()) == {A, B}
    kept.remove(A)
    assert list(kept.files()) == [B]


def test_what_was_not_written_to_its_end_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = Reports(tmp_path).path(A, "1" * 32)
    monkeypatch.setattr("records.reports.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"{}")
    assert not path.exists()
    assert [found for found in (tmp_path / "reports").rglob("*") if found.is_file()] == []


def test_a_home_without_reports_has_none(tmp_path: Path) -> None:
    assert list(Reports(tmp_path).files()) == []
    Reports(tmp_path).remove(A)
