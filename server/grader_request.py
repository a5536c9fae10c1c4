"""The bodies of POST /v1/fine_tuning/alpha/graders/run and /validate, and a grader's definition anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from server import bounds
from server.errors import from_validation, invalid
from server.graders.asked import Asked, LabelModel, ScoreModel
from server.graders.base import MAX_TEXT, Strict
from server.graders.json_check import JsonCheck, JsonSchema
from server.graders.multi import MAX_GRADERS, AnyGrader, Multi
from server.graders.string_check import StringCheck
from server.graders.text_similarity import TextSimilarity

KINDS: Mapping[str, type[AnyGrader]] = {
    "string_check": StringCheck,
    "text_similarity": TextSimilarity,
    "score_model": ScoreModel,
    "label_model": LabelModel,
    "multi": Multi,
    "json_check": JsonCheck,
    "json_schema": JsonSchema,
}


class ValidateRequest(Strict):
    grader: dict[str, Any]


class RunRequest(ValidateRequest):
    model_sample: Annotated[str, Field(max_length=MAX_TEXT)]
    item: dict[str, Any] = Field(default_factory=dict)


def parse_run(body: dict[str, Any]) -> tuple[RunRequest, AnyGrader]:
    """Raises RequestRefused that names the field. It may take a while: call it in a thread."""
    try:
        asked = RunRequest.model_validate(body)
    except ValidationError as error:
        raise from_validation(error) from None
    return asked, parse(asked.grader)


def parse_validate(body: dict[str, Any]) -> AnyGrader:
    """As `parse_run`."""
    try:
        return parse(ValidateRequest.model_validate(body).grader)
    except ValidationError as error:
        raise from_validation(error) from None


def parse(given: Any, at: str = "grader", *, within: bool = False) -> AnyGrader:
    """A definition; `at` is its field in the request, `within` says that it is one of a multi grader's.

    Raises RequestRefused.
    """
    if not isinstance(given, dict):
        raise invalid(f"'{at}' must be an object.", at, "invalid_type")
    kind = given.get("type")
    if kind == "python":
        said = "'python' graders are not supported: no foreign code runs here. Use another type, or a multi."
        raise invalid(said, f"{at}.type", "unsupported_value")
    known = [name for name in KINDS if not (within and name == "multi")]
    if not isinstance(kind, str) or kind not in known:
        raise invalid(f"'{at}.type' must be one of {', '.join(known)}.", f"{at}.type", "invalid_value")
    if kind == "multi":
        given = {**given, "graders": _parts(given.get("graders"), f"{at}.graders")}
    if isinstance(given.get("schema"), dict):
        bounds.check_schema(f"{at}.schema", given["schema"])
    try:
        return KINDS[kind].model_validate(given)
    except ValidationError as error:
        raise from_validation(error, under=at) from None


def models(grader: AnyGrader) -> Iterator[str]:
    """The names of the models that it asks."""
    if isinstance(grader, Asked):
        yield grader.model
    elif isinstance(grader, Multi):
        for part in grader.graders.values():
            yield from models(part)


def _parts(given: Any, at: str) -> dict[str, AnyGrader]:
    """OpenAI's document has one grader here, by its own name; its guide has several, by the names given."""
    if isinstance(given, dict) and isinstance(given.get("type"), str):
        return {str(given.get("name")): parse(given, at, within=True)}
    if not isinstance(given, dict):
        raise invalid(f"'{at}' must be an object of graders by name.", at, "invalid_type")
    if len(given) > MAX_GRADERS:
        raise invalid(f"Invalid '{at}': at most {MAX_GRADERS} graders.", at, "invalid_value")
    return {name: parse(part, f"{at}.{name[:64]}", within=True) for name, part in given.items()}
