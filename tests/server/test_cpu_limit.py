"""A machine that acts as a lesser kind of CPU does so in the engine's processes, and in training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import cpu
from server.engine import cpu_limit, lora_choice, lora_native
from server.engine.base import EngineMisconfigured

SHOW = """
from server.engine import cpu_limit
cpu_limit.apply()
import vllm._custom_ops, torch
cpu_limit.check()
print(*cpu_limit.libraries(), torch.cpu._is_avx512_supported(), torch.cpu._is_avx2_supported())
"""


def loaded(**limits: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env={**os.environ, **limits}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.skipif(cpu.kind({}) not in cpu_limit.LIBRARIES, reason="vLLM has one library for other CPUs")
def test_vllm_loads_the_library_of_the_kind_that_the_limit_leaves() -> None:
    assert loaded(ONEDNN_MAX_CPU_ISA="AVX2") == "_C_AVX2.abi3.so False True"


def test_a_library_that_the_limit_forbids_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "maps").write_text(
        "7f-80 r--p 0 08:01 1  /opt/vllm/_C.abi3.so\n7f-80 rw-p 0 00:00 0 \n"
    )
    monkeypatch.setattr(cpu_limit, "PROC", tmp_path)
    (tmp_path / "cpuinfo").write_text("flags\t: avx avx2 fma avx512f avx512bw avx512dq avx512vl\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv(cpu.LIMITS[0], raising=False)
    cpu_limit.check()
    monkeypatch.setenv(cpu.LIMITS[0], "AVX2")
    with pytest.raises(EngineMisconfigured, match="has to load _C_AVX2, and it has loaded _C"):
        cpu_limit.check()


@pytest.mark.parametrize(
    ("feature", "name"),
    [("avx512f", "avx512_f"), ("avx512bw", "avx512_bw"), ("avx512_bf16", "avx512_bf16"), ("fma", "fma3"),
     ("amx_tile", "amx_tile")],
)  # fmt: skip
def test_features_are_hidden_under_torchs_names(feature: str, name: str) -> None:
    import torch

    assert cpu_limit._in_torch(feature) == name
    assert name in torch.cpu.get_capabilities() or cpu.kind({}) == "neon"


def test_what_is_said_of_the_kernel_is_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cpu.LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert lora_choice.choose("native").native == (lora_native.library() is not None)
