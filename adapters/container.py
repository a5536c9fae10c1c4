"""The memory that a container, or a service with a limit, leaves to this process (Linux's cgroups)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

OWN, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def memory(total: int) -> int:
    """Bytes: the least of `total` and the limits of this process's cgroup and of those above it."""
    return min([total, *_limits()])


def _limits() -> Iterator[int]:
    for file in _files():
        try:
            yield int(file.read_text())
        except (OSError, ValueError):  # not on this machine, or "max"
            continue


def _files() -> Iterator[Path]:
    """By cgroups(7): a line is `number:controllers:path`, that of v2 has no controllers. Where a container
    sees its own cgroup as the root, the path is / or leads out of it."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        own = PurePosixPath(path.replace("/..", "") or "/")
        for each in (own, *own.parents):
            yield ROOT / controllers / each.relative_to("/") / name
