"""Cross-entropy of a wide vocabulary in pieces of rows: nothing as large as its logits in float32 is made.

Torch's own makes three such tensors of [S, vocabulary] (logits, their log-softmax, its gradient). With 32,000
tokens these are 70 MB each at 560 rows, which on a CPU come from the kernel page by page in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training import attention

# Numbers in a piece: 8 MB in float32. A GPU has room for more, and each piece costs it ten starts of kernels.
PIECE, GPU_PIECE = 2**21, 2**26


class CrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    """logits [S, V] in any float dtype, answers int64 [S]: (summed loss in nats, a scalar with gradient, at
    least float32; how many rows are likeliest at their answer, an int64 scalar)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        wholes = attention.wide(logits.new_empty(len(answers)))  # the log of each row's sum of exp
        loss, hits = wholes.new_zeros(()), answers.new_zeros(())
        for rows in _pieces(logits):
            wide = attention.wide(logits[rows])
            torch.logsumexp(wide, -1, out=wholes[rows])
            loss += (wholes[rows] - wide.gather(1, answers[rows, None]).squeeze(1)).sum()
            hits += (wide.argmax(-1) == answers[rows]).sum()
        ctx.save_for_backward(logits, answers, wholes)
        ctx.mark_non_differentiable(hits)
        return loss, hits

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """grad * (softmax - one at the answer), rounded to the logits' dtype once."""
        logits, answers, wholes = ctx.saved_tensors
        found = torch.empty_like(logits)
        for rows in _pieces(logits):
            wide = attention.wide(logits[rows]).sub(wholes[rows, None]).exp_()
            wide[torch.arange(len(wide), device=wide.device), answers[rows]] -= 1
            found[rows] = wide.mul_(grads[0])
        return found, None


def _pieces(logits: Tensor) -> Iterator[slice]:
    step = max(1, (PIECE if logits.device.type == "cpu" else GPU_PIECE) // logits.shape[1])
    return (slice(start, start + step) for start in range(0, len(logits), step))
