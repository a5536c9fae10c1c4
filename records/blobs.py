"""Uploaded files on disk, named by their sha256: written once, never changed, shared by equal uploads."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
DRAFT_SECONDS = 24 * 3600


class Blobs:
    """Files under `<home>/files/<first two digits>/<sha256>`."""

    def __init__(self, home: Path) -> None:
        self.root = home / "files"
        self.incoming = home / "incoming"

    def path(self, sha256: str) -> Path:
        """Where the blob lies; the digest comes from our rows, never from a request."""
        return self.root / sha256[:2] / sha256

    @contextmanager
    def draft(self) -> Iterator[BinaryIO]:
        """A temporary file on the same disk; gone after the block unless `place` named it."""
        self.incoming.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.incoming) as draft:
            yield draft  # type: ignore[misc]  # a wrapper that behaves like BinaryIO

    def seal(self, draft: BinaryIO) -> tuple[str, int]:
        """Put the draft's bytes on disk; (sha256, bytes). Raises OSError when the disk is full."""
        draft.flush()
        os.fsync(draft.fileno())
        draft.seek(0)
        digest, size = hashlib.sha256(), 0
        while chunk := draft.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return digest.hexdigest(), size

    def place(self, draft: BinaryIO, sha256: str) -> None:
        """Give a sealed draft its name. Call it inside the transaction that adds its row: the same lock
        keeps `remove` for an equal blob from running between the two."""
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A hard link is atomic like a rename, and the draft may still be closed (and unlinked) after it.
        with suppress(FileExistsError):
            os.link(draft.name, target)
        sync_folder(target.parent)
        sync_folder(self.root)

    def sweep(self) -> None:
        """Remove drafts that nobody has written to for DRAFT_SECONDS: a kill in mid-upload leaves them."""
        for draft in self.incoming.glob("*"):
            with suppress(FileNotFoundError):
                if draft.stat().st_mtime < time.time() - DRAFT_SECONDS:
                    draft.unlink()

    def remove(self, sha256: str) -> None:
        """Forget a blob that no row names any more."""
        self.path(sha256).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that a new name in it survives a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
