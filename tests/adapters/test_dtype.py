"""A base is served in what this CPU multiplies natively, where there is memory for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters import base as bases
from adapters import cpu, dtype, planned
from adapters.base import Base
from adapters.plan import GIB
from records.database import Database
from records.settings import Settings
from tests.adapters.test_cpu import AVX2, ZEN5, act_as, x86

HERE: dict[str, Any] = {
    "on_cpu": True, "quantized": False, "kind": "avx2", "multiplies_bf16": False, "roomy": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "name", "slow"),
    [
        ({}, "float32", False),
        ({"roomy": False}, "bfloat16", True),
        ({"kind": "avx512"}, "float32", False),
        ({"kind": "avx512_bf16", "multiplies_bf16": True}, "bfloat16", False),
        ({"kind": "avx512_bf16", "multiplies_bf16": True, "roomy": False}, "bfloat16", False),
        ({"kind": "neon"}, "float32", False),
        ({"kind": "neon", "multiplies_bf16": True}, "bfloat16", False),
        ({"kind": "other"}, "auto", False),
        ({"quantized": True}, "auto", False),
        ({"on_cpu": False}, "auto", False),
    ],
)
def test_the_dtype_follows_from_cpu_and_memory(changed: dict[str, Any], name: str, slow: bool) -> None:
    chosen = dtype.choose(None, **{**HERE, **changed})
    assert (chosen.name, chosen.slow) == (name, slow)
    assert chosen.because


@pytest.mark.parametrize("wished", ["auto", "bfloat16", "float16", "float32"])
def test_what_is_set_wins_on_every_machine(wished: str) -> None:
    for changed in ({}, {"on_cpu": False}, {"quantized": True}, {"multiplies_bf16": True}):
        chosen = dtype.choose(wished, **{**HERE, **changed})
        assert (chosen.name, chosen.because) == (wished, "it is set")


def test_bf16_that_is_set_where_it_is_emulated_is_said_to_be_slow() -> None:
    assert dtype.choose("bfloat16", **HERE).slow
    assert not dtype.choose("bfloat16", **{**HERE, "multiplies_bf16": True}).slow


@pytest.mark.parametrize(
    ("memory", "name"), [(24, "float32"), (4.2, "bfloat16")], ids=["a usual machine", "a small one"]
)
def test_a_base_that_fits_in_bf16_alone_is_served_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: float, name: str
) -> None:
    """A base of 150 MB in bf16 beside a cache of 1 GiB and three for the processes."""
    act_as(monkeypatch, tmp_path, x86(AVX2))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.chdir(tmp_path)
    database = Database(f"sqlite:///{tmp_path}/rows.db")
    database.prepare()
    base = a_base(tmp_path / "base", {"q_proj.weight": ("BF16", [8192, 8192])}, dtype="bfloat16")
    settings, plan, numbers = planned.settle(Settings(home=tmp_path), base, database, int(memory * GIB))
    assert settings.dtype == numbers.name == name
    assert plan.load.base == 8192 * 8192 * (4 if name == "float32" else 2)
    database.close()


@pytest.mark.parametrize("stored", ["F16", "BF16", "F32"])
def test_a_base_is_counted_as_it_is_served_and_not_as_it_is_stored(tmp_path: Path, stored: str) -> None:
    tensors = {"q_proj.weight": (stored, [64, 32]), "packed.qweight": ("I32", [16, 4])}
    base = a_base(tmp_path / "base", tensors)
    sizes = [planned.weights(base, dtype.Dtype(name, "")) for name in ("float32", "float16", "auto")]
    assert sizes == [64 * 32 * 4 + 256, 64 * 32 * 2 + 256, 64 * 32 * 2 + 256]


def test_files_that_are_no_safetensors_are_counted_as_they_lie(tmp_path: Path) -> None:
    base = a_base(tmp_path / "base", {"q_proj.weight": ("F32", [8, 8])})
    (base.path / "model.safetensors").write_bytes(b"torn")
    assert planned.weights(base, dtype.Dtype("float32", "")) == 4


@pytest.mark.parametrize(
    "config",
    [{"quantization_config": {"bits": 4}}, {"text_config": {"compression_config": {}}}],
)
def test_a_quantized_base_is_left_to_vllm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: dict[str, Any]
) -> None:
    act_as(monkeypatch, tmp_path, x86(AVX2))
    base = a_base(tmp_path / "base", {"q_proj.weight": ("BF16", [8, 8])}, **config)
    assert planned.numbers_for(Settings(home=tmp_path), base.path).name == "auto"


@pytest.mark.parametrize("config", ["bfloat16", "float16", "float32"])
def test_the_dtype_that_a_base_names_does_not_change_the_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str
) -> None:
    base = a_base(tmp_path / "base", {"q_proj.weight": ("F16", [8, 8])}, dtype=config)
    for flags, name in ((AVX2, "float32"), (ZEN5, "bfloat16")):
        act_as(monkeypatch, tmp_path, x86(flags))
        monkeypatch.delenv(cpu.LIMITS[0], raising=False)
        assert planned.numbers_for(Settings(home=tmp_path), base.path).name == name


def a_base(folder: Path, tensors: dict[str, tuple[str, list[int]]], **config: Any) -> Base:
    """Of zeros that take no room on the disk."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    end, entries = 0, {}
    for name, (stored, shape) in tensors.items():
        begin, end = end, end + shape[0] * shape[1] * (2 if stored.endswith("F16") else 4)
        entries[f"model.layers.0.{name}"] = {"dtype": stored, "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    return bases.resolve(str(folder), folder)
