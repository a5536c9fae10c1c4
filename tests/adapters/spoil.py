"""Tools to spoil an adapter: its configuration, its tensors, or the header below any library's checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from adapters.manifest import CONFIG, WEIGHTS
from adapters.refused import Code

Spoil = Callable[[Path], object]
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"


@dataclass(frozen=True)
class Bad:
    """`own`: it has a manifest, and is known by its content from before it was spoiled."""

    code: Code
    spoil: Spoil
    own: bool = False


def config(**changes: Any) -> Spoil:
    def change(folder: Path) -> None:
        file = folder / CONFIG
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Spoil:
    """`change` edits the dict in place."""

    def rewrite(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / WEIGHTS)

    return rewrite


def each(change: Callable[[Tensor], Tensor], part: str = "lora_") -> Spoil:
    def apply(found: dict[str, Tensor]) -> None:
        found |= {name: change(tensor) for name, tensor in found.items() if part in name}

    return tensors(apply)


def renamed(change: Callable[[str], str]) -> Spoil:
    def apply(found: dict[str, Tensor]) -> None:
        for name in list(found):
            found[change(name)] = found.pop(name)

    return tensors(apply)


def header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """`change` edits the header in place; the data stays."""

    def rewrite(folder: Path) -> None:
        found, data = split(folder)
        change(found)
        join(folder, json.dumps(found).encode(), data)

    return rewrite


def split(folder: Path) -> tuple[dict[str, Any], bytes]:
    raw = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def join(folder: Path, head: bytes, data: bytes) -> None:
    (folder / WEIGHTS).write_bytes(len(head).to_bytes(8, "little") + head + data)


def flip(folder: Path, position: int, bit: int, name: str = WEIGHTS) -> None:
    raw = bytearray((folder / name).read_bytes())
    raw[position] ^= 1 << bit
    (folder / name).write_bytes(raw)
