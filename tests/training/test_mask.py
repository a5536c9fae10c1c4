"""What is learnt is what the assistant says, to the token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import TINY
from records.dataset import Example, InvalidLine, parse_line
from training import mask
from training.adapter import load_tokenizer
from training.chat import Renderer
from training.mask import Encoded, Sequence, encode

END = "<|im_end|>"
TOOL = {"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def example(*messages: dict[str, Any], **fields: Any) -> Example:
    return parse_line(json.dumps({"messages": messages, **fields}).encode(), 1)


def encoded(renderer: Renderer, *messages: dict[str, Any], limit: int = 512, **fields: Any) -> Encoded:
    return encode(example(*messages, **fields), 7, renderer, limit)


def learnt(renderer: Renderer, sequence: Sequence) -> list[str]:
    """The runs of learnt tokens, decoded."""
    runs: list[list[int]] = []
    last = 0
    for token, flag in zip(sequence.ids, sequence.learnt, strict=True):
        if flag:
            runs.append([]) if not last else None
            runs[-1].append(token)
        last = flag
    return [renderer.tokenizer.decode(run) for run in runs]


def text(renderer: Renderer, sequence: Sequence) -> str:
    decoded: str = renderer.tokenizer.decode(list(sequence.ids))
    return decoded


def test_the_answer_and_its_end_of_turn_are_learnt_and_nothing_else(renderer: Renderer) -> None:
    (only,) = encoded(
        renderer, {"role": "system", "content": "Be kind."}, user("Where is it?"), assistant("On its way.")
    ).sequences
    assert learnt(renderer, only) == [f"On its way.{END}"]


def test_every_answer_of_a_long_conversation_is_learnt(renderer: Renderer) -> None:
    (only,) = encoded(
        renderer, user("One?"), assistant("First."), user("Two?"), assistant("Second."), user("Three?")
    ).sequences
    assert learnt(renderer, only) == [f"First.{END}", f"Second.{END}"]
    assert "Three" not in text(renderer, only), "what follows the last answer teaches nothing"


def test_an_answer_of_weight_0_is_read_but_not_learnt(renderer: Renderer) -> None:
    (only,) = encoded(
        renderer, user("One?"), assistant("Bad.", weight=0), user("Two?"), assistant("Good.", weight=1)
    ).sequences
    assert learnt(renderer, only) == [f"Good.{END}"]
    assert "Bad." in text(renderer, only)


def test_tools_are_read_and_the_call_is_learnt(renderer: Renderer) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"order": 12}'}}
    (only,) = encoded(
        renderer,
        user("Where is order 12?"),
        assistant(None, tool_calls=[call]),
        {"role": "tool", "content": "in Lyon", "tool_call_id": "c1"},
        assistant("It is in Lyon."),
        tools=[TOOL],
    ).sequences
    assert learnt(renderer, only) == [
        '<tool_call>\n{"name": "track", "arguments": {"order": 12}}\n</tool_call>' + END,
        f"It is in Lyon.{END}",
    ]
    assert '"name": "track", "description": null' in text(renderer, only)


def test_content_in_parts_is_the_same_as_in_one_string(renderer: Renderer) -> None:
    parts = [{"type": "text", "text": "Where is "}, {"type": "text", "text": "it?"}]
    assert encoded(renderer, user(parts), assistant("Here.")) == encoded(
        renderer, user("Where is it?"), assistant("Here.")
    )


def test_a_long_example_is_cut_at_the_end(renderer: Renderer) -> None:
    messages = user("Where?"), assistant("Here. " * 200)
    (whole,) = encoded(renderer, *messages, limit=2000).sequences
    (cut,) = encoded(renderer, *messages, limit=50).sequences
    assert (cut.ids, cut.learnt) == (whole.ids[:50], whole.learnt[:50])
    assert cut.full_length == len(whole.ids)


def renders(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all that is rendered from now on."""
    lengths, render = list[int](), renderer.render

    def counted(*given: Any, **named: Any) -> str:
        text = render(*given, **named)
        lengths.append(len(text))
        return text

    monkeypatch.setattr(renderer, "render", counted)
    return lengths


def test_turns_behind_the_cut_are_not_rendered_one_by_one(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [message for k in range(400) for message in (user(f"{k}?"), assistant(f"{k}."))]
    lengths = renders(renderer, monkeypatch)
    (cut,) = encoded(renderer, *turns, limit=200).sequences
    (twice,) = encoded(renderer, *turns, *turns, limit=200).sequences
    assert len(cut.ids) == 200
    assert (twice.ids, twice.learnt) == (cut.ids, cut.learnt)
    assert twice.full_length > 1.9 * cut.full_length
    assert len(lengths) < 200
    assert sum(length > 3 * 8 * 400 for length in lengths) <= 6, "the whole is seen for its last answer only"


def test_a_conversation_that_would_be_rendered_without_end_is_refused_by_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mask, "MAX_RENDERED", 20_000)
    renderer = with_template(THOUGHTS)  # each answer has a text of its own
    turns = [message for k in range(60) for message in (user(f"{k}?"), assistant(f"{k}."))]
    lengths = renders(renderer, monkeypatch)
    with pytest.raises(InvalidLine, match=r"^Line 7: .*more than 20,000 characters.*split the conversation"):
        encoded(renderer, *turns, limit=200)
    assert sum(lengths[:-1]) <= 20_000
    assert encoded(renderer, *turns[:10], limit=200).teaches


def test_an_example_without_an_answer_left_teaches_nothing(renderer: Renderer) -> None:
    assert not encoded(renderer, user("Where? " * 200), assistant("Here."), limit=50).teaches


# Qwen3's way: thoughts are shown in the last answer, and in earlier ones they are left out.
THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def with_template(template: str) -> Renderer:
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = template
    return Renderer(tokenizer)


def test_where_earlier_answers_look_different_each_answer_gets_the_text_it_will_be_served_in() -> None:
    renderer = with_template(THOUGHTS)
    sequences = encoded(renderer, user("1?"), assistant("A."), user("2?"), assistant("B.")).sequences
    thought = "<think>\n\n</think>\n\n"
    assert [learnt(renderer, one) for one in sequences] == [[f"{thought}A.{END}"], [f"{thought}B.{END}"]]
    assert f"assistant\nA.{END}" in text(renderer, sequences[1])


def test_a_template_that_cannot_lead_to_its_own_answer_is_refused_by_line() -> None:
    renderer = with_template("{{ messages[-1].content }}{% if add_generation_prompt %}Reply:{% endif %}")
    with pytest.raises(InvalidLine, match=r"^Line 7: messages\.1: the chat template"):
        encoded(renderer, user("1?"), assistant("A."))


def test_what_the_template_refuses_is_refused_by_line() -> None:
    renderer = with_template("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InvalidLine, match=r"^Line 7: .*roles must alternate"):
        encoded(renderer, user("1?"), assistant("A."))


@pytest.mark.parametrize("stumbles", ["'a'.index('b')", "'{a}'.format()", "none | dictsort"])
def test_a_template_that_stumbles_over_an_example_names_its_line(stumbles: str) -> None:
    with pytest.raises(InvalidLine, match=r"^Line 7: the base model's chat template refuses it"):
        encoded(with_template(f"{{{{ {stumbles} }}}}"), user("1?"), assistant("A."))


THINKING = with_template(THOUGHTS)
# What str.isprintable() allows: to filter whole texts by it leaves too few of them.
PRINTED = st.characters(categories=("L", "M", "N", "P", "S"), include_characters=" ")
WORDS = st.text(PRINTED, min_size=1, max_size=40).filter(lambda words: "<|" not in words)

SHOWN = st.text(
    st.characters(categories=("L", "N", "P", "S"), exclude_characters="<"), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_any_conversation_is_learnt_answer_by_answer(
    renderer: Renderer, turns: list[tuple[str, str]]
) -> None:
    messages = [message for ask, answer in turns for message in (user(ask), assistant(answer))]
    (only,) = encoded(renderer, *messages, limit=100_000).sequences
    decoded = learnt(renderer, only)
    assert len(decoded) == len(turns)
    for got, (_, answer) in zip(decoded, turns, strict=True):
        # A first token that reaches back into the prompt is the prompt's; else it is exact.
        assert got == answer + END or (answer + END).endswith(got)


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(st.tuples(SHOWN, SHOWN), min_size=1, max_size=6), limit=st.integers(1, 150))
def test_a_cut_keeps_the_beginning_of_what_there_is_without_it(
    renderer: Renderer, turns: list[tuple[str, str]], limit: int
) -> None:
    messages = [message for ask, answer in turns for message in (user(ask), assistant(answer))]
    for one in (renderer, THINKING):
        whole, cut = (encoded(one, *messages, limit=most).sequences for most in (100_000, limit))
        kept = [(full.ids[:limit], full.learnt[:limit], full.full_length) for full in whole]
        assert [(each.ids, each.learnt, each.full_length) for each in cut] == kept
