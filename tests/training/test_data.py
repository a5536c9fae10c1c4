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
    rows = [chat(f"What of {number}?", "Gladly.") for number in range(max(10, examples))]
    many = load(write(tmp_path, rows), renderer).examples[:examples]
    train, valid = data.hold_out(many, seed=1)
    assert len(valid) == held
    assert sorted(one.line for one in train + valid) == list(range(1, examples + 1))
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


def held(tmp_path: Path, renderer: Renderer, rows: list[Any]) -> tuple[list[str], list[str]]:
    """(answers to train on, answers held out) by their lines' own text."""
    train, valid = data.hold_out(load(write(tmp_path, rows), renderer).examples, seed=3)
    texts = [json.dumps(row) for row in rows]
    return [texts[one.line - 1] for one in train], [texts[one.line - 1] for one in valid]


def test_copies_of_one_row_are_never_on_both_sides(tmp_path: Path, renderer: Renderer) -> None:
    train, valid = held(tmp_path, renderer, chats(25) * 6)
    assert 8 <= len(valid) <= 15
    assert set(train).isdisjoint(valid)


def test_rows_that_ask_the_same_are_on_one_side_whatever_they_answer(
    tmp_path: Path, renderer: Renderer
) -> None:
    rows = [chat(f"What of {number // 2}?", f"It is {number}.") for number in range(100)]
    train, valid = held(tmp_path, renderer, rows)
    asked = [{json.loads(row)["messages"][0]["content"] for row in side} for side in (train, valid)]
    assert len(valid) == 10
    assert asked[0].isdisjoint(asked[1])


def test_where_all_ask_the_same_the_answers_decide_and_where_those_do_too_none_is_held_out(
    tmp_path: Path, renderer: Renderer
) -> None:
    one_question = [chat("A line, please.", f"Line {number}.") for number in range(60)]
    assert len(held(tmp_path, renderer, one_question)[1]) == 8
    assert held(tmp_path, renderer, [chat("Hello?", "Yes.")] * 60)[1] == []
