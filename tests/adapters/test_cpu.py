from __future__ import annotations

from pathlib import Path

import pytest

from adapters import cpu

AVX2 = "fpu sse4_1 avx f16c fma avx2"
AVX512 = f"{AVX2} avx512f avx512bw avx512dq avx512vl"
ZEN5 = f"{AVX512} avx512_vnni avx512_bf16"
SAPPHIRE_RAPIDS = f"{ZEN5} avx512_fp16 amx_tile amx_int8 amx_bf16"


def act_as(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    (folder / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu, "CPUINFO", folder / "cpuinfo")


def x86(flags: str) -> str:
    one = f"vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7543\nflags\t\t: {flags}\nbugs\t: none\n\n"
    return f"processor\t: 0\n{one}processor\t: 1\n{one}"


@pytest.mark.parametrize(
    ("text", "kind", "bf16"),
    [
        (x86(SAPPHIRE_RAPIDS), "avx512_bf16", True),
        (x86(ZEN5), "avx512_bf16", True),
        (x86(AVX512), "avx512", False),
        (x86(AVX2), "avx2", False),
        (x86("fpu sse4_1 avx avx2"), "other", False),  # without FMA
        (x86(f"{AVX2} avx512f"), "avx2", False),  # a Xeon Phi: no AVX-512 that vLLM could use
        ("processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\n", "neon", True),
        ("processor\t: 0\nFeatures\t: fp asimd aes\n", "neon", False),
        ("processor\t: 0\ncpu\t\t: POWER9\n", "other", False),
        ("", "other", False),
    ],
)
def test_a_kind_follows_from_the_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, kind: str, bf16: bool
) -> None:
    act_as(monkeypatch, tmp_path, text)
    assert (cpu.kind({}), cpu.multiplies_bf16({})) == (kind, bf16)


@pytest.mark.parametrize(
    ("limit", "kind", "bf16"),
    [
        ("", "avx512_bf16", True),
        ("ALL", "avx512_bf16", True),
        ("DEFAULT", "avx512_bf16", True),
        ("AVX512_CORE_AMX", "avx512_bf16", True),
        ("avx512_core_bf16", "avx512_bf16", True),
        ("AVX512_CORE_VNNI", "avx512", False),
        ("AVX512_CORE", "avx512", False),
        ("AVX2_VNNI", "avx2", False),
        ("avx2", "avx2", False),
        ("AVX", "other", False),
        ("SSE41", "other", False),
        ("AVX3", "avx512_bf16", True),  # oneDNN ignores what it does not know
    ],
)
def test_a_limit_of_onednns_makes_it_a_lesser_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, kind: str, bf16: bool
) -> None:
    act_as(monkeypatch, tmp_path, x86(SAPPHIRE_RAPIDS))
    for name in cpu.LIMITS:
        assert (cpu.kind({name: limit}), cpu.multiplies_bf16({name: limit})) == (kind, bf16)


def test_a_limit_adds_nothing_and_its_new_name_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    act_as(monkeypatch, tmp_path, x86(AVX2))
    assert cpu.features({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}) == frozenset(AVX2.split())
    both = {"ONEDNN_MAX_CPU_ISA": "AVX", "DNNL_MAX_CPU_ISA": "AVX2"}
    assert cpu.features(both) == {"fpu", "sse4_1", "avx"}


def test_a_machine_without_cpuinfo_is_of_no_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "none")
    assert (cpu.kind({}), cpu.model(), cpu.present()) == ("other", None, frozenset())


def test_this_machine_is_of_a_kind_that_can_serve() -> None:
    assert cpu.kind({}) in cpu.KINDS
