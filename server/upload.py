"""A multipart form read as it comes: files go straight to their drafts on disk, nothing piles up in memory.

Starlette's own parser would first spool it into the system's temporary folder, often a memory disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from server.errors import invalid

MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096
MAX_NAME = 512
BUFFER = 1 << 20


@dataclass
class Form:
    """`drafts` take the bytes of the fields of these names. `filenames`, of those that came, are text to
    show, and never paths of ours."""

    drafts: Mapping[str, BinaryIO]
    filenames: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    _name: str = ""
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _header: tuple[bytes, bytes] = (b"", b"")
    _value: bytearray = field(default_factory=bytearray)
    _draft: BinaryIO | None = None
    _is_whole: bool = False

    def on_part_begin(self) -> None:
        self._headers, self._header, self._value, self._draft = {}, (b"", b""), bytearray(), None
        if len(self.fields) >= MAX_FIELDS:
            raise invalid(f"The form has more than {MAX_FIELDS} fields.")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = self._header[0] + data[start:end], self._header[1]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = self._header[0], self._header[1] + data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = (b"", b"")

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name in self.fields or self._name in self.filenames:
            raise invalid(f"Send '{self._name[:64]}' once only.", self._name[:64], "invalid_value")
        self._draft = self.drafts.get(self._name)
        if self._draft is not None:
            given = options.get(b"filename", b"").decode("utf-8", "replace")
            self.filenames[self._name] = _shown(given, self._name)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._draft is not None:
            self._draft.write(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise invalid(f"Form field '{self._name[:64]}' is too long.", self._name[:64], "invalid_value")

    def on_part_end(self) -> None:
        if self._draft is None:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def on_end(self) -> None:
        self._is_whole = True

    def check_whole(self, param: str) -> None:
        """Raises RequestRefused for a body without its closing boundary: a file may be half there."""
        if not self._is_whole:
            said = (
                "The form is cut off: it ends before its closing boundary. Nothing was kept; send it again."
            )
            raise invalid(said, param, "invalid_value")

    def check_fields(self, known: Set[str], needed: Set[str]) -> None:
        """Raises RequestRefused for a field beyond `known` (and the drafts), or one of `needed` not there."""
        for name in self.fields:
            if name not in known:
                raise invalid(f"Unknown parameter: '{name[:64]}'.", name[:64], "unknown_parameter")
        for name in sorted(needed - {*self.fields, *self.filenames}):
            raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")


def _shown(filename: str, param: str) -> str:
    if not filename or len(filename) > MAX_NAME or not filename.isprintable():
        said = f"The file needs a name of 1 to {MAX_NAME} printable characters."
        raise invalid(said, param, "invalid_value")
    return filename


async def read_form(request: Request, drafts: Mapping[str, BinaryIO], needed: Set[str]) -> Form:
    """Parse the body; the files' bytes are in `drafts`, unsynced. Raises RequestRefused, OSError.

    `needed` are the fields to name to whoever sends no form.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    first = next(iter(drafts))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        fields = " and ".join(f"`{name}`" for name in sorted(needed))
        raise invalid(f"Send multipart/form-data with the fields {fields}.", first)
    form = Form(drafts)
    names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished")
    callbacks = {
        f"on_{name}": getattr(form, f"on_{name}") for name in (*names, "part_data", "part_end", "end")
    }
    try:
        parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= BUFFER:
                await run_in_threadpool(parser.write, bytes(waiting))  # it writes to disk
                waiting.clear()
        await run_in_threadpool(parser.write, bytes(waiting))
        parser.finalize()
    except FormParserError as error:
        raise invalid(f"The form cannot be read: {error}.", first, "invalid_value") from error
    form.check_whole(first)
    return form
