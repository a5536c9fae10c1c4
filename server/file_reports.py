"""What the data doctor says of uploaded files: made beside the server by `training.doctor`."""

from __future__ import annotations

from pathlib import Path

from adapters.base import Base
from records.reports import Reports
from server.aside import Aside
from server.engine.base import RequestRefused


class FileReports:
    """A report is made once, whoever asks for it."""

    def __init__(self, home: Path, base: Base) -> None:
        self._home, self._base, self._kept, self._aside = home, base, Reports(home), Aside()

    def begin(self, tenant: str, sha256: str) -> None:
        """After an upload: nobody waits, and a failure is the log's. A base without a tokenizer of its own
        can be neither trained nor reported on."""
        if (self._base.path / "tokenizer.json").is_file():
            self._aside.make(tenant, *self._work(sha256))

    async def get(self, tenant: str, sha256: str) -> bytes:
        """The report as JSON. Raises RequestRefused (500) when it cannot be made."""
        found = await self._aside.get(tenant, *self._work(sha256))
        if found is not None:
            return found
        raise RequestRefused(
            500,
            "The report of this file could not be made; the server's log says why. The file itself is kept.",
            type="server_error",
            code="report_failed",
        )

    def remove(self, sha256: str) -> None:
        """Called in a thread when no row names the file any more; what is in the making then goes with the
        next sweep."""
        self._kept.remove(sha256)

    async def stop(self) -> None:
        await self._aside.stop()

    def _work(self, sha256: str) -> tuple[Path, str, *tuple[str, ...]]:
        return (
            self._kept.path(sha256, self._base.reads_as), "training.doctor", "--home", str(self._home),
            "--base", str(self._base.path), "--slug", self._base.slug, "--sha256", sha256,
        )  # fmt: skip
