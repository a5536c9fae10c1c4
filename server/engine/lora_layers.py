"""vLLM's LoRA layers, with their slots' weights where our products want them.

vLLM copies an adapter into a slot of stacked tensors, at the largest rank, inside the loop of steps. A layer
that is taken over lays it out once, in whatever thread reads it, and a slot then only points there. `prepare`
has vLLM do what it does (expand, cut for tensor parallelism) on a stage of one slot, and packs what is there.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch

from server.engine import lora_native
from server.engine.lora_memory import Stretch
from server.engine.lora_native import NativeSlots
from server.engine.lora_plan import Plan
from server.engine.lora_torch import TorchSlots

Given: TypeAlias = torch.Tensor | Sequence[torch.Tensor | None]
# A [rank, inputs] and B [outputs, rank] of each slice; None where the adapter has no such.
Pairs: TypeAlias = Sequence[tuple[torch.Tensor, torch.Tensor] | None]

# The stages on which adapters are prepared are shared by the loader's thread and vLLM's loop. The loop waits
# for that thread only where it reads an adapter that was not fetched before: our server asks for none.
ONE_AT_A_TIME = threading.Lock()


class Slots(Protocol):
    def room(self, ranks: Sequence[int]) -> int:
        """How many numbers of a stretch `pack` takes for slices of these ranks; 0 when it needs none."""

    def pack(self, weights: Pairs, stretch: Stretch | None = None) -> Any:
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


def slots_for(layer: Any, *, kernel: str | None) -> Slots:
    """Empty slots for a linear layer of vLLM's; `kernel` is one that runs here, or none."""
    a, b = layer.lora_a_stacked, layer.lora_b_stacked
    (slots, _, rank, inputs), outputs = a[0].shape, [one.shape[2] for one in b]
    if kernel and lora_native.fits(inputs, outputs, a[0].dtype):
        return NativeSlots(slots, inputs, outputs, kernel)
    # Not in bf16 below a base in float32: that is how a base is served where products of bf16 are slow.
    wide = layer.base_layer.params_dtype == torch.float32
    return TorchSlots(slots, inputs, outputs, rank, torch.float32 if wide else a[0].dtype)


def take_over(layer: Any, slots: Slots) -> None:
    """From here on `layer` keeps adapters in `slots`, and `layer.ahead` packs them for it: see `prepare`."""
    layer.lora_a_stacked = tuple(torch.zeros_like(one[:1]) for one in layer.lora_a_stacked)
    layer.lora_b_stacked = tuple(torch.zeros_like(one[:1]) for one in layer.lora_b_stacked)
    in_loop, ahead = Packing(layer, slots), Packing(layer, slots)  # each has a stage of its own

    def set_lora(index: int, lora_a: Given | Packed, lora_b: Given | Packed) -> None:
        slots.put(index, lora_a.weights if isinstance(lora_a, Packed) else in_loop(lora_a, lora_b))

    layer.set_lora, layer.reset_lora, layer.ahead = set_lora, slots.reset, ahead


def may_be_merged(adapters: Any, lora: Any) -> bool:
    """Whether vLLM's merging of an adapter's layers, which comes in the loop, may be done before as well:
    that of experts cannot be done twice."""
    return not adapters._is_moe and not lora.modules_to_save


def prepare(adapters: Any, lora: Any) -> None:
    """Pack what vLLM has read of an adapter for the layers that are taken over: all of it in one stretch, in
    the order of the layers. `adapters` is vLLM's LoRAModelManager, `lora` a LoRAModel, whose tensors go. What
    may not be merged here is packed by `set_lora`, each layer by itself."""
    if not may_be_merged(adapters, lora):
        return
    adapters._create_merged_loras_inplace(lora)
    found = [
        (layer.ahead, weights)
        for name, layer in adapters.modules.items()
        if hasattr(layer, "ahead")
        and (weights := adapters._get_lora_layer_weights(lora, name))
        and not isinstance(weights.lora_a, Packed)
    ]
    with ONE_AT_A_TIME:
        stretch = Stretch(sum(ahead.room(weights.lora_a) for ahead, weights in found))
        for ahead, weights in found:
            packed = ahead(weights.lora_a, weights.lora_b, stretch)
            weights.lora_a = weights.lora_b = Packed(weights.lora_a, packed)


def lean(base: Callable[[torch.Tensor], Any], add: Callable[[torch.Tensor, torch.Tensor], None]) -> Any:
    """The `forward` of a layer that no other device shares: its base's own, and what `add(y, x)` adds to y.

    vLLM's asks ten attributes of each layer and step, by a `__getattr__` in Python: 1.5 ms of a step of 25.
    """

    def forward(x: torch.Tensor) -> Any:
        given = base(x)  # y, or (y, bias to be added later)
        add(given[0] if isinstance(given, tuple) else given, x)
        return given

    return forward


class Packing:
    """Lays out an adapter's weights for one layer, after vLLM has cut them on a stage of one slot."""

    def __init__(self, layer: Any, slots: Slots) -> None:
        self._slots = slots
        self._stage = copy.copy(layer)  # with the class's own `set_lora`
        self._stage.lora_a_stacked, self._stage.lora_b_stacked = (
            tuple(torch.zeros_like(one) for one in stacked)
            for stacked in (layer.lora_a_stacked, layer.lora_b_stacked)
        )
        self._slices = len(layer.lora_a_stacked)

    def room(self, lora_a: Given) -> int:
        return self._slots.room(_ranks(lora_a, self._slices))

    def __call__(self, lora_a: Given, lora_b: Given, stretch: Stretch | None = None) -> Any:
        stage = self._stage
        stage.set_lora(0, lora_a, lora_b)
        ranks = _ranks(lora_a, self._slices)
        weights: Pairs = [
            (a[0, 0, :rank], b[0, 0, :, :rank]) if rank else None
            for a, b, rank in zip(stage.lora_a_stacked, stage.lora_b_stacked, ranks, strict=True)
        ]
        return self._slots.pack(weights, stretch)


def _ranks(given: Given, slices: int) -> list[int]:
    """Of each slice; 0 where the adapter has none. Where vLLM spreads what was given over more slices than
    there are tensors, the largest for all."""
    each = [given] if isinstance(given, torch.Tensor) else given
    ranks = [0 if one is None else int(one.shape[0]) for one in each]
    return ranks if len(ranks) == slices else [max(ranks)] * slices
