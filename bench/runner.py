"""One bench as a process of its own, in a session of its own: what it printed last, or how it failed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters import cpu as cpus
from bench import machine
from bench.figures import Bench
from bench.runs import Run

ROOT = Path(__file__).parents[1]
MOST_SECONDS = 3 * 3600  # one that hangs must not keep the others from their turn
TAIL = 2000


def arguments(
    bench: Bench, *, quick: bool, device: str, base: str | None, cpu: str | None = None
) -> list[str]:
    """What follows `python -m bench.NAME`."""
    given = ["--quick"] if quick else []
    given += ["--cpu", cpu] if cpu else []
    if bench.serving and device != "cpu":
        given += ["--device", device]
    if bench.serving and base:
        given += ["--base", base]
    return given


def run(
    bench: Bench,
    *,
    quick: bool,
    device: str,
    base: str | None,
    cpu: str | None = None,
    seconds: float = MOST_SECONDS,
) -> Run:
    """Never raises for what the bench does: a failure is in `failed`. This process acts as `cpu` by now."""
    base = base if bench.serving else None
    given = arguments(bench, quick=quick, device=device, base=base, cpu=cpu)
    at, began, clock = commit(), datetime.now(UTC), time.monotonic()
    os.sync()  # what the one before left to be written would hold up the commits of this one
    figures, failed = measure([sys.executable, "-m", f"bench.{bench.name}", *given], seconds)
    shown = Path(base).name if base and Path(base).is_dir() else base  # a folder of this machine is no news
    told = arguments(bench, quick=quick, device=device, base=shown, cpu=cpu)
    kind, own = cpus.kind(), cpus.kind({})
    return Run(
        bench=bench.name,
        kind=kind,
        forced=own if own != kind else None,
        device=device,
        base=shown,
        quick=quick,
        command=shlex.join(["python", "-m", f"bench.{bench.name}", *told]),
        commit=at,
        began=began.strftime("%Y-%m-%dT%H:%MZ"),
        seconds=round(time.monotonic() - clock),
        failed=failed,
        figures=figures,
        machine=machine.describe(device),
    )


def measure(command: Sequence[str], seconds: float) -> tuple[dict[str, Any] | None, str | None]:
    """(last line, None) or (None, how it failed); what it says is passed on as it comes."""
    last = ""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        with _ended(process, seconds) as late:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                last = line.strip() or last
            process.wait()
        errors.seek(0)
        said = errors.read()
    if process.returncode == 0 and (found := _object(last)):
        return found, None
    print(said[-TAIL:], file=sys.stderr, flush=True)
    if late.is_set():
        return None, f"took longer than {seconds:.0f} s"
    if process.returncode == 0:
        return None, "ended without a last line of JSON"
    why = next((line for line in reversed(said.splitlines()) if line.strip()), "no reason given")
    return None, f"status {process.returncode}: {_without_paths(why.strip())[:200]}"


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str], seconds: float) -> Iterator[threading.Event]:
    """Ends the bench after so long, and in any case all that it leaves behind; the event: it was late.

    In a thread, as what it leaves behind may hold its output open.
    """
    late = threading.Event()

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def watch() -> None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            late.set()
        end()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield late
    finally:
        end()
        watcher.join()


def _object(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(json.JSONDecodeError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


def _without_paths(text: str) -> str:
    return re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+([\w.@+-]+)", r"\1", text)


def commit() -> str | None:
    """The commit that runs, and whether it was changed since (the document itself aside)."""

    def git(*what: str) -> str:
        done = subprocess.run(["git", *what], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
        return done.stdout

    try:
        head = git("rev-parse", "--short=10", "HEAD").strip()
        return head + (" and changes" if git("status", "--porcelain", "--", ".", ":!docs") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
