"""A definition made ready to grade, and many answers graded at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

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
    waiting = enumerate(cases)
    grades: dict[int, Grade] = {}

    async def work() -> None:
        for place, (sample, item) in waiting:
            grades[place] = await grader.grade(sample, item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [grades[place] for place in range(len(grades))]
