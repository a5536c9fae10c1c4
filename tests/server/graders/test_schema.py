"""JSON schemas from strangers: what fits, what is no schema, and that none can hold a thread for long."""

from __future__ import annotations

from typing import Any

import pytest

from server.graders.base import CannotGrade, Fault
from server.graders.schema import MAX_PATTERN, MAX_UNIQUE, Schema

TICKET = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.com/ticket",
    "type": "object",
    "properties": {
        "kind": {"enum": ["return", "question"]},
        "order": {"$ref": "#/$defs/order"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["kind"],
    "additionalProperties": False,
    "$defs": {"order": {"type": "string", "pattern": "^[0-9]{5}$"}},
}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"kind": "return"}, None),
        ({"kind": "return", "order": "70412", "tags": ["a", "b"]}, None),
        ({}, "'kind' is a required property (at $)"),
        ({"kind": "other"}, "'other' is not one of ['return', 'question'] (at $.kind)"),
        ({"kind": "return", "order": "7041"}, "'7041' does not match '^[0-9]{5}$' (at $.order)"),
        ({"kind": "return", "tags": ["a", "a"]}, "has non-unique elements (at $.tags)"),
        ({"kind": "return", "more": 1}, "'more' was unexpected"),
        ([], "[] is not of type 'object' (at $)"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(value: Any, said: str | None) -> None:
    problem = Schema(TICKET).problem(value)
    if said is None:
        assert problem is None
    else:
        assert problem is not None
        assert said in problem


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "no JSON schema"),
        ({"properties": []}, "no JSON schema"),
        ({"items": [{"type": "string"}]}, "no JSON schema"),
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": "a" * (MAX_PATTERN + 1)}, f"at most {MAX_PATTERN}"),
        ({"$ref": "https://example.com/x.json"}, "leads elsewhere"),
        ({"$ref": "file:///etc/hostname"}, "leads elsewhere"),
        ({"$ref": "#/$defs/nothing"}, "leads to no schema"),
        ({"$ref": "#/title", "title": "x"}, "leads to no schema"),
        ({"patternProperties": {"(a+)+$": {}}}, "'patternProperties' is not supported"),
        ({"unevaluatedProperties": False, "properties": {}}, "'unevaluatedProperties' is not supported"),
        ({"items": {"$dynamicRef": "#x"}}, "'$dynamicRef' is not supported"),
        (
            {"items": {"$schema": "http://json-schema.org/draft-07/schema#"}},
            "'$schema' is not supported here",
        ),
        ({"required": [1, "a"] * 100}, "not of names"),
    ],
)
def test_what_is_no_schema_or_is_not_supported_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Schema(schema)
    assert said in str(refused.value)


def _doubling(levels: int) -> dict[str, Any]:
    """Each definition asks for the next one twice."""
    steps = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{levels}": {}}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (_doubling(60), 1),
        ({"pattern": "(a|aa)+$"}, "a" * 5000 + "b"),
        ({"propertyNames": {"pattern": "(a|aa)+$"}}, {"a" * 5000 + "b": 1}),
        ({"uniqueItems": True}, [{"n": n} for n in range(MAX_UNIQUE + 1)]),
        ({"items": {"anyOf": [{"const": n} for n in range(500)]}}, [499] * 20_000),
    ],
    ids=["references that double", "pattern", "pattern of a name", "twins", "many times many"],
)
def test_a_check_without_end_is_given_up(schema: dict[str, Any], value: Any) -> None:
    with pytest.raises(CannotGrade, match="takes longer") as refused:
        Schema(schema).problem(value)
    assert refused.value.fault is Fault.OTHER


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#"}}}, {"$ref": "#/const", "const": {"minimum": "x"}}],
)
def test_a_reference_to_what_cannot_be_checked_is_no_crash(schema: dict[str, Any]) -> None:
    with pytest.raises(CannotGrade, match="cannot be checked"):
        Schema(schema).problem(1)


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    schema = Schema({"properties": {"$schema": {"type": "string"}, "$ref": {"type": "string"}}})
    assert schema.problem({"$schema": "x", "$ref": "y"}) is None
    assert schema.problem({"$ref": 1}) is not None
