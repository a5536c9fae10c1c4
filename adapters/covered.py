"""Whole layers in an adapter's file that are the base's own, number for number: without them nothing is lost.

PEFT writes the embedding and the LM head by itself (save_embedding_layers), and modules_to_save may name what
the run never changed. Whatever differs in one bit stays, and the check refuses it. Called by repair.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from adapters.base import Base
from adapters.foreign_names import HEADS, WRAPPERS
from adapters.refused import Code, Refused
from adapters.safetensors_header import ITEM_BYTES, Header, Tensor

PIECE = 1 << 20  # bytes of the base's that are compared at once, a multiple of every item's size
# What PEFT and its users put around a layer that is saved whole.
AROUND = {"modules_to_save", "base_layer", "original_module", "default"}
HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"


@dataclass(frozen=True)
class Place:
    """Where a tensor of the base lies; `start` counts from the beginning of the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


def whole_layers(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if "lora_" not in tensor.name and tensor.name.endswith(".weight")]


def repeated(file: BinaryIO, header: Header, base: Base) -> list[Tensor]:
    """The whole layers in `file`, when each of them equals the base's; else none.

    Raises Refused when the base cannot be read, OSError from the disk.
    """
    found = whole_layers(header.tensors)
    if not found:
        return []
    places = dict(_places(base))
    if HEAD not in places and EMBEDDING in places:
        places[HEAD] = places[EMBEDDING]  # tied: the base has no other head
    for tensor in found:
        place = places.get(_layer(tensor.name))
        if place is None or not _equal(file, header.data + tensor.start, tensor, place):
            return []
    return found


def _layer(name: str) -> str:
    """The name without what may stand before and around it."""
    parts = [part for part in name.split(".") if part not in WRAPPERS | AROUND]
    while parts and parts[0] in HEADS:
        del parts[0]
    return ".".join(parts)


def _places(base: Base) -> Iterator[tuple[str, Place]]:
    try:
        for path in sorted(base.path.glob("*.safetensors")):
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            for name, entry in entries.items():
                shape, start = tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
                yield _layer(name), Place(path, entry["dtype"], shape, start)
    except (OSError, ValueError, KeyError) as error:
        raise Refused(Code.BASE_UNREADABLE, f"The base's weights cannot be read ({error})") from None


def _equal(file: BinaryIO, start: int, tensor: Tensor, place: Place) -> bool:
    """bfloat16 that training has widened to float32 is the same numbers."""
    widened = (tensor.dtype, place.dtype) == ("F32", "BF16")
    if tensor.shape != place.shape or not (widened or tensor.dtype == place.dtype):
        return False
    left = (tensor.end - tensor.start) // ITEM_BYTES[tensor.dtype] * ITEM_BYTES[place.dtype]
    file.seek(start)
    with place.file.open("rb") as base:
        base.seek(place.start)
        while left:
            theirs = base.read(min(PIECE, left))
            left -= len(theirs)
            if widened:
                theirs = (np.frombuffer(theirs, "<u2").astype("<u4") << 16).tobytes()
            if not theirs or file.read(len(theirs)) != theirs:
                return False
    return True
