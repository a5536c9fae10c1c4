"""A grader's definition: what is wrong with it is said with the field's name, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from server import grader_request
from server.engine.base import RequestRefused
from tests.conforms import conforms

TEXTS = {"name": "n", "input": "{{sample.output_text}}"}
CHECK = {**TEXTS, "type": "string_check", "reference": "{{item.a}}", "operation": "eq"}
ALIKE = {**TEXTS, "type": "text_similarity", "reference": "r", "evaluation_metric": "bleu"}
SCORE = {"name": "n", "type": "score_model", "model": "tiny", "input": [{"role": "user", "content": "x"}]}
LABEL = {**SCORE, "type": "label_model", "labels": ["a", "b"], "passing_labels": ["a"]}
SCHEMA = {**TEXTS, "type": "json_schema", "schema": {"type": "object"}}
MULTI = {"name": "n", "type": "multi", "graders": {"one": CHECK}, "calculate_output": "one"}
ALL = [CHECK, ALIKE, SCORE, LABEL, {**TEXTS, "type": "json_check"}, SCHEMA, MULTI]


@pytest.mark.parametrize("given", ALL, ids=lambda given: given["type"])
def test_every_type_of_grader_is_understood(given: dict[str, Any]) -> None:
    assert grader_request.parse(given).type == given["type"]


def test_the_definitions_of_these_tests_have_openais_shapes() -> None:
    for given, schema in (
        (CHECK, "StringCheck"),
        (ALIKE, "TextSimilarity"),
        (SCORE, "ScoreModel"),
        (LABEL, "LabelModel"),
    ):
        conforms(given, f"Grader{schema}")
    conforms({**MULTI, "graders": CHECK}, "GraderMulti")


def test_one_grader_of_a_multi_goes_by_its_own_name() -> None:
    """OpenAI's document says one grader, its guide says several by name: both are taken."""
    given = grader_request.parse({**MULTI, "graders": CHECK, "calculate_output": "n / 2"})
    assert list(given.graders) == ["n"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "param", "said"),
    [
        ("x", "grader", "must be an object"),
        ({}, "grader.type", "string_check, "),
        ({**CHECK, "type": "strng_check"}, "grader.type", "string_check, "),
        ({"type": "python", "name": "n", "source": "x"}, "grader.type", "no foreign code"),
        ({**CHECK, "name": ""}, "grader.name", ""),
        ({**CHECK, "name": 1}, "grader.name", ""),
        ({**CHECK, "inptu": ""}, "grader.inptu", "Unknown"),
        ({**TEXTS, "type": "string_check", "operation": "eq"}, "grader.reference", "Missing"),
        ({**CHECK, "operation": "gt"}, "grader.operation", "'eq'"),
        ({**CHECK, "input": "{{sample.text}}"}, "grader.input", "{{sample.text}} names nothing"),
        ({**CHECK, "reference": "{{item}}"}, "grader.reference", "{{item}}"),
        ({**CHECK, "input": "x" * 70_000}, "grader.input", "65536"),
        ({**ALIKE, "evaluation_metric": "cosine"}, "grader.evaluation_metric", "embedding model"),
        ({**ALIKE, "evaluation_metric": "meteor"}, "grader.evaluation_metric", "WordNet"),
        ({**ALIKE, "evaluation_metric": "rouge_6"}, "grader.evaluation_metric", "rouge_5"),
        ({**ALIKE, "pass_threshold": 2}, "grader.pass_threshold", ""),
        ({**SCHEMA, "schema": []}, "grader.schema", ""),
        ({**SCHEMA, "schema": {"type": "objekt"}}, "grader.schema", "objekt"),
        ({**SCHEMA, "schema": {"enum": ["x" * 70_000]}}, "grader.schema", "65536 bytes"),
        ({**SCHEMA, "schema": {"$ref": "#"}}, "grader.schema", "leads back to itself"),
        ({**SCORE, "model": ""}, "grader.model", ""),
        ({**SCORE, "range": [1, 1]}, "grader.range", "[low, high]"),
        ({**SCORE, "range": [0, 1e300]}, "grader.range", "[low, high]"),
        ({**SCORE, "range": [0]}, "grader.range.1", ""),
        ({**SCORE, "input": []}, "grader.input", ""),
        ({**SCORE, "input": [{"role": "tool", "content": "x"}]}, "grader.input.0.role", "'user'"),
        ({**SCORE, "input": [{"role": "user", "content": "{{item}}"}]}, "grader.input.0.content", "{{item}}"),
        (
            {**SCORE, "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "grader.input.0.content",
            "no images",
        ),
        ({**SCORE, "sampling_params": {"temprature": 1}}, "grader.sampling_params.temprature", "Unknown"),
        ({**SCORE, "sampling_params": {"top_p": 0}}, "grader.sampling_params.top_p", ""),
        ({**LABEL, "labels": []}, "grader.labels", ""),
        ({**LABEL, "labels": ["a", "a"]}, "grader.labels", "twice"),
        ({**LABEL, "labels": ["a", "b\n"]}, "grader.labels.1", ""),
        ({**LABEL, "passing_labels": ["c"]}, "grader.passing_labels", "'c' is not among"),
        ({**MULTI, "graders": []}, "grader.graders", "by name"),
        ({**MULTI, "graders": {}}, "grader.graders", ""),
        ({**MULTI, "graders": {"one": {**CHECK, "operation": "gt"}}}, "grader.graders.one.operation", "'eq'"),
        ({**MULTI, "graders": {"one": MULTI}}, "grader.graders.one.type", "must be one of"),
        ({**MULTI, "graders": {f"g{n}": CHECK for n in range(17)}}, "grader.graders", "at most 16"),
        ({**MULTI, "calculate_output": "one +"}, "grader.calculate_output", "not a formula"),
        ({**MULTI, "calculate_output": "two"}, "grader.calculate_output", "'two' is no grader here"),
        ({**MULTI, "calculate_output": "eval(one)"}, "grader.calculate_output", "'eval(one)'"),
    ],
)
def test_an_error_names_the_field(given: Any, param: str, said: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        grader_request.parse(given)
    assert refused.value.status == 400
    assert refused.value.param == param
    assert said in refused.value.message
