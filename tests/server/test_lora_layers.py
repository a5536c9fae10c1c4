"""vLLM's layers taken over: what it reads of an adapter is packed for our products, ahead or in the loop."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.lora.worker_manager import WorkerLoRAManager

from server.engine import lora_cpu, lora_kernels
from server.engine.lora_layers import Packed, prepare, slots_for, take_over
from server.engine.lora_plan import Plan
from server.engine.lora_torch import TorchSlots
from tests.server.products import DTYPES, KINDS, MOST, SLOTS, TORCH, Pair, check, made
from tests.server.test_lora_cpu import wrapper_for

BEST = KINDS[0]


class Layer:
    """As much of a linear layer with LoRA of vLLM's as our taking over relies on: two slices, rank MOST."""

    def __init__(self, inputs: int, widths: list[int], served: torch.dtype = torch.bfloat16) -> None:
        self.base_layer = SimpleNamespace(params_dtype=served)
        self.lora_a_stacked = tuple(torch.zeros(SLOTS, 1, MOST, inputs, dtype=torch.bfloat16) for _ in widths)
        self.lora_b_stacked = tuple(
            torch.zeros(SLOTS, 1, width, MOST, dtype=torch.bfloat16) for width in widths
        )

    def reset_lora(self, index: int) -> None:
        for stacked in (*self.lora_a_stacked, *self.lora_b_stacked):
            stacked[index] = 0

    def set_lora(self, index: int, lora_a: Any, lora_b: Any) -> None:
        self.reset_lora(index)
        for part, (a, b) in enumerate(zip(lora_a, lora_b, strict=True)):
            if a is not None:
                self.lora_a_stacked[part][index, 0, : a.shape[0]].copy_(a)
                self.lora_b_stacked[part][index, 0, :, : b.shape[1]].copy_(b)


class Adapters:
    """As much of vLLM's LoRAModelManager as `prepare` relies on."""

    _is_moe = False

    def __init__(self, *layers: Any) -> None:
        self.modules = {str(number): layer for number, layer in enumerate(layers)}

    def _create_merged_loras_inplace(self, lora: Any) -> None: ...

    def _get_lora_layer_weights(self, lora: Any, name: str) -> Any:
        return lora.loras.get(name)


def read(pairs: list[Pair | None]) -> Any:
    """One layer's weights as vLLM has read them."""
    return SimpleNamespace(
        lora_a=[pair and pair[0] for pair in pairs], lora_b=[pair and pair[1] for pair in pairs]
    )


def model(loras: dict[str, Any], **also: Any) -> Any:
    """A LoRAModel of vLLM's."""
    return SimpleNamespace(loras=loras, modules_to_save=also)


def kernel_of(kind: str) -> str | None:
    return None if kind == TORCH else kind


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_is_taken_over_answers_with_what_vllm_was_given(
    kind: str, dtype: torch.dtype, ahead: bool
) -> None:
    torch.manual_seed(0)
    layer: Any = Layer(64, [48, 48], dtype)
    slots = slots_for(layer, kernel=kernel_of(kind))
    take_over(layer, slots)
    weights = made([16, 8, 32], 64, [48, 48])
    weights[1][0] = None  # an adapter on one slice of two
    loaded = [read(pairs) for pairs in weights]
    if ahead:
        for one in loaded:
            for _ in "once", "and again: what is packed stays":
                prepare(Adapters(layer), model({"0": one}))
            assert isinstance(one.lora_a, Packed), "the tensors themselves are not kept"
            assert list(one.lora_a) == [None, None]
    for slot, one in enumerate(loaded):
        layer.set_lora(slot, one.lora_a, one.lora_b)
    layer.reset_lora(2)
    weights[2] = [None, None]
    rows = [0, 1, 2, -1, 1, 0]
    x, y = torch.randn(6, 64).to(dtype), torch.zeros(6, 96).to(dtype)
    slots.add(y, x, Plan(torch.tensor(rows)), 1.0)
    check(y, torch.zeros_like(y), x, rows, weights)


def test_torch_holds_adapters_in_bf16_as_float32_below_a_base_in_float32() -> None:
    """Where products of bf16 are emulated, that is how a base is served."""
    wide, narrow = (
        slots_for(Layer(64, [48], dtype), kernel=None) for dtype in (torch.float32, torch.bfloat16)
    )
    assert isinstance(wide, TorchSlots)
    assert wide.dtype == torch.float32
    assert isinstance(narrow, TorchSlots)
    assert narrow.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", lora_kernels.kernels()[:1])
def test_an_adapter_lies_in_one_stretch_in_the_order_in_which_a_step_reads_it(kind: str) -> None:
    torch.manual_seed(0)
    layers = taken_over(4, kind)
    weights = made([16, 8, 0, 24], 64, [48, 48])
    weights[1][1] = None
    loras = {str(number): read(pairs) for number, pairs in enumerate(weights) if any(pairs)}
    prepare(Adapters(*layers), model(loras))
    pieces = [[piece for piece in one.lora_a.weights if piece] for one in loras.values()]
    read_in_turn = [part for layer in pieces for part in (*(p.a for p in layer), *(p.b for p in layer))]
    assert len(read_in_turn) == 10
    for before, after in pairwise(read_in_turn):
        assert before.data_ptr() + before.nbytes == after.data_ptr()


def taken_over(count: int, kind: str = BEST) -> list[Any]:
    layers: list[Any] = [Layer(64, [48, 48]) for _ in range(count)]
    for layer in layers:
        take_over(layer, slots_for(layer, kernel=kernel_of(kind)))
    return layers


def test_a_bad_adapter_is_refused_whole_and_the_next_one_is_packed() -> None:
    torch.manual_seed(0)
    layers = taken_over(2)
    good, bad = made([16, 16], 64, [48, 48]), made([16, 16], 96, [48, 48])
    with pytest.raises(RuntimeError, match="size"):
        prepare(Adapters(*layers), model({"0": read(good[0]), "1": read(bad[1])}))
    loras = {"0": read(good[0]), "1": read(good[1])}
    prepare(Adapters(*layers), model(loras))
    assert all(isinstance(one.lora_a, Packed) for one in loras.values())


def test_what_may_not_be_merged_twice_is_left_as_it_was_read() -> None:
    weights = read(made([16], 64, [48, 48])[0])
    adapters = Adapters(*taken_over(1))
    prepare(adapters, model({"0": weights}, score="a head"))
    adapters._is_moe = True
    prepare(adapters, model({"0": weights}))
    assert not isinstance(weights.lora_a, Packed)


def test_whatever_vllm_reads_is_packed_once_our_products_are_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager: Any = WorkerLoRAManager.__new__(WorkerLoRAManager)
    manager._adapter_manager = Adapters(*taken_over(1))
    read_now = model({"0": read(made([16], 64, [48, 48])[0])})
    monkeypatch.setattr(lora_cpu, "_read_adapter", lambda _manager, _request: read_now)
    wrapper_for([0], [0], slots=1)
    assert manager._load_adapter(None) is read_now
    assert isinstance(read_now.loras["0"].lora_a, Packed)
