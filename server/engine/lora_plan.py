"""Which rows of a step each slot's adapter answers: made once per step, used by every layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch

# The rows of one slot: a run as a slice (a view, no copy), else their indices.
Rows: TypeAlias = slice | torch.Tensor


class Plan:
    """Rows grouped by slot; those of the base model, whose slot is below 0, are in no group."""

    def __init__(self, indices: torch.Tensor) -> None:
        """`indices` is int64 [rows]: each row's slot."""
        by_row = indices.numpy()
        order = np.argsort(by_row, kind="stable")
        order = order[np.searchsorted(by_row[order], 0) :]
        slots, starts = np.unique(by_row[order], return_index=True)
        self.slots = slots.astype(np.int32)
        self.starts = np.append(starts, len(order)).astype(np.int32)
        self.rows = order.astype(np.int32)
        # As native/lora.c reads it.
        self._fields = np.array(
            [len(slots), self.slots.ctypes.data, self.starts.ctypes.data, self.rows.ctypes.data], np.int64
        )
        self.address = self._fields.ctypes.data
        self._low = torch.empty(0, dtype=torch.bfloat16)

    def __len__(self) -> int:
        return len(self.slots)

    def slot_of_rows(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """The slot of each of `rows`."""
        return np.repeat(self.slots, np.diff(self.starts))

    def groups(self) -> Iterator[tuple[int, Rows]]:
        """Each slot with its rows."""
        for number, slot in enumerate(self.slots.tolist()):
            mine = self.rows[self.starts[number] : self.starts[number + 1]]
            first, last = int(mine[0]), int(mine[-1])
            run = last - first + 1 == len(mine)
            yield slot, slice(first, last + 1) if run else torch.from_numpy(mine.astype(np.int64))

    def scratch(self, width: int, dtype: torch.dtype) -> torch.Tensor:
        """Room for `width` numbers per grouped row; its content is lost with the next call."""
        if self._low.dtype != dtype or self._low.numel() < len(self.rows) * width:
            self._low = torch.empty(len(self.rows) * width, dtype=dtype)
        return self._low
