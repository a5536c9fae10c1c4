"""Training lines: OpenAI's chat format, each fault named with its line and what to change."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import dataset
from records.dataset import InvalidLine, check, parse, parse_line

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Good day."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def line(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"messages": list(messages), **more}).encode()


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
    assert parse_line(good, 1).messages


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
        (b'{"prompt": "a", "completion": "b"}', "messages"),
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
    ],
)
def test_each_fault_names_its_line_and_place(bad: bytes, said: str) -> None:
    with pytest.raises(InvalidLine, match=r"^Line 7: ") as caught:
        parse_line(bad, 7)
    assert said in str(caught.value)
    assert caught.value.line == 7


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
    for raw in (json.dumps(value), json.dumps({"messages": value}), json.dumps({"messages": [value, GOOD]})):
        with suppress(InvalidLine):
            parse_line(raw.encode(), 1)
