"""Admits many folders in a process of its own and prints what each took: `python -m tests.adapters.meter`.

Reads [[folder, sha256 or null, own], ...] from stdin, the base's source from its argument. No torch: the
memory is the check's.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from adapters import base as bases
from adapters.check import admit
from adapters.refused import Refused


def verdict(folder: str, base: bases.Base, sha256: str | None, own: bool) -> str:
    try:
        admit(Path(folder), base, max_rank=32, need_manifest=own, expected_sha256=sha256)
    except Refused as refused:
        return refused.code
    return "admitted"


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        base = bases.resolve(sys.argv[1], Path(home))
    measured = []
    for folder, sha256, own in json.load(sys.stdin):
        start = time.process_time()  # of this process alone: the machine may be busy with something else
        code = verdict(folder, base, sha256, own)
        seconds = time.process_time() - start
        measured.append({"code": code, "seconds": seconds, "peak_bytes": memory("VmHWM")})
    print(json.dumps(measured))


def memory(name: str) -> int:
    """In bytes. Not getrusage's ru_maxrss: across fork and exec that keeps the peak of the parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
