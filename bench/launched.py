"""A server's process: started, asked until it answers, ended with all that it started."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

START_SECONDS = 600
STOP_SECONDS, LEFT_SECONDS = 40, 10  # the server, then what it started
POLL_SECONDS = 0.02


@contextmanager
def launched(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[psutil.Popen]:
    """`environment` is added to ours. The end of the log is printed when the body fails."""
    with log.open("wb") as out:
        process = psutil.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
    try:
        yield process
    except Exception:
        print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise
    finally:
        _end(process)


def _end(process: psutil.Popen) -> None:
    if process.poll() is not None:
        return
    below = process.children(recursive=True)
    for one in reversed([process, *below]):
        one.resume()  # one that is frozen would not hear of its end
    process.send_signal(signal.SIGTERM)
    for one in psutil.wait_procs([process], timeout=STOP_SECONDS)[1]:
        one.kill()
    for one in psutil.wait_procs(below, timeout=LEFT_SECONDS)[1]:
        one.kill()  # vLLM's own server leaves its engine behind (see DECISIONS.md)
    psutil.wait_procs([process, *below])


def until_answered(client: httpx.Client, process: psutil.Popen, path: str, status: int = 200) -> float:
    """When it was (time.perf_counter). Raises RuntimeError when the server ends, or takes too long."""
    deadline = time.perf_counter() + START_SECONDS
    while process.poll() is None:
        try:
            if client.get(path).status_code == status:
                return time.perf_counter()
        except httpx.TransportError:
            pass
        if time.perf_counter() > deadline:
            raise RuntimeError(f"no answer of {status} from {path} in {START_SECONDS} s")
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the server ended with {process.returncode}")
