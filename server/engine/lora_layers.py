"""vLLM's LoRA layers, with their slots' weights where our products want them.

vLLM copies an adapter into a slot of stacked tensors, at the largest rank, inside the loop of steps. A layer
that is taken over lays it out once, in whatever thread reads it, and a slot then only points there. `prepare`
has vLLM do what it does (expand, cut for tensor parallelism) on a stage of one slot, and packs what is there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch

from server.engine import lora_native
from server.engine.lora_native import NativeSlots
from server.engine.lora_plan import Plan
from server.engine.lora_torch import TorchSlots

Given: TypeAlias = torch.Tensor | Sequence[torch.Tensor | None]
# A [rank, inputs] and B [outputs, rank] of each slice; None where the adapter has no such.
Pairs: TypeAlias = Sequence[tuple[torch.Tensor, torch.Tensor] | None]


class Slots(Protocol):
    def pack(self, weights: Pairs) -> Any:
        """As `put` takes it. Copies; may be called in any thread."""

    def put(self, slot: int, packed: Any) -> None: ...

    def reset(self, slot: int) -> None: ...

    def add(self, y: torch.Tensor, x: torch.Tensor, plan: Plan, scale: float) -> None: ...


class Packed(list[None]):
    """In the place of an adapter's A and B of one layer: as many Nones as there were tensors, since vLLM
    looks at these lists again before it asks for `set_lora`."""

    def __init__(self, given: Given, weights: Any) -> None:
        super().__init__([None] * (1 if isinstance(given, torch.Tensor) else len(given)))
        self.weights = weights


def slots_for(layer: Any, *, native: bool) -> Slots:
    """Empty slots for a linear layer of vLLM's."""
    a, b = layer.lora_a_stacked, layer.lora_b_stacked
    (slots, _, rank, inputs), outputs = a[0].shape, [one.shape[2] for one in b]
    if native and lora_native.fits(inputs, outputs, a[0].dtype):
        return NativeSlots(slots, inputs, outputs)
    return TorchSlots(slots, inputs, outputs, rank, a[0].dtype)


def take_over(layer: Any, slots: Slots) -> None:
    """From here on `layer` keeps adapters in `slots`; `layer.prepare(weights)` packs one ahead."""
    layer.lora_a_stacked = tuple(torch.zeros_like(one[:1]) for one in layer.lora_a_stacked)
    layer.lora_b_stacked = tuple(torch.zeros_like(one[:1]) for one in layer.lora_b_stacked)
    in_loop, ahead = _packing(layer, slots), _packing(layer, slots)  # each has a stage of its own

    def set_lora(index: int, lora_a: Given | Packed, lora_b: Given | Packed) -> None:
        slots.put(index, lora_a.weights if isinstance(lora_a, Packed) else in_loop(lora_a, lora_b))

    def prepare(weights: Any) -> None:
        """`weights` (vLLM's LoRALayerWeights) lose their tensors to what is packed of them."""
        weights.lora_a = weights.lora_b = Packed(weights.lora_a, ahead(weights.lora_a, weights.lora_b))

    layer.set_lora, layer.reset_lora, layer.prepare = set_lora, slots.reset, prepare


def lean(base: Callable[[torch.Tensor], Any], add: Callable[[torch.Tensor, torch.Tensor], None]) -> Any:
    """The `forward` of a layer that no other device shares: its base's own, and what `add(y, x)` adds to y.

    vLLM's asks ten attributes of each layer and step, by a `__getattr__` in Python: 1.5 ms of a step of 25.
    """

    def forward(x: torch.Tensor) -> Any:
        given = base(x)  # y, or (y, bias to be added later)
        add(given[0] if isinstance(given, tuple) else given, x)
        return given

    return forward


def _packing(layer: Any, slots: Slots) -> Callable[[Any, Any], Any]:
    stage = copy.copy(layer)  # with the class's own `set_lora`
    stage.lora_a_stacked, stage.lora_b_stacked = (
        tuple(torch.zeros_like(one) for one in stacked)
        for stacked in (layer.lora_a_stacked, layer.lora_b_stacked)
    )

    def packed(lora_a: Given, lora_b: Given) -> Any:
        stage.set_lora(0, lora_a, lora_b)
        stacked = list(zip(stage.lora_a_stacked, stage.lora_b_stacked, strict=True))
        ranks = _ranks(lora_a, len(stacked))
        weights: Pairs = [
            (a[0, 0, :rank], b[0, 0, :, :rank]) if rank else None
            for (a, b), rank in zip(stacked, ranks, strict=True)
        ]
        return slots.pack(weights)

    return packed


def _ranks(given: Given, slices: int) -> list[int]:
    """Of each slice; 0 where the adapter has none. Where vLLM spreads what was given over more slices than
    there are tensors, the largest for all."""
    each = [given] if isinstance(given, torch.Tensor) else given
    ranks = [0 if one is None else int(one.shape[0]) for one in each]
    return ranks if len(ranks) == slices else [max(ranks)] * slices
