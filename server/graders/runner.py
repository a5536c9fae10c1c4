"""A definition made ready to grade, and many answers graded at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from server.at_once import each
from server.graders.base import Grade, Grader, Item, Means, Sample
from server.graders.multi import AnyGrader

AT_ONCE = 16


@dataclass(frozen=True)
class Grading:
    """A Grader: the definition with its means."""

    spec: AnyGrader
    means: Means

    async def grade(self, sample: Sample, item: Item) -> Grade:
        began = time.perf_counter()
        grade = await self.spec.attempt(sample, item, self.means)
        return replace(grade, seconds=time.perf_counter() - began)


async def grade_all(
    grader: Grader, cases: Iterable[tuple[Sample, Item]], at_once: int = AT_ONCE
) -> list[Grade]:
    """The grades in the order of the cases, which are drawn as there is room. Raises the first error that
    `grader` raises, after the others were cancelled."""
    return await each(at_once, cases, lambda case: grader.grade(*case))
