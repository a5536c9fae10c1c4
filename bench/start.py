"""From the command to the first answers, of `chorus serve` with its worker and of vLLM's own server.

The tiny base, the same engine flags, taking turns; each is started once before, so that both find their
files in memory. `ready_ratio` is ours (/readyz: it has chatted) / theirs (/health), `control_ratio` our first
answer to a GET /v1/files / theirs, `restart_ratio` from kill -9 of our engine, which a request finds at once,
to ready again / theirs.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench import report, servers
from bench.overhead import flags

POLL_SECONDS = 0.02
ASKED = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "stream": True}


@dataclass(frozen=True)
class Start:
    """Seconds since the command; `again` is from a kill of the engine to ready."""

    control: float
    ready: float
    token: float
    again: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, help="rounds (default 5, quick 1)")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 5)
    with tempfile.TemporaryDirectory() as name:
        sides: tuple[Chorus | Stock, ...] = (Chorus(Path(name)), Stock(Path(name)))
        results: dict[str, list[Start]] = {side.name: [] for side in sides}
        for turn in range(rounds + 1):
            for side in sides[:: 1 if turn % 2 else -1]:
                measured = side.measure()
                if turn:
                    results[side.name].append(measured)
            print(f"round {turn}/{rounds}{'' if turn else ', not counted'}: done", flush=True)
    finish(results["chorus"], results["vllm"])


class Chorus:
    name = "chorus"

    def __init__(self, folder: Path) -> None:
        self._folder, self._home = folder, str(folder / "home")
        create = [sys.executable, "-m", "cli.main", "tenants", "create", "bench", "--home", self._home]
        self._key = subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()

    def measure(self) -> Start:
        port = servers.free_port()
        command = [sys.executable, "-m", "cli.main", "serve", "--home", self._home, "--port", str(port)]
        began = time.perf_counter()
        with _running(command, self._folder / "chorus.log") as process, _client(port, self._key) as client:
            control = _until_answered(client, process, "/v1/files") - began
            ready = _until_answered(client, process, "/readyz") - began
            token = _first_token(client) - began
            killed = time.perf_counter()
            _engine(process).kill()
            client.post("/v1/chat/completions", json={"model": "tiny", **ASKED})  # finds it dead
            _until_answered(client, process, "/readyz", status=503)
            again = _until_answered(client, process, "/readyz") - killed
            _first_token(client)
        return Start(control, ready, token, again)


class Stock:
    name = "vllm"

    def __init__(self, folder: Path) -> None:
        self._log = folder / "vllm.log"

    def measure(self) -> Start:
        port = servers.free_port()
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port), *flags()]
        began, plain = time.perf_counter(), {"VLLM_PLUGINS": "none"}
        with _running(command, self._log, plain) as process, _client(port, "none") as client:
            ready = _until_answered(client, process, "/health") - began
            return Start(ready, ready, _first_token(client) - began)


@contextmanager
def _running(
    command: Sequence[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[psutil.Popen]:
    with log.open("wb") as out:
        whole = {**os.environ, **servers.ENVIRONMENT, **(environment or {})}
        process = psutil.Popen(command, stdout=out, stderr=out, env=whole)
    try:
        yield process
    except Exception:
        print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise
    finally:
        below = process.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        for left in psutil.wait_procs([process, *below], timeout=40)[1]:
            left.kill()  # vLLM's own server leaves its engine behind (see DECISIONS.md)
        psutil.wait_procs([process, *below])


def _client(port: int, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)


def _until_answered(client: httpx.Client, process: psutil.Popen, path: str, status: int = 200) -> float:
    """When it was. Raises RuntimeError when the server ends instead."""
    while process.poll() is None:
        try:
            if client.get(path).status_code == status:
                return time.perf_counter()
        except httpx.TransportError:
            pass
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the server ended with {process.returncode}")


def _first_token(client: httpx.Client) -> float:
    with client.stream("POST", "/v1/chat/completions", json={"model": "tiny", **ASKED}) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if '"delta":{"content":' in line:
                return time.perf_counter()
    raise RuntimeError("an answer without a token")


def _engine(process: psutil.Popen) -> psutil.Process:
    """The scheduler's process, whose end ends the engine."""
    return next(one for one in process.children(recursive=True) if "EngineCore" in " ".join(one.cmdline()))


def finish(ours: Sequence[Start], theirs: Sequence[Start]) -> None:
    def median(side: Sequence[Start], what: str) -> float:
        return float(statistics.median(getattr(start, what) for start in side))

    def ratio(what: str) -> float:
        return report.median_ratio([getattr(one, what) for one in ours], [one.ready for one in theirs])

    columns = ("control", "ready", "token", "again")
    rows = [
        ("chorus", *(f"{median(ours, what):.1f}" for what in columns)),
        ("vllm", *(f"{median(theirs, what):.1f}" for what in columns[:-1]), "-"),
    ]
    titles = (
        "server",
        "first control answer",
        "ready",
        "first chat token",
        "ready after kill -9 of the engine",
    )
    report.show("Seconds from the command", titles, rows)
    report.end(
        {
            "ready_ratio": ratio("ready"),
            "control_ratio": ratio("control"),
            "restart_ratio": ratio("again"),
            "ours_ready_s": median(ours, "ready"),
            "theirs_ready_s": median(theirs, "ready"),
            "ours_control_s": median(ours, "control"),
        }
    )


if __name__ == "__main__":
    main()
