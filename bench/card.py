"""The device of a training bench in words, and a fit of attention's kernel to its torch."""

from __future__ import annotations

import inspect
import os
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from training import attention


def describe(device: str) -> str:
    """Raises SystemExit where there is no such device."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    if device == "cpu":
        return f"{os.cpu_count()} CPU cores, {libraries}"
    if not torch.cuda.is_available():
        raise SystemExit("No GPU is at hand, or torch is a build without CUDA: leave out --device cuda.")
    found = torch.cuda.get_device_properties(0)
    memory = found.total_memory / 2**30
    return f"{found.name} ({memory:.0f} GiB, capability {found.major}.{found.minor}), {libraries}"


def fit_kernel() -> None:
    """Let a torch older than the one that we ask for run the kernel: 2.11 takes groups of heads untold. For a
    machine whose image brings its own torch; a job needs ours."""
    kernel: Any = vars(attention)["varlen_attn"]
    if "enable_gqa" in inspect.signature(kernel).parameters:
        return

    def untold(*tensors: Any, enable_gqa: bool, **how: Any) -> Tensor:
        found: Tensor = kernel(*tensors, **how)
        return found

    vars(attention)["varlen_attn"] = untold
