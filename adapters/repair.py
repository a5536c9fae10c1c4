"""A foreign adapter made into one of the form that the check admits, where that loses nothing; each change is
said.

Works on the files, not on the numbers: the header and the configuration are written anew, the data is copied.
What cannot be repaired without loss is left as it is, and the check refuses it with its code. Called by
imported.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from adapters import covered, foreign_config, lora_config, members, shapes
from adapters.base import Base
from adapters.foreign_names import Layers, renamed
from adapters.json_object import read_object
from adapters.manifest import CONFIG, FILE, WEIGHTS
from adapters.refused import Code, Refused, shown
from adapters.safetensors_header import Header, Tensor, read_header

PIECE = 1 << 20
ALIGNMENT = 8  # of the data, as the safetensors library writes it


def repair(folder: Path, draft: Path, base: Base, *, max_rank: int) -> list[str]:
    """Write what is in `folder` to `draft`, a new folder with two files, and say what was repaired.

    Raises Refused before it writes when names, shapes or configuration do not fit `base`, so that no more is
    written than such an adapter has. Raises OSError from the disk.
    """
    with members.opened(folder) as files:
        with _about(CONFIG):
            described = files[CONFIG].read(members.SMALL + 1)
            config = read_object(described, CONFIG, Code.BAD_JSON)
        with _about(WEIGHTS):
            header = read_header(files[WEIGHTS])
            dropped = covered.repeated(files[WEIGHTS], header, base)
        gone = set(dropped)
        kept = [tensor for tensor in header.tensors if tensor not in gone]
        linears = shapes.linears(base)
        layers = Layers(linears)
        patterns = [config.get(name) for name in ("rank_pattern", "alpha_pattern")]
        new = renamed([tensor.name for tensor in kept], layers, patterns)
        tensors = [replace(tensor, name=new.names.get(tensor.name, tensor.name)) for tensor in kept]
        with _about(CONFIG):
            changes = foreign_config.changes(config, tensors, dropped, linears, layers, bool(new.names))
            raw = json.dumps(config | changes.values, indent=2).encode() if changes.values else described
            pairs = shapes.expected(lora_config.read(raw, max_rank), base)
        with _about(WEIGHTS):
            shapes.compare(tensors, pairs)
        draft.mkdir(parents=True)
        (draft / CONFIG).write_bytes(raw)
        with (draft / WEIGHTS).open("xb") as target:
            _write(files[WEIGHTS], header, target, tensors if new.names or dropped else None)
        others = [f"{FILE} is left out: of an import the training is not known"] if FILE in files else []
    return [*new.said, *_said_of(dropped), *changes.said, *others]


@contextmanager
def _about(file: str) -> Iterator[None]:
    """A refusal out of the block is the fault of that file."""
    try:
        yield
    except Refused as refused:
        refused.file = file
        raise
    except OSError as error:
        raise Refused(Code.UNREADABLE, f"{file} cannot be read ({error.strerror})") from error


def _said_of(dropped: Sequence[Tensor]) -> list[str]:
    if not dropped:
        return []
    return [
        f"{len(dropped)} whole layers are those of the base and are left out: {shown(dropped[0].name)} first"
    ]


def _write(source: BinaryIO, header: Header, target: BinaryIO, tensors: Sequence[Tensor] | None) -> None:
    """The file with these tensors, which lie in `source` as they say; None: the file as it is."""
    if tensors is None:
        _copy(source, 0, header.size, target)
        return
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in tensors:
        end = position + tensor.end - tensor.start
        entries[tensor.name] = {
            "dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end],
        }  # fmt: skip
        position = end
    head = json.dumps(entries, separators=(",", ":")).encode()
    head += b" " * (-len(head) % ALIGNMENT)
    target.write(len(head).to_bytes(8, "little") + head)
    for tensor in tensors:
        _copy(source, header.data + tensor.start, tensor.end - tensor.start, target)


def _copy(source: BinaryIO, start: int, length: int, target: BinaryIO) -> None:
    source.seek(start)
    while length:
        piece = source.read(min(PIECE, length))
        if not piece:
            raise Refused(Code.TRUNCATED, f"{WEIGHTS} has become shorter while it was read")
        target.write(piece)
        length -= len(piece)
