"""What subjects are sent, how answers are graded, and that others' streams come first."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from anyio import CapacityLimiter

from records.cases import CHECKPOINT_CASES, Case, Material
from server.engine.base import LOW_PRIORITY, EngineUnavailable, Kind, Version
from server.engine.fake import FakeEngine
from server.evaluation import subjects
from server.evaluation.asking import AT_ONCE, AT_ONCE_QUIET, Answer, Asker
from server.evaluation.grading import ByFields, ByGraders, BySimilarity, rule_for
from server.grader_request import parse
from server.graders.base import Means
from server.metrics import Metrics
from tests.patience import PATIENCE
from tests.server.graders.judges import Scripted

SYSTEM = {"role": "system", "content": "Be kind."}


def case(asked: str, reference: str, *, system: bool = False) -> Case:
    messages = [*([SYSTEM] if system else []), {"role": "user", "content": asked}]
    return Case(id=f"file-1:{asked}", messages=messages, reference=reference)


def material(**given: Any) -> Material:
    return Material(cases=[], max_tokens=16, **given)


REQUEST = {"step": 5, "live": "ft:old", "checkpoints": [{"step": n, "model": f"ft:{n}"} for n in (5, 10)]}


def by_kind(found: Material) -> dict[str, subjects.Subject]:
    return {one.kind: one for one in subjects.of(REQUEST, found)}


def test_each_checkpoint_is_asked_once_and_the_published_one_is_the_new_version() -> None:
    asked = [(one.kind, one.model) for one in subjects.of(REQUEST, material())]
    assert [one for one in asked if one[1]] == [("new", "ft:5"), ("live", "ft:old"), ("checkpoint", "ft:10")]


def test_a_checkpoint_that_is_not_published_is_asked_a_spread_of_the_cases_and_all_others_all() -> None:
    many = [case(f"{n}", f"{n}") for n in range(50)]
    asked = {one.kind: subjects.cases_for(one, many) for one in subjects.of(REQUEST, material())}
    spread = asked.pop(subjects.CHECKPOINT)
    assert len(spread) == CHECKPOINT_CASES
    assert [many.index(one) for one in spread[:3]] == [0, 2, 5]
    assert all(cases == many for cases in asked.values())
    assert subjects.spread(many[:7], CHECKPOINT_CASES) == many[:7]


def test_a_base_without_the_rows_own_instruction_is_asked_bare_with_it_and_by_examples() -> None:
    shots = [case("one", "1", system=True), case("two", "2", system=True)]
    found = by_kind(material(instruction="Be kind.", from_rows=True, shots=shots))
    asked = case("three", "3", system=True)
    bare = {"role": "user", "content": "three"}
    assert found["base"].prompts(asked) == [[bare]]
    assert found["base_with_instruction"].prompts(asked) == [[SYSTEM, bare]]
    assert found["new"].prompts(asked) == [[SYSTEM, bare]]
    longest, shorter = found["few_shot_base"].prompts(asked)
    assert [message["content"] for message in longest] == ["one", "1", "two", "2", "three"]
    assert [message["content"] for message in shorter] == ["one", "1", "three"]


def test_an_instruction_from_the_job_takes_the_place_of_the_rows() -> None:
    found = by_kind(material(instruction="Be brief."))
    asked = case("x", "y", system=True)
    assert found["base"].prompts(asked)[0][0] == SYSTEM
    prompt = found["base_with_instruction"].prompts(asked)[0]
    assert [message["content"] for message in prompt] == ["Be brief.", "x"]


def means() -> Means:
    return Means(Scripted(), CapacityLimiter(1))


async def test_json_references_are_compared_key_by_key() -> None:
    rule = rule_for([case("q", '{"a": 1, "b": [2]}')], [], means())
    assert isinstance(rule, ByFields)
    reference = case("q", '{"a": 1, "b": [2]}')
    for answer, score, passed in (
        ('{"b": [2], "a": 1}', 1.0, True),
        ('{"a": 1, "b": [3]}', 0.5, False),
        ('{"a": 1, "b": [2], "c": 0}', 2 / 3, False),
        ("[1]", 0.0, False),
        ('{"a": 1', 0.0, False),
        ("", 0.0, False),
    ):
        found = await rule.score(answer, reference)
        assert (found.score, found.passed) == (pytest.approx(score), passed), answer
    assert (await rule.score("[1]", reference)).parts == {"fields": 0.0, "valid_json": 1.0}


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [("1", "true", False), ("false", "0", False), ("true", "true", True), ("1", "1.0", True),
     ("[0, {}]", "[false, {}]", False), ('{"b": [1]}', '{"b": [true]}', False),
     ('{"b": [1]}', '{"b": [1.0]}', True), ("[1]", "[1, 2]", False), ("null", "0", False),
     ('"1"', "1", False)],
)  # fmt: skip
async def test_values_are_the_same_as_json_has_it(reference: str, answer: str, same: bool) -> None:
    asked = case("q", f'{{"a": {reference}}}')
    assert (await rule_for([asked], [], means()).score(f'{{"a": {answer}}}', asked)).passed is same


async def test_text_references_are_compared_by_likeness() -> None:
    cases = [case("q", "Good day to you."), case("r", "{}")]
    rule = rule_for(cases, [], means())
    assert isinstance(rule, BySimilarity)
    assert (await rule.score("Good day to you.", cases[0])).score == 1.0
    assert (await rule.score("", cases[0])).score == 0.0


async def test_a_gates_graders_see_the_answer_and_the_reference() -> None:
    grader = parse({
        "type": "string_check", "name": "kind", "operation": "eq",
        "input": "{{sample.output_json.kind}}", "reference": "{{item.reference_json.kind}}",
    })  # fmt: skip
    rule = rule_for([], [grader], means())
    assert isinstance(rule, ByGraders)
    right = await rule.score('{"kind": "x"}', case("q", '{"kind": "x"}'))
    wrong = await rule.score("none", case("q", '{"kind": "x"}'))
    assert (right.score, right.passed, wrong.score, wrong.passed) == (1.0, True, 0.0, False)
    assert "kind: The sample is not JSON" in wrong.why


class Counting(FakeEngine):
    """How many were answered at once, and what was sent."""

    def __init__(self) -> None:
        super().__init__(word_seconds=0.005)
        self.most = 0
        self.bodies: list[dict[str, Any]] = []

    async def generate(self, kind: Kind, body: dict[str, Any], version: Version | None) -> Any:
        self.bodies.append(body)
        async for item in super().generate(kind, body, version):
            self.most = max(self.most, self.running)
            yield item


def asker(engine: FakeEngine, metrics: Metrics, seconds: float = PATIENCE) -> Asker:
    return Asker(engine, metrics, "salt", time.monotonic() + seconds)


@pytest.mark.parametrize(("idle", "most"), [(-3600.0, AT_ONCE), (3600.0, AT_ONCE_QUIET)])
async def test_few_questions_go_out_while_anybody_else_is_answered(idle: float, most: int) -> None:
    engine, metrics = Counting(), Metrics()
    await engine.start()
    metrics.last_item -= idle
    one = asker(engine, metrics)

    async def ask() -> Answer:
        async with one.turn():
            return await one.ask([{"role": "user", "content": "a b c"}], None, 64, None)

    answers = await asyncio.gather(*(ask() for _ in range(24)))
    assert engine.most == most
    assert {body["priority"] for body in engine.bodies} == {LOW_PRIORITY}
    assert {body["temperature"] for body in engine.bodies} == {0}
    first = answers[0]
    assert (first.text, first.prompt_tokens, first.completion_tokens) == ("tiny heard: a b c", 3, 5)
    assert first.first_token_seconds is not None
    assert first.seconds is not None
    assert 0 < first.first_token_seconds < first.seconds


async def test_what_cannot_be_answered_has_no_figure() -> None:
    engine = FakeEngine()
    await engine.start()
    late = await asker(engine, Metrics(), seconds=-1).ask([{"role": "user", "content": "a"}], None, 8, None)
    refused = await asker(engine, Metrics()).ask([{"role": "oracle", "content": "a"}], None, 8, None)
    for answer in (late, refused):
        assert answer.problem
        assert (answer.first_token_seconds, answer.prompt_tokens, answer.text) == (None, None, "")
    cut = await asker(engine, Metrics()).ask([{"role": "user", "content": "a b c d"}], None, 2, None)
    assert (cut.cut, cut.text) == (True, "tiny heard:")
    await engine.stop()
    with pytest.raises(EngineUnavailable):
        await asker(engine, Metrics()).ask([{"role": "user", "content": "a"}], None, 8, None)


@pytest.mark.parametrize("kind", ["server_error", "invalid_request_error"])
async def test_a_stream_that_breaks_off_is_the_engines_fault_or_the_questions(kind: str) -> None:
    class Breaking(FakeEngine):
        async def generate(self, kind_: Kind, body: dict[str, Any], version: Version | None) -> Any:
            async for item in super().generate(kind_, body, version):
                yield item
                break
            yield b'data: {"error":{"message":"gone","type":"' + kind.encode() + b'"}}\n\n'

    engine = Breaking()
    await engine.start()
    ask = asker(engine, Metrics()).ask([{"role": "user", "content": "a"}], None, 8, None)
    if kind == "server_error":
        with pytest.raises(EngineUnavailable, match="gone"):
            await ask
    else:
        assert (await ask).problem == "gone"
