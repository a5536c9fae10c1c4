"""Takes off the disk what no row needs any more; server/follow.py calls it now and then."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from adapters import publish
from records import files
from records.blobs import Blobs
from records.database import Database
from records.reports import Reports

# An engine reads a folder only while it holds the version, and lets a deleted one go after its last stream,
# within a second of the deletion. A server that cannot read the rows for a while may be later than that.
DRAIN_SECONDS = 24 * 3600


def sweep(database: Database, blobs: Blobs, home: Path) -> None:
    """Remove files whose time is over, reports without a file, cut-off drafts, and deleted versions."""
    blobs.sweep()
    with database.write() as session:
        for row in files.expired(session, int(time.time())):
            if files.remove(session, row):
                blobs.remove(row.sha256)
        kept = Reports(home)
        for sha256 in files.unnamed(session, list(kept.files())):  # one may end after its file was deleted
            kept.remove(sha256)
        for sha256 in publish.unused(session, int(time.time()) - DRAIN_SECONDS):
            shutil.rmtree(publish.folder(home, sha256), ignore_errors=True)
