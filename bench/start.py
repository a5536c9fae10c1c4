"""From the command to the first answers, of `chorus serve` with its worker and of vLLM's own server.

The tiny base, the same engine flags, taking turns; each is started once before, so that both find their
files in memory. `ready_ratio` is ours (/readyz: it has chatted) / theirs (/health), `control_ratio` our first
answer to a GET /v1/files / theirs, `restart_ratio` from kill -9 of our engine, which a request finds at once,
to ready again / theirs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from adapters import base as bases
from bench import options, report, servers
from bench.launched import launched, until_answered

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

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        return servers.environment_of(self.device) | more


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
        environment, began = self._place.environment(servers.PLANNED), time.perf_counter()
        with (
            launched(command, self._place.log(self.name), environment) as process,
            _client(port, self._key) as client,
        ):
            control = until_answered(client, process, "/v1/files") - began
            ready = until_answered(client, process, "/readyz") - began
            token = _first_token(client, self._model) - began
            killed = time.perf_counter()
            _engine(process).kill()
            client.post("/v1/chat/completions", json={"model": self._model, **ASKED})  # finds it dead
            until_answered(client, process, "/readyz", status=503)
            again = until_answered(client, process, "/readyz") - killed
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
        environment, began = self._place.environment({"VLLM_PLUGINS": "none"}), time.perf_counter()
        with (
            launched(command, self._place.log(self.name), environment) as process,
            _client(port, "none") as client,
        ):
            ready = until_answered(client, process, "/health") - began
            return Start(ready, ready, _first_token(client, self._model) - began)


def _client(port: int, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)


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
