"""Flags under which one request would end the engine are refused, however they are written."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from records.settings import Settings
from server.engine import flags, lora_kernels
from server.engine.flags import FlagRefused
from server.engine.vllm import VllmEngine
from tests.server.conftest import a_base

OURS = [
    *("--dtype", "float32"),
    *("--max-loras", "4", "--max-cpu-loras", "8", "--max-lora-rank", "16"),
    *("--worker-extension-cls", "Ours"),
]
PARSED = {
    "dtype": "float32",
    "kv_sharing_fast_prefill": False,
    "max_loras": 4,
    "max_cpu_loras": 8,
    "max_lora_rank": 16,
    "worker_extension_cls": "Ours",
}


@pytest.mark.parametrize(
    "given",
    ["--kv-sharing-fast-prefill", "--kv_sharing_fast_prefill", "--kv-sharing-fast-prefill=true"],
)
def test_an_engine_is_not_made_with_a_flag_that_would_end_it(given: str, tmp_path: Path) -> None:
    with pytest.raises(FlagRefused, match=r"--kv-sharing-fast-prefill is not supported: .*\. Start without"):
        VllmEngine(Settings(home=tmp_path), a_base(tmp_path), ["--max-model-len", "64", given])


def test_what_vllm_read_elsewhere_is_refused_too() -> None:
    """In the file of its `--config`, or from an abbreviation."""
    with pytest.raises(FlagRefused, match="--kv-sharing-fast-prefill"):
        flags.check_parsed(Namespace(kv_sharing_fast_prefill=True), OURS)


@pytest.mark.parametrize("name", flags.ENGINES)
def test_more_engines_than_one_are_refused_as_only_one_would_get_adapters(name: str) -> None:
    with pytest.raises(FlagRefused, match=f"--{name} takes 1 here"):
        flags.check_parsed(Namespace(**{**PARSED, name.replace("-", "_"): 2}), OURS)


@pytest.mark.parametrize("name", flags.BOUND)
def test_what_the_server_goes_by_cannot_be_changed_behind_it(name: str) -> None:
    """By an abbreviation, which vLLM's parser allows."""
    with pytest.raises(FlagRefused, match=f"--{name} came to 'x'"):
        flags.check_parsed(Namespace(**{**PARSED, name.replace("-", "_"): "x"}), OURS)


def test_a_rank_that_the_engine_does_not_have_is_refused_before_the_start() -> None:
    with pytest.raises(FlagRefused, match=r"takes one of 1, 8, 16, .*, not 24"):
        flags.split(["--max-lora-rank", "24"])


def test_vllms_flags_for_adapters_are_settings_and_the_others_stay_flags() -> None:
    given = ["--max-loras", "4", "-O0", "--max_cpu_loras=9", "--max-model-len", "64", "--max-lora-rank", "8"]
    said, rest = flags.split(given)
    assert said == {"max_loras": 4, "max_cpu_loras": 9, "max_lora_rank": 8}
    assert rest == ["-O0", "--max-model-len", "64"]


@pytest.mark.parametrize("given", [["--max-loras"], ["--max-loras", "x"], ["--max-cpu-loras=0"]])
def test_a_flag_for_adapters_without_a_number_is_refused(given: list[str]) -> None:
    with pytest.raises(FlagRefused, match="takes a number from 1 on"):
        flags.split(given)


def test_other_flags_pass() -> None:
    flags.check(["--max-model-len", "64", "--no-kv-sharing-fast-prefill", "--kv-cache-dtype=auto", "-O0"])
    flags.check_parsed(Namespace(**PARSED), OURS)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (["--dtype", "float32"], "float32"),
        (["--dtype=half"], "float16"),
        (["--dtype", "bfloat16", "--dtype", "float"], "float32"),
        (["--dtype", "auto"], "auto"),
        (["--quantization", "fp8"], "auto"),
        (["-q=fp8", "--dtype", "float32"], "float32"),
    ],
)
def test_vllms_dtype_is_a_setting_in_any_spelling(given: list[str], dtype: str) -> None:
    assert flags.split(given)[0] == {"dtype": dtype}


@pytest.mark.parametrize("given", [["--dtype"], ["--dtype", "fp32"], ["--dtype", "BFLOAT16"]])
def test_a_dtype_that_vllm_does_not_have_is_refused(given: list[str]) -> None:
    with pytest.raises(FlagRefused, match=r"--dtype takes one of auto, bfloat16, .*, half, float, not '"):
        flags.split(given)


def test_the_file_of_vllms_config_counts_and_a_flag_wins_over_it(tmp_path: Path) -> None:
    file = tmp_path / "vllm.yaml"
    file.write_text("dtype: half\nmax_loras: 3\nmax-model-len: 64\n")
    config = ["--config", str(file)]
    assert flags.split(config) == ({"dtype": "float16", "max_loras": 3}, config)
    assert flags.split(["--dtype=float32", *config])[0] == {"dtype": "float32", "max_loras": 3}
    file.write_text("- no\n- map\n")
    assert flags.split(config) == ({}, config)
    assert flags.split(["--config", str(tmp_path / "none.yaml")])[0] == {}


def test_adapters_stay_in_bf16_over_a_base_in_float32_where_our_kernel_multiplies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora_kernels, "numbers", lambda: {"avx2": 2})

    def started(**given: str) -> list[str]:
        settings = Settings(home=tmp_path).model_copy(update=given)
        return VllmEngine(settings, a_base(tmp_path))._flags

    assert "--lora-dtype" in started(dtype="float32")
    assert "--lora-dtype" not in started(dtype="float32", cpu_lora="torch")
    assert "--lora-dtype" not in started(dtype="bfloat16")
    monkeypatch.setattr(lora_kernels, "numbers", dict)
    found = started(dtype="float32")
    assert "--lora-dtype" not in found
    assert found[found.index("--dtype") + 1] == "float32"
