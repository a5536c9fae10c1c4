"""What an answer says does not depend on how it was sent; how far two agree is between 0 and 1."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.base import Kind
from server.engine.fake_shapes import Answer, Choice
from server.said import agreement, said

texts = st.lists(st.text(), max_size=3)


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def frame(value: Any) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("choices", [1, 3])
def test_whole_and_streamed_answers_say_the_same(kind: Kind, choices: int) -> None:
    made = [Choice(index, ["Good", f'day\n"{index}"', "müde\u2028x"], "stop") for index in range(choices)]
    answer = Answer(kind, "tiny", 1, 3, made)
    frames = [*map(frame, answer.chunks()), frame(answer.usage_chunk()), b"data: [DONE]\n\n"]
    expected = [choice.text() for choice in made]
    assert said([dump(answer.whole())]) == said(frames) == expected


def test_calls_of_tools_are_part_of_what_is_said() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"a": 1}'}}
    whole = {"choices": [{"index": 0, "message": {"content": None, "tool_calls": [call]}}]}
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "find", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]},
        {},
    ]
    frames = [frame({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
    assert said([dump(whole)]) == said(frames) == ['find{"a": 1}']


def test_exact_answers_agree_wholly_or_not_at_all() -> None:
    assert agreement(["a b"], ["a b"], exact=True) == 1
    assert agreement(["a b"], ["a b "], exact=True) == 0


def test_else_the_words_in_common_count() -> None:
    assert agreement(["the red shoe"], ["the blue shoe"], exact=False) == pytest.approx(2 / 3)
    assert agreement(["a a a"], ["a"], exact=False) == pytest.approx(0.5)
    assert agreement([""], [""], exact=False) == 1
    assert agreement(["a"], [""], exact=False) == 0


@given(texts, texts, st.booleans())
def test_agreement_is_symmetric_bounded_and_full_for_the_same(
    one: list[str], other: list[str], exact: bool
) -> None:
    found = agreement(one, other, exact=exact)
    assert 0 <= found <= 1
    assert found == agreement(other, one, exact=exact)
    assert agreement(one, one, exact=exact) == 1
