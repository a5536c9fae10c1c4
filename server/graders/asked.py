"""`score_model` and `label_model`: graders that ask a model, which can say nothing but one of our choices.

The choices are enforced while it writes (guided decoding), so the answer of a small model can be read too.
A score is one of about a hundred values of its range: a number with free digits may never end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from server.graders.base import CannotGrade, Fault, Grade, Item, Means, Message, Said, Sample, Spec, Strict
from server.graders.template import Template, render

MAX_MESSAGES = 64
MAX_LABELS = 100
STEPS = 100
NARROWEST, WIDEST = 1e-3, 1e9


def _content(value: Any) -> Any:
    """One text of what may be a text, a part of type text, or a list of these."""
    parts = value if isinstance(value, list) else [value]
    texts = [part.get("text") if _is_text(part) else part for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("use text, or parts of type input_text or output_text; no images, no audio")
    return "\n".join(texts)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("input_text", "output_text")


class InputMessage(Strict):
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[Template, BeforeValidator(_content)]
    type: Literal["message"] = "message"


class Sampling(Strict):
    """Temperature is 0 unless said: the same answer has the same grade."""

    seed: int | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    reasoning_effort: Annotated[str, Field(max_length=20)] | None = None

    def for_engine(self, choices: Sequence[str]) -> dict[str, Any]:
        longest = max(len(choice.encode()) for choice in choices) + 1  # a token has a byte at least
        return {
            "seed": self.seed,
            "top_p": self.top_p,
            "temperature": self.temperature or 0,
            "max_completion_tokens": self.max_completions_tokens or longest,
            "reasoning_effort": self.reasoning_effort,
        }


class Asked(Spec):
    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: Annotated[list[InputMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    sampling_params: Sampling = Sampling()

    async def choose(
        self, sample: Sample, item: Item, means: Means, choices: Sequence[str], told: str
    ) -> tuple[str, Said]:
        messages: list[Message] = [
            {"role": message.role, "content": render(message.content, sample, item)} for message in self.input
        ]
        # At the end, where any template takes it: some have no system turn, or only as the first.
        if messages[-1]["role"] == "user":
            messages[-1]["content"] += f"\n\n{told}"
        else:
            messages.append({"role": "user", "content": told})
        said = await means.judge.choose(
            self.model, messages, choices, self.sampling_params.for_engine(choices)
        )
        if said.choice is None:
            raise CannotGrade(Fault.ANSWER, f"{said.model} gave none of the answers that it was offered.")
        return said.choice, said


def _range(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not high - low >= NARROWEST or max(-low, high) > WIDEST:
        raise ValueError(f"use [low, high], at least {NARROWEST:g} apart and at most {WIDEST:g} from 0")
    return value


class ScoreModel(Asked):
    """`pass_threshold`, in the units of the range, is the middle of it unless said."""

    type: Literal["score_model"]
    range: Annotated[tuple[float, float], AfterValidator(_range)] = (0.0, 1.0)
    pass_threshold: float | None = Field(None, allow_inf_nan=False)

    async def grade(self, sample: Sample, item: Item, means: Means) -> Grade:
        low, high = self.range
        told = f"Answer with one number from {low:g} to {high:g} and nothing else."
        choice, said = await self.choose(sample, item, means, steps(low, high), told)
        reward, least = float(choice), self.pass_threshold
        passed = reward >= ((low + high) / 2 if least is None else least)
        reason = f"{said.model} gives {choice} of {low:g} to {high:g}"
        score = (reward - low) / (high - low)
        return Grade(reward, score, passed, reason, tokens={said.model: said.tokens})


Label = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]


class LabelModel(Asked):
    type: Literal["label_model"]
    labels: Annotated[list[Label], Field(min_length=1, max_length=MAX_LABELS)]
    passing_labels: list[Label]

    @field_validator("labels")
    @classmethod
    def _differ(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a label stands there twice")
        return value

    @field_validator("passing_labels")
    @classmethod
    def _are_labels(cls, value: list[str], info: ValidationInfo) -> list[str]:
        labels = info.data.get("labels", value)
        if strange := [label for label in value if label not in labels]:
            raise ValueError(f"{strange[0]!r} is not among 'labels'")
        return value

    async def grade(self, sample: Sample, item: Item, means: Means) -> Grade:
        told = f"Answer with one of these and nothing else: {', '.join(self.labels)}."
        choice, said = await self.choose(sample, item, means, self.labels, told)
        passed = choice in self.passing_labels
        reason = f"{said.model} says {choice!r}"
        return Grade(float(passed), float(passed), passed, reason, tokens={said.model: said.tokens})


def steps(low: float, high: float) -> list[str]:
    """Both ends, and between them all multiples of the power of ten that makes at most STEPS steps."""
    first, last = Decimal(repr(low)), Decimal(repr(high))
    step = Decimal(1).scaleb(((last - first) / STEPS).adjusted())
    if step * STEPS < last - first:
        step *= 10
    inner = [step * place for place in _between(first / step, last / step)]
    return [_plain(value) for value in dict.fromkeys((first, *inner, last))]


def _between(first: Decimal, last: Decimal) -> range:
    return range(math.ceil(first), math.floor(last) + 1)


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}" if value else "0"
