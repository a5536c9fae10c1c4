"""Training lines in every format that is taken, each fault named with its line and what to change."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import dataset
from records.dataset import Completion, Example, InvalidLine, Pair, check, parse, parse_line

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Good day."}
BAD = {"role": "assistant", "content": "Yo."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def line(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"messages": list(messages), **more}).encode()


def said(**line: Any) -> bytes:
    return json.dumps(line).encode()


def compared(*outputs: dict[str, Any], **more: Any) -> bytes:
    """A pair in OpenAI's spelling; without the second output when there is none."""
    names = ("preferred_output", "non_preferred_output")
    line = {name: [output] for name, output in zip(names, outputs, strict=False)}
    return said(input={"messages": [USER], **more}, **line)


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": function}


@pytest.mark.parametrize(
    "good",
    [
        line(USER, GOOD),
        line({"role": "system", "content": "Be brief."}, USER, GOOD),
        line({"role": "developer", "content": "Be brief."}, USER, GOOD),
        line(USER, {**GOOD, "weight": 0}, USER, {**GOOD, "weight": 1}),
        line({"role": "user", "content": [{"type": "text", "text": "Hi"}]}, GOOD),
        line({**USER, "name": "ann"}, GOOD),
        line(
            USER,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
            GOOD,
            tools=[{"type": "function", "function": {"name": "look"}}],
            parallel_tool_calls=False,
        ),
        line(USER, GOOD, tools=[tool(name="look", description=None, parameters={}, strict=None)]),
    ],
)
def test_what_openai_takes_is_taken(good: bytes) -> None:
    found = parse_line(good, 1)
    assert isinstance(found, Example)
    assert found.messages


def test_prompt_and_completion_are_raw_text() -> None:
    assert parse_line(said(prompt="1 + 1 =", completion=" 2"), 1) == Completion(
        prompt="1 + 1 =", completion=" 2"
    )


def test_message_lists_are_a_conversation_of_which_the_completion_is_learnt() -> None:
    found = parse_line(said(prompt=[USER, BAD, USER], completion=[GOOD], tools=[tool(name="look")]), 1)
    whole = line(USER, {**BAD, "weight": 0}, USER, GOOD, tools=[tool(name="look")])
    assert found == parse_line(whole, 1)


@pytest.mark.parametrize(
    "good",
    [
        compared(GOOD, BAD),
        compared(GOOD, BAD, tools=[tool(name="look")], parallel_tool_calls=True),
        said(input={"messages": [USER]}, preferred_completion=[GOOD], non_preferred_completion=[BAD]),
        said(prompt=[USER], chosen=[GOOD], rejected=[BAD]),
    ],
)
def test_a_pair_is_two_conversations_with_one_prompt(good: bytes) -> None:
    found = parse_line(good, 1)
    assert isinstance(found, Pair)
    assert isinstance(found.preferred, Example)
    assert isinstance(found.other, Example)
    assert found.preferred.tools == found.other.tools
    for example, wanted in ((found.preferred, GOOD), (found.other, BAD)):
        assert example.messages == parse_line(line(USER, wanted), 1).messages  # type: ignore[union-attr]


def test_a_pair_of_texts_is_two_completions() -> None:
    assert parse_line(said(prompt="a", chosen="b", rejected="c"), 1) == Pair(
        Completion(prompt="a", completion="b"), Completion(prompt="a", completion="c")
    )


def test_answers_earlier_in_a_pairs_prompt_are_not_learnt() -> None:
    given = {"messages": [USER, GOOD, USER]}
    found = parse_line(said(input=given, preferred_output=[GOOD], non_preferred_output=[BAD]), 1)
    assert isinstance(found, Pair)
    assert isinstance(found.other, Example)
    assert [getattr(message, "weight", None) for message in found.other.messages] == [None, 0, None, 1]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (line(USER, GOOD), compared(GOOD, BAD), "preferred_output"),
        (line(USER, GOOD), said(prompt="a", completion="b"), "completion"),
        (said(prompt="a", completion="b"), said(prompt=[USER], completion=[GOOD]), '"prompt": [...]'),
        (said(prompt="a", chosen="b", rejected="c"), compared(GOOD, BAD), "preferred_output"),
        (said(prompt="a", completion="b"), said(text="a"), "the keys 'text'"),
        (line(USER, GOOD), b"{}", "an empty object"),
    ],
)
def test_one_file_has_one_format(first: bytes, second: bytes, found: str) -> None:
    with pytest.raises(InvalidLine, match=r"^Line 4: expected .*, as in line 2, and found .*") as caught:
        list(parse([b"\n", first, first, second]))
    assert found in str(caught.value)
    good, bad = check([first, second, first, second])
    assert (good, [error.line for error in bad]) == (2, [2, 4])


def test_a_first_line_that_is_wrong_still_tells_its_format() -> None:
    good, bad = check([said(prompt="a", completion=""), line(USER, GOOD)])
    assert good == 0
    assert [error.line for error in bad] == [1, 2]
    assert "as in line 1" in str(bad[1])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not JSON"),
        (b'{"messages": []}', "messages"),
        (b"{}", "messages"),
        (line(USER), "nothing to learn"),
        (line(USER, {**GOOD, "weight": 0}), "nothing to learn"),
        (line(USER, {**GOOD, "weight": 2}), "weight"),
        (line(USER, {"role": "assistant", "content": ""}), "content or tool_calls"),
        (line({"role": "robot", "content": "x"}, GOOD), "role"),
        (line({"content": "x"}, GOOD), "role"),
        (line(USER, GOOD, extra=1), "extra"),
        (line({**USER, "colour": "red"}, GOOD), "colour"),
        (line({"role": "user", "content": 5}, GOOD), "messages.0"),
        (line({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, GOOD), "messages.0"),
        (b'{"text": "a"}', "found the keys 'text', and expected {\"messages\": [...]}"),
        (said(prompt="", completion="b"), "prompt"),
        (said(prompt="a", completion=""), "completion"),
        (said(prompt="a"), "found the keys 'prompt'"),
        (said(prompt="a", completion="b", weight=1), "weight"),
        (said(prompt="a", completion=[GOOD]), "completion"),
        (said(prompt=[USER], completion="b"), "completion"),
        (said(prompt=[USER], completion=[{**GOOD, "weight": 0}]), "nothing to learn"),
        (compared(GOOD, GOOD), "are equal, so neither can be preferred"),
        (compared(GOOD, USER), "non_preferred_output.0"),
        (compared(GOOD, {**BAD, "weight": 0}), "nothing to learn"),
        (compared(GOOD), "non_preferred_output"),
        (said(preferred_output=[GOOD], non_preferred_output=[BAD]), "input"),
        (said(prompt="a", chosen="b", rejected="b"), "are equal"),
        (said(prompt="a", chosen="b"), "rejected"),
        (said(prompt=[USER], chosen=[GOOD], rejected=[GOOD]), "are equal"),
        (said(prompt=[USER], chosen=[GOOD], rejected="b"), "rejected"),
        (said(chosen=[USER, GOOD], rejected=[USER, BAD]), "prompt"),
        (b"\xff" + line(USER, GOOD), "UTF-8"),
        (json.dumps({"messages": [USER, GOOD]}).encode("utf-16-le"), "not JSON"),
        (line({"role": "user", "content": "\ud800"}, GOOD), "surrogate"),
        (line(USER, GOOD, tools=[{"nonsense": 1}]), "tools.0.type"),
        (line(USER, GOOD, tools=[{"type": "function", "function": "look"}]), "tools.0.function"),
        (line(USER, GOOD, tools=[{"type": "function", "function": None}]), "tools.0.function"),
        (line(USER, GOOD, tools=[tool(parameters={})]), "tools.0.function.name"),
        (line(USER, GOOD, tools=[tool(name="")]), "tools.0.function.name"),
        (line(USER, GOOD, tools=[tool(name="look", parameters=[])]), "tools.0.function.parameters"),
        (line(USER, GOOD, tools=[tool(name="look", colour="red")]), "tools.0.function.colour"),
        (line(USER, GOOD, tools=[{"x": "\udc00"}]), "surrogate"),
        (line(USER, GOOD, tools=[{"x": float("nan")}]), "NaN"),
        (line(USER, GOOD).replace(b'"Hi"', b"9" * 5000), "too many digits"),
        (b"[" * 100_000, "nested deeper"),
        (line(*[USER] * 2048, GOOD), "2,049 messages, and at most 2,048 are taken; split the conversation"),
        (said(prompt=[USER] * 2048, completion=[GOOD]), "2,049 messages"),
        (said(prompt=[USER] * 2047, chosen=[GOOD], rejected=[BAD, GOOD]), "2,049 messages"),
    ],
)
def test_each_fault_names_its_line_and_place(bad: bytes, said: str) -> None:
    with pytest.raises(InvalidLine, match=r"^Line 7: ") as caught:
        parse_line(bad, 7)
    assert said in str(caught.value)
    assert caught.value.line == 7


def test_as_many_messages_as_a_chat_request_may_have_are_taken() -> None:
    assert parse_line(line(*[USER] * 2047, GOOD), 7)


def test_a_byte_order_mark_is_taken_on_the_first_line_only() -> None:
    marked = b"\xef\xbb\xbf" + line(USER, GOOD)
    assert parse_line(marked, 1)
    with pytest.raises(InvalidLine):
        parse_line(marked, 2)


def test_blank_lines_count_as_lines_and_not_as_examples() -> None:
    lines = [b"\n", line(USER, GOOD), b"  \n", line(USER, GOOD)]
    assert [number for number, _ in parse(lines)] == [2, 4]


def test_a_check_stops_after_a_few_faults() -> None:
    good, bad = check([line(USER, GOOD)] * 3 + [b"{"] * 100)
    assert good == 3
    assert [error.line for error in bad] == list(range(4, 4 + dataset.SHOWN_ERRORS))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with suppress(InvalidLine):
        parse_line(raw, 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_json_raises_anything_else(value: Any) -> None:
    lines = (
        value,
        {"messages": value},
        {"messages": [value, GOOD]},
        {"prompt": value, "completion": value},
        {"prompt": value, "chosen": [GOOD], "rejected": value},
        {"input": value, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
        {"input": {"messages": [USER], "tools": value}, "preferred_output": value},
    )
    for one in lines:
        with suppress(InvalidLine):
            parse_line(json.dumps(one).encode(), 1)
