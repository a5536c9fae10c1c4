"""Check a value against OpenAI's own schemas, the needed part of which lies in tests/data."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

DATA = Path(__file__).parent / "data" / "openai-openapi.subset.json"


def conforms(value: Any, schema: str) -> None:
    """Fails with the path of the first thing that `#/components/schemas/<schema>` does not allow."""
    problems = sorted(_validator(schema).iter_errors(value), key=lambda problem: list(problem.path))
    if problems:
        first = problems[0]
        where = "/".join(map(str, first.absolute_path))
        raise AssertionError(f"{schema} at {where or '(top)'}: {first.message[:500]}")


@cache
def document() -> dict[str, Any]:
    """The document; `x-request-fields` lists the properties of the request bodies (allOf merged)."""
    whole: dict[str, Any] = _modern(json.loads(DATA.read_text()))
    # The list of statuses forgets the one that the document's own example of a pause answers with.
    whole["components"]["schemas"]["FineTuningJob"]["properties"]["status"]["enum"].append("paused")
    return whole


@cache
def _validator(schema: str) -> Draft202012Validator:
    assert schema in document()["components"]["schemas"], schema
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", **document()})


def _modern(schema: Any) -> Any:
    """What the document has left of OpenAPI 3.0, `nullable` and `exclusiveMinimum: true`, as JSON Schema
    says it."""
    if isinstance(schema, list):
        return [_modern(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _modern(value) for key, value in schema.items() if key != "nullable"}
    if plain.get("exclusiveMinimum") is True:
        plain["exclusiveMinimum"] = plain.pop("minimum")
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain
