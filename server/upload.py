"""A multipart form read as it comes: the file goes straight to its draft on disk, nothing piles up in memory.

Starlette's own parser would first spool it into the system's temporary folder, often a memory disk.
"""

from __future__ import annotations

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
    """`filename` is None while no file was seen; it is text to show, and never a path of ours."""

    draft: BinaryIO
    filename: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    _name: str = ""
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _header: tuple[bytes, bytes] = (b"", b"")
    _value: bytearray = field(default_factory=bytearray)
    _in_file: bool = False

    def on_part_begin(self) -> None:
        self._headers, self._header, self._value, self._in_file = {}, (b"", b""), bytearray(), False
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
        if self._name == "file":
            if self.filename is not None:
                raise invalid("Send one file only.", "file", "invalid_value")
            self.filename = _shown(options.get(b"filename", b"").decode("utf-8", "replace"))
            self._in_file = True

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.draft.write(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise invalid(f"Form field '{self._name[:64]}' is too long.", self._name[:64], "invalid_value")

    def on_part_end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._value.decode("utf-8", "replace")


def _shown(filename: str) -> str:
    if not filename or len(filename) > MAX_NAME or not filename.isprintable():
        said = f"The file needs a name of 1 to {MAX_NAME} printable characters."
        raise invalid(said, "file", "invalid_value")
    return filename


async def read_form(request: Request, draft: BinaryIO) -> Form:
    """Parse the body; the file's bytes are in `draft`, unsynced. Raises RequestRefused, OSError."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise invalid("Send the file as multipart/form-data with the fields `file` and `purpose`.", "file")
    form = Form(draft)
    names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished")
    callbacks = {f"on_{name}": getattr(form, f"on_{name}") for name in (*names, "part_data", "part_end")}
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
        raise invalid(f"The form cannot be read: {error}.", "file", "invalid_value") from error
    return form
