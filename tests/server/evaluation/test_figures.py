"""Intervals, verdicts and pictures, by numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from adapters.gate import Gate
from server.evaluation import gate, subjects
from server.evaluation.pictures import Bar, bars, lines
from server.evaluation.statistics import interval, share_interval
from server.evaluation.summary import summary
from server.evaluation.verdict import verdict
from tests.server.evaluation.conftest import tickets


def subject(
    kind: str, scores: list[float | None], model: str | None = "ft:x", **given: Any
) -> dict[str, Any]:
    cases = [
        {
            "id": f"file-1:{place}", "score": score, "passed": score == 1, "parts": {"fields": score},
            "why": "not JSON", "characters": 4, "cut": False, "first_token_seconds": 0.1, "seconds": 0.2,
            "prompt_tokens": 10, "completion_tokens": 2, "shots": 0, "text": "text",
        }
        for place, score in enumerate(scores)
    ]  # fmt: skip
    return {"kind": kind, "model": model, "step": None, "left_out": None, "cases": cases, **given}


def asked(new: list[float | None], **others: list[float | None]) -> list[dict[str, Any]]:
    """All subjects; those without scores are left out."""
    kinds = (subjects.NEW, subjects.LIVE, *subjects.WITHOUT_TRAINING)
    return [
        subject(kind, scores) if scores else subject(kind, [], left_out="it is not there")
        for kind, scores in ((kind, new if kind == subjects.NEW else others.get(kind, [])) for kind in kinds)
    ]


def test_the_bootstrap_interval_is_that_of_the_normal_law_for_many_values() -> None:
    source = random.Random(3)
    values = [source.gauss(0.5, 0.1) for _ in range(400)]
    mean = sum(values) / len(values)
    found = interval(values)
    assert found is not None
    assert found == interval(values)
    half = 1.96 * 0.1 / 400**0.5
    assert found[0] == pytest.approx(mean - half, abs=0.1 * half + 1e-3)
    assert found[1] == pytest.approx(mean + half, abs=0.1 * half + 1e-3)
    assert interval([0.5]) is None


def test_wilsons_interval_is_the_published_one() -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for passed, count, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert share_interval(passed, count) == pytest.approx((low, high), abs=1e-4)
    assert share_interval(0, 0) is None


def test_worth_it_is_what_beats_the_best_without_training() -> None:
    found = verdict(asked([1.0] * 20, base=[0.0] * 20, few_shot_base=[0.5] * 20))
    assert (found["said"], found["against"], found["gain"]) == ("worth it", "few_shot_base", 0.5)
    assert found["interval"] == [0.5, 0.5]
    assert "The base with the instruction was not measured: it is not there." in found["why"]


@pytest.mark.parametrize(
    ("new", "best", "why"),
    [
        ([1.0, 0.0] * 10, [0.0, 1.0] * 10, "no more than chance"),
        ([0.8] * 20, [0.8] * 20, "no more than chance"),
        ([0.2] * 20, [0.9] * 20, "made it worse"),
        ([0.81] * 20, [0.80] * 20, "too small to notice"),
    ],
)
def test_not_worth_it_says_why(new: list[float | None], best: list[float | None], why: str) -> None:
    found = verdict(asked(new, base=best))
    assert found["said"] == "not worth it"
    assert why in found["why"][1]


def test_what_is_worse_than_live_is_not_worth_it() -> None:
    found = verdict(asked([0.6] * 20, base=[0.1] * 20, live=[0.9] * 20))
    assert found["said"] == "not worth it"
    assert "So it is worse than what answers now." in found["why"]


@pytest.mark.parametrize("others", [{}, {"base": [0.0] * 7}])
def test_of_nothing_and_of_few_cases_there_is_no_verdict(others: dict[str, Any]) -> None:
    found = verdict(asked([1.0] * 7, **others))
    assert (found["worth_it"], found["said"], found["gain"]) == (None, None, None)
    assert found["why"]


def test_what_was_not_answered_is_counted_and_in_no_mean() -> None:
    cases = [{"id": f"file-1:{place}", "characters": 8} for place in range(3)]
    found = summary(subject(subjects.NEW, [1.0, None, 0.5]), cases)
    assert (found["answered"], found["not_answered"], found["score"]) == (2, 1, 0.75)
    assert (found["passed"], found["length_ratio"]) == (0.5, 0.5)
    nothing = summary(subject(subjects.LIVE, [], left_out="nothing was live"), cases)
    figures = {name for name, value in nothing.items() if value is not None}
    assert figures == {"kind", "model", "left_out", "answered", "not_answered", "parts"}


@pytest.mark.parametrize(
    ("new", "live", "passes"),
    [
        ([1.0, 0.0] * 10, [0.0, 1.0] * 10, True),  # as good, but for chance
        ([0.5] * 20, [1.0] * 20, False),
        ([1.0] * 19 + [None], [1.0] * 20, False),  # not compared on all
    ],
)
def test_at_least_live_allows_for_chance(
    new: list[float | None], live: list[float | None], passes: bool
) -> None:
    assert gate.outcome(Gate(at_least_live=True), asked(new, live=live), None).passed is passes


def test_without_a_live_version_there_is_nothing_to_be_worse_than() -> None:
    given = asked([0.1] * 20)
    given[1]["model"] = None
    assert gate.outcome(Gate(at_least_live=True, must_not_regress="file-2"), given, []).passed


def test_regressions_count_only_what_live_passes_and_all_of_live_must_be_known() -> None:
    rule, given = Gate(must_not_regress="file-2"), asked([1.0], live=[1.0])
    kept = {"id": "a", "live": False, "new": False, "why": "wrong"}
    assert gate.outcome(rule, given, [kept]).passed
    lost = gate.outcome(rule, given, [kept, {"id": "b", "live": True, "new": None, "why": "too long"}])
    assert not lost.passed
    assert [(case.id, case.why) for case in lost.failed] == [("b", "too long")]
    unknown = gate.outcome(rule, given, [{**kept, "live": None}])
    assert unknown.reasons == ["The live version did not answer all cases of file-2."]
    assert [case.id for case in unknown.failed] == ["a"]
    assert not gate.outcome(rule, given, None).passed


def test_of_a_file_of_too_many_cases_no_more_is_read() -> None:
    def rows() -> Iterator[bytes]:
        yield from [json.dumps(one).encode() for one in tickets(gate.MOST_CASES + 1)]
        raise AssertionError("read on")

    assert len(gate.cases_of(rows(), "file-2")) == gate.MOST_CASES + 1


def test_a_threshold_on_what_was_not_measured_is_not_met() -> None:
    rule = Gate(thresholds={"score": 0.1})
    assert not gate.outcome(rule, asked([]), None).passed
    assert not gate.outcome(rule, asked([1.0, None]), None).passed
    assert gate.outcome(rule, asked([1.0, 0.0]), None).passed


def test_pictures_are_well_formed_whatever_their_labels_say() -> None:
    evil = '</svg><script>"&'
    drawn = [
        bars([Bar(evil, 0.5, (0.4, 0.6)), Bar("b", None), Bar("c", 0.0)], unit=" ms", said=evil),
        lines({evil: [(1, 2.0), (5, 0.5)], "one": [(3, 1.0)]}, x="step", y="loss"),
    ]
    for picture in drawn:
        assert "<script" not in picture
        ElementTree.fromstring(f"<div>{picture}</div>")
    assert "not measured" in drawn[0]
    assert bars([Bar("a", None)], unit="", said="x") == lines({"a": []}, x="x", y="y") == ""
