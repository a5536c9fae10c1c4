"""Lines of every format as tokens: what is learnt is what the engine would have to generate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.base import TINY
from records.dataset import InvalidLine, parse_line
from tests.training.place import chat, pair
from training import adapter
from training.chat import Renderer
from training.encode import EncodedPair, encode, wanted
from training.mask import Encoded


def encoded(line: dict[str, Any], renderer: Renderer, limit: int = 512) -> Any:
    return encode(parse_line(json.dumps(line).encode(), 3), 3, renderer, limit)


def learnt(example: Encoded, renderer: Renderer) -> list[str]:
    return [
        renderer.tokenizer.decode(
            [token for token, is_learnt in zip(one.ids, one.learnt, strict=True) if is_learnt]
        )
        for one in example.sequences
    ]


def test_of_a_completion_its_text_and_the_end_token_are_learnt(renderer: Renderer) -> None:
    found = encoded({"prompt": "Question: 1 + 1\nAnswer:", "completion": " two"}, renderer)
    assert learnt(found, renderer) == [" two" + renderer.tokenizer.eos_token]
    (sequence,) = found.sequences
    prompt = renderer.tokenizer("Question: 1 + 1\nAnswer:")["input_ids"]
    assert list(sequence.ids)[: len(prompt)] == prompt, "what the engine makes of the prompt"
    assert found.line == 3


def test_an_end_token_that_is_there_is_not_doubled(renderer: Renderer) -> None:
    end = renderer.tokenizer.eos_token
    found = encoded({"prompt": "a", "completion": f" two{end}"}, renderer)
    assert learnt(found, renderer) == [f" two{end}"]


@pytest.mark.parametrize(("prompt", "completion"), [("The cour", "ier came."), ("a ", " b"), ("1", "23")])
def test_the_prompt_keeps_its_tokens_where_a_longer_one_would_reach_over_the_border(
    renderer: Renderer, prompt: str, completion: str
) -> None:
    (sequence,) = encoded({"prompt": prompt, "completion": completion}, renderer).sequences
    alone = renderer.tokenizer(prompt)["input_ids"]
    assert list(sequence.ids)[: len(alone)] == alone
    assert renderer.tokenizer.decode(list(sequence.ids)) == prompt + completion + renderer.tokenizer.eos_token


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = adapter.load_tokenizer(TINY)
    tokenizer.eos_token = None
    with pytest.raises(InvalidLine, match="Line 3: this base model's tokenizer has no end token"):
        encoded({"prompt": "a", "completion": "b"}, Renderer(tokenizer))


def test_the_two_answers_of_a_pair_look_as_each_does_by_itself(renderer: Renderer) -> None:
    found = encoded(pair("Where is it?", "Most gladly: here.", "No idea."), renderer)
    assert isinstance(found, EncodedPair)
    assert found.preferred == encoded(chat("Where is it?", "Most gladly: here."), renderer) == wanted(found)
    assert found.other == encoded(chat("Where is it?", "No idea."), renderer)
    assert found.sequences == found.preferred.sequences + found.other.sequences
    assert found.tokens == found.preferred.tokens + found.other.tokens
    assert found.longest == found.preferred.longest
    assert found.teaches


def test_a_pair_that_lost_an_answer_to_the_cut_teaches_nothing(renderer: Renderer) -> None:
    line = pair("Where is it? " * 20, "Here.", "There.")
    assert not encoded(line, renderer, 20).teaches
    prompt = {"prompt": "a b c", "chosen": " one two three", "rejected": " one two four"}
    whole = encoded(prompt, renderer)
    assert whole.teaches
    first_difference = next(
        k for k, (a, b) in enumerate(zip(*(s.ids for s in whole.sequences), strict=False)) if a != b
    )
    assert not encoded(prompt, renderer, first_difference).teaches, "what is left of the two is equal"
