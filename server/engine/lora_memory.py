"""Memory for what is packed of one adapter: one stretch, in the order in which a step reads it.

A step reads an adapter once, from end to end, and the next step again: from one stretch of huge pages nearly
twice as fast as from small pages (DECISIONS.md, "LoRA on CPU").
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress

import torch

HUGE = 2 << 20  # bytes of a huge page of x86-64, and of most others


class Stretch:
    """Room for `numbers` bf16 numbers. It is given back when nothing that was taken of it is left."""

    def __init__(self, numbers: int) -> None:
        self._room = torch.empty(numbers, dtype=torch.bfloat16) if 2 * numbers < HUGE else _huge(numbers)
        self._taken = 0

    def take(self, *shape: int) -> torch.Tensor:
        """bf16 of this shape, not set to anything. Raises RuntimeError when there is no room for it."""
        begin, self._taken = self._taken, self._taken + math.prod(shape)
        return self._room[begin : self._taken].view(shape)


def _huge(numbers: int) -> torch.Tensor:
    size = 2 * numbers
    held = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room = torch.frombuffer(held, dtype=torch.uint8)  # keeps `held`
    begin = -room.data_ptr() % HUGE
    # Only what fills whole pages: of one that is begun, all would be in memory (as it is where the system
    # gives huge pages unasked). No huge pages, no harm.
    with suppress(OSError, AttributeError):
        held.madvise(mmap.MADV_HUGEPAGE, begin, size // HUGE * HUGE)
    return room[begin : begin + size].view(torch.bfloat16)
