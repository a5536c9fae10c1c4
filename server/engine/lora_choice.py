"""Which products of adapters an engine on CPU computes, and why: known without torch and vLLM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapters import cpu
from adapters.dtype import BFLOAT16, FLOAT32, SET

COMPILE = (
    "apt-get install gcc libc6-dev, then .venv/bin/pip install --no-deps --no-build-isolation --editable ."
)
RUNS_ON = ("avx512_bf16",)


@dataclass(frozen=True)
class Choice:
    """`name` is a value of the setting `cpu_lora`; `mend` what would make it faster, or nothing."""

    name: str
    because: str
    mend: str = ""

    @property
    def native(self) -> bool:
        return self.name == "native"


def choose(wished: str) -> Choice:
    """`wished` is the setting `cpu_lora`."""
    if wished in ("torch", "stock"):
        return Choice(wished, SET, "leave CHORUS_CPU_LORA out")
    if not compiled():
        return Choice("torch", "our kernel was not compiled", COMPILE)
    name = kernel(wished)
    if name is None:
        return Choice("torch", f"our kernel does not run on {cpu.kind()}")
    return Choice("native", f"our kernel for {name}")


def flags(dtype: str, wished: str) -> list[str]:
    """Of vLLM's: our kernel takes adapters in bf16 over a base in float32 too, which is half the memory."""
    return ["--lora-dtype", BFLOAT16] if dtype == FLOAT32 and choose(wished).native else []


def compiled() -> bool:
    """Whether there was a C compiler at the install."""
    return any(Path(__file__).parent.glob("_lora*.so"))


def kernel(wished: str) -> str | None:
    """The kernel that multiplies here; None where none of what was compiled can."""
    return cpu.kind() if cpu.kind() in RUNS_ON else None
