"""Work on many things, so many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def each(count: int, items: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """`work`'s results in the order of `items`, which are drawn as there is room for `count` of them.

    Raises the first error that `work` raises, after the others were cancelled.
    """
    waiting, found = enumerate(items), dict[int, R]()

    async def draw() -> None:
        for place, item in waiting:
            found[place] = await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(draw())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [found[place] for place in range(len(found))]
