"""What one request may ask for: the limit itself passes, one more is refused by the name of its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server import bounds
from server.engine.base import Kind, RequestRefused
from server.fields import check

HELLO = {"role": "user", "content": "hi"}
LONG = "x" * bounds.MAX_SHAPE_BYTES
ENUM = {"enum": [f"value {number}" for number in range(bounds.MAX_ENUM_VALUES)]}
MORE = {"enum": [*ENUM["enum"], "one more"]}
TWICE = {"anyOf": [ENUM, {"type": "object", "properties": {"enum": {"enum": ["one more"]}}}]}
LIST = {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"next": {"$ref": "#"}}}]}
CIRCLE = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}


def checked(kind: Kind = Kind.CHAT, **given: Any) -> dict[str, Any]:
    asked = {"messages": [HELLO]} if kind is Kind.CHAT else {"prompt": "hi"}
    return check(kind, {"model": "tiny", **asked, **given}, "salt").body


def refused(kind: Kind = Kind.CHAT, **given: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        checked(kind, **given)
    assert caught.value.status == 400
    assert len(caught.value.message) < 200
    return caught.value


def formatted(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def tool(parameters: Any, name: str = "look") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.mark.parametrize(
    ("prompt", "n", "param"),
    [
        (["a"] * 128, 1, ""),
        (["a"] * 129, 1, "prompt"),
        ([[1, 2]] * 129, 1, "prompt"),
        (["a"] * 1000, 128, "prompt"),
        (["a"] * 64, 2, ""),
        (["a"] * 64, 3, "n"),
        ("a", 128, ""),
        ("a", 129, "n"),
        ([1] * 4000, 128, ""),
        ([1] * 4000, 129, "n"),
        ("", 1, "prompt"),
        ([], 1, "prompt"),
        ("a", "500", "n"),
        ("a", 500.0, "n"),
        ("a", True, "n"),
    ],
)
def test_prompts_times_choices_are_bounded(prompt: Any, n: Any, param: str) -> None:
    if not param:
        assert checked(Kind.COMPLETION, prompt=prompt, n=n)["n"] == n
        return
    refusal = refused(Kind.COMPLETION, prompt=prompt, n=n)
    assert refusal.param == param
    if prompt and isinstance(n, int) and n > 1:
        assert "at most 128" in refusal.message


def test_messages_are_bounded() -> None:
    assert checked(messages=[HELLO] * bounds.MAX_MESSAGES)
    refusal = refused(messages=[HELLO] * (bounds.MAX_MESSAGES + 1))
    assert refusal.param == "messages"
    assert "2048" in refusal.message


@pytest.mark.parametrize(
    ("given", "param", "limit"),
    [
        ({"response_format": formatted({"description": LONG})}, "response_format", "65536"),
        ({"response_format": formatted(MORE)}, "response_format", "1000"),
        ({"response_format": formatted(TWICE)}, "response_format", "1000"),
        ({"structured_outputs": {"json": MORE}}, "structured_outputs", "1000"),
        ({"structured_outputs": {"json": json.dumps(MORE)}}, "structured_outputs", "1000"),
        ({"structured_outputs": {"choice": MORE["enum"]}}, "structured_outputs", "1000"),
        ({"structured_outputs": {"structural_tag": json.dumps({"x": MORE})}}, "structured_outputs", "1000"),
        ({"structured_outputs": {"grammar": LONG}}, "structured_outputs", "65536"),
        ({"structured_outputs": {"regex": LONG}}, "structured_outputs", "65536"),
        ({"structured_outputs": {"choice": [LONG]}}, "structured_outputs", "65536"),
        ({"tools": [tool({"description": LONG})]}, "tools[0].function.parameters", "65536"),
        ({"tools": [tool({}), tool({"description": LONG}, "b")]}, "tools[1].function.parameters", "65536"),
        ({"tools": [tool({"description": LONG[:60_000]})] * 5}, "tools", "262144"),
        ({"tools": [tool(ENUM), tool({"enum": ["one more"]}, "b")]}, "tools", "1000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_an_answer_must_look_like_is_bounded(given: dict[str, Any], param: str, limit: str) -> None:
    refusal = refused(**given)
    assert refusal.param == param
    assert limit in refusal.message


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"response_format": formatted({"$ref": "#"})}, "response_format"),
        ({"response_format": formatted(CIRCLE)}, "response_format"),
        ({"structured_outputs": {"json": '{"$ref": "#"}'}}, "structured_outputs"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"json": "[" * 5000}}, "structured_outputs.json"),
        ({"structured_outputs": {"jsn": {}}}, "structured_outputs.jsn"),
        ({"structured_outputs": "x"}, "structured_outputs"),
        ({"structured_outputs": {"grammar": 'root ::= root "a" | "b"'}}, "structured_outputs"),
        ({"structured_outputs": {"grammar": 'root ::= "b" | ( root "a")'}}, "structured_outputs"),
        ({"structured_outputs": {"grammar": 'root ::= x "a"\nx ::= "b" | root'}}, "structured_outputs"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": [tool({"$ref": "#"})]}, "tools[0].function.parameters"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_can_never_be_answered_is_refused(given: dict[str, Any], param: str) -> None:
    assert refused(**given).param == param


@pytest.mark.parametrize(
    "given",
    [
        {"response_format": formatted(ENUM)},
        {"response_format": formatted(LIST)},
        {"response_format": formatted({"$ref": "https://example.com/a"})},
        {"response_format": formatted({"$ref": "#/$defs/none", "properties": {"$ref": {"type": "null"}}})},
        {"response_format": formatted({"anyOf": 5, "oneOf": {"allOf": None}, "enum": 5})},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"choice": ENUM["enum"]}},
        {"structured_outputs": {"grammar": 'root ::= "a" root | "| root" | [|root]\n# root ::= root'}},
        {"structured_outputs": {"grammar": 'root ::= "(" root ")" | x\nx ::= [0-9]+'}},
        *({"structured_outputs": {"grammar": one * 30_000}} for one in ("[", "(", "a", " ", "a ", "|")),
        {"structured_outputs": {"regex": "a+", "disable_any_whitespace": True}},
        {"tools": [tool(ENUM), tool(LIST, "b"), tool(None, "c")]},
        {"tools": [{"type": "function", "function": {"name": "look"}}], "tool_choice": "auto"},
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_can_be_answered_passes(given: dict[str, Any]) -> None:
    assert checked(**given)
