"""The native LoRA kernels that this machine has, and which one is used. Without torch and vLLM."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from adapters import cpu

NATIVE, TORCH, STOCK = "native", "torch", "stock"  # of the setting `cpu_lora`; else it names a kernel
COMPILE = (
    "apt-get install gcc libc6-dev, then .venv/bin/pip install --no-deps --no-build-isolation --editable ."
)


class KernelRefused(ValueError):
    """A kernel is asked for that cannot run here; the message says what can."""


@cache
def library() -> Any:
    """The compiled kernels; None where they were not built (no C compiler at the install), or
    long ago, or for another machine."""
    found = next(iter(sorted(Path(__file__).parent.glob("_lora*.so"))), None)
    if found is None:
        return None
    try:
        loaded = ctypes.CDLL(str(found))
    except OSError:  # such as one without OpenMP's library
        return None
    if not hasattr(loaded, "chorus_lora_name"):
        return None
    pointer, number, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    loaded.chorus_lora_add.argtypes = [
        flag, flag, pointer, pointer,
        pointer, number, pointer, number, pointer, number, ctypes.c_double, flag,
    ]  # fmt: skip
    loaded.chorus_lora_pack.argtypes = [pointer, pointer, *[number] * 5]
    loaded.chorus_lora_add.restype = loaded.chorus_lora_pack.restype = None
    loaded.chorus_lora_name.restype = ctypes.c_char_p
    return loaded


@cache
def numbers() -> Mapping[str, int]:
    """Each kernel that this processor runs with its number in the library, the best first."""
    if library() is None:
        return {}
    names, number = dict[str, int](), 0
    while name := library().chorus_lora_name(number):
        if library().chorus_lora_runs(number):
            names[name.decode()] = number
        number += 1
    return names


def kernels() -> list[str]:
    """The kernels that this machine can run, the best first; none where the library was not built."""
    return list(numbers())


def chosen(wanted: str) -> str | None:
    """The kernel that is used under this value of the setting `cpu_lora`; None: torch, or vLLM, does it.
    Raises KernelRefused."""
    if wanted in (TORCH, STOCK):
        return None
    if wanted == NATIVE:
        return best(kernels(), cpu.present() - cpu.features())
    if wanted in kernels():
        return wanted
    if not kernels():
        raise KernelRefused(f"CHORUS_CPU_LORA={wanted}: none was compiled here. Run: {COMPILE}")
    raise KernelRefused(
        f"CHORUS_CPU_LORA={wanted}: this processor does not run that LoRA kernel; this machine runs"
        f" {', '.join(kernels())}. Set one of these, or CHORUS_CPU_LORA=native for the first."
    )


def best(kernels: Sequence[str], forbidden: frozenset[str]) -> str | None:
    """The first of `kernels` that uses no feature that is forbidden to this process."""
    return next((name for name in kernels if not cpu.KINDS.get(name, set()) & forbidden), None)
