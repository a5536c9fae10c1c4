"""A split leaks nothing, loses nothing, and overwrites nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.doctor.conftest import Examine, chat, codes, write
from tests.training.doctor.test_examine import ailing, brand_rows
from training.doctor.split import NotSplit, split


@pytest.mark.parametrize("seed", range(3))
def test_no_row_of_an_ailing_file_stands_on_both_sides(tmp_path: Path, doctor: Examine, seed: int) -> None:
    rows, _ = ailing("luxe")
    rows += [chat(row["messages"][0]["content"].upper(), row["messages"][1]["content"]) for row in rows[:40]]
    source = write(tmp_path / "luxe.jsonl", rows)
    done = split(source, tmp_path / "out", 0.2, seed)
    train, valid = done.training.read_bytes().splitlines(), done.validation.read_bytes().splitlines()
    assert sorted([*train, *valid]) == sorted(source.read_bytes().splitlines())
    assert len(valid) == done.validation_rows
    assert 100 <= len(valid) <= 108
    asked = [{line.split(b'"assistant"')[0].upper() for line in side} for side in (train, valid)]
    assert asked[0].isdisjoint(asked[1])


def test_one_seed_makes_one_split_and_another_another(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", brand_rows("luxe", 100))
    held = [
        split(source, tmp_path / str(k), 0.1, seed).validation.read_text() for k, seed in enumerate((1, 1, 2))
    ]
    assert held[0] == held[1] != held[2]


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", brand_rows("luxe", 100))
    (tmp_path / "a.validation.jsonl").write_text("mine")
    with pytest.raises(NotSplit, match="exists"):
        split(source, tmp_path, 0.1, 0)
    assert (tmp_path / "a.validation.jsonl").read_text() == "mine"
    assert not (tmp_path / "a.train.jsonl").exists()


def test_lines_that_cannot_be_used_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", brand_rows("luxe", 20))
    source.write_text(source.read_text() + "{nonsense\n")
    with pytest.raises(NotSplit) as caught:
        split(source, tmp_path, 0.1, 0)
    assert [error.line for error in caught.value.errors] == [21]
    assert list(tmp_path.iterdir()) == [source]


def test_rows_that_all_ask_the_same_are_not_split(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("Hi", f"Good day, {k}") for k in range(20)])
    with pytest.raises(NotSplit, match="stay together"):
        split(source, tmp_path, 0.1, 0)


def test_what_was_split_has_no_leak(tmp_path: Path, doctor: Examine) -> None:
    rows, _ = ailing("clinic")
    done = split(write(tmp_path / "c.jsonl", rows), tmp_path, 0.2, 0)
    held = [json.loads(line) for line in done.validation.read_text().splitlines()]
    report = doctor(done.training.read_bytes(), held)
    assert report.counts.validation == done.validation_rows
    assert {code for code in codes(report, "warning", "note") if "leak" in code} == set()
