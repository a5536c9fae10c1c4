"""Which products of adapters an engine on CPU computes, and why: known without torch and vLLM."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.dtype import BFLOAT16, FLOAT32, SET
from server.engine import lora_kernels
from server.engine.lora_kernels import COMPILE, STOCK, TORCH


@dataclass(frozen=True)
class Choice:
    """`name` is a value of the setting `cpu_lora`: a kernel, torch, or vLLM's stock; `mend` is what makes it
    faster, if anything does."""

    name: str
    because: str
    mend: str = ""

    @property
    def native(self) -> bool:
        return self.name not in (TORCH, STOCK)


def choose(wished: str) -> Choice:
    """`wished` is the setting `cpu_lora`. Raises lora_kernels.KernelRefused."""
    if wished in (TORCH, STOCK):
        return Choice(wished, SET, "leave CHORUS_CPU_LORA out")
    kernel = lora_kernels.chosen(wished)
    if kernel is None:
        return Choice(TORCH, "our kernels were not compiled", COMPILE)
    return Choice(kernel, "our kernel, the best for this CPU" if wished == lora_kernels.NATIVE else SET)


def flags(dtype: str, wished: str) -> list[str]:
    """Of vLLM's: our kernel takes adapters in bf16 over a base in float32 too, which is half the memory.
    Raises lora_kernels.KernelRefused."""
    native = choose(wished).native
    return ["--lora-dtype", BFLOAT16] if native and dtype == FLOAT32 else []
