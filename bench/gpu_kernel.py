"""The kernel of attention on a GPU, held against the loop over the sequences. Called by gpu_paths.py.

A deviation is relative, of norms over all that is compared: |found - expected| / |expected|. `usual` is that
of what differs by rounding alone; what is allowed follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from bench.workloads import SEED
from training import attention

# Lengths of a row's sequences; (heads, heads of key and value, width); how many tokens a token sees.
SEGMENTS = ((512,), (37, 1, 300, 129, 64), (128,) * 8)
HEADS = ((32, 8, 64), (16, 16, 128), (6, 1, 256), (4, 4, 72))
WINDOWS = (None, 2, 64, 4096)
ALLOWED = {torch.bfloat16: 1e-2, torch.float16: 2e-3}
TIMED, WARM = 20, 5


@dataclass(frozen=True)
class Check:
    name: str
    deviation: float
    usual: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.deviation <= self.allowed


def deviation(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = [
        (a.detach().double().cpu(), b.detach().double().cpu()) for a, b in zip(found, expected, strict=True)
    ]
    off = sum(float((a - b).square().sum()) for a, b in pairs)
    found_off = float((off / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5)
    return math.inf if math.isnan(found_off) else found_off


@contextmanager
def counted() -> Iterator[list[int]]:
    """Of each call of the kernel in the block, how many sequences its row had."""
    calls: list[int] = []
    asked: Any = vars(attention)["varlen_attn"]

    def noted(*tensors: Any, **how: Any) -> Tensor:
        calls.append(len(tensors[3]) - 1)
        found: Tensor = asked(*tensors, **how)
        return found

    with patch.object(attention, "varlen_attn", noted):
        yield calls


def random_heads(tokens: int, where: torch.device, heads: int, groups: int, width: int) -> list[Tensor]:
    torch.manual_seed(SEED)
    return [torch.randn(1, count, tokens, width, device=where) for count in (heads, groups, groups)]


def attended(heads: Sequence[Tensor], segments: tuple[int, ...], **how: Any) -> list[Tensor]:
    """Output, and the gradients of query, key and value."""
    query, key, value = (part.detach().requires_grad_() for part in heads)
    out, _ = attention.attend(None, query, key, value, None, segments=segments, **how)
    # The same numbers in every type.
    weight = torch.arange(out.numel(), device=out.device).view(out.shape).sin().bfloat16().to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), (query, key, value))]


def kernel(where: torch.device) -> Iterator[Check]:
    """The worst of output and gradients, from float64: by the kernel, and by the loop as the usual. Raises
    RuntimeError where the kernel is not asked."""
    for dtype, allowed in ALLOWED.items():
        worst = {"kernel": 0.0, "loop": 0.0}
        for segments, shape, window in product(SEGMENTS, HEADS, WINDOWS):
            given = [part.to(dtype) for part in random_heads(sum(segments), where, *shape)]
            how = {"sliding_window": window, "scaling": 0.3 if window == 64 else None}
            expected = attended([part.double() for part in given], segments, **how)
            with counted() as calls:
                at_once = attended(given, segments, bounds=attention.bounds(segments, where), **how)
            if calls != [len(segments)]:
                raise RuntimeError(f"the kernel was not asked: {dtype}, {segments}, {shape}")
            for name, found in (("kernel", at_once), ("loop", attended(given, segments, **how))):
                each = [deviation([a], [b]) for a, b in zip(found, expected, strict=True)]
                worst[name] = max(worst[name], *each)
        yield Check(f"kernel {str(dtype).removeprefix('torch.')}", worst["kernel"], worst["loop"], allowed)


def speedup(where: torch.device, lengths: Sequence[int]) -> float:
    """Time of the loop by that of the kernel, forward and backward, in bf16, for a Llama of a billion."""
    heads = [part.bfloat16() for part in random_heads(sum(lengths), where, 32, 8, 64)]
    times = []
    for bounds in (None, attention.bounds(lengths, where)):
        for _ in range(WARM):
            attended(heads, tuple(lengths), bounds=bounds)
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(TIMED):
            attended(heads, tuple(lengths), bounds=bounds)
        ended.record()
        torch.cuda.synchronize(where)
        times.append(began.elapsed_time(ended))
    return float(times[0] / times[1])
