"""The short way through a layer with LoRA against vLLM's own, both with vLLM's own base layers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from vllm.lora.layers.column_parallel_linear import ColumnParallelLinearWithLoRA
from vllm.lora.layers.replicated_linear import ReplicatedLinearWithLoRA
from vllm.lora.layers.row_parallel_linear import RowParallelLinearWithLoRA
from vllm.model_executor.layers.linear import ColumnParallelLinear, ReplicatedLinear, RowParallelLinear

from server.engine.lora_cpu import GroupedPunicaWrapper
from tests.server.test_lora_cpu import wrapper_for

SLOTS, RANK, INPUTS, OUTPUTS = 3, 16, 64, 48
KINDS = (
    (ColumnParallelLinearWithLoRA, ColumnParallelLinear),
    (RowParallelLinearWithLoRA, RowParallelLinear),
    (ReplicatedLinearWithLoRA, ReplicatedLinear),
)


def module(kind: type, **attributes: Any) -> Any:
    """One of vLLM's layers without what its `__init__` asks for: a group of devices, a configuration."""
    made = kind.__new__(kind)
    nn.Module.__init__(made)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def layer_of(kind: type, base: type, wrapper: GroupedPunicaWrapper, tp_size: int, **base_has: Any) -> Any:
    torch.manual_seed(0)
    plain = module(
        base, weight=torch.randn(OUTPUTS, INPUTS).bfloat16(), bias=torch.randn(OUTPUTS).bfloat16(),
        quant_method=SimpleNamespace(apply=lambda base, x, bias: nn.functional.linear(x, base.weight, bias)),
        gather_output=False, input_is_parallel=True, reduce_results=True, tp_size=1, tp_rank=0, **base_has,
    )  # fmt: skip
    layer = module(
        kind, base_layer=plain, tp_size=tp_size, tp_rank=0, n_slices=1, output_slices=(OUTPUTS,),
        punica_wrapper=wrapper, _enable_aux_cuda_stream=False,
        lora_a_stacked=(torch.zeros(SLOTS, 1, RANK, INPUTS, dtype=torch.bfloat16),),
        lora_b_stacked=(torch.zeros(SLOTS, 1, OUTPUTS, RANK, dtype=torch.bfloat16),),
    )  # fmt: skip
    wrapper.adopt(layer)
    for slot in range(SLOTS):
        layer.set_lora(slot, torch.randn(RANK, INPUTS).bfloat16(), torch.randn(OUTPUTS, RANK).bfloat16())
    return layer


@pytest.mark.parametrize("returns_bias", [True, False])
@pytest.mark.parametrize("skips_bias", [True, False])
@pytest.mark.parametrize(("kind", "base"), KINDS)
def test_the_short_way_gives_what_vllms_forward_gives(
    kind: type[nn.Module], base: type, skips_bias: bool, returns_bias: bool
) -> None:
    rows = [0, -1, 2, 2, 1]
    wrapper = wrapper_for(rows, rows, SLOTS)
    layer = layer_of(kind, base, wrapper, 1, skip_bias_add=skips_bias, return_bias=returns_bias)
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
    kind, base = KINDS[0]
    wrapper = wrapper_for([0], [0], SLOTS)
    alone, shared = (
        layer_of(kind, base, wrapper, 1, skip_bias_add=False, return_bias=True),
        module(kind, base_layer=nn.Identity(), tp_size=2),
    )
    shared.lora_a_stacked, shared.lora_b_stacked = alone.lora_a_stacked, alone.lora_b_stacked
    wrapper.adopt(shared)
    assert "forward" in vars(alone)
    assert "forward" not in vars(shared)
