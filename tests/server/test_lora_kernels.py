"""Which kernel is used: the best that this machine runs and may use, or the one that is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from adapters import cpu
from records.settings import Settings
from server.engine import lora_kernels, lora_native
from server.engine.lora_kernels import NATIVE, STOCK, KernelRefused, kernels
from server.engine.plugin import CPU_LORA
from server.engine.vllm import VllmEngine
from tests.server.conftest import a_base
from tests.server.products import KINDS, TORCH
from tests.server.test_lora_cpu import wrapper_for
from tests.server.test_lora_layers import Layer

X86 = ["avx512_bf16", "avx512", "avx2", "generic"]
FORBIDDEN = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"})


def test_kernels_are_built_where_there_is_a_compiler() -> None:
    assert bool(kernels()) or not shutil.which("cc"), (
        f"the LoRA kernels were not built at the install; {lora_kernels.COMPILE}"
    )
    assert kernels() == [name for name in X86 if name in kernels()]
    assert kernels()[-1:] == ["generic"][: len(kernels())], "any processor runs the last"


def test_the_best_is_used_unless_it_is_forbidden() -> None:
    assert lora_kernels.best(X86, frozenset()) == "avx512_bf16"
    assert lora_kernels.best(X86, frozenset({"avx512_bf16", "avx512_vnni"})) == "avx512"
    assert lora_kernels.best(X86, FORBIDDEN) == "avx2"
    assert lora_kernels.best(X86[2:], frozenset()) == "avx2"
    assert lora_kernels.best(X86, FORBIDDEN | {"avx2", "fma"}) == "generic"
    assert lora_kernels.best([], frozenset()) is None


@pytest.mark.parametrize("limit", ["SSE41", "AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "ALL"])
def test_a_process_that_acts_as_a_lesser_cpu_takes_that_ones_kernel(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cpu.LIMITS[0], limit)
    used = lora_kernels.chosen(NATIVE)
    assert used == next((name for name in kernels() if cpu.KINDS.get(name, set()) <= cpu.features()), None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_that_is_asked_for_multiplies(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_LORA, kind)
    used: list[int] = []
    library = lora_kernels.library()

    def add(kernel: int, *rest: Any) -> None:
        used.append(kernel)
        library.chorus_lora_add(kernel, *rest)

    spy = SimpleNamespace(chorus_lora_add=add, chorus_lora_pack=getattr(library, "chorus_lora_pack", None))
    monkeypatch.setattr(lora_native, "library", lambda: spy)
    layer: Any = Layer(64, [48])
    layer.tp_size = 2  # so that it keeps its own `forward`, which this one has not
    wrapper = wrapper_for([0], [0], slots=1)
    wrapper.adopt(layer)
    layer.set_lora(0, [torch.ones(8, 64)], [torch.ones(48, 8)])
    y = torch.zeros(1, 48).bfloat16()
    wrapper._add(wrapper._layers[id(layer.lora_a_stacked)], y, torch.ones(1, 64).bfloat16())
    assert (y == 512).all()
    assert used == ([] if kind == TORCH else [lora_kernels.numbers()[kind]])


def test_torch_and_vllms_own_products_need_no_kernel() -> None:
    assert lora_kernels.chosen(TORCH) is None
    assert lora_kernels.chosen(STOCK) is None


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ({"avx2": 2, "generic": 3}, r"this machine runs avx2, generic\. .*CHORUS_CPU_LORA=native"),
        ({}, "none was compiled here.*apt-get install gcc"),
    ],
)
def test_a_kernel_that_cannot_run_here_stops_the_start_and_what_can_is_said(
    here: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lora_kernels, "numbers", lambda: here)
    with pytest.raises(KernelRefused, match=f"^CHORUS_CPU_LORA=avx512: .*{said}"):
        VllmEngine(Settings(home=tmp_path, cpu_lora="avx512"), a_base(tmp_path))
    VllmEngine(Settings(home=tmp_path, cpu_lora="native"), a_base(tmp_path))
