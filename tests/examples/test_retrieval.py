"""Adapter for behaviour, retrieval for facts: the data makes it learnable, and the real engine shows it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from examples.brands import Case, curator
from examples.retrieval import HELD_OUT, TRAINING_EXAMPLES, figures
from tests.examples.test_clients_live import run
from tests.live import LiveServer


@pytest.fixture(scope="module")
def training() -> list[Case]:
    return curator.BRAND.cases("train", TRAINING_EXAMPLES)


@pytest.fixture(scope="module")
def held_out() -> list[Case]:
    return curator.BRAND.cases("held_out", HELD_OUT)


def of_kind(cases: list[Case], kind: str) -> list[Case]:
    return [case for case in cases if case.expected["kind"] == kind]


def test_a_number_is_in_the_passage_and_in_the_reply_or_in_neither(training: list[Case]) -> None:
    for case in training:
        number = case.expected["number"]
        assert re.findall(r"\d+", case.answer) == ([number] if number else [])
        assert (number in case.message) if number else ("look up" in case.answer)
    assert all(not re.search(r"\d", case.message) for case in of_kind(training, "bare"))
    assert all(re.search(r"\d", case.message) for case in of_kind(training, "silent"))


def test_rows_of_each_kind_are_in_both_splits(training: list[Case], held_out: list[Case]) -> None:
    for kind, least in (("told", 0.5), ("bare", 0.15), ("silent", 0.1)):
        for cases in (training, held_out):
            assert len(of_kind(cases, kind)) >= least * len(cases)


def test_no_held_out_fact_was_in_training(training: list[Case], held_out: list[Case]) -> None:
    for pattern in (r"\d+", r"(?:[Tt]he) ([a-z]+ [a-z]+) (?:costs|weighs|has|comes)"):
        seen, new = (
            {found for case in cases for found in re.findall(pattern, case.message)}
            for cases in (training, held_out)
        )
        assert new
        assert seen.isdisjoint(new)


def test_every_answer_is_in_form_and_right(training: list[Case], held_out: list[Case]) -> None:
    for cases in (training, held_out):
        assert figures(cases, [case.answer for case in cases]) == {
            "in_form": 1.0,
            "facts_from_the_passage": 1.0,
            "invented_without_a_passage": 0.0,
            "invented_beside_a_passage": 0.0,
        }


def test_a_number_from_elsewhere_is_wrong_with_a_passage_and_invented_without(held_out: list[Case]) -> None:
    found = figures(held_out, [f"{curator.OPENING} It costs 12 euros. {curator.CLOSING}"] * len(held_out))
    assert found["in_form"] == 1.0
    assert found["facts_from_the_passage"] == 0.0
    assert found["invented_without_a_passage"] == found["invented_beside_a_passage"] == 1.0


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("It costs 12 euros.", id="no opening and closing"),
        pytest.param(f"{curator.OPENING} {curator.CLOSING}", id="nothing said"),
        pytest.param(f"{curator.OPENING} It costs 12. Or 13. {curator.CLOSING}", id="two sentences"),
        pytest.param(f"{curator.OPENING} It costs 12 euros. {curator.CLOSING} Bye", id="words behind"),
    ],
)
def test_a_reply_that_breaks_the_form_is_noticed(reply: str) -> None:
    assert not curator.in_form(reply)


@pytest.mark.engine
def test_the_adapter_keeps_the_form_and_takes_its_facts_from_the_passage(
    live_server: LiveServer, tmp_path: Path
) -> None:
    output = run([sys.executable, "-m", "examples.retrieval"], live_server, tmp_path)
    found = json.loads(output.splitlines()[-1])
    assert found["in_form"] >= 0.95
    assert found["facts_from_the_passage"] >= 0.8
    assert found["invented_without_a_passage"] <= 0.02
