"""Whatever bytes an adapter has, it is admitted or refused, and what is admitted the library can open."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from adapters.base import Base
from adapters.check import admit
from adapters.manifest import CONFIG, WEIGHTS
from adapters.refused import Refused
from tests.adapters.conftest import BASE

LAYERS = {"model.layers.0.self_attn.q_proj": (8, 12), "model.layers.0.mlp.down_proj": (12, 6)}
TEXT = (
    '{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"], '
    '"rank_pattern": {"down_proj": 2}, "bias": "none", "layers_to_transform": [0]}'
)
Edit = tuple[str, int, bytes]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of two layers and an adapter for it, each a few hundred bytes."""
    place = tmp_path_factory.mktemp("fuzz")
    (place / "base").mkdir()
    (place / "adapter").mkdir()
    save_file(
        {f"{n}.weight": torch.ones(shape) for n, shape in LAYERS.items()}, place / "base" / "m.safetensors"
    )
    generator = torch.Generator().manual_seed(0)
    factors = {}
    for name, (outputs, inputs) in LAYERS.items():
        stem = f"base_model.model.{name}"
        factors[f"{stem}.lora_A.weight"] = torch.randn(2, inputs, generator=generator)
        factors[f"{stem}.lora_B.weight"] = torch.randn(outputs, 2, generator=generator)
    save_file(factors, place / "adapter" / WEIGHTS, metadata={"format": "pt"})
    (place / "adapter" / CONFIG).write_text(TEXT)
    return place


def base_of(place: Path) -> Base:
    return replace(BASE, path=place / "base")


def edits(longest: int) -> st.SearchStrategy[list[Edit]]:
    """Bytes replaced, taken out, put in, and the rest cut off, at places up to `longest`."""
    kinds = st.sampled_from(["replace", "remove", "insert", "cut", "flip"])
    pieces = st.binary(min_size=1, max_size=9) | st.sampled_from(
        [
            b"0",
            b"9" * 30,
            b"-1",
            b"1e999",
            b"[",
            b"{",
            b"}",
            b'"',
            b",",
            b"null",
            b"true",
            b"\0",
            b"\\u0000",
            b"F64",
        ]
    )
    return st.lists(st.tuples(kinds, st.integers(0, longest), pieces), min_size=1, max_size=4)


def edited(raw: bytes, changes: list[Edit]) -> bytes:
    for kind, where, piece in changes:
        at = where % (len(raw) + 1)
        match kind:
            case "replace":
                raw = raw[:at] + piece + raw[at + len(piece) :]
            case "remove":
                raw = raw[:at] + raw[at + len(piece) :]
            case "insert":
                raw = raw[:at] + piece + raw[at:]
            case "cut":
                raw = raw[:at]
            case "flip" if raw:
                at %= len(raw)
                raw = raw[:at] + bytes([raw[at] ^ (1 << (piece[0] % 8))]) + raw[at + 1 :]
    return raw


def test_the_adapter_that_is_spoiled_is_good(place: Path) -> None:
    assert admit(place / "adapter", base_of(place), max_rank=8).tensors == 4


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weights=edits(900), described=st.just([]) | edits(len(TEXT)))
def test_spoiled_bytes_are_refused_or_admitted_and_nothing_else(
    place: Path, weights: list[Edit], described: list[Edit]
) -> None:
    folder = place / "spoiled"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, changes in ((WEIGHTS, weights), (CONFIG, described)):
        (folder / name).write_bytes(edited((place / "adapter" / name).read_bytes(), changes))
    try:
        admitted = admit(folder, base_of(place), max_rank=8)
    except Refused:
        return
    with safe_open(folder / WEIGHTS, framework="np") as opened:
        found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    assert len(found) == admitted.tensors
    assert all(np.isfinite(values).all() for values in found.values())
