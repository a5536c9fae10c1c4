"""`chorus doctor`: what it prints, how it ends, and what a start says of the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters import cpu, planned
from cli import doctor
from cli.commands import app
from records import settings
from server.engine import lora_choice, lora_kernels, machine
from tests.adapters.test_cpu import AVX2, AVX512, ZEN5, act_as, x86


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    for name in cpu.LIMITS:
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["doctor", *arguments])
    assert done.exit_code == status, done.output
    return done.stdout


def told(*arguments: str, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("--json", *arguments, status=status))
    return found


@pytest.mark.parametrize(
    ("flags", "limit", "kind", "dtype"),
    [
        (ZEN5, "", "avx512_bf16", "bfloat16"),
        (ZEN5, "AVX512_CORE", "avx512", "float32"),
        (ZEN5, "AVX2", "avx2", "float32"),
        (AVX512, "", "avx512", "float32"),
        (AVX2, "", "avx2", "float32"),
    ],
)
def test_the_dtype_of_each_kind_of_cpu_and_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, limit: str, kind: str, dtype: str
) -> None:
    act_as(monkeypatch, tmp_path, x86(flags))
    monkeypatch.setenv(cpu.LIMITS[0], limit)
    found = told()
    assert found["machine"]["cpu"] == "AMD EPYC 7543"
    assert (found["machine"]["kind"], found["follows"]["dtype"]["name"]) == (kind, dtype)
    said = run()
    assert found["follows"]["dtype"]["because"] in said
    assert (f"acts as {kind}" in said) == bool(limit)
    for finding in found["findings"]:
        assert finding["what"] in said
        assert finding["mend"] in said


def test_a_cpu_without_avx2_stops_serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    act_as(monkeypatch, tmp_path, x86("sse4_1"))
    found = told(status=1)
    assert not found["serves"]
    assert found["findings"][0]["level"] == "stops", "the worst comes first"
    assert "vLLM needs AVX2" in run(status=1)


def test_a_kernel_that_was_not_compiled_is_said_with_the_command_that_compiles_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lora_kernels, "numbers", dict)
    assert lora_choice.COMPILE in run()


@pytest.mark.parametrize(
    ("base", "status", "said"),
    [("/no/model", 1, "is neither `tiny`, nor a folder"), ("nobody/nothing", 0, "chorus serve fetches it")],
)
def test_a_base_that_is_not_there_is_a_finding(base: str, status: int, said: str) -> None:
    assert said in run("--base", base, status=status)
    assert told("--base", base, status=status)["follows"] is None


def test_a_variable_that_no_engine_starts_with_stops_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "much")
    (first, *_) = told(status=1)["findings"]
    assert first["what"] == "VLLM_CPU_KVCACHE_SPACE takes a whole number of GiB, not 'much'"
    assert first["mend"] == "Set it anew, or leave it out"


def test_a_kernel_that_this_machine_does_not_run_stops_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_kernels, "numbers", lambda: {"avx2": 2, "generic": 3})
    monkeypatch.setenv("CHORUS_CPU_LORA", "avx512_bf16")
    (first, *_) = told(status=1)["findings"]
    assert first["what"].startswith(
        "CHORUS_CPU_LORA=avx512_bf16: this processor does not run that LoRA kernel"
    )
    assert "CHORUS_CPU_LORA=native" in first["mend"]


def test_it_writes_nothing_and_imports_neither_torch_nor_vllm(tmp_path: Path) -> None:
    look = "import sys; from cli.doctor import doctor; doctor(home=sys.argv[1]);"
    show = "print({'torch', 'vllm', 'transformers'} & sys.modules.keys() or 'light', file=sys.stderr)"
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-c", look + show, str(home)],
        env=os.environ | {"CHORUS_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.strip() == "light", done.stderr
    assert not home.exists()


def test_a_start_says_the_machine_the_dtype_and_what_is_slow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    act_as(monkeypatch, tmp_path, x86(AVX2))
    monkeypatch.setattr(lora_kernels, "numbers", dict)
    from adapters import base as bases

    given = settings.load(home=tmp_path)
    products = lora_choice.choose(given.cpu_lora)
    _, plan, numbers = planned.settle_for(given, bases.glance("tiny"), {}, kernel=products.native)
    first, second, third = doctor.lines(machine.look(tmp_path), plan, numbers, products)
    assert first.startswith("AMD EPYC 7543 (avx2), ")
    assert second == (
        "computes in float32: this CPU only emulates products of bfloat16;"
        " adapters by torch: our kernels were not compiled"
    )
    assert "adapters are multiplied by torch" in third
    assert third.endswith("(chorus doctor says what to do)")
