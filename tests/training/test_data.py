"""Files become examples, or a sentence that says what to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.place import chat, chats, pair, pairs
from training import data
from training.chat import Renderer
from training.failure import JobFailed
from training.mask import Encoded


def write(folder: Path, lines: list[Any]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


def load(path: Path, renderer: Renderer, limit: int = 512) -> data.Data:
    return data.load(path, renderer, limit, param="training_file")


def test_a_bad_line_fails_the_job_and_is_named(tmp_path: Path, renderer: Renderer) -> None:
    with pytest.raises(JobFailed, match="Line 11: not JSON") as caught:
        load(write(tmp_path, [*chats(10), "{no"]), renderer)
    assert (caught.value.code, caught.value.param) == ("invalid_training_file", "training_file")


def test_too_few_examples_fail_the_job_and_advise_the_prompt(tmp_path: Path, renderer: Renderer) -> None:
    with pytest.raises(JobFailed, match=r"9 usable examples.*into the prompt") as caught:
        load(write(tmp_path, chats(9)), renderer)
    assert caught.value.code == "too_few_examples"


def test_cut_and_lost_examples_are_counted_and_told(tmp_path: Path, renderer: Renderer) -> None:
    lines = [*chats(10), chat("Where? " * 100, "Lost."), chat("Where?", "Here. " * 100)]
    found = load(write(tmp_path, lines), renderer, 60)
    assert (found.truncated, found.dropped, len(found.examples)) == (2, [11], 11)
    told = found.cuts("file-1", 60)
    assert told is not None
    assert "2 examples of file-1 are longer than 60 tokens" in told
    assert "1 examples of file-1 have nothing to learn and are left out (lines 11)" in told


def test_an_example_that_was_dropped_whole_is_told_too() -> None:
    told = data.Data([], dropped=[3]).cuts("file-1", 512)
    assert told == "1 examples of file-1 have nothing to learn and are left out (lines 3)."


def test_data_that_fits_is_not_talked_about(tmp_path: Path, renderer: Renderer) -> None:
    assert load(write(tmp_path, chats(10)), renderer).cuts("file-1", 512) is None


@pytest.mark.parametrize(("examples", "held"), [(39, 0), (40, 8), (300, 30), (5000, 100)])
def test_a_tenth_is_held_out_within_bounds_and_by_seed(
    tmp_path: Path, renderer: Renderer, examples: int, held: int
) -> None:
    (one,) = load(write(tmp_path, chats(10)), renderer).examples[:1]
    many = [Encoded(line, one.sequences) for line in range(examples)]
    train, valid = data.hold_out(many, seed=1)
    assert len(valid) == held
    assert sorted(e.line for e in train + valid) == list(range(examples))
    assert data.hold_out(many, seed=1) == (train, valid)
    assert not held or data.hold_out(many, seed=2)[1] != valid


def test_an_epoch_meets_every_example_once_in_an_order_of_its_own(tmp_path: Path, renderer: Renderer) -> None:
    examples = load(write(tmp_path, chats(21)), renderer).examples
    first, again, second = (data.batches(examples, 4, 1, epoch) for epoch in (0, 0, 1))
    assert first == again != second
    assert [len(batch) for batch in first] == [4, 4, 4, 4, 4, 1]
    assert sorted(e.line for batch in first for e in batch) == [e.line for e in examples]


@pytest.mark.parametrize(
    ("lines", "method", "said"),
    [
        (chats(10), "dpo", "examples with one answer each"),
        (pairs(10), "supervised", 'preference pairs.*send "method": {"type": "dpo"}'),
    ],
)
def test_a_file_that_the_method_cannot_learn_from_says_which_can(
    tmp_path: Path, renderer: Renderer, lines: list[Any], method: str, said: str
) -> None:
    with pytest.raises(JobFailed, match=said) as caught:
        data.load(write(tmp_path, lines), renderer, 512, param="training_file", method=method)
    assert (caught.value.code, caught.value.param) == ("wrong_method", "method")


def test_pairs_that_the_cut_made_equal_are_left_out(tmp_path: Path, renderer: Renderer) -> None:
    long = "Here. " * 100
    lines = [*pairs(10), pair("Where?", f"{long}One.", f"{long}Two.")]
    found = data.load(write(tmp_path, lines), renderer, 60, param="training_file", method="dpo")
    assert (found.dropped, len(found.examples)) == ([11], 10)
