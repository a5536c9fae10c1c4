"""`multi`: several graders, and a formula that makes one reward of theirs."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from server.graders.asked import LabelModel, ScoreModel
from server.graders.base import CannotGrade, Fault, Grade, Item, Means, Sample, Spec
from server.graders.formula import Formula, parse
from server.graders.json_check import JsonCheck, JsonSchema
from server.graders.string_check import StringCheck
from server.graders.text_similarity import DEFAULT_THRESHOLD, TextSimilarity

MAX_GRADERS = 16

Single = StringCheck | TextSimilarity | ScoreModel | LabelModel | JsonCheck | JsonSchema
Key = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class Multi(Spec):
    """`graders` by the names that the formula uses. A part without a grade leaves the whole without one: a
    formula may turn a zero into a reward."""

    type: Literal["multi"]
    graders: Annotated[dict[Key, Single], Field(min_length=1, max_length=MAX_GRADERS)]
    calculate_output: str
    pass_threshold: float = Field(DEFAULT_THRESHOLD, allow_inf_nan=False)

    @field_validator("calculate_output")
    @classmethod
    def _is_formula(cls, value: str, info: ValidationInfo) -> str:
        names, there = parse(value).names, info.data.get("graders")
        if there is not None and (strange := sorted(names - set(there))):
            raise ValueError(f"{strange[0]!r} is no grader here; there are {', '.join(there)}")
        return value

    @cached_property
    def formula(self) -> Formula:
        return parse(self.calculate_output)

    async def grade(self, sample: Sample, item: Item, means: Means) -> Grade:
        parts: dict[str, Grade] = {}
        tokens: Counter[str] = Counter()
        for name, grader in self.graders.items():
            parts[name] = await grader.attempt(sample, item, means)
            tokens.update(parts[name].tokens)
        faulty = {name: part for name, part in parts.items() if part.faults}
        if faulty:
            reason = "; ".join(f"{name}: {part.reason}" for name, part in faulty.items())
            faults = frozenset(fault for part in faulty.values() for fault in part.faults)
            return Grade(0.0, 0.0, False, reason, faults, parts, tokens)
        try:
            reward = self.formula({name: part.reward for name, part in parts.items()})
        except ValueError as error:
            raise CannotGrade(Fault.OTHER, f"'calculate_output' has no value here: {error}.") from None
        reason = ", ".join(f"{name} {part.reward:g}" for name, part in parts.items())
        score = min(max(reward, 0.0), 1.0)
        return Grade(reward, score, reward >= self.pass_threshold, reason, parts=parts, tokens=tokens)


AnyGrader = Single | Multi
