"""References in a grader's texts: what they stand for, and what is said where they stand for nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.graders.base import MAX_TEXT, CannotGrade, Fault, Sample
from server.graders.template import check, render

ITEM: dict[str, Any] = {
    "reference": "Paris",
    "n": 3,
    "yes": True,
    "none": None,
    "deep": {"list": [{"a-b": "x"}, 2], "odd key": "y"},
}
TOOLS = [{"function": {"name": "find", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("plain", "plain"),
        ("{{item.reference}}", "Paris"),
        ("{{ item.reference }}!", "Paris!"),
        ("{{item.n}}/{{item.yes}}/{{item.none}}", "3/true/null"),
        ("{{item.deep.list[0].a-b}}", "x"),
        ("{{item.deep.list.1}}", "2"),
        ("{{item.deep['odd key']}}{{item.deep[\"odd key\"]}}", "yy"),
        ("{{item.deep.list}}", '[{"a-b": "x"}, 2]'),
        ("{{sample.output_text}}", '{"total": 4, "é": "ü"}'),
        ("{{sample.output_json.total}}", "4"),
        ("{{sample.output_json}}", '{"total": 4, "é": "ü"}'),
        ("{{sample.output_tools[0].function.name}}", "find"),
        ("{ {item.reference} }", "{ {item.reference} }"),
        ("a }} b", "a }} b"),
    ],
)
def test_a_reference_becomes_what_it_names(text: str, becomes: str) -> None:
    assert render(check(text), Sample('{"total": 4, "é": "ü"}', TOOLS), ITEM) == becomes


@pytest.mark.parametrize(
    "text",
    [
        "{{}}",
        "{{item}}",
        "{{sample}}",
        "{{items.a}}",
        "{{item.}}",
        "{{item.a.}}",
        "{{item..a}}",
        "{{item.a | upper}}",
        "{{item.a()}}",
        "{{item[a]}}",
        "{{item.a + 1}}",
        "{{sample.output}}",
        "{{sample.output_text.length}}",
        "{{item.a",
        "{{ {item.a} }}",
    ],
)
def test_what_can_name_nothing_is_refused_before_any_grading(text: str) -> None:
    with pytest.raises(ValueError, match=r"\{\{"):
        check(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{{item.refrence}}", "'refrence' among reference, n"),
        ("{{item.deep.list[2]}}", "'2' among 2 entries"),
        ("{{item.reference.x}}", "'x' in what has no parts"),
        ("{{item.reference.0}}", "'0' in what has no parts"),
        ("{{item.deep.list.x}}", "'x' among 2 entries"),
        ("{{item.__class__}}", "'__class__'"),
        ("{{sample.output_tools[0]}}", "'0' among 0 entries"),
        ("{{item.deep.list[1111111111]}}", "'1111111111' among 2 entries"),
        ("{{sample.output_json.b}}", "'b' among a"),
    ],
)
def test_a_reference_that_this_item_does_not_have_is_named(text: str, named: str) -> None:
    with pytest.raises(CannotGrade, match="names nothing") as refused:
        render(check(text), Sample('{"a": 1}'), ITEM)
    assert refused.value.fault is Fault.VARIABLE
    assert text in refused.value.reason
    assert named in refused.value.reason


@pytest.mark.parametrize("text", ["{{item.deep.list[DIGITS]}}", "{{item.deep.list.DIGITS}}"])
def test_a_place_of_thousands_of_digits_is_none_that_a_list_has(text: str) -> None:
    with pytest.raises(CannotGrade, match="names nothing"):
        render(check(text.replace("DIGITS", "1" * 5000)), Sample(""), ITEM)


def test_the_json_of_an_answer_that_is_none_is_a_fault_of_the_sample() -> None:
    with pytest.raises(CannotGrade, match="not JSON") as refused:
        render("{{sample.output_json.a}}", Sample("Sure! Here it is:"), {})
    assert refused.value.fault is Fault.SAMPLE


def test_references_cannot_multiply_a_text_beyond_the_limit() -> None:
    with pytest.raises(CannotGrade, match=str(MAX_TEXT)):
        render("{{sample.output_text}}" * 1000, Sample("x" * 1000), {})


@given(st.text())
def test_what_a_reference_brings_in_is_not_read_as_a_template(value: str) -> None:
    assert render("{{item.a}}", Sample(""), {"a": "{{item.b}}" + value}) == "{{item.b}}" + value
