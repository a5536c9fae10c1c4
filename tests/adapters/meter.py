"""What each of many admissions takes, in a process of its own. For test_check.py and bench/admission.py.

That process is `python -m tests.adapters.meter BASE`: [[folder, sha256 or null], ...] on stdin, figures on
stdout. It imports no torch: the memory is the check's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from adapters import base as bases
from adapters.check import admit
from adapters.refused import Refused

ROOT = Path(__file__).parents[2]


class Asked(Protocol):
    """A folder, and its content's address if it is one of our own versions."""

    @property
    def folder(self) -> Path: ...

    @property
    def sha256(self) -> str | None: ...


class Taken(NamedTuple):
    code: str  # or "admitted"
    seconds: float  # of the processor
    peak_bytes: int  # the highest that the process has come to by then


def measure(base: Path, asked: Sequence[Asked]) -> list[Taken]:
    """Admit one after the other. The first should be good: what is loaded on first use is nobody's fault."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.meter", str(base)],
        input=json.dumps([(str(each.folder), each.sha256) for each in asked]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return [Taken(*taken) for taken in json.loads(done.stdout.splitlines()[-1])]


def verdict(folder: str, base: bases.Base, sha256: str | None) -> str:
    try:
        admit(Path(folder), base, max_rank=32, expected_sha256=sha256)
    except Refused as refused:
        return refused.code
    return "admitted"


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        base = bases.resolve(sys.argv[1], Path(home))
    measured = []
    for folder, sha256 in json.load(sys.stdin):
        start = time.process_time()  # of this process alone: the machine may be busy with something else
        code = verdict(folder, base, sha256)
        seconds = time.process_time() - start
        measured.append(Taken(code, seconds, memory("VmHWM")))
    print(json.dumps(measured))


def memory(name: str) -> int:
    """In bytes. Not getrusage's ru_maxrss: across fork and exec that keeps the peak of the parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
