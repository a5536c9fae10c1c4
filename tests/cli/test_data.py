"""`chorus data` as a shell sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import chorus
from tests.training.doctor.conftest import write
from tests.training.doctor.test_examine import ailing, brand_rows


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "home")


def test_check_shows_figures_findings_and_a_verdict(tmp_path: Path, home: str) -> None:
    train, valid = ailing("tickets")
    write(tmp_path / "t.jsonl", train)
    write(tmp_path / "v.jsonl", valid)
    done = chorus("data", "check", "t.jsonl", "--validation", "v.jsonl", "--home", home, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in ("contradiction", "duplicate", "validation_leak", "of them learnt", "Verdict: contradictory"):
        assert said in done.stdout


def test_check_as_json_of_a_bad_file_names_its_lines_and_exits_with_1(tmp_path: Path, home: str) -> None:
    path = write(tmp_path / "t.jsonl", brand_rows("luxe", 12))
    path.write_text(path.read_text() + "{nonsense\n")
    done = chorus("data", "check", "t.jsonl", "--json", "--home", home, cwd=tmp_path)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [error["line"] for error in report["errors"]] == [13]
    assert report["verdict"]["kind"] == "too_few"
    shown = chorus("data", "check", "t.jsonl", "--home", home, cwd=tmp_path)
    assert shown.returncode == 1
    assert "Line 13: not JSON" in shown.stderr


def test_a_base_that_is_not_there_is_a_sentence(tmp_path: Path, home: str) -> None:
    write(tmp_path / "t.jsonl", brand_rows("luxe", 12))
    done = chorus(
        "data", "check", "t.jsonl", "--base", "./none", "--home", home, cwd=tmp_path, HF_HUB_OFFLINE="1"
    )
    assert done.returncode == 2
    assert "./none" in done.stderr
    assert "Traceback" not in done.stderr


def test_split_says_what_it_wrote_and_overwrites_nothing(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", [*brand_rows("luxe", 90), *brand_rows("luxe", 10)])
    command = ("data", "split", "t.jsonl", "--validation-share", "0.2", "--seed", "3", "--out", "parts")
    done = chorus(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "parts/t.train.jsonl: 80 rows" in done.stdout
    assert "parts/t.validation.jsonl: 20 rows" in done.stdout
    assert "20 rows ask the same as another" in done.stdout
    again = chorus(*command, cwd=tmp_path)
    assert again.returncode == 2
    assert "is not overwritten" in again.stderr
