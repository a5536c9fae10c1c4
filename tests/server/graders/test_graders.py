"""Each grader: what it gives for a good answer, for a bad one, and for one that cannot be graded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.graders.asked import STEPS, steps
from server.graders.base import Fault, Grade, Item, Sample
from server.graders.runner import grade_all
from tests.server.graders.judges import Scripted, grade, grading

CHECK = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
ALIKE = {**CHECK, "type": "text_similarity", "evaluation_metric": "rouge_1"}
JSON = {"type": "json_check", "input": "{{sample.output_text}}"}
SCHEMA = {**JSON, "type": "json_schema", "schema": {"type": "object", "required": ["a"]}}
ASK = {"model": "tiny", "input": [{"role": "user", "content": "Rate: {{sample.output_text}}"}]}
SCORE = {**ASK, "type": "score_model"}
LABEL = {
    **ASK,
    "type": "label_model",
    "labels": ["good", "so so", "bad"],
    "passing_labels": ["good", "so so"],
}


def named(definition: dict[str, Any]) -> dict[str, Any]:
    return {"name": "part", **definition}


@pytest.mark.parametrize(
    ("operation", "sample", "answer", "holds"),
    [
        ("eq", "Paris", "Paris", True),
        ("eq", "paris", "Paris", False),
        ("eq", "", "", True),
        ("ne", "Paris", "Paris", False),
        ("ne", "Rome", "Paris", True),
        ("like", "It is Paris.", "Paris", True),
        ("like", "It is paris.", "Paris", False),
        ("like", "Paris", "It is Paris.", False),
        ("like", "100%", "%", True),
        ("ilike", "It is PARIS.", "paris", True),
        ("ilike", "STRASSE", "straße", True),
        ("ilike", "Rome", "paris", False),
    ],
)
async def test_string_check(operation: str, sample: str, answer: str, holds: bool) -> None:
    given = await grade({**CHECK, "operation": operation}, sample, answer=answer)
    assert (given.reward, given.score, given.passed, given.faults) == (holds, holds, holds, frozenset())


@pytest.mark.parametrize(("least", "passed"), [({}, True), ({"pass_threshold": 0.9}, False)])
async def test_text_similarity_passes_from_its_threshold_on(least: Any, passed: bool) -> None:
    given = await grade({**ALIKE, **least}, "the cat sat", answer="the cat sits")
    assert given.reward == given.score == pytest.approx(2 / 3)
    assert given.passed is passed


@pytest.mark.parametrize(
    ("sample", "valid", "fits"),
    [
        ('{"a": 1}', True, True),
        ('{"b": 1}', True, False),
        ("[1]", True, False),
        ('{"a": 1', False, False),
        ('{"a": NaN}', False, False),
        ('Sure: {"a": 1}', False, False),
        ("", False, False),
        ("[" * 200 + "]" * 200, False, False),
        ('"\ud800"', False, False),
    ],
)
async def test_json_and_its_schema(sample: str, valid: bool, fits: bool) -> None:
    assert (await grade(JSON, sample)).reward == valid
    given = await grade(SCHEMA, sample)
    assert given.passed is fits
    assert not given.faults  # an answer that is no JSON is a bad one, and could be graded
    assert given.reason


@pytest.mark.parametrize(
    ("says", "given", "reward", "score", "passed"),
    [
        ("1", {}, 1, 1, True),
        ("0.5", {}, 0.5, 0.5, True),
        ("0.49", {}, 0.49, 0.49, False),
        ("0", {}, 0, 0, False),
        ("4", {"range": [1, 7]}, 4, 0.5, True),
        ("5.5", {"range": [1, 7], "pass_threshold": 5.6}, 5.5, 0.75, False),
        ("-1", {"range": [-1, 1]}, -1, 0, False),
    ],
)
async def test_a_model_scores_within_the_range(
    says: str, given: Any, reward: float, score: float, passed: bool
) -> None:
    found = await grade({**SCORE, **given}, "Hello", Scripted(says))
    assert (found.reward, found.score, found.passed) == (reward, pytest.approx(score), passed)
    assert found.tokens == {"tiny": 7}


async def test_a_model_is_told_what_it_may_say_and_can_say_nothing_else() -> None:
    judge = Scripted("bad")
    given = await grade(LABEL, "Hello", judge)
    assert (given.reward, given.passed) == (0, False)
    (asked,) = judge.asked
    assert asked["choices"] == ["good", "so so", "bad"]
    (message,) = asked["messages"]
    assert message["content"].startswith("Rate: Hello\n\n")
    assert "good, so so, bad" in message["content"]
    assert asked["sampling"]["temperature"] == 0
    assert asked["sampling"]["max_completion_tokens"] > len("so so")


@pytest.mark.parametrize(("says", "passed"), [("good", True), ("so so", True), ("bad", False)])
async def test_a_label_passes_if_it_is_a_passing_one(says: str, passed: bool) -> None:
    given = await grade(LABEL, "Hello", Scripted(says))
    assert (given.reward, given.score, given.passed) == (passed, passed, passed)


async def test_an_answer_that_breaks_off_is_a_fault_and_no_score() -> None:
    given = await grade(LABEL, "Hello", Scripted("goo"))
    assert (given.reward, given.passed, given.faults) == (0, False, {Fault.ANSWER})


async def test_after_an_assistants_message_the_question_is_a_turn_of_its_own() -> None:
    judge = Scripted()
    parts = [{"type": "input_text", "text": "one"}, {"type": "output_text", "text": "{{item.b}}"}, "three"]
    turns = [{"role": "system", "content": {"type": "input_text", "text": "s"}}]
    await grade({**SCORE, "input": [*turns, {"role": "assistant", "content": parts}]}, judge=judge, b="two")
    said = judge.asked[0]["messages"]
    assert [turn["role"] for turn in said] == ["system", "assistant", "user"]
    assert said[1]["content"] == "one\ntwo\nthree"


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_the_scores_on_offer_reach_from_end_to_end(low: float, width: float) -> None:
    offered = [float(step) for step in steps(low, low + width)]
    assert offered == sorted(set(offered))
    assert (offered[0], offered[-1]) == (low, low + width)
    assert 2 <= len(offered) <= STEPS + 3


@pytest.mark.parametrize("high", [1, 5, 7, 10, 100])
def test_every_whole_number_of_a_usual_range_is_on_offer(high: int) -> None:
    assert {str(number) for number in range(high + 1)} <= set(steps(0.0, float(high)))


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {
        "type": "multi",
        "graders": {name: named(one) for name, one in graders.items()},
        "calculate_output": formula,
    }


async def test_multi_computes_its_reward_from_those_of_its_graders() -> None:
    both = multi(
        "0.25 * same + 0.75 * rated / 10",
        same={**CHECK, "operation": "eq"},
        rated={**SCORE, "range": [0, 10]},
    )
    given = await grade(both, "Paris", Scripted("6"), answer="Paris")
    assert given.reward == given.score == pytest.approx(0.7)
    assert given.passed
    assert {name: part.reward for name, part in given.parts.items()} == {"same": 1, "rated": 6}
    assert given.tokens == {"tiny": 7}


async def test_the_score_of_multi_stays_within_0_and_1_whatever_its_formula_gives() -> None:
    high = await grade(multi("3 * ok", ok=JSON), "{}")
    assert (high.reward, high.score, high.passed) == (3, 1, True)
    low = await grade(multi("0 - ok", ok=JSON), "{}")
    assert (low.reward, low.score, low.passed) == (-1, 0, False)


async def test_a_part_without_a_grade_earns_nothing_whatever_the_formula() -> None:
    given = await grade(multi("1 - same", same={**CHECK, "operation": "eq"}), "Paris")
    assert (given.reward, given.passed, given.faults) == (0, False, {Fault.VARIABLE})
    assert "same: {{item.answer}} names nothing" in given.reason


async def test_a_formula_without_a_value_is_a_fault() -> None:
    given = await grade(multi("1 / ok", ok=JSON), "no JSON")
    assert given.faults == {Fault.OTHER}
    assert "divides by zero" in given.reason


async def test_a_long_text_is_refused_by_the_quadratic_metric_only() -> None:
    long = "word " * 10_000
    given = await grade({**ALIKE, "evaluation_metric": "fuzzy_match"}, long, answer=long)
    assert given.faults == {Fault.OTHER}
    assert (await grade(ALIKE, long, answer=long)).reward == 1


async def test_many_answers_are_graded_in_order_and_no_more_at_once_than_allowed() -> None:
    class Slow:
        running = most = 0

        async def grade(self, sample: Sample, item: Item) -> Grade:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.001 * (10 - item["n"] % 10))
            self.running -= 1
            return Grade(item["n"], 0, False, "")

    slow = Slow()
    grades = await grade_all(slow, ((Sample(""), {"n": n}) for n in range(50)), at_once=4)
    assert [one.reward for one in grades] == list(range(50))
    assert slow.most == 4
    assert await grade_all(slow, []) == []


async def test_the_first_error_ends_the_others_and_is_raised_as_it_is() -> None:
    class Broken:
        ended = 0

        async def grade(self, sample: Sample, item: Item) -> Grade:
            if item["n"] == 3:
                raise LookupError("three")
            try:
                await asyncio.sleep(60)
            finally:
                self.ended += 1
            raise AssertionError

    broken = Broken()
    with pytest.raises(LookupError, match="three"):
        await grade_all(broken, ((Sample(""), {"n": n}) for n in range(50)), at_once=4)
    assert broken.ended == 3


async def test_a_grade_says_how_long_it_took() -> None:
    assert (await grading(JSON).grade(Sample("{}"), {})).seconds > 0
