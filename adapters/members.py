"""Opens the files of an adapter folder that nobody vouches for: these names, regular files, no links.

Each file is opened once and all checks read that one descriptor, so that exchanging a path in between
changes nothing. Called by check.py.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from adapters.manifest import CONFIG, FILE, WEIGHTS
from adapters.refused import Code, Refused, shown

README = "README.md"  # PEFT writes one; it is neither read nor kept
# The weights have no limit of their own: header and shapes decide their size before they are read.
SMALL = 256 * 1024
LIMITS = {CONFIG: SMALL, FILE: SMALL, README: 1024 * 1024, WEIGHTS: None}
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
MOST_ENTRIES = 16


@contextmanager
def opened(folder: Path) -> Iterator[dict[str, BinaryIO]]:
    """The folder's files by name, open for reading; CONFIG and WEIGHTS are among them. Raises Refused."""
    with ExitStack() as stack:
        descriptor = _open_folder(folder)
        stack.callback(os.close, descriptor)
        files = {name: stack.enter_context(_open(name, descriptor)) for name in _names(descriptor)}
        files.pop(README, None)
        yield files


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and folder.is_symlink():
            raise Refused(Code.LINK, f"{shown(str(folder))} is a symbolic link") from None
        if isinstance(error, PermissionError):
            raise Refused(Code.UNREADABLE, f"{shown(str(folder))} may not be read") from None
        raise Refused(Code.FOLDER_MISSING, f"{shown(str(folder))} is not a folder") from None


def _names(folder: int) -> list[str]:
    """All names in the folder, each of which an adapter may have."""
    with os.scandir(folder) as entries:
        found = sorted(entry.name for entry in islice(entries, MOST_ENTRIES))
    strange = [name for name in found if name not in LIMITS]
    for name in strange:
        if name.lower().endswith(PICKLES):
            raise Refused(Code.PICKLE, f"{shown(name)} is a pickle")
    if strange:
        raise Refused(Code.EXTRA_FILE, f"{shown(strange[0])} does not belong to an adapter")
    for name in (CONFIG, WEIGHTS):
        if name not in found:
            raise Refused(Code.FILE_MISSING, f"There is no {name}")
    return found


def _open(name: str, folder: int) -> BinaryIO:
    _refuse_unusual(name, os.stat(name, dir_fd=folder, follow_symlinks=False))
    try:
        # Not blocking: the name may have become a FIFO since, which would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.fdopen(os.open(name, flags, dir_fd=folder), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(Code.LINK, f"{name} is a symbolic link") from None
        raise Refused(Code.UNREADABLE, f"{name} cannot be opened ({error.strerror})") from None
    try:
        _refuse_unusual(name, os.fstat(file.fileno()))
    except Refused:
        file.close()
        raise
    return file


def _refuse_unusual(name: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise Refused(Code.LINK, f"{name} is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        raise Refused(Code.NOT_A_FILE, f"{name} is not a regular file")
    if found.st_nlink > 1:
        raise Refused(Code.LINK, f"{name} has a second name (a hard link) through which it could be changed")
    limit = LIMITS[name]
    if limit is not None and found.st_size > limit:
        raise Refused(Code.FILE_TOO_LARGE, f"{name} has {found.st_size:,} bytes, {limit:,} at most", name)
