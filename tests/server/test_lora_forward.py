"""The short way through a layer with LoRA against vLLM's own, both with vLLM's own base layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from vllm.lora.layers.column_parallel_linear import (
    ColumnParallelLinearWithLoRA,
    MergedColumnParallelLinearWithLoRA,
    MergedQKVParallelLinearWithLoRA,
)
from vllm.lora.layers.replicated_linear import ReplicatedLinearWithLoRA
from vllm.lora.layers.row_parallel_linear import RowParallelLinearWithLoRA
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    MergedColumnParallelLinear,
    QKVParallelLinear,
    ReplicatedLinear,
    RowParallelLinear,
)

from server.engine.lora_cpu import GroupedPunicaWrapper
from tests.server.test_lora_cpu import wrapper_for

SLOTS, RANK, INPUTS, OUTPUTS = 3, 16, 64, 48
# With what each of them has of slices: qkv has three, gate and up two.
KINDS = (
    (ColumnParallelLinearWithLoRA, ColumnParallelLinear, (OUTPUTS,)),
    (RowParallelLinearWithLoRA, RowParallelLinear, (OUTPUTS,)),
    (ReplicatedLinearWithLoRA, ReplicatedLinear, (OUTPUTS,)),
    (MergedColumnParallelLinearWithLoRA, MergedColumnParallelLinear, (24, 24)),
    (MergedQKVParallelLinearWithLoRA, QKVParallelLinear, (24, 16, 8)),
)


def module(kind: type, **attributes: Any) -> Any:
    """One of vLLM's layers without what its `__init__` asks for: a group of devices, a configuration."""
    made = kind.__new__(kind)
    nn.Module.__init__(made)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def layer_of(
    kind: type, base: type, slices: tuple[int, ...], wrapper: GroupedPunicaWrapper, **base_has: Any
) -> Any:
    """With an adapter in each slot; where there are slices, the last slot's has none for the first."""
    torch.manual_seed(0)
    plain = module(
        base, weight=torch.randn(OUTPUTS, INPUTS).bfloat16(), bias=torch.randn(OUTPUTS).bfloat16(),
        params_dtype=torch.bfloat16,
        quant_method=SimpleNamespace(apply=lambda base, x, bias: nn.functional.linear(x, base.weight, bias)),
        gather_output=False, input_is_parallel=True, reduce_results=True, tp_size=1, tp_rank=0, **base_has,
    )  # fmt: skip
    layer = module(
        kind, base_layer=plain, tp_size=1, tp_rank=0, n_slices=len(slices), output_slices=slices,
        output_ids=(0,) * len(slices),
        punica_wrapper=wrapper, _enable_aux_cuda_stream=False,
        lora_a_stacked=tuple(torch.zeros(SLOTS, 1, RANK, INPUTS, dtype=torch.bfloat16) for _ in slices),
        lora_b_stacked=tuple(torch.zeros(SLOTS, 1, size, RANK, dtype=torch.bfloat16) for size in slices),
    )  # fmt: skip
    wrapper.adopt(layer)
    for slot in range(SLOTS):
        a, b = (
            [torch.randn(*size).bfloat16() for size in sizes]
            for sizes in ([(RANK, INPUTS) for _ in slices], [(size, RANK) for size in slices])
        )
        if len(slices) == 1:
            layer.set_lora(slot, a[0], b[0])
        else:
            absent = [None] if slot == SLOTS - 1 else []
            layer.set_lora(slot, absent + a[len(absent) :], absent + b[len(absent) :])
    return layer


@pytest.mark.parametrize("returns_bias", [True, False])
@pytest.mark.parametrize("skips_bias", [True, False])
@pytest.mark.parametrize(("kind", "base", "slices"), KINDS)
def test_the_short_way_gives_what_vllms_forward_gives(
    kind: type[nn.Module], base: type, slices: tuple[int, ...], skips_bias: bool, returns_bias: bool
) -> None:
    rows = [0, -1, 2, 2, 1]
    wrapper = wrapper_for(rows, rows, SLOTS)
    layer = layer_of(kind, base, slices, wrapper, skip_bias_add=skips_bias, return_bias=returns_bias)
    assert "forward" in vars(layer)
    x = torch.randn(len(rows), INPUTS).bfloat16()
    for given in (x, x.unsqueeze(0)):  # some models keep a dimension for the batch
        ours, theirs = layer(given), kind.forward(layer, given)
        if returns_bias:
            assert ours[1] is theirs[1]
            ours, theirs = ours[0], theirs[0]
        assert torch.equal(ours, theirs)
        plain = layer.base_layer(given)
        plain = (plain[0] if returns_bias else plain).view(len(rows), OUTPUTS)
        assert (ours.view_as(plain) == plain).all(dim=1).tolist() == [False, True, False, False, False]


def test_what_several_devices_share_goes_vllms_way() -> None:
    kind, base, slices = KINDS[0]
    wrapper = wrapper_for([0], [0], SLOTS)
    alone = layer_of(kind, base, slices, wrapper, skip_bias_add=False, return_bias=True)
    shared = module(kind, base_layer=alone.base_layer, tp_size=2)
    shared.lora_a_stacked, shared.lora_b_stacked = alone.lora_a_stacked, alone.lora_b_stacked
    wrapper.adopt(shared)
    assert "forward" in vars(alone)
    assert "forward" not in vars(shared)
