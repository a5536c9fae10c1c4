"""Attention inside the sequences of a flat row, as an implementation that transformers knows by name.

On CUDA, in 16 bits, one call of FlashAttention's variable-length kernel; elsewhere, and where the kernel does
not take what it is given, one call per sequence. Called by transformers' attention layers, with what flat.py
hands to the model. Not covered: logit soft-capping and sinks; such a base model is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from training.failure import unsupported_base

ATTENTION = "chorus_segments"
# What the kernel takes (torch 2.13, flash_api.cpp, mha_varlen_fwd): also equal heads of key and value.
KERNEL_DTYPES = (torch.bfloat16, torch.float16)
KERNEL_WIDEST, KERNEL_MULTIPLE = 256, 8
KERNEL_CAPABILITY = (8, 0)


def install() -> None:
    """Make ATTENTION known to transformers; a model must be loaded with it."""
    AttentionInterface.register(ATTENTION, attend)


def bounds(segments: Sequence[int], device: torch.device) -> Tensor | None:
    """int32 [N + 1]: where each segment begins, and the end of the last; None where there is no kernel that
    reads them. Made once per row."""
    if not _has_kernel(device):
        return None
    return torch.tensor([0, *accumulate(segments)], dtype=torch.int32, device=device)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: Sequence[int] = (),
    bounds: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment. query [1, H, T, D], key and value [1, G, T, D] with G dividing
    H; gives [1, T, H, D]. Raises JobFailed for a kind of attention that this does not compute."""
    for unknown in ("softcap", "s_aux", "position_bias"):
        if others.get(unknown) is not None:
            raise unsupported_base(f"its attention uses {unknown!r}, which training does not support.")
    if attention_mask is not None or not segments or dropout:
        raise ValueError("flat rows take segments, no attention mask and no dropout.")
    window = others.get("sliding_window")
    if bounds is not None and _is_for_kernel(query, value):
        return _at_once(query, key, value, max(segments), bounds, window, scaling), None
    return _one_by_one(query, key, value, segments, window, scaling), None


def _at_once(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    longest: int,
    bounds: Tensor,
    window: int | None,
    scaling: float | None,
) -> Tensor:
    # The kernel counts how many tokens BEFORE itself a token sees, transformers counts the token too.
    before = window - 1 if window else -1
    query, key, value = (part.squeeze(0).transpose(0, 1) for part in (query, key, value))
    found: Tensor = varlen_attn(
        query, key, value, bounds, bounds, longest, longest,
        scale=scaling, window_size=(before, 0), enable_gqa=True,
    )  # fmt: skip
    return found.unsqueeze(0)


def _one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Sequence[int],
    window: int | None,
    scaling: float | None,
) -> Tensor:
    if (groups := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    # On a CPU attention is slower in bf16 than in float32, and its way back takes half as much again.
    dtype = query.dtype
    if query.device.type == "cpu":
        query, key, value = (wide(part) for part in (query, key, value))
    done = []
    for q, k, v in zip(*(part.split(list(segments), 2) for part in (query, key, value)), strict=True):
        band = _band(q.shape[2], window, q.device) if window and q.shape[2] > window else None
        done.append(
            functional.scaled_dot_product_attention(
                q, k, v, attn_mask=band, is_causal=band is None, scale=scaling
            )
        )
    return torch.cat(done, 2).to(dtype).transpose(1, 2).contiguous()


def wide(tensor: Tensor) -> Tensor:
    """float32 at least: a softmax of a large vocabulary is off in bf16."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """bool [length, length]: each token sees itself and the window - 1 before it."""
    back = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None, :]
    return (back >= 0) & (back < window)


def _has_kernel(device: torch.device) -> bool:
    if device.type != "cuda" or not torch.backends.cuda.is_flash_attention_available():
        return False
    return bool(torch.cuda.get_device_capability(device) >= KERNEL_CAPABILITY)


def _is_for_kernel(query: Tensor, value: Tensor) -> bool:
    width = query.shape[-1]
    return (
        query.dtype in KERNEL_DTYPES
        and width <= KERNEL_WIDEST
        and width % KERNEL_MULTIPLE == 0
        and value.shape[-1] == width
    )
