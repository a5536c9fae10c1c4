"""From the command to the first answers, of `chorus serve` with its worker and of vLLM's own server.

The tiny base, the same engine flags, taking turns; each is started once before, so that both find their
files in memory. `ready_ratio` is ours (/readyz: it has chatted) / theirs (/health), `control_ratio` our first
answer to a GET /v1/files / theirs, `restart_ratio` from kill -9 of our engine, which a request finds at once,
to ready again / theirs.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from adapters import base as bases
from bench import options, report, servers

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
    parser = options.serving(__doc__, "one round")
    parser.add_argument("--rounds", type=int, help="rounds (default 5, quick 1)")
    given = parser.parse_args()
    rounds = given.rounds or (1 if given.quick else 5)
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name), given.base, given.device)
        sides: tuple[Chorus | Stock, ...] = (Chorus(place), Stock(place))
        results: dict[str, list[Start]] = {side.name: [] for side in sides}
        for turn in range(rounds + 1):
            for side in sides[:: 1 if turn % 2 else -1]:
                measured = side.measure()
                if turn:
                    results[side.name].append(measured)
            print(f"round {turn}/{rounds}{'' if turn else ', not counted'}: done", flush=True)
    finish(results["chorus"], results["vllm"])


@dataclass(frozen=True)
class Place:
    """`base` as `chorus serve` takes it."""

    folder: Path
    base: str
    device: str


class Chorus:
    name = "chorus"

    def __init__(self, place: Place) -> None:
        self._place, self._home = place, place.folder / "home"
        self._key = servers.new_key(self._home, "bench")
        self._model = bases.resolve(place.base, self._home).slug

    def measure(self) -> Start:
        port = servers.free_port()
        command = [sys.executable, "-m", "cli.main", "serve", "--home", str(self._home), "--port", str(port)]
        command += ["--base", self._place.base, "--", *servers.fitting(self._place.device, [])]
        began = time.perf_counter()
        with (
            _running(command, self._place, self.name, servers.PLANNED) as process,
            _client(port, self._key) as client,
        ):
            control = _until_answered(client, process, "/v1/files") - began
            ready = _until_answered(client, process, "/readyz") - began
            token = _first_token(client, self._model) - began
            killed = time.perf_counter()
            _engine(process).kill()
            client.post("/v1/chat/completions", json={"model": self._model, **ASKED})  # finds it dead
            _until_answered(client, process, "/readyz", status=503)
            again = _until_answered(client, process, "/readyz") - killed
            _first_token(client, self._model)
        return Start(control, ready, token, again)


class Stock:
    name = "vllm"

    def __init__(self, place: Place) -> None:
        self._place, base = place, bases.resolve(place.base, place.folder / "home")
        self._model, flags = base.slug, servers.stock_flags(base.path, model=base.slug)
        self._flags = [*flags, *servers.fitting(place.device, flags)]

    def measure(self) -> Start:
        port = servers.free_port()
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port)]
        command += self._flags
        began, plain = time.perf_counter(), {"VLLM_PLUGINS": "none"}
        with _running(command, self._place, self.name, plain) as process, _client(port, "none") as client:
            ready = _until_answered(client, process, "/health") - began
            return Start(ready, ready, _first_token(client, self._model) - began)


@contextmanager
def _running(
    command: Sequence[str], place: Place, name: str, environment: dict[str, str] | None = None
) -> Iterator[psutil.Popen]:
    log = place.folder / f"{name}.log"
    with log.open("wb") as out:
        whole = {**os.environ, **servers.environment_of(place.device), **(environment or {})}
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


def _first_token(client: httpx.Client, model: str) -> float:
    with client.stream("POST", "/v1/chat/completions", json={"model": model, **ASKED}) as reply:
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
