"""PEFT's LoRA layer in one buffer: y = x Wᵀ + b + s (x Aᵀ) Bᵀ (Hu et al. 2021), and the way back.

PEFT 0.21 (tuners/lora/layer.py) makes five tensors as large as y for it, and computes in the type of A and B;
here the products are in the base's type, and A and B keep theirs, as do their gradients. A and B stay PEFT's
parameters under PEFT's names. Called by adapter.py.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class Adapted(torch.autograd.Function):  # type: ignore[misc]
    """x [..., I], weight [O, I] and bias [O], both frozen, a [R, I], b [O, R]: y [..., O] in x's dtype."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        rows, down, up = x.reshape(-1, x.shape[-1]), a.to(x.dtype), b.to(x.dtype)
        narrow = rows @ down.T
        wide = functional.linear(rows, weight, bias).addmm_(narrow, up.T, alpha=scaling)
        ctx.save_for_backward(rows, weight, down, up, narrow)
        ctx.scaling, ctx.shape, ctx.dtypes = scaling, x.shape, (a.dtype, b.dtype)
        return wide.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, down, up, narrow = ctx.saved_tensors
        wide = grads[0].reshape(-1, grads[0].shape[-1])
        back = (wide @ up).mul_(ctx.scaling)
        # Of the two orders of a thin product the one whose result is wide: three times as fast on a CPU.
        for_a = (back.T @ rows).to(ctx.dtypes[0])
        for_b = (narrow.T @ wide).T.to(ctx.dtypes[1]) * ctx.scaling
        for_x = (wide @ weight).addmm_(back, down).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return for_x, None, None, for_a, for_b, None


class LoraLinear(Linear):  # type: ignore[misc]
    """PEFT's layer where it is plain: one active adapter, no dropout, a base of nn.Linear's own kind."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        base, names = self.base_layer, self.active_adapters
        is_plain = (
            len(names) == 1
            and names[0] in self.lora_A
            and not (args or kwargs or self.disable_adapters or self.merged)
            and type(base) is nn.Linear
            and isinstance(self.lora_dropout[names[0]], nn.Identity)
            and not self.lora_variant
        )
        if not is_plain:
            found: Tensor = super().forward(x, *args, **kwargs)
            return found
        (name,) = names
        a, b, scaling = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
        made: Tensor = Adapted.apply(x, base.weight, base.bias, a, b, scaling)
        return made


def in_one_buffer(model: Any) -> Any:
    """The peft model itself, its plain LoRA layers made LoraLinear."""
    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = LoraLinear
    return model
