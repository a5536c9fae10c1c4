"""LoRA products by one call of native code (native/lora.c) per layer and step.

Weights lie packed as the kernels read them, in bf16 and with the ranks that an adapter has; what they are
multiplied with is bf16 or float32. Torch's own operators need a product pair per adapter, or products over
all slots with most of them masked away, and copies between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from server.engine.lora_kernels import chosen, kernels, library, numbers
from server.engine.lora_memory import Stretch
from server.engine.lora_plan import Plan

__all__ = ["LANES", "NativeSlots", "chosen", "fits", "kernels", "library", "pack"]

LANES = 16  # ranks, or outputs, that a kernel takes at once
TAKEN = (torch.bfloat16, torch.float32)  # of x and y


def fits(inputs: int, outputs: Sequence[int], dtype: torch.dtype) -> bool:
    """Whether the kernels can take a layer: `outputs` are those of its slices, `dtype` is its adapters'.

    Adapters in float32 are left to torch, not rounded: who serves a base in float32 and wants the kernel says
    so to vLLM, by `--lora-dtype bfloat16`, as our own server does.
    """
    even = inputs % 2 == 0 and all(width % LANES == 0 for width in outputs)
    return even and dtype == torch.bfloat16


def pack(to: torch.Tensor, weight: torch.Tensor) -> None:
    """bf16 [lanes, depth] into `to` [blocks, pairs, 16, 2]: 16 lanes of two consecutive numbers each, as
    vdpbf16ps takes them; zeros where `weight` ends."""
    weight = weight if weight.stride(1) == 1 else weight.contiguous()
    library().chorus_lora_pack(
        to.data_ptr(), weight.data_ptr(), *weight.shape, weight.stride(0), to.shape[0], to.shape[1]
    )


def _blocks(rank: int) -> int:
    return -(-rank // LANES)


@dataclass(frozen=True)
class Piece:
    """One slice's A and B, packed; `blocks` of 16 ranks."""

    blocks: int
    a: torch.Tensor
    b: torch.Tensor


class NativeSlots:
    """The weights of one layer's slots, by reference. `outputs` are the widths of its slices; `kernel` is one
    that runs here."""

    def __init__(self, slots: int, inputs: int, outputs: Sequence[int], kernel: str) -> None:
        self._kernel = numbers()[kernel]
        self._inputs, self._outputs = inputs, list(outputs)
        self._offsets = np.concatenate([[0], np.cumsum(outputs)]).astype(np.int64)
        self._table = np.zeros((slots, len(outputs), 3), np.int64)  # blocks, address of A, address of B
        self._kept: dict[int, Sequence[Piece | None]] = {}
        self._layer = np.array(
            [inputs, len(outputs), self._offsets.ctypes.data, self._table.ctypes.data], np.int64
        )
        self._layer_at = self._layer.ctypes.data
        self._widest = 0  # low-rank numbers of a row, of the adapter that has most

    def room(self, ranks: Sequence[int]) -> int:
        """The numbers that `pack` takes of a stretch for slices of these ranks."""
        return sum(
            LANES * _blocks(rank) * (self._inputs + wide)
            for rank, wide in zip(ranks, self._outputs, strict=True)
        )

    def pack(
        self, weights: Sequence[tuple[torch.Tensor, torch.Tensor] | None], stretch: Stretch | None = None
    ) -> list[Piece | None]:
        """A [rank, inputs] and B [outputs, rank] of each slice, in bf16; they are copied, into `stretch` or
        memory of their own."""
        ranks = [0 if pair is None else pair[0].shape[0] for pair in weights]
        stretch = stretch or Stretch(self.room(ranks))
        # All of A before all of B, as the kernel reads them.
        a = [stretch.take(_blocks(rank), self._inputs // 2, LANES, 2) for rank in ranks]
        b = [
            stretch.take(wide // LANES, _blocks(rank) * LANES // 2, LANES, 2)
            for rank, wide in zip(ranks, self._outputs, strict=True)
        ]
        pieces = [Piece(_blocks(rank), one_a, one_b) for rank, one_a, one_b in zip(ranks, a, b, strict=True)]
        for piece, pair in zip(pieces, weights, strict=True):
            if pair is not None:
                pack(piece.a, pair[0])
                pack(piece.b, pair[1])
        return [piece if piece.blocks else None for piece in pieces]

    def put(self, slot: int, packed: Sequence[Piece | None]) -> None:
        """The slot's rows get these weights."""
        self._table[slot] = [
            (piece.blocks, piece.a.data_ptr(), piece.b.data_ptr()) if piece else (0, 0, 0) for piece in packed
        ]
        self._kept[slot] = packed
        self._widest = max(self._widest, LANES * int(self._table[slot, :, 0].sum()))

    def reset(self, slot: int) -> None:
        """The slot's rows stay as the base has them."""
        self._table[slot] = 0
        self._kept.pop(slot, None)

    def add(self, y: torch.Tensor, x: torch.Tensor, plan: Plan, scale: float) -> None:
        """y[row] += scale * (x[row] @ A.T) @ B.T with the slices of its slot."""
        if y.dtype not in TAKEN or y.stride(1) != 1:
            delta = torch.zeros(y.shape, dtype=y.dtype if y.dtype in TAKEN else torch.float32)
            self.add(delta, x, plan, scale)
            y.add_(delta)
            return
        x = x.to(y.dtype)
        x = x if x.stride(1) == 1 else x.contiguous()
        low = plan.scratch(self._widest, y.dtype)
        library().chorus_lora_add(
            self._kernel, y.dtype == torch.float32, plan.address, self._layer_at,
            y.data_ptr(), y.stride(0), x.data_ptr(), x.stride(0),
            low.data_ptr(), self._widest, scale, torch.get_num_threads(),
        )  # fmt: skip
