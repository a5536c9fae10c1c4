"""Means to grade with, without an engine: a judge that says what it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio import CapacityLimiter

from server import grader_request
from server.graders.base import Grade, Means, Message, Said, Sample
from server.graders.runner import Grading


@dataclass
class Scripted:
    """Says `says` if it may; keeps what it was asked."""

    says: str = "1"
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def choose(
        self, model: str, messages: Sequence[Message], choices: Sequence[str], sampling: Mapping[str, Any]
    ) -> Said:
        self.asked.append({"messages": messages, "choices": choices, "sampling": sampling})
        return Said(self.says if self.says in choices else None, model, 7)


def grading(definition: dict[str, Any], judge: Scripted | None = None) -> Grading:
    spec = grader_request.parse({"name": "mine", **definition})
    return Grading(spec, Means(judge or Scripted(), CapacityLimiter(1)))


async def grade(
    definition: dict[str, Any], sample: str = "", judge: Scripted | None = None, **item: Any
) -> Grade:
    return await grading(definition, judge).grade(Sample(sample), item)
