"""LoRA products on CPU, one pair per adapter present in the step, in place of vLLM 0.32's per-token gather.

The stock `PunicaWrapperCPU` indexes weights with -1 for a row without an adapter, which picks the *last*
slot: a base-model request batched with adapters is answered with somebody else's. It also ends the engine
when prompt log-probabilities are asked for. Both are gone here. Installed by server/engine/plugin.py.

Shapes: x [tokens, in]; A of a slice [slots, 1, rank, in]; B of a slice [slots, 1, out, rank];
y [tokens, out].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

# The rows that one slot's adapter answers: a run as a slice (a view, no copy), else their indices.
Rows: TypeAlias = slice | torch.Tensor
Group: TypeAlias = tuple[int, Rows]


def plan(indices: torch.Tensor) -> list[Group]:
    """Group rows by slot; rows with a negative index (base model) are in no group.

    `indices` is int64 [rows]. Done once per step: every layer of the model reuses it.
    """
    groups: list[Group] = []
    for slot in torch.unique(indices).tolist():
        if slot < 0:
            continue
        rows = (indices == slot).nonzero(as_tuple=True)[0]
        first, last = int(rows[0]), int(rows[-1])
        contiguous = last - first + 1 == rows.numel()
        groups.append((slot, slice(first, last + 1) if contiguous else rows))
    return groups


def shrink(x: torch.Tensor, a: torch.Tensor, groups: Sequence[Group], y: torch.Tensor, scale: float) -> None:
    """y[rows] += scale * x[rows] @ A[slot].T for each group; y is [tokens, rank], in any float dtype."""
    for slot, rows in groups:
        _add(y, rows, (x[rows].to(a.dtype) @ _matrix(a, slot).t()) * scale)


def expand(
    x: torch.Tensor, b: torch.Tensor, groups: Sequence[Group], y: torch.Tensor, add: bool = True
) -> None:
    """y[rows] += x[rows] @ B[slot].T for each group (or =, when `add` is false); x is [tokens, rank].

    y may be wider or narrower than B's output, as vLLM pads both; the common columns count.
    """
    for slot, rows in groups:
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

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Called once per step, before the layers."""
        super().update_metadata(*args, **kwargs)
        self._token_groups = plan(self.token_lora_indices)
        self._sampler_groups = plan(self.sampler_indices)

    def _groups(self, rows: int) -> list[Group]:
        """The plan for this step's tokens; made anew for a warm-up pass over another number of rows."""
        if rows == self.token_lora_indices.numel():
            return self._token_groups
        return plan(self._token_lora_indices[:rows])

    def add_shrink(
        self,
        y: tuple[torch.Tensor, ...] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        scale: float,
        **_: Any,
    ) -> None:
        x = x.view(-1, x.shape[-1])
        groups = self._groups(x.shape[0])
        for piece, a in zip(y, lora_a_stacked, strict=True):
            shrink(x, a, groups, piece.view(-1, piece.shape[-1]), scale)

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
        groups = self._groups(y.shape[0])
        for piece, b, width in zip(x, lora_b_stacked, output_slices, strict=True):
            expand(piece, b, groups, y[:, offset_start : offset_start + width], add_inputs)
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
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        for slot, rows in self._groups(x.shape[0]):
            mine, offset = x[rows], 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                delta = ((mine @ _matrix(a, slot).t()) * scale) @ _matrix(b, slot).t()
                _add(y[:, offset : offset + width], rows, delta)
                offset += width

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **_: Any,
    ) -> None:
        expand(x, lora_b_stacked, self._groups(y.shape[0]), y, add_inputs)

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
        shrink(x, lora_a_stacked, self._sampler_groups, low, scale)
        expand(low, lora_b_stacked, self._sampler_groups, y)
