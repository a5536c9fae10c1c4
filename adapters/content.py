"""The content address of an adapter: one sha256 over its files, the name of a version's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from adapters.manifest import CONFIG, FILE, WEIGHTS

MEMBERS = (CONFIG, WEIGHTS, FILE)


def combined(sha256: Mapping[str, str]) -> str:
    """The address, from the sha256 of each file by name; a member that is not there does not count."""
    total = hashlib.sha256()
    for name in MEMBERS:
        if name in sha256:
            total.update(f"{name}\0{sha256[name]}\n".encode())
    return total.hexdigest()


def content_digest(folder: Path) -> str:
    """The address of what lies in `folder`; of a whole version it is the folder's name.

    Raises OSError when a file cannot be read.
    """
    found = {}
    for name in MEMBERS:
        if (folder / name).exists():
            with (folder / name).open("rb") as stream:
                found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return combined(found)
