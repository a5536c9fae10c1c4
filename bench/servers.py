"""Servers under test: ours and vLLM's own, on the same base with the same engine flags.

Both stay up for a whole run and take turns: the one that waits is frozen with SIGSTOP, because an idle
engine still wakes often enough to disturb its neighbour on two cores.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from adapters import base as bases
from adapters import cpu, planned
from adapters.base import TINY
from adapters.modules import SERVED_LINEARS
from bench.launched import launched, until_answered
from records import settings
from server.engine import cpu_limit
from server.engine.vllm import COMPACT_JSON

DEVICES = ("cpu", "cuda")
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(7 * 24 * 3600),  # a slow machine is measured too
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # Ours sets these on CPU; one decides which kernels vLLM takes, one its memory, so both sides get them.
    "TORCH_COMPILE_DISABLE": "1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}
# On PYTHONPATH where a CPU acts as a lesser kind: also vLLM's own server loads its library of that kind then.
LIMITED = Path(__file__).parent / "limited"
# What ours would plan on a small machine, so that `stock_flags` is the same on every one.
PLANNED = {"CHORUS_MAX_LORAS": "16", "CHORUS_MAX_CPU_LORAS": "48", "CHORUS_MAX_LORA_RANK": "32"}
# Two servers stand on one GPU, and each would take nearly all of its memory.
CUDA_FLAGS = ("--gpu-memory-utilization", "0.4")


@dataclass
class Server:
    """A started server; `model` is what to ask it for, `base` the folder of its base model."""

    name: str
    root: str
    model: str
    base: Path
    key: str
    process: psutil.Popen

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def freeze(self) -> None:
        for process in self.processes():
            process.suspend()

    def thaw(self) -> None:
        for process in reversed(self.processes()):
            process.resume()


@contextmanager
def chorus(
    folder: Path,
    flags: Sequence[str] = (),
    *,
    base: str | Path = "tiny",
    worker: bool = False,
    environment: dict[str, str] | None = None,
    prepare: Callable[[Path], None] = lambda _: None,
    device: str = "cpu",
) -> Iterator[Server]:
    """`chorus serve --base ...`, ready, with one tenant, `bench`; its home is `folder`/home, into which
    `prepare` may put things before the start."""
    home, port = folder / "home", free_port()
    key = new_key(home, "bench")
    prepare(home)
    found = bases.resolve(str(base), home)  # fetches one of the hub: the server itself is offline
    command = [sys.executable, "-m", "cli.main", "serve", "--base", str(base), "--home", str(home)]
    command += ["--port", str(port), *([] if worker else ["--no-worker"])]
    command += ["--", *flags, *fitting(device, flags)]
    given = {**PLANNED, **(environment or {})}
    with _running(
        "chorus", command, port, "/readyz", folder, found.slug, found.path, key, device, given
    ) as server:
        yield server


def new_key(home: Path, tenant: str) -> str:
    """A key of a new tenant, also of a server that runs."""
    create = [sys.executable, "-m", "cli.main", "tenants", "create", tenant, "--home", str(home)]
    return subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def stock(
    folder: Path,
    flags: Sequence[str],
    environment: dict[str, str] | None = None,
    *,
    model: str = "tiny",
    name: str = "vllm",
    device: str = "cpu",
) -> Iterator[Server]:
    """vLLM's own API server with `flags` (`stock_flags`, or what takes their place), ready; `model` is its
    --served-model-name."""
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port), *flags]
    command += fitting(device, flags)
    base = Path(flags[flags.index("--model") + 1])
    with _running(name, command, port, "/health", folder, model, base, "none", device, environment) as server:
        yield server


def stock_flags(base: Path = TINY, *, model: str = "tiny", lora: bool = True) -> list[str]:
    """The flags that `chorus serve --base ...` gives its engine, for vLLM's own server (a test compares)."""
    flags = ["--model", str(base), "--served-model-name", model, *dtype(base)]
    if lora:
        flags += ["--enable-lora", "--max-lora-rank", "32", "--max-loras", "16", "--max-cpu-loras", "64"]
        flags += ["--lora-target-modules", *SERVED_LINEARS]
    if base == TINY:
        flags += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        flags += ["--structured-outputs-config", json.dumps(COMPACT_JSON)]
    return flags


def dtype(base: Path) -> list[str]:
    """Each side computes in what ours takes on such a machine."""
    return ["--dtype", planned.numbers_for(settings.load(), base).name]


def environment_of(device: str) -> dict[str, str]:
    """What every server of a bench gets; nothing of the CPU build where there is a GPU."""
    limited = cpu.kind() != cpu.kind({})
    path = os.pathsep.join(filter(None, (str(LIMITED), os.environ.get("PYTHONPATH"))))
    return (
        ENVIRONMENT | (CPU_ENVIRONMENT if device == "cpu" else {}) | ({"PYTHONPATH": path} if limited else {})
    )


def fitting(device: str, flags: Sequence[str]) -> list[str]:
    """What `flags` lack on this device; both sides get it."""
    return [] if device == "cpu" or CUDA_FLAGS[0] in flags else list(CUDA_FLAGS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    name: str,
    command: list[str],
    port: int,
    ready: str,
    folder: Path,
    model: str,
    base: Path,
    key: str,
    device: str,
    environment: dict[str, str] | None,
) -> Iterator[Server]:
    given = environment_of(device) | (environment or {})
    root = f"http://127.0.0.1:{port}"
    with launched(command, folder / f"{name}.log", given) as process:
        with httpx.Client(base_url=root, timeout=5) as client:
            until_answered(client, process, ready)
        server = Server(name, root, model, base, key, process)
        for each in server.processes():
            cpu_limit.check(each.pid)
        yield server
