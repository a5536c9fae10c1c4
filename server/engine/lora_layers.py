"""vLLM's LoRA layers, with their slots' weights where our products want them.

vLLM keeps all slots in two stacked tensors per slice, at the largest rank. A layer that is taken over has one
slot of these left: the stage, on which vLLM lays out an adapter (expanded, cut for tensor parallelism) and
from which ours copies it, with its own rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import torch

from server.engine import lora_native
from server.engine.lora_native import NativeSlots
from server.engine.lora_plan import Plan
from server.engine.lora_torch import TorchSlots

STAGE = -1  # the only slot of a staging tensor, by an index that no real slot has
Given: TypeAlias = torch.Tensor | Sequence[torch.Tensor | None]


class Slots(Protocol):
    def set(self, slot: int, weights: Sequence[tuple[torch.Tensor, torch.Tensor] | None]) -> None: ...

    def reset(self, slot: int) -> None: ...

    def add(self, y: torch.Tensor, x: torch.Tensor, plan: Plan, scale: float) -> None: ...


def slots_for(layer: Any, *, native: bool) -> Slots:
    """Empty slots for a linear layer of vLLM's."""
    a, b = layer.lora_a_stacked, layer.lora_b_stacked
    (slots, _, rank, inputs), outputs = a[0].shape, [one.shape[2] for one in b]
    if native and lora_native.fits(inputs, outputs, a[0].dtype):
        return NativeSlots(slots, inputs, outputs)
    return TorchSlots(slots, inputs, outputs, rank, a[0].dtype)


def take_over(layer: Any, slots: Slots) -> None:
    """From here on `layer` keeps adapters in `slots`; its stacked tensors become the stage."""
    kind = type(layer)
    layer.lora_a_stacked = tuple(torch.zeros_like(one[:1]) for one in layer.lora_a_stacked)
    layer.lora_b_stacked = tuple(torch.zeros_like(one[:1]) for one in layer.lora_b_stacked)

    def set_lora(index: int, lora_a: Given, lora_b: Given) -> None:
        kind.set_lora(layer, STAGE, lora_a, lora_b)  # which resets the stage first
        rank = _rank(lora_a)
        slots.set(
            index,
            [
                (a[STAGE, 0, :rank], b[STAGE, 0, :, :rank])
                for a, b in zip(layer.lora_a_stacked, layer.lora_b_stacked, strict=True)
            ],
        )

    def reset_lora(index: int) -> None:
        if index == STAGE:
            kind.reset_lora(layer, STAGE)
        else:
            slots.reset(index)

    layer.set_lora, layer.reset_lora = set_lora, reset_lora


def _rank(given: Given) -> int:
    """The largest rank among a layer's slices; those that an adapter lacks are None."""
    each = [given] if isinstance(given, torch.Tensor) else [one for one in given if one is not None]
    return max(int(one.shape[0]) for one in each)
