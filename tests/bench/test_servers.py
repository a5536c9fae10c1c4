"""The servers that benches start: the same engine on both sides, and nothing of the CPU build on a GPU."""

from __future__ import annotations

from pathlib import Path

from adapters import base as bases
from adapters.base import TINY
from bench import servers
from records.settings import Settings
from server.engine.launch import _variables
from server.engine.vllm import _flags

OURS_ALONE = {
    "--exclude-tools-when-tool-choice-none",
    "--worker-extension-cls",
    "server.engine.loader.LoaderExtension",
}


def test_vllms_own_server_gets_the_flags_that_ours_gives_its_engine(tmp_path: Path) -> None:
    settings = Settings(base="tiny", max_lora_rank=32, max_loras=16, max_cpu_loras=48)
    ours = _flags(settings, bases.resolve("tiny", tmp_path))
    assert servers.stock_flags() == [flag for flag in ours if flag not in OURS_ALONE]


def test_vllms_own_server_gets_the_variables_that_ours_sets() -> None:
    assert _variables().items() <= servers.environment_of("cpu").items()


def test_another_base_has_no_flags_of_the_tiny_one_and_lora_can_be_off() -> None:
    flags = servers.stock_flags(Path("/models/large"), model="large", lora=False)
    assert flags == ["--model", "/models/large", "--served-model-name", "large"]


def test_on_a_gpu_nothing_of_the_cpu_build_is_set_and_two_engines_share_the_memory() -> None:
    assert set(servers.environment_of("cpu")) - set(servers.environment_of("cuda")) == {
        "VLLM_CPU_KVCACHE_SPACE",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
        "TORCH_COMPILE_DISABLE",
    }
    assert servers.fitting("cuda", ["--model", str(TINY)]) == ["--gpu-memory-utilization", "0.4"]
    assert servers.fitting("cuda", ["--gpu-memory-utilization", "0.9"]) == []
    assert servers.fitting("cpu", []) == []
