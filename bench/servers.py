"""Servers under test: ours and vLLM's own, on the same base with the same engine flags.

Both stay up for a whole run and take turns: the one that waits is frozen with SIGSTOP, because an idle
engine still wakes often enough to disturb its neighbour on two cores.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from adapters import base as bases

START_SECONDS = 600
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    # Ours sets it on CPU; it also decides which kernels vLLM takes, so both sides get it.
    "TORCH_COMPILE_DISABLE": "1",
}


@dataclass
class Server:
    """A started server; `model` is what to ask it for."""

    name: str
    root: str
    model: str
    key: str
    process: psutil.Popen

    def _tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def freeze(self) -> None:
        for process in self._tree():
            process.suspend()

    def thaw(self) -> None:
        for process in reversed(self._tree()):
            process.resume()

    def stop(self) -> None:
        self.thaw()
        below = self.process.children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except psutil.TimeoutExpired:
            self.process.kill()
        for process in psutil.wait_procs(below, timeout=10)[1]:
            process.kill()  # vLLM's own server leaves its engine behind (see DECISIONS.md)


@contextmanager
def chorus(
    folder: Path,
    flags: Sequence[str] = (),
    *,
    base: str | Path = "tiny",
    worker: bool = False,
    environment: dict[str, str] | None = None,
    prepare: Callable[[Path], None] = lambda _: None,
) -> Iterator[Server]:
    """`chorus serve --base ...`, ready, with one tenant, `bench`; its home is `folder`/home, into which
    `prepare` may put things before the start."""
    home, port = folder / "home", free_port()
    create = [sys.executable, "-m", "cli.main", "tenants", "create", "bench", "--home", str(home)]
    key = subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()
    prepare(home)
    command = [sys.executable, "-m", "cli.main", "serve", "--base", str(base), "--home", str(home)]
    command += ["--port", str(port), *([] if worker else ["--no-worker"]), "--", *flags]
    model = bases.resolve(str(base), home).slug
    with _running(
        "chorus", command, port, "/readyz", folder, model=model, key=key, environment=environment
    ) as server:
        yield server


@contextmanager
def stock(
    folder: Path,
    flags: Sequence[str],
    environment: dict[str, str] | None = None,
    *,
    model: str = "tiny",
    name: str = "vllm",
) -> Iterator[Server]:
    """vLLM's own API server with `flags`, ready; `model` is its --served-model-name."""
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port), *flags]
    with _running(
        name, command, port, "/health", folder, model=model, key="none", environment=environment
    ) as server:
        yield server


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
    *,
    model: str,
    key: str,
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = psutil.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **ENVIRONMENT, **(environment or {})}
        )
    server = Server(name, f"http://127.0.0.1:{port}", model, key, process)
    try:
        _wait(server, ready, log)
        yield server
    finally:
        server.stop()


def _wait(server: Server, ready: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(server.root + ready, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{server.name} did not become ready:\n{log.read_text(errors='replace')[-4000:]}")
