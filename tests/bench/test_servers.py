"""The servers that benches start: the same engine on both sides, and nothing of the CPU build on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import base as bases
from adapters import cpu
from adapters.base import TINY
from bench import servers
from records.settings import Settings
from server.engine import cpu_limit
from server.engine.launch import _variables
from server.engine.vllm import _flags
from tests.adapters.test_cpu import ZEN5, act_as, x86

OURS_ALONE = {
    "--exclude-tools-when-tool-choice-none",
    "--worker-extension-cls",
    "server.engine.loader.LoaderExtension",
}


def test_vllms_own_server_gets_the_flags_that_ours_gives_its_engine(tmp_path: Path) -> None:
    _, dtype = servers.dtype(TINY)
    settings = Settings(base="tiny", max_lora_rank=32, max_loras=16, max_cpu_loras=48, dtype=dtype)
    ours = _flags(settings, bases.resolve("tiny", tmp_path))
    assert servers.stock_flags() == [flag for flag in ours if flag not in OURS_ALONE]


def test_vllms_own_server_gets_the_variables_that_ours_sets() -> None:
    assert _variables().items() <= servers.environment_of("cpu").items()


def test_another_base_has_no_flags_of_the_tiny_one_and_lora_can_be_off() -> None:
    flags = servers.stock_flags(Path("/models/large"), model="large", lora=False)
    dtype = servers.dtype(Path("/models/large"))
    assert flags == ["--model", "/models/large", "--served-model-name", "large", *dtype]


@pytest.mark.parametrize(("limit", "dtype"), [("", "bfloat16"), ("AVX2", "float32")])
def test_where_a_cpu_acts_as_a_lesser_kind_both_sides_compute_in_its_dtype_and_load_its_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, dtype: str
) -> None:
    act_as(monkeypatch, tmp_path, x86(ZEN5))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert servers.stock_flags()[4:6] == ["--dtype", dtype]
    given = {"PYTHONPATH": f"{servers.LIMITED}{os.pathsep}/mine"} if limit else {}
    assert servers.environment_of("cpu").items() >= given.items()
    assert ("PYTHONPATH" in servers.environment_of("cpu")) == bool(limit)


@pytest.mark.skipif(cpu.kind({}) not in cpu_limit.LIBRARIES, reason="vLLM has one library for other CPUs")
def test_vllms_own_server_loads_the_library_of_the_kind_that_the_limit_leaves() -> None:
    code = "import vllm._custom_ops; from server.engine import cpu_limit; print(*cpu_limit.libraries())"
    limit = {"ONEDNN_MAX_CPU_ISA": "AVX2", "VLLM_PLUGINS": "none"}
    path = {"PYTHONPATH": os.pathsep.join([str(servers.LIMITED), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **limit, **path}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split()[-1] == "_C_AVX2.abi3.so"


def test_on_a_gpu_nothing_of_the_cpu_build_is_set_and_two_engines_share_the_memory() -> None:
    assert set(servers.environment_of("cpu")) - set(servers.environment_of("cuda")) == {
        "VLLM_CPU_KVCACHE_SPACE",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
        "TORCH_COMPILE_DISABLE",
    }
    assert servers.fitting("cuda", ["--model", str(TINY)]) == ["--gpu-memory-utilization", "0.4"]
    assert servers.fitting("cuda", ["--gpu-memory-utilization", "0.9"]) == []
    assert servers.fitting("cpu", []) == []
