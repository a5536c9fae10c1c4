"""OpenMP and allocator of forked processes: libraries before the exec, threads bound after the fork.

vLLM sets variables that these libraries read when they are loaded. In what is forked they long are: there
the same is done by hand.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

_THREADS = "OMP_NUM_THREADS"
# How vLLM says on which CPUs the threads go, by the library that is loaded (its utils/ompmultiprocessing.py).
_PLACES = ("GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_PLACES")
_LISTED = re.compile(r"(?:proclist=\[|\{|^)([\d, ]+)")


def preloaded(already: str) -> str:
    """LD_PRELOAD as vLLM asks for it (its platforms/cpu.py): its tcmalloc and torch's libgomp, if installed.

    Found without an import of either.
    """
    libraries = [already] if already else []
    torch, vllm = _folder("torch"), _folder("vllm")
    if torch and not any(name in already for name in ("libomp", "libgomp", "libiomp")):
        found = [*torch.parent.glob("torch.libs/libgomp*.so*"), *torch.glob("lib/libgomp*.so*")]
        libraries += [str(library) for library in found[:1]]
    if vllm and "libtcmalloc" not in already:
        found = [*vllm.glob("libs/libtcmalloc_minimal*.so*"), *vllm.glob("libs/libtcmalloc.so*")]
        libraries[:0] = [str(library) for library in found[:1]]
    return ":".join(libraries)


def take_on(before: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Number and places of threads as the variables `wanted` say, in a process whose libraries read `before`.

    Call it in the main thread before anything runs in parallel.
    """
    threads = wanted.get(_THREADS, "")
    if threads.isdecimal() and threads != before.get(_THREADS):
        import torch

        torch.set_num_threads(int(threads))
    for name in _PLACES:
        if name in wanted and wanted[name] != before.get(name):
            cpus = listed(wanted[name])
            if cpus:
                _bind(cpus)
            return


def listed(places: str) -> list[int]:
    """The CPUs in one of vLLM's three spellings: `0 1`, `{0,1}`, `...,proclist=[0,1]`."""
    match = _LISTED.search(places)
    return [int(number) for number in re.findall(r"\d+", match[1])] if match else []


def _bind(cpus: list[int]) -> None:
    """Each OpenMP thread to a CPU of its own: their pool is kept, so that what is bound once stays."""
    os.sched_setaffinity(0, set(cpus))
    library = ctypes.CDLL(None)
    if not hasattr(library, "GOMP_parallel"):  # not preloaded, so out of reach: they share the CPUs
        return

    def bind(_: int) -> None:
        os.sched_setaffinity(0, {cpus[library.omp_get_thread_num() % len(cpus)]})

    library.GOMP_parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(bind), None, len(cpus), 0)


def _folder(package: str) -> Path | None:
    found = find_spec(package)
    return Path(found.origin).parent if found and found.origin else None
