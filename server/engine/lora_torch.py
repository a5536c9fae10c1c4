"""LoRA products in torch alone, for CPUs or numbers that the native kernel does not take.

One product pair per adapter; in 16 bits, for a few rows of more than two adapters, one product over all slots
instead, in which each row keeps its own adapter's part. What each costs is in DECISIONS.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from server.engine.lora_memory import Stretch
from server.engine.lora_plan import Plan, Rows

MASKED_ROWS = 64  # a masked product multiplies every row with every slot
MASKED_SLOTS = 64
PAIRS_ONLY = torch.float32  # small products in it have no overhead that would pay for multiplying too much


class TorchSlots:
    """The weights of one layer's slots, in `dtype`. `outputs` are the widths of its slices."""

    def __init__(
        self, slots: int, inputs: int, outputs: Sequence[int], rank: int, dtype: torch.dtype
    ) -> None:
        self._outputs, self._rank, self.dtype = list(outputs), rank, dtype
        # Zeros are not in memory before they are written: a slot costs nothing until it is used.
        self._a = torch.zeros(slots, len(outputs), rank, inputs, dtype=dtype)
        self._b = [torch.zeros(slots, rank, width, dtype=dtype) for width in outputs]

    def room(self, ranks: Sequence[int]) -> int:
        """Nothing: `put` copies into the slot."""
        return 0

    def pack(
        self, weights: Sequence[tuple[torch.Tensor, torch.Tensor] | None], stretch: Stretch | None = None
    ) -> list[tuple[torch.Tensor, torch.Tensor] | None]:
        """A [rank, inputs] and B [outputs, rank] of each slice; they are copied, B with its sides changed."""
        return [pair and (pair[0].clone(), pair[1].t().contiguous()) for pair in weights]

    def put(self, slot: int, packed: Sequence[tuple[torch.Tensor, torch.Tensor] | None]) -> None:
        """The slot's rows get these weights."""
        self.reset(slot)
        for part, pair in enumerate(packed):
            if pair is not None:
                self._a[slot, part, : pair[0].shape[0]] = pair[0]
                self._b[part][slot, : pair[1].shape[0]] = pair[1]

    def reset(self, slot: int) -> None:
        """The slot's rows stay as the base has them."""
        self._a[slot] = 0
        for b in self._b:
            b[slot] = 0

    def add(self, y: torch.Tensor, x: torch.Tensor, plan: Plan, scale: float) -> None:
        """y[row] += scale * (x[row] @ A.T) @ B.T with the slices of its slot."""
        few = x.shape[0] <= MASKED_ROWS and self._a.shape[0] <= MASKED_SLOTS
        if len(plan) > 2 and few and self.dtype != PAIRS_ONLY:
            self._add_masked(y, x, plan, scale)
            return
        for slot, rows in plan.groups():
            low = (x[rows].to(self.dtype) @ self._a[slot].flatten(0, 1).t()) * scale
            parts = low.split(self._rank, dim=1)
            for part, b, mine in zip(parts, self._b, y.split(self._outputs, dim=1), strict=True):
                _add(mine, rows, part, b[slot])

    def _add_masked(self, y: torch.Tensor, x: torch.Tensor, plan: Plan, scale: float) -> None:
        others = torch.ones(x.shape[0], self._a.shape[0], 1, 1, dtype=torch.bool)
        others[torch.from_numpy(plan.rows).long(), torch.from_numpy(plan.slot_of_rows()).long()] = False
        low = (x.to(self.dtype) @ self._a.flatten(0, 2).t()).view(x.shape[0], *self._a.shape[:3]) * scale
        # Not times zero: in float16 a product with another's adapter may be infinite.
        low.masked_fill_(others, 0)
        for part, (b, mine) in enumerate(zip(self._b, y.split(self._outputs, dim=1), strict=True)):
            mine.add_(low[:, :, part].flatten(1) @ b.flatten(0, 1))


def _add(y: torch.Tensor, rows: Rows, low: torch.Tensor, b: torch.Tensor) -> None:
    if not isinstance(rows, slice):
        y.index_add_(0, rows, (low @ b).to(y.dtype))
    elif y.dtype == b.dtype:
        y[rows].addmm_(low, b)  # without a tensor as large as the output in between
    else:
        y[rows].add_(low @ b)
