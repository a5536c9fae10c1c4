"""A real `chorus serve` in a process of its own, for the tests that need the whole thing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from openai import OpenAI

from bench.adapters import random_adapter
from tests.patience import PATIENCE

# CXX: logprobs must work on a machine without a compiler.
ENVIRONMENT = {
    "CXX": "/nonexistent",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # Not 30: a slow engine must not be taken for a dead one even so, and tests of dead ones wait for less.
    "CHORUS_ENGINE_HANG_SECONDS": "5",
}
# By these all tests on the real engine run as on another machine; so they do by ONEDNN_MAX_CPU_ISA.
KIND_OF_RUN = ("CHORUS_DTYPE", "CHORUS_CPU_LORA")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveServer:
    """`base_url` ends in /v1; `api_key` belongs to the tenant `acme`."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home, self.arguments = home, arguments
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.base_url = f"{self.root}/v1"
        self.log = home / "server.log"
        self.api_key = self.new_key("acme")
        self.process: subprocess.Popen[bytes] | None = None

    def chorus(self, *arguments: str) -> str:
        """What a `chorus` command printed on stdout."""
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def new_key(self, tenant: str) -> str:
        return self.chorus("tenants", "create", tenant, "--home", str(self.home)).strip()

    def publish(self, brand: str, seed: int, **given: Any) -> str:
        """A version of random weights (bench/adapters.py) that goes live for the tenant `acme`; gives back
        its name."""
        adapter = random_adapter(self.home / f"made-{brand}-{seed}", seed, **given)
        said = self.chorus(
            "adapters", "import", str(adapter), "--tenant", "acme", "--brand", brand,
            "--home", str(self.home), "--promote", "--json",
        )  # fmt: skip
        name: str = json.loads(said)["id"]
        return name

    def folder_of(self, version: str) -> Path:
        """Where a version's files lie."""
        (found,) = (self.home / "adapters").glob(f"{version.split(':')[4]}*")
        return found

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process and do not wait."""
        command = [sys.executable, "-m", "cli.main", "serve", "--base", "tiny", "--home", str(self.home)]
        command += ["--port", str(self.port), *self.arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, f"the server ended:\n{self.tail()}"
            try:
                if httpx.get(f"{self.root}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"the server did not become ready:\n{self.tail()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> list[psutil.Process]:
        """End the server with a signal; gives back the processes below it that are still alive then."""
        if self.process is None:
            return []
        below = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(how)
        self.process.wait(PATIENCE)
        self.process = None
        _, alive = psutil.wait_procs(below, timeout=PATIENCE)
        return alive

    def restart(self) -> None:
        self.stop()
        self.start()

    def client(self, key: str | None = None) -> OpenAI:
        return OpenAI(base_url=self.base_url, api_key=key or self.api_key, timeout=PATIENCE)

    def metrics(self) -> str:
        return httpx.get(f"{self.root}/metrics", timeout=PATIENCE).text

    def wait_for_engine_process(self) -> None:
        """Until the engine's first process is there: long before it is ready."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process is not None
            for child in psutil.Process(self.process.pid).children(recursive=True):
                if "EngineCore" in " ".join(child.cmdline()):
                    return
            time.sleep(0.05)
        raise AssertionError(f"the engine's process did not come:\n{self.tail()}")

    def worker_pid(self) -> int:
        """The training worker's process."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            if "cli.worker_process" in " ".join(child.cmdline()):
                return child.pid
        raise AssertionError("there is no training worker")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else ""

    @staticmethod
    def _environment() -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CHORUS_") or name in KIND_OF_RUN
        }
        return {**kept, **ENVIRONMENT}
