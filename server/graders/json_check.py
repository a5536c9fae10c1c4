"""`json_check` (the input is JSON) and `json_schema` (and fits a schema): two graders that OpenAI has not."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator

from records import strict_json
from server.graders.base import Grade, Item, Plain, Sample, verdict
from server.graders.schema import Schema
from server.graders.template import Template, render


class JsonCheck(Plain):
    type: Literal["json_check"]
    input: Template

    def compute(self, sample: Sample, item: Item) -> Grade:
        try:
            strict_json.loads(render(self.input, sample, item).encode(errors="surrogatepass"))
        except strict_json.NotJson as error:
            return verdict(False, f"not JSON: {error}")
        return verdict(True, "JSON")


class JsonSchema(Plain):
    type: Literal["json_schema"]
    input: Template
    schema_: dict[str, Any] = Field(alias="schema")

    @field_validator("schema_")
    @classmethod
    def _is_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        Schema(value)
        return value

    @cached_property
    def checker(self) -> Schema:
        return Schema(self.schema_)

    def compute(self, sample: Sample, item: Item) -> Grade:
        try:
            value = strict_json.loads(render(self.input, sample, item).encode(errors="surrogatepass"))
        except strict_json.NotJson as error:
            return verdict(False, f"not JSON: {error}")
        problem = self.checker.problem(value)
        return verdict(problem is None, problem or "fits the schema")
