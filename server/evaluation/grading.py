"""How good an answer is, from 0 to 1: by the graders of the brand's gate, or by our own where it has none.

Our own: where all references are JSON objects, how many of their keys have the reference's value (an answer
that is no JSON has none); else how alike the texts are, by SIMILARITY (DECISIONS.md says why this one).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio.to_thread

from records import strict_json
from records.cases import Case, text
from server.graders.base import CannotGrade, Grade, Means, Sample
from server.graders.multi import AnyGrader
from server.graders.runner import Grading
from server.graders.similarity import METRICS

SIMILARITY = "gleu"
ALIKE = 0.5  # from here on a text counts as passed
FIELDS, JSON = "fields", "valid_json"


@dataclass(frozen=True)
class Scored:
    """`score` is the mean of `parts`, by grader; `passed` that all of them are."""

    score: float
    passed: bool
    parts: Mapping[str, float]
    why: str


class Rule(Protocol):
    @property
    def names(self) -> Sequence[str]: ...

    async def score(self, answer: str, case: Case) -> Scored:
        """Raises EngineUnavailable, and RequestRefused where the model to ask cannot be had."""


@dataclass(frozen=True)
class ByGraders:
    """The gate's."""

    graders: Sequence[AnyGrader]
    means: Means

    @property
    def names(self) -> Sequence[str]:
        return [grader.name for grader in self.graders]

    async def score(self, answer: str, case: Case) -> Scored:
        item = item_of(case)
        grades: dict[str, Grade] = {}
        for grader in self.graders:
            grades[grader.name] = await Grading(grader, self.means).grade(Sample(answer), item)
        why = "; ".join(f"{name}: {grade.reason}" for name, grade in grades.items() if not grade.passed)
        parts = {name: grade.score for name, grade in grades.items()}
        passed = all(grade.passed for grade in grades.values())
        return Scored(statistics.fmean(parts.values()), passed, parts, why or "passed")


@dataclass(frozen=True)
class ByFields:
    """For references that are JSON objects."""

    means: Means
    names: Sequence[str] = (FIELDS, JSON)

    async def score(self, answer: str, case: Case) -> Scored:
        reference = object_of(case.reference) or {}
        try:
            given = Sample(answer).output_json
        except CannotGrade as error:
            return Scored(0.0, False, {FIELDS: 0.0, JSON: 0.0}, error.reason)
        found = given if isinstance(given, dict) else {}
        wrong = [key for key in reference if key not in found or not _same(found[key], reference[key])]
        wrong += [key for key in found if key not in reference]
        share = 1 - len(wrong) / len({*reference, *found} or {""})
        shown = ", ".join(sorted(map(repr, wrong[:5])))
        why = f"not as the reference: {shown}" if wrong else "passed"
        return Scored(share, not wrong, {FIELDS: share, JSON: 1.0}, why)


@dataclass(frozen=True)
class BySimilarity:
    """For references that are text."""

    means: Means
    names: Sequence[str] = (SIMILARITY,)

    async def score(self, answer: str, case: Case) -> Scored:
        metric = METRICS[SIMILARITY]
        share = await anyio.to_thread.run_sync(metric, answer, case.reference, limiter=self.means.threads)
        passed = share >= ALIKE
        return Scored(share, passed, {SIMILARITY: share}, "passed" if passed else f"{SIMILARITY} {share:.2f}")


def rule_for(cases: Sequence[Case], graders: Sequence[AnyGrader], means: Means) -> Rule:
    if graders:
        return ByGraders(graders, means)
    if cases and all(object_of(case.reference) is not None for case in cases):
        return ByFields(means)
    return BySimilarity(means)


def _same(one: Any, other: Any) -> bool:
    """As JSON has it: 1 is 1.0 and is not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def item_of(case: Case) -> dict[str, Any]:
    """What a grader's texts can name: `{{item.reference}}`, `{{item.reference_json.KEY}}` and
    `{{item.input}}`, which is the last message."""
    shown = {"reference": case.reference, "input": text(case.messages[-1].get("content"))}
    found = object_of(case.reference)
    return shown if found is None else {**shown, "reference_json": found}


def object_of(reference: str) -> dict[str, Any] | None:
    try:
        value = strict_json.loads(reference.encode(errors="surrogatepass"))
    except (strict_json.NotJson, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None
