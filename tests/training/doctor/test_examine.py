"""The doctor on whole files: what ails them is named, and healthy ones are left in peace."""

from __future__ import annotations

import json
import random

import pytest

from examples.brands import BRANDS
from tests.training.doctor.conftest import Chat, Examine, chat, codes, lines
from training.doctor.report import Kind


def brand_rows(name: str, count: int = 500, split: str = "train") -> list[Chat]:
    return [case.chat() for case in BRANDS[name].cases(split, count)]  # type: ignore[arg-type]


def said(row: Chat) -> tuple[str, str]:
    return row["messages"][0]["content"], row["messages"][1]["content"]


def ailing(name: str) -> tuple[list[Chat], list[Chat]]:
    """500 rows: 100 whose answer is another row's, 50 copies; and 60 validation rows, half of them leaked."""
    rows = brand_rows(name)
    kept = rows[:350]
    wrong = [chat(said(kept[k])[0], said(kept[(k + 137) % 350])[1]) for k in range(100)]
    train = [*kept, *wrong, *kept[200:250]]
    random.Random(1).shuffle(train)
    return train, [*kept[120:150], *rows[400:430]]


@pytest.mark.parametrize("name", BRANDS)
def test_each_ailment_of_an_ailing_file_is_named(doctor: Examine, name: str) -> None:
    report = doctor(*ailing(name))
    assert report.verdict.kind is Kind.CONTRADICTORY
    counts = report.by_code()
    assert 140 <= counts["contradiction"] <= 210
    assert 50 <= counts["duplicate"] <= 60
    assert counts["validation_leak"] >= 30
    assert codes(report) == {"contradiction", "duplicate", "validation_leak"}


@pytest.mark.parametrize("name", BRANDS)
def test_a_brands_own_rows_and_their_held_out_ones_have_no_finding(doctor: Examine, name: str) -> None:
    report = doctor(brand_rows(name), brand_rows(name, 150, "held_out"))
    assert report.findings == ()
    assert report.verdict.kind is Kind.ENOUGH
    assert report.counts.distinct == report.counts.rows == 500


def test_of_a_dozen_examples_few_shot_prompting_is_advised(doctor: Examine) -> None:
    report = doctor(brand_rows("luxe", 12))
    assert report.verdict.kind is Kind.TOO_FEW
    assert "12 different examples" in report.verdict.reasons[0]
    assert "few-shot" in report.verdict.reasons[0]


def test_many_copies_of_a_dozen_examples_are_a_dozen(doctor: Examine) -> None:
    report = doctor(brand_rows("luxe", 12) * 20)
    assert report.verdict.kind is Kind.TOO_FEW
    assert report.counts.distinct == 12


def test_rows_that_say_what_others_have_said_are_more_than_needed(doctor: Examine) -> None:
    kinds = [(f"What about {thing}?", f"Most gladly: {thing}.") for thing in ("tea", "milk", "rice", "salt")]
    rows = [chat(f"{ask} My order is {k}.", f"{say} Order {k}.") for k in range(300) for ask, say in kinds]
    assert doctor(rows).verdict.kind is Kind.MORE_THAN_NEEDED


def test_sums_are_not_judged_by_their_phrases(doctor: Examine) -> None:
    rows = [chat(f"What is {a} + {b}?", str(a + b)) for a in range(35) for b in range(35)]
    report = doctor(rows)
    assert report.verdict.kind is Kind.ENOUGH
    assert report.findings == ()


def test_calls_of_tools_are_answers_too(doctor: Examine) -> None:
    def call(asked: int, tracked: int) -> Chat:
        function = {"name": "track", "arguments": json.dumps({"order": tracked})}
        answer = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
        return {"messages": [{"role": "user", "content": f"Where is order {asked}?"}, answer]}

    report = doctor([*(call(k, k) for k in range(60)), *brand_rows("clinic", 30), call(3, 4)])
    assert lines(report, "contradiction") == (4, 91)
    assert codes(report) == {"contradiction"}


def test_every_line_that_cannot_be_used_is_named_with_its_problem(doctor: Examine) -> None:
    good = [json.dumps(row) for row in brand_rows("clinic", 20)]
    text = [good[0], "{nonsense", *good[1:], '{"messages": []}', *["[]"] * 7]
    report = doctor("\n".join(text).encode())
    assert report.has_errors
    assert [error.line for error in report.errors] == [2, *range(22, 30)]
    assert "not JSON" in report.errors[0].problem
    assert lines(report, "invalid_training_line") == (2, *range(22, 30))
    assert report.counts.unusable == 9
    assert report.counts.rows == 20


def test_a_file_without_one_usable_line_still_has_a_report(doctor: Examine) -> None:
    report = doctor(b"{nonsense\n")
    assert report.has_errors
    assert report.tokens is None
    assert report.verdict.kind is Kind.TOO_FEW


def test_tokens_are_those_of_the_base_and_what_is_cut_is_named(doctor: Examine) -> None:
    rows = [*brand_rows("clinic", 60), chat("Tell me all.", "All of it. " * 400)]
    report = doctor(rows)
    assert report.tokens is not None
    assert 0 < report.tokens.supervised.median < report.tokens.per_example.median < 512
    assert report.tokens.per_example.max > 512
    assert report.tokens.truncated_lines == lines(report, "truncated") == (61,)


def test_of_a_row_that_is_cut_all_tokens_are_counted_and_those_learnt_that_a_job_keeps(
    doctor: Examine,
) -> None:
    turns = [*chat("One?", "First.")["messages"], *chat("Two? " * 300, "Second.")["messages"]]
    tokens = doctor([{"messages": turns}]).tokens
    assert tokens is not None
    assert tokens.per_example.max > 512
    alone = doctor([chat("One?", "First.")]).tokens
    assert alone is not None
    assert tokens.supervised.max == alone.supervised.max


def test_a_sample_of_a_large_file_keeps_the_shares_of_copies_and_contradictions(doctor: Examine) -> None:
    rows, validation = ailing("tickets")
    whole, part = doctor(rows, validation), doctor(rows, validation, max_rows=300)
    assert part.counts.rows == whole.counts.rows == 500
    assert 100 < part.counts.examined <= 300
    assert "sample" in codes(part, "note")
    scale = part.counts.examined / 500
    for code in ("contradiction", "duplicate", "validation_leak"):
        assert part.by_code()[code] == pytest.approx(scale * whole.by_code()[code], rel=0.4), code


def test_a_large_file_of_one_prompt_is_bounded_too(doctor: Examine) -> None:
    report = doctor([chat("Hi", f"Good day, {k}.") for k in range(400)], max_rows=100)
    assert report.counts.rows == 400
    assert 0 < report.counts.examined <= 100
