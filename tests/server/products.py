"""Random adapters for one linear layer, their products in float64, and how far off a result may be."""

from __future__ import annotations

from typing import TypeAlias

import torch

from server.engine import lora_kernels
from server.engine.lora_layers import Slots
from server.engine.lora_native import NativeSlots
from server.engine.lora_torch import TorchSlots

SLOTS, MOST = 9, 64
TORCH = lora_kernels.TORCH
KINDS = (*lora_kernels.kernels(), TORCH)  # all that this machine runs
DTYPES = (torch.bfloat16, torch.float32)  # of x and y
Pair: TypeAlias = tuple[torch.Tensor, torch.Tensor]


def made(ranks: list[int], inputs: int, widths: list[int]) -> list[list[Pair | None]]:
    """Each slot's A and B of each slice, in bf16; none where the rank is 0."""

    def pair(rank: int, width: int) -> Pair | None:
        a, b = torch.randn(rank, inputs) / inputs**0.5, torch.randn(width, rank) / max(rank, 1) ** 0.5
        return (a.bfloat16(), b.bfloat16()) if rank else None

    return [[pair(rank, width) for width in widths] for rank in ranks]


def empty(kind: str, inputs: int, widths: list[int], dtype: torch.dtype = torch.bfloat16) -> Slots:
    """Slots for activations in `dtype`."""
    if kind == TORCH:
        return TorchSlots(SLOTS, inputs, widths, MOST, dtype)
    return NativeSlots(SLOTS, inputs, widths, kind)


def check(
    result: torch.Tensor,
    y: torch.Tensor,
    x: torch.Tensor,
    rows: list[int],
    weights: list[list[Pair | None]],
    scale: float = 1.0,
) -> None:
    """`result` is y and each row's products, as exact as its numbers allow.

    Sums are float32, of so many terms. In `result`'s dtype four roundings: the low-rank row's, before and
    after its scale; the product's, as torch has it; and the output's. Each is of at most what the terms'
    sizes sum to.
    """
    want, error = y.double().clone(), torch.zeros(y.shape, dtype=torch.float64)
    once, sums = (torch.finfo(dtype).eps / 2 for dtype in (result.dtype, torch.float32))
    for row, slot in enumerate(rows):
        left = 0
        for pair in weights[slot] if slot >= 0 else []:
            width = y.shape[1] // len(weights[slot]) if pair is None else pair[1].shape[0]
            if pair is not None:
                (a, b), one, part = (
                    (each.double() for each in pair),
                    x[row].double(),
                    slice(left, left + width),
                )
                size = y[row, part].double().abs() + scale * (b.abs() @ (a.abs() @ one.abs()))
                want[row, part] += scale * (b @ (a @ one))
                error[row, part] = size * ((a.shape[1] + 2 * a.shape[0] + 3) * sums + 4 * once)
            left += width
    error *= 1 + 2**-5  # errors of errors
    off = (result.double() - want).abs()
    at = (off - error).argmax()
    one, other, bound = (float(each.flatten()[at]) for each in (result, want, error))
    assert (off <= error).all(), f"at {int(at)}: {one} is not {other} by {bound}"
