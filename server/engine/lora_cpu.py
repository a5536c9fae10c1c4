"""LoRA products on CPU by groups of rows, in place of vLLM 0.32's per-token gather.

The stock `PunicaWrapperCPU` indexes weights with -1 for a row without an adapter, which picks the *last*
slot: a base-model request batched with adapters is answered with somebody else's. It also ends the engine
when prompt log-probabilities are asked for. Both are gone here. Installed by server/engine/plugin.py.

Linear layers go through server/engine/lora_layers.py; what is left here are vLLM's other ways in. Shapes:
x [tokens, in]; A of a slice [slots, 1, rank, in]; B of a slice [slots, 1, out, rank]; y [tokens, out].
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import torch
from vllm.lora.layers.base import BaseLayerWithLoRA
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.layers.column_parallel_linear import ColumnParallelLinearWithLoRA
from vllm.lora.layers.replicated_linear import ReplicatedLinearWithLoRA
from vllm.lora.layers.row_parallel_linear import RowParallelLinearWithLoRA
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.lora.worker_manager import WorkerLoRAManager

from server.engine import lora_kernels
from server.engine.lora_layers import Slots, lean, prepare, slots_for, take_over
from server.engine.lora_plan import Plan, Rows
from server.engine.plugin import CPU_LORA

# On one device each of these is the base's `forward` with LoRA's products added to it.
FORWARDS = (
    ColumnParallelLinearWithLoRA.forward,
    RowParallelLinearWithLoRA.forward,
    ReplicatedLinearWithLoRA.forward,
)
_read_adapter = WorkerLoRAManager._load_adapter


def shrink(x: torch.Tensor, a: torch.Tensor, plan: Plan, y: torch.Tensor, scale: float) -> None:
    """y[rows] += scale * x[rows] @ A[slot].T for each group; y is [tokens, rank], in any float dtype."""
    for slot, rows in plan.groups():
        _add(y, rows, (x[rows].to(a.dtype) @ _matrix(a, slot).t()) * scale)


def expand(x: torch.Tensor, b: torch.Tensor, plan: Plan, y: torch.Tensor, add: bool = True) -> None:
    """y[rows] += x[rows] @ B[slot].T for each group (or =, when `add` is false); x is [tokens, rank].

    y may be wider or narrower than B's output, as vLLM pads both; the common columns count.
    """
    for slot, rows in plan.groups():
        delta = x[rows].to(b.dtype) @ _matrix(b, slot).t()
        width = min(delta.shape[1], y.shape[1])
        if add:
            _add(y[:, :width], rows, delta[:, :width])
        else:
            y[rows, :width] = delta[:, :width].to(y.dtype)


def _matrix(stacked: torch.Tensor, slot: int) -> torch.Tensor:
    """[slots, 1, m, n] or [slots, m, n] -> [m, n]."""
    return stacked[slot, 0] if stacked.dim() == 4 else stacked[slot]


def _add(y: torch.Tensor, rows: Rows, delta: torch.Tensor) -> None:
    if isinstance(rows, slice):
        y[rows].add_(delta)
    else:
        y.index_add_(0, rows, delta.to(y.dtype))


class GroupedPunicaWrapper(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM is untyped to us
    """The same interface and results as `PunicaWrapperCPU`, with base-model rows left alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kernel = lora_kernels.chosen(os.environ.get(CPU_LORA, lora_kernels.NATIVE))
        self._layers: dict[int, Slots] = {}
        BaseLayerWithLoRA.set_mapping = _set_mapping
        WorkerLoRAManager._load_adapter = _load_adapter

    def adopt(self, layer: Any) -> None:
        """Called when vLLM ties `layer` to this wrapper: its adapters lie in our slots from here on."""
        slots = slots_for(layer, kernel=self._kernel)
        take_over(layer, slots)
        if layer.tp_size == 1 and type(layer).forward in FORWARDS:
            layer.forward = lean(layer.base_layer.forward, partial(self._add, slots))
        self._layers[id(layer.lora_a_stacked)] = slots  # vLLM names a layer by its tensors

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Called once per step whose mix of adapters is another than the last one's, before the layers."""
        self._update_base_metadata(*args, **kwargs)  # the rest is for products that are replaced here
        self._rows = int(self.indices_len[0])
        self._tokens = Plan(self.token_lora_indices)

    def _add(self, slots: Slots, y: torch.Tensor, x: torch.Tensor, scale: float = 1.0) -> None:
        """y += scale * the products of the step's adapters with x; y [..., out], x [..., in]."""
        x = x.view(-1, x.shape[-1])
        plan = self._plan(x.shape[0])
        if len(plan):
            slots.add(y.view(-1, y.shape[-1]), x, plan, scale)

    def _plan(self, rows: int) -> Plan:
        """The plan for this step's tokens; made anew for a warm-up pass over another number of rows."""
        if rows == self._rows:
            return self._tokens
        return Plan(self._token_lora_indices[:rows])

    def add_shrink(
        self,
        y: tuple[torch.Tensor, ...] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        scale: float,
        **_: Any,
    ) -> None:
        x = x.view(-1, x.shape[-1])
        plan = self._plan(x.shape[0])
        for piece, a in zip(y, lora_a_stacked, strict=True):
            shrink(x, a, plan, piece.view(-1, piece.shape[-1]), scale)

    def add_expand(
        self,
        y: torch.Tensor,
        x: tuple[torch.Tensor, ...] | torch.Tensor,
        lora_b_stacked: tuple[torch.Tensor, ...],
        output_slices: tuple[int, ...],
        offset_start: int = 0,
        add_inputs: bool = True,
        **_: Any,
    ) -> None:
        y = y.view(-1, y.shape[-1])
        plan = self._plan(y.shape[0])
        for piece, b, width in zip(x, lora_b_stacked, output_slices, strict=True):
            expand(piece, b, plan, y[:, offset_start : offset_start + width], add_inputs)
            offset_start += width

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        **_: Any,
    ) -> None:
        slots = self._layers.get(id(lora_a_stacked))
        if slots is not None:
            self._add(slots, y, x, scale)
            return
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        plan = self._plan(x.shape[0])
        if not len(plan):
            return
        offset = 0
        for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            low = torch.zeros(x.shape[0], a.shape[-2], dtype=a.dtype)
            shrink(x, a, plan, low, scale)
            expand(low, b, plan, y[:, offset : offset + width])
            offset += width

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **_: Any,
    ) -> None:
        expand(x, lora_b_stacked, self._plan(y.shape[0]), y, add_inputs)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **_: Any,
    ) -> None:
        """Only for adapters on the LM head. The engine is started without it as a LoRA target, and no such
        adapter is admitted; but vLLM also comes here with a prompt's rows, which no index covers."""
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        if x.shape[0] != self.sampler_indices.numel():
            return
        low = torch.zeros((x.shape[0], lora_b_stacked.shape[-1]), dtype=torch.float32, device=x.device)
        plan = Plan(self.sampler_indices)
        shrink(x, lora_a_stacked, plan, low, scale)
        expand(low, lora_b_stacked, plan, y)


def _set_mapping(layer: Any, punica_wrapper: Any) -> None:
    """In place of `BaseLayerWithLoRA.set_mapping`, the one call by which vLLM ties a layer to its wrapper."""
    layer.punica_wrapper = punica_wrapper
    if isinstance(layer, BaseLinearLayerWithLoRA) and not layer.lora_config.fully_sharded_loras:
        punica_wrapper.adopt(layer)


def _load_adapter(manager: Any, request: Any) -> Any:
    """In place of `WorkerLoRAManager._load_adapter`, by which vLLM reads any adapter, in whatever thread."""
    lora = _read_adapter(manager, request)
    prepare(manager._adapter_manager, lora)
    return lora
