"""The verdict on a version: whatever the figures, noise passes, and what was not trained does not."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.proof import (
    BASE_TIMES,
    DIFFERS,
    DIFFERS_TIMES,
    FAR,
    MATCH,
    PART,
    VISIBLE,
    Proof,
    Row,
    compare,
    compare_alone,
)

nats = st.floats(-30, 0)
Figures = tuple[list[list[float]], list[list[float]]]  # of the version and of the base, by row


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    """What was trained and the base, up to 4 rows; most of what was learnt is visible, some is not."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    base = [draw(st.lists(nats, min_size=length, max_size=length)) for length in lengths]
    learnt = draw(st.sampled_from([0.0, VISIBLE / 2, VISIBLE, 0.1, 1.0, 5.0]))
    return [[value + learnt for value in row] for row in base], base


def proof(trained: list[list[float]], base: list[list[float]]) -> Proof:
    return Proof(
        rows=[
            Row(
                token_ids=list(range(len(ours) + 1)),
                learnt=list(range(1, len(ours) + 1)),
                logprobs=ours,
                base_logprobs=bare,
            )
            for ours, bare in zip(trained, base, strict=True)
        ]
    )


def moved(rows: list[list[float]], by: float, signs: random.Random | None = None) -> list[list[float]]:
    """Each value `by` away, up, or up and down at random."""
    return [[value + by * (signs.choice((-1, 1)) if signs else 1) for value in row] for row in rows]


@given(figures(), st.floats(0, 0.99), st.randoms(use_true_random=False))
def test_what_was_trained_passes_with_any_noise_below_the_tolerance(
    made: Figures, part: float, signs: random.Random
) -> None:
    trained, base = made
    learnt = trained[0][0] - base[0][0]
    noise = part * min(MATCH, max(learnt, VISIBLE) * PART / 2)
    verdict = compare(proof(trained, base), moved(trained, noise, signs), moved(base, noise, signs))
    assert verdict.problem is None
    assert verdict.figures["tokens"] == sum(map(len, base))
    assert verdict.figures["off"] == pytest.approx(noise, abs=2e-5)


@given(figures())
def test_a_version_that_is_not_applied_is_refuted_where_anything_was_learnt(made: Figures) -> None:
    trained, base = made
    verdict = compare(proof(trained, base), base, base)
    visible = verdict.figures["learnt"] >= VISIBLE + 1e-4
    if visible:
        assert verdict.problem is not None
        assert "almost as without it" in verdict.problem
    elif verdict.figures["learnt"] < VISIBLE - 1e-4:
        assert verdict.holds, "it is no more than the base"


@given(figures(), st.floats(1.01, 50), st.booleans())
def test_what_is_off_by_more_than_the_tolerance_is_refuted(made: Figures, times: float, up: bool) -> None:
    trained, base = made
    wrong = moved(trained, times * MATCH * (1 if up else -1))
    verdict = compare(proof(trained, base), wrong, base)
    assert verdict.problem is not None
    assert not verdict.holds


@given(figures(), st.floats(MATCH / 2, FAR - 0.01))
def test_an_engine_that_is_coarser_without_an_adapter_is_allowed_more_with_one(
    made: Figures, coarse: float
) -> None:
    trained, base = made
    off = compare(proof(trained, base), moved(trained, BASE_TIMES * coarse * 0.99), moved(base, coarse))
    if off.problem is not None:
        assert "almost as without it" in off.problem
    assert not compare(
        proof(trained, base), moved(trained, BASE_TIMES * coarse * 1.01), moved(base, coarse)
    ).holds


@given(figures(), st.floats(FAR + 0.01, 20))
def test_another_base_is_found_out_whatever_the_version_says(made: Figures, far: float) -> None:
    trained, base = made
    verdict = compare(proof(trained, base), moved(trained, far), moved(base, far))
    assert verdict.problem is not None
    assert "another base" in verdict.problem


@given(figures(), st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_a_value_that_is_no_number_is_refuted_wherever_it_stands(
    made: Figures, odd: float, data: st.DataObject
) -> None:
    trained, base = made
    sides = [[list(row) for row in side] for side in (trained, base)]
    row = data.draw(st.sampled_from(sides[data.draw(st.integers(0, 1))]))
    row[data.draw(st.integers(0, len(row) - 1))] = odd
    for verdict in (compare(proof(trained, base), *sides), compare_alone(sides[0], trained, sides[1])):
        assert verdict.problem == "the engine's log-probabilities are no numbers"
        assert list(verdict.figures) == ["tokens"], "what is no number cannot be stored as JSON"


@given(figures(), figures(), st.permutations(range(4)))
def test_the_order_of_the_rows_is_of_no_consequence(made: Figures, other: Figures, order: list[int]) -> None:
    trained, base = made
    served = [list(itertools.islice(itertools.cycle(other[0][0]), len(row))) for row in trained]
    places = [place for place in order if place < len(trained)]

    def sorted_anew(rows: list[list[float]]) -> list[list[float]]:
        return [rows[place] for place in places]

    one = compare(proof(trained, base), served, base)
    two = compare(proof(sorted_anew(trained), sorted_anew(base)), sorted_anew(served), sorted_anew(base))
    assert one.holds == two.holds
    assert one.figures["off"] == pytest.approx(two.figures["off"], abs=2e-5)


@given(figures())
def test_figures_of_another_number_of_tokens_are_no_verdict(made: Figures) -> None:
    trained, base = made
    short = [trained[0][:-1], *trained[1:]]
    with pytest.raises(ValueError, match="zip"):
        compare(proof(trained, base), short, base)
    with pytest.raises(ValueError, match="zip"):
        compare_alone(trained, short, base)


@given(figures(), st.floats(0, 2 * MATCH), st.floats(0, 1))
def test_an_import_must_be_steady_and_farther_from_the_base_than_from_itself(
    made: Figures, unsteady: float, effect: float
) -> None:
    _, base = made
    verdict = compare_alone(moved(base, effect), moved(base, effect + unsteady), base)
    needed = max(DIFFERS, DIFFERS_TIMES * unsteady)
    if min(abs(unsteady - MATCH), abs(effect - needed)) < 1e-6:
        return
    assert verdict.holds == (unsteady <= MATCH and effect >= needed)
    assert set(verdict.figures) == {"tokens", "unsteady", "effect"}


def test_an_import_that_changes_nothing_is_refuted() -> None:
    base = [[-1.0, -2.0, -3.0]]
    verdict = compare_alone(base, base, base)
    assert verdict.problem == (
        "the engine answers as without it: 0.0000 nats a token from the base (needed: 0.0100)"
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"learnt": [0, 1]},
        {"learnt": [1, 3]},
        {"learnt": [1]},
        {"learnt": [], "logprobs": [], "base_logprobs": []},
        {"logprobs": [-1.0]},
        {"base_logprobs": [-1.0, math.nan]},
        {"note": "x"},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_compared_is_no_row(bad: dict[str, object]) -> None:
    good = {"token_ids": [5, 6, 7], "learnt": [1, 2], "logprobs": [-1.0, -2.0], "base_logprobs": [-3.0, -4.0]}
    assert Row.model_validate(good)
    with pytest.raises(ValidationError):
        Row.model_validate(good | bad)
