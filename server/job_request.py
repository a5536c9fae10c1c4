"""The body of POST /v1/fine_tuning/jobs, checked field by field. Ranges are those of OpenAI's document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adapters.reference import BRAND
from records.models import DPO, METHODS, SUPERVISED
from server.errors import from_validation, invalid
from server.integration_request import Integrations, check_available

MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512
MAX_SEED = 2**31 - 1
MAX_MULTIPLIER = 1000
MAX_BETA = 2
MAX_INSTRUCTION = 16_000
MAX_TRIALS = 32


def _auto_or(said: str, fits: Callable[[Any], bool]) -> BeforeValidator:
    def validate(value: Any) -> Any:
        if value is None or value == "auto":
            return "auto"
        if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
            raise ValueError(f'use "auto" or {said}')
        return value

    return BeforeValidator(validate)


def _whole(highest: int) -> BeforeValidator:
    return _auto_or(
        f"a whole number from 1 to {highest}",
        lambda value: isinstance(value, int) and 1 <= value <= highest,
    )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(_Strict):
    n_epochs: Annotated[Any, _whole(50)] = "auto"
    batch_size: Annotated[Any, _whole(256)] = "auto"
    learning_rate_multiplier: Annotated[
        Any,
        _auto_or(f"a number above 0 and at most {MAX_MULTIPLIER}", lambda value: 0 < value <= MAX_MULTIPLIER),
    ] = "auto"


class DpoHyperparameters(Hyperparameters):
    beta: Annotated[
        Any, _auto_or(f"a number above 0 and at most {MAX_BETA}", lambda value: 0 < value <= MAX_BETA)
    ] = "auto"


class Supervised(_Strict):
    hyperparameters: Hyperparameters | None = None


class Dpo(_Strict):
    hyperparameters: DpoHyperparameters | None = None


class Method(_Strict):
    type: str
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Any = None


def _brand(value: Any) -> Any:
    if value is not None and (not isinstance(value, str) or not BRAND.fullmatch(value)):
        raise ValueError(
            "use 1 to 64 letters, digits, '.', '_' or '-', with a letter or digit at both ends "
            "(it becomes the brand's name, which clients send as `model`)"
        )
    return value


def _metadata(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MAX_PAIRS:
        raise ValueError(f"use an object of at most {MAX_PAIRS} pairs")
    for key, text in value.items():
        if len(key) > MAX_KEY or not isinstance(text, str) or len(text) > MAX_VALUE:
            raise ValueError(
                f"keys have at most {MAX_KEY} characters; values are text of at most {MAX_VALUE}"
            )
    return value


class EvaluationAsked(_Strict):
    """Ours: what the base is told instead of being trained, to compare the job's version with."""

    instruction: str = Field(min_length=1, max_length=MAX_INSTRUCTION)


class SweepAsked(_Strict):
    """Ours: so many settings of learning rate, rank and epochs are tried, and the best is trained."""

    trials: int = Field(ge=2, le=MAX_TRIALS, strict=True)


class JobRequest(_Strict):
    """`hyperparameters` at the top is OpenAI's older place for those under `method`; `evaluation` and `sweep`
    are ours."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str | None, BeforeValidator(_brand)] = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED, strict=True)
    metadata: Annotated[dict[str, str] | None, BeforeValidator(_metadata)] = None
    integrations: Integrations | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    evaluation: EvaluationAsked | None = None
    sweep: SweepAsked | None = None

    @property
    def method_type(self) -> str:
        return self.method.type if self.method else SUPERVISED

    def chosen(self) -> dict[str, Any]:
        """The hyperparameters as asked for, "auto" included. Raises RequestRefused on a contradiction."""
        kind = DpoHyperparameters if self.method_type == DPO else Hyperparameters
        part = getattr(self.method, self.method_type, None)
        newer = part.hyperparameters if part else None
        older = kind(**self.hyperparameters.model_dump()) if self.hyperparameters else None
        if newer and older and newer != older:
            place = f"method.{self.method_type}.hyperparameters"
            said = f"'hyperparameters' and '{place}' differ; send the latter only."
            raise invalid(said, "hyperparameters", "invalid_value")
        return dict((newer or older or kind()).model_dump())


def parse(body: dict[str, Any]) -> JobRequest:
    """Raises RequestRefused that names the field."""
    try:
        asked = JobRequest.model_validate(body)
    except ValidationError as error:
        raise from_validation(error) from None
    if asked.integrations:
        check_available()
    if asked.method is not None:
        _check_method(asked.method)
    if asked.sweep is not None and asked.method_type == DPO:
        raise invalid(
            "'sweep' does not go with method 'dpo', whose held-out loss does not tell the best.",
            "sweep",
            "unsupported_parameter",
        )
    return asked


def _check_method(method: Method) -> None:
    if method.type not in METHODS:
        said = f"Method '{method.type[:64]}' is not supported; use one of {', '.join(map(repr, METHODS))}."
        raise invalid(said, "method.type", "unsupported_value")
    for name in (*METHODS, "reinforcement"):
        if name != method.type and getattr(method, name) is not None:
            raise invalid(f"'method.{name}' does not go with type '{method.type}'.", f"method.{name}")
