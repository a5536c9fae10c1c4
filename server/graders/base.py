"""What a grader gets and gives. It sees one answer at a time and knows nothing of jobs, routes or rows.

`Grader` is the one protocol that evaluation works with; server/graders/runner.py makes one out of a `Spec`,
which is a grader's definition as a client sends it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Protocol

import anyio.to_thread
from anyio import CapacityLimiter
from pydantic import BaseModel, ConfigDict, Field

from records import strict_json

MAX_NAME = 256
MAX_TEXT = 64 * 1024  # characters of one answer, of one template, and of what a template becomes

Item = Mapping[str, Any]
Message = dict[str, str]


class Fault(StrEnum):
    """Why there is no grade: those of OpenAI's flags that can be true here."""

    SAMPLE = "sample_parse_error"
    VARIABLE = "invalid_variable_error"
    ENGINE = "model_grader_server_error"
    ANSWER = "model_grader_parse_error"
    OTHER = "other_error"


class CannotGrade(Exception):
    """This answer with this item has no grade; the text says why."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault, self.reason = fault, reason


@dataclass(frozen=True)
class Sample:
    """One answer of a model; `output_tools` are its calls of tools, as in a chat completion's message."""

    output_text: str
    output_tools: Sequence[Any] = ()

    @cached_property
    def output_json(self) -> Any:
        """Raises CannotGrade."""
        try:
            return strict_json.loads(self.output_text.encode(errors="surrogatepass"))
        except strict_json.NotJson as error:
            raise CannotGrade(Fault.SAMPLE, f"The sample is not JSON: {error}.") from None


@dataclass(frozen=True)
class Grade:
    """`reward` is OpenAI's, in the grader's own range; `score` is the same from 0 to 1. With a fault both are
    0. `parts` are the grades that a multi grader used, `tokens` what each asked model took."""

    reward: float
    score: float
    passed: bool
    reason: str
    faults: frozenset[Fault] = frozenset()
    parts: Mapping[str, Grade] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def verdict(passed: bool, reason: str) -> Grade:
    return Grade(float(passed), float(passed), passed, reason)


class Grader(Protocol):
    async def grade(self, sample: Sample, item: Item) -> Grade:
        """Raises EngineUnavailable, and RequestRefused where the model to ask cannot be had."""


@dataclass(frozen=True)
class Said:
    """What a model chose, None if it said anything else; the name it goes by and the tokens it took."""

    choice: str | None
    model: str
    tokens: int


class Judge(Protocol):
    """Models to ask, of one tenant (server/judge.py)."""

    async def choose(
        self, model: str, messages: Sequence[Message], choices: Sequence[str], sampling: Mapping[str, Any]
    ) -> Said:
        """One of `choices`, and nothing else can be said. Raises EngineUnavailable, RequestRefused."""


@dataclass(frozen=True)
class Means:
    """What graders work with; `threads` bounds how much of the processor they take at once."""

    judge: Judge
    threads: CapacityLimiter


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spec(Strict, ABC):
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]

    @abstractmethod
    async def grade(self, sample: Sample, item: Item, means: Means) -> Grade:
        """Raises CannotGrade, EngineUnavailable, RequestRefused."""

    async def attempt(self, sample: Sample, item: Item, means: Means) -> Grade:
        """A grade in any case: what cannot be graded has none of the reward, and its fault."""
        try:
            return await self.grade(sample, item, means)
        except CannotGrade as error:
            return Grade(0.0, 0.0, False, error.reason, frozenset((error.fault,)))


class Plain(Spec):
    """A grader that only computes: in a thread, as a long text must not hold up the event loop."""

    @abstractmethod
    def compute(self, sample: Sample, item: Item) -> Grade:
        """Raises CannotGrade."""

    async def grade(self, sample: Sample, item: Item, means: Means) -> Grade:
        return await anyio.to_thread.run_sync(self.compute, sample, item, limiter=means.threads)
