"""The header of a safetensors file, read strictly and without the library: the file is not trusted.

Format: 8 bytes little-endian length, a JSON object {name: {dtype, shape, data_offsets}}, the data. Stricter
than the format in one thing: 1 MiB of header (the format's own 100 MB take seconds and gigabytes to parse;
126 layers with 7 adapted modules each need 0.3 MB). Called by check.py.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from adapters.json_object import read_object
from adapters.manifest import WEIGHTS
from adapters.refused import Code, Refused, shown

MAX_HEADER = 1024 * 1024
ITEM_BYTES = {"F16": 2, "BF16": 2, "F32": 4}
MAX_DIMENSION = 1 << 32


@dataclass(frozen=True)
class Tensor:
    """`start` and `end` are bytes from the beginning of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """`tensors` as they lie, without gap or overlap, from the file offset `data` to the end, `size`."""

    tensors: tuple[Tensor, ...]
    data: int
    size: int


def read_header(file: BinaryIO) -> Header:
    """Parse `file` from its beginning; a header that is returned fits the file's size. Raises Refused."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    first = file.read(8)
    if len(first) < 8:
        raise Refused(Code.TRUNCATED, f"{WEIGHTS} has {size} bytes, less than the length of a header")
    length = int.from_bytes(first, "little")
    if length > MAX_HEADER:
        raise Refused(
            Code.HEADER_TOO_LARGE, f"{WEIGHTS} declares a header of {length:,} bytes, {MAX_HEADER:,} at most"
        )
    raw = file.read(length)
    if len(raw) < length:
        raise Refused(Code.TRUNCATED, f"{WEIGHTS} ends within its header")
    if not raw.startswith(b"{"):
        raise Refused(Code.BAD_HEADER, f"{WEIGHTS} is not a safetensors file")
    entries = read_object(raw, f"The header of {WEIGHTS}", Code.BAD_HEADER)
    _check_metadata(entries.pop("__metadata__", {}))
    tensors = sorted(
        (_tensor(name, entry) for name, entry in entries.items()),
        key=lambda tensor: (tensor.start, tensor.end),
    )
    _check_tiling(tensors, size - 8 - length)
    return Header(tuple(tensors), data=8 + length, size=size)


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Refused(Code.BAD_HEADER, "__metadata__ is not a map of strings")


def _tensor(name: str, entry: Any) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end], **rest} if not rest:
            pass
        case _:
            raise Refused(Code.BAD_HEADER, f"The entry of {shown(name)} is not dtype, shape and offsets")
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise Refused(Code.BAD_HEADER, f"Shape or offsets of {shown(name)} are not natural numbers")
    if dtype not in ITEM_BYTES:
        raise Refused(Code.DTYPE, f"{shown(name)} has the type {shown(dtype)}")
    # Few and small factors first: a shape of ten thousand large numbers is a product of a million digits.
    if len(shape) > 8 or any(number >= MAX_DIMENSION for number in shape):
        raise Refused(Code.BAD_HEADER, f"{shown(name)} has a shape that no adapter has")
    if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise Refused(Code.BAD_HEADER, f"Shape and offsets of {shown(name)} do not agree")
    return Tensor(name, dtype, tuple(shape), start, end)


def _check_tiling(tensors: list[Tensor], available: int) -> None:
    """Bytes that no tensor names could hide anything; bytes that two name would be two things."""
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            raise Refused(Code.BAD_HEADER, f"There is a gap or an overlap before {shown(tensor.name)}")
        position = tensor.end
    if position > available:
        raise Refused(Code.TRUNCATED, f"{WEIGHTS} lacks {position - available:,} bytes at its end")
    if position < available:
        raise Refused(
            Code.BAD_HEADER, f"{WEIGHTS} has {available - position:,} bytes that belong to no tensor"
        )
