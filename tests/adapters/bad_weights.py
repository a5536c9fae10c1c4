"""Bad adapter_model.safetensors: the header, names and shapes against the base, and the values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from adapters.manifest import WEIGHTS
from adapters.refused import Code
from tests.adapters.spoil import LAYER, A, B, Bad, Spoil, each, flip, header, join, renamed, split, tensors

DATA_END = -4  # the last number's bytes, little-endian float32


def _huge_header(folder: Path) -> None:
    """A header of 200 MB that takes no disk."""
    size = 200_000_000
    (folder / WEIGHTS).write_bytes(size.to_bytes(8, "little") + b"{")
    os.truncate(folder / WEIGHTS, 8 + size)


def _many_tensors(count: int) -> Spoil:
    """Tensors without a number in them, each 60 bytes of header."""

    def make(folder: Path) -> None:
        entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        join(folder, json.dumps({str(n): entry for n in range(count)}, separators=(",", ":")).encode(), b"")

    return make


def _twice(folder: Path) -> None:
    found, data = split(folder)
    entry = json.dumps({A: found[A]})
    join(folder, (json.dumps(found)[:-1] + "," + entry[1:]).encode(), data)


def _length(number: int) -> Spoil:
    def change(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(number.to_bytes(8, "little") + raw[8:])

    return change


def _append(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"hidden")


def _entry(**changes: Any) -> Spoil:
    return header(lambda found: found[A].update(changes))


def _shift(found: dict[str, Any]) -> None:
    """Two tensors share their bytes, the last ones belong to nobody."""
    first, second = sorted(found, key=lambda name: found[name].get("data_offsets", [1 << 60]))[:2]
    length = found[second]["data_offsets"][1] - found[second]["data_offsets"][0]
    start = found[first]["data_offsets"][0]
    found[second]["data_offsets"] = [start, start + length]


def _set(name: str, value: Any) -> Spoil:
    return tensors(lambda found: found.__setitem__(name, value))


def _number(value: float, dtype: torch.dtype = torch.float32, name: str = A) -> Spoil:
    """One number of the tensor, in weights of this type."""

    def change(found: dict[str, torch.Tensor]) -> None:
        found |= {each_name: tensor.to(dtype) for each_name, tensor in found.items()}
        found[name][1, 1] = value

    return tensors(change)


def _without(part: str) -> Spoil:
    return tensors(lambda found: [found.pop(name) for name in list(found) if part in name])


def _narrow(found: dict[str, torch.Tensor]) -> None:
    """As of a base with a smaller hidden size: vLLM would copy it into a part of the slot."""
    for name, tensor in found.items():
        found[name] = tensor[:, :128] if "lora_A" in name else tensor[:128]


def _more_layers(found: dict[str, torch.Tensor]) -> None:
    found |= {
        name.replace("layers.0.", "layers.5."): t.clone() for name, t in found.items() if "layers.0." in name
    }


def _low_bit(folder: Path) -> None:
    """The lowest bit of a number: no check of values can see it."""
    flip(folder, DATA_END, 0)


WEIGHT_FILES = {
    "a header of 200 MB": Bad(Code.HEADER_TOO_LARGE, _huge_header),
    "100,000 tensors": Bad(Code.HEADER_TOO_LARGE, _many_tensors(100_000)),
    "as many tensors as a header may hold": Bad(Code.UNEXPECTED_TENSOR, _many_tensors(17_000)),
    "a length beyond the end": Bad(Code.TRUNCATED, _length(1_000_000)),
    "the longest length": Bad(Code.HEADER_TOO_LARGE, _length(2**64 - 1)),
    "a length of zero": Bad(Code.BAD_HEADER, _length(0)),
    "a header that is a list": Bad(Code.BAD_HEADER, lambda folder: join(folder, b"[]", b"")),
    "a header of NULs": Bad(Code.BAD_HEADER, lambda folder: join(folder, bytes(64), b"")),
    "a header that is not UTF-8": Bad(Code.BAD_HEADER, lambda folder: join(folder, b'{"\xff":1}', b"")),
    "a header 10,000 levels deep": Bad(Code.BAD_HEADER, lambda folder: join(folder, b'{"a":' * 10_000, b"")),
    "a header without tensors": Bad(Code.MISSING_TENSOR, lambda folder: join(folder, b"{}", b"")),
    "a flipped bit in the header": Bad(Code.BAD_HEADER, lambda folder: flip(folder, 8, 5)),
    "a tensor's entry twice": Bad(Code.DUPLICATE_KEY, _twice),
    "bytes behind the last tensor": Bad(Code.BAD_HEADER, _append),
    "a gap": Bad(Code.BAD_HEADER, header(lambda found: found.pop(A))),
    "an overlap": Bad(Code.BAD_HEADER, header(_shift)),
    "offsets below zero": Bad(Code.BAD_HEADER, _entry(data_offsets=[-8, 0])),
    "offsets as text": Bad(Code.BAD_HEADER, _entry(data_offsets=["0", "1"])),
    "offsets from back to front": Bad(Code.BAD_HEADER, _entry(data_offsets=[6144, 0])),
    "three offsets": Bad(Code.BAD_HEADER, _entry(data_offsets=[0, 1, 2])),
    "a shape of true": Bad(Code.BAD_HEADER, _entry(shape=[True, 8])),
    "a shape of 1.0": Bad(Code.BAD_HEADER, _entry(shape=[8.0, 192])),
    "a shape that overflows": Bad(Code.BAD_HEADER, _entry(shape=[2**62, 4])),
    "a shape of 10,000 dimensions": Bad(Code.BAD_HEADER, _entry(shape=[2**31] * 10_000)),
    "a shape other than its bytes": Bad(Code.BAD_HEADER, _entry(shape=[8, 191])),
    "another key in an entry": Bad(Code.BAD_HEADER, _entry(device="cuda")),
    "metadata that is no text": Bad(
        Code.BAD_HEADER, header(lambda found: found.update(__metadata__={"a": 1}))
    ),
    "float64": Bad(Code.DTYPE, each(lambda tensor: tensor.double())),
    "int8": Bad(Code.DTYPE, each(lambda tensor: tensor.to(torch.int8))),
    "float8": Bad(Code.DTYPE, each(lambda tensor: tensor.to(torch.float8_e4m3fn))),
    "an unknown type": Bad(Code.DTYPE, _entry(dtype="Q4_K\x1b[31m")),
    "names without PEFT's prefix": Bad(Code.PREFIX, renamed(lambda n: n.removeprefix("base_model.model."))),
    "names with the prefix twice": Bad(Code.PREFIX, renamed(lambda n: f"base_model.model.{n}")),
    "names of a multimodal wrapper": Bad(
        Code.PREFIX, renamed(lambda n: n.replace("model.model.layers", "model.model.language_model.layers"))
    ),
    "names with the adapter's own name": Bad(
        Code.PREFIX, renamed(lambda n: n.replace(".weight", ".default.weight"))
    ),
    "a name with NUL": Bad(Code.UNEXPECTED_TENSOR, _set(f"{A}\0", torch.ones(1))),
    "a name with ..": Bad(Code.UNEXPECTED_TENSOR, _set("../../lora_A.weight", torch.ones(1))),
    "an absolute name": Bad(Code.UNEXPECTED_TENSOR, _set("/etc/lora_A.weight", torch.ones(1))),
    "a name that looks alike": Bad(
        Code.UNEXPECTED_TENSOR, renamed(lambda n: n.replace("o_proj", "\u043e_proj"))
    ),
    "an empty name": Bad(Code.UNEXPECTED_TENSOR, _set("", torch.ones(1))),
    "a new vocabulary": Bad(
        Code.VOCABULARY, _set("base_model.model.model.embed_tokens.weight", torch.ones(3600, 192))
    ),
    "an adapter of the embedding": Bad(
        Code.VOCABULARY, _set("base_model.model.model.embed_tokens.lora_embedding_A", torch.ones(8, 3584))
    ),
    "an adapted LM head": Bad(
        Code.VOCABULARY, _set("base_model.model.lm_head.lora_A.weight", torch.ones(8, 192))
    ),
    "a whole layer": Bad(Code.MODULES_TO_SAVE, _set(f"{LAYER}.modules_to_save.weight", torch.ones(192, 192))),
    "a bias": Bad(Code.BIAS, _set(f"{LAYER}.lora_B.bias", torch.ones(192))),
    "DoRA's magnitudes": Bad(Code.DORA, _set(f"{LAYER}.lora_magnitude_vector", torch.ones(192))),
    "a smaller hidden size": Bad(Code.SHAPE, tensors(_narrow)),
    "another number of heads": Bad(Code.SHAPE, _set(B, torch.ones(96, 8))),
    "transposed factors": Bad(Code.SHAPE, each(lambda tensor: tensor.T)),
    "three dimensions": Bad(Code.SHAPE, each(lambda tensor: tensor[None])),
    "fewer layers": Bad(Code.MISSING_TENSOR, _without("layers.4.")),
    "more layers": Bad(Code.UNEXPECTED_TENSOR, tensors(_more_layers)),
    "another architecture's layers": Bad(
        Code.UNEXPECTED_TENSOR, renamed(lambda n: n.replace("q_proj", "qkv_proj"))
    ),
    "no B": Bad(Code.MISSING_TENSOR, _without("lora_B")),
    "one A is missing": Bad(Code.MISSING_TENSOR, tensors(lambda found: found.pop(A))),
    "another rank than the configuration's": Bad(
        Code.RANK_MISMATCH, each(lambda tensor: tensor[:4] if tensor.shape[0] == 8 else tensor[:, :4])
    ),
    "factors of two ranks": Bad(Code.RANK_MISMATCH, _set(A, torch.ones(4, 192))),
    "rank 1024 below a configuration of 8": Bad(Code.RANK_MISMATCH, _set(A, torch.ones(1024, 192))),
    "one NaN": Bad(Code.NOT_FINITE, _number(float("nan"))),
    "one infinity": Bad(Code.NOT_FINITE, _number(float("inf"), name=B)),
    "one minus infinity in float16": Bad(Code.NOT_FINITE, _number(float("-inf"), torch.float16)),
    "one NaN in bfloat16": Bad(Code.NOT_FINITE, _number(float("nan"), torch.bfloat16, B)),
    "one 1e30": Bad(Code.OUT_OF_BOUNDS, _number(1e30)),
    "one -1e30 in bfloat16": Bad(Code.OUT_OF_BOUNDS, _number(-1e30, torch.bfloat16)),
    "one 60,000 in float16": Bad(Code.OUT_OF_BOUNDS, _number(60_000, torch.float16)),
    "a flipped bit in an exponent": Bad(Code.OUT_OF_BOUNDS, lambda folder: flip(folder, DATA_END + 3, 6)),
    "B beyond all bounds once scaled": Bad(Code.OUT_OF_BOUNDS, each(lambda tensor: tensor * 1e4, "lora_B")),
    "all zero": Bad(Code.NO_EFFECT, each(torch.zeros_like)),
    "B zero, as before training": Bad(Code.NO_EFFECT, each(torch.zeros_like, "lora_B")),
    "A zero": Bad(Code.NO_EFFECT, each(torch.zeros_like, "lora_A")),
    "minus zero": Bad(Code.NO_EFFECT, each(lambda tensor: tensor * -0.0, "lora_B")),
    "too little to be seen": Bad(Code.NO_EFFECT, each(lambda tensor: tensor * 1e-30, "lora_B")),
    "A and B zero in turns": Bad(
        Code.NO_EFFECT,
        tensors(lambda found: [t.zero_() for n, t in found.items() if ("lora_A" in n) == ("mlp" in n)]),
    ),
    "a flipped bit in our own version's values": Bad(Code.CONTENT_CHANGED, _low_bit, own=True),
    "our own version's values, halved": Bad(Code.CONTENT_CHANGED, each(lambda tensor: tensor / 2), own=True),
}
